"""Speed and memory: how they stand to what was promised."""

from __future__ import annotations

from invoke.context import Context
from invoke.tasks import task


@task(
    help={
        "runs": "how often each image boots",
        "gigabyte_mib": "how much a guest prints while memory is measured, in MiB",
        "example": "measure a second `make test-in-vm` of the example as well (default: yes)",
    },
    auto_shortflags=False,
)
def bench(_: Context, runs: int = 3, gigabyte_mib: int = 1024, example: bool = True) -> None:
    """Measure speed and memory side by side; prints ratios within one run, and fails because of none."""
    from vmtasks.bench import HEADINGS, measure, write
    from vmtasks.interrupts import signals_interrupt
    from vmtasks.report import reporting
    from vmtasks.report.table import table
    from vmtasks.run import OUTPUT

    taken = []
    try:
        with reporting(None), signals_interrupt():
            for measurement in measure(runs=runs, gigabyte_mib=gigabyte_mib, example=example):
                taken.append(measurement)  # noqa: PERF402 - what has been measured is told even if the next one fails
    finally:
        if taken:
            print(table(HEADINGS, (measurement.cells() for measurement in taken)))
            write(taken, OUTPUT / "bench.json")
