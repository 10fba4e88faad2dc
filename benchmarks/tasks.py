"""Speed and memory: how they stand to what was promised."""

from __future__ import annotations

from invoke.context import Context
from invoke.tasks import task


@task(
    iterable=["only"],
    help={
        "runs": "how often each machine starts and each transfer is made (default: 5)",
        "output_mib": "how much a guest prints while memory is measured, in MiB (default: 1024)",
        "only": "measure this alone, may be repeated: list, command, start, cold, reboot, kernel, crowd, group, files, "
        "memory, profile, build, example, bake, lasting, glance",
    },
    auto_shortflags=False,
)
def bench(_: Context, only: list[str], runs: str = "5", output_mib: str = "1024") -> None:
    """Measure speed and memory side by side; prints ratios within one run, and fails because of none."""
    from benchmarks.measure import Scope, measure
    from benchmarks.measurement import HEADINGS, write
    from vmtasks.cli.table import table
    from vmtasks.process.signals import interrupt_on_signals
    from vmtasks.report import reporting
    from vmtasks.run.options import number
    from vmtasks.run.record import output

    scope = Scope(
        runs=number("runs", runs, at_least=1) or 1,
        output_mib=number("output-mib", output_mib, at_least=1) or 1,
        only=tuple(only),
    )
    taken = []
    try:
        with reporting(None), interrupt_on_signals():
            for measurement in measure(scope):
                taken.append(measurement)  # noqa: PERF402 - what has been measured is told even if the next one fails
    finally:
        if taken:
            print(table(HEADINGS, (measurement.cells() for measurement in taken)))
            write(taken, output() / "bench.json")
