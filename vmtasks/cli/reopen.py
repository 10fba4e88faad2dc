"""After a run: open its failed machine as it was at the failure, or run it again."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

from vmtasks.cli.run import SSH_FAILED, over_ssh

_RESULTS = "the directory of the run's results (default: the last run)"


@task(
    help={"run": "a line of shell to run there, instead of a shell for you", "results": _RESULTS},
    auto_shortflags=False,
)
def reopen(_: Context, run: str = "", results: str = "") -> None:
    """Open a copy of a failed run's machine, as it was at the failure: a shell where the command failed, or --run.

    The run must have been called with --freeze. Each call opens a copy of its own, which goes in the end. Output and
    status of --run's line are ours.
    """
    from vmtasks.errors import UsageError
    from vmtasks.guest.failure import failure_from, line_at
    from vmtasks.process.signals import interrupt_on_signals
    from vmtasks.providers.boot import boot
    from vmtasks.report import reporting
    from vmtasks.run.debug import open_shell
    from vmtasks.run.frozen import frozen_in, restricted, snapshot_of

    if not run and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(
            "cannot open a shell: standard input and standard error are no terminal",
            hint="--run LINE runs a line there without one",
        )
    frozen = frozen_in(_directory(results))
    with reporting(None), interrupt_on_signals():
        snapshot = snapshot_of(frozen)
        failed = restricted(failure_from(snapshot.metadata.get("failure")), machine=frozen.machine)
        with boot(snapshot, name=frozen.machine, purpose=f"reopen {frozen.machine}") as guest:
            if run:
                status = over_ssh(guest.ssh_command, [line_at(guest, failed, run)], machine=guest.name)
                if status == SSH_FAILED:
                    guest.query("true")  # which says what has become of a machine that is not there any more
            else:
                status = open_shell(guest, at=failed)
    raise Exit(code=status)


@task(
    help={
        "failed": "only what did not pass: of several images or hosts those, of a suite its failed tests",
        "results": _RESULTS,
    },
    auto_shortflags=False,
)
def rerun(_: Context, failed: bool = False, results: str = "") -> None:
    """Run the last run's command line again."""
    from vmtasks.errors import UsageError
    from vmtasks.frameworks.suite.again import words_of_failed_cases
    from vmtasks.run.frozen import read_run
    from vmtasks.run.record import called_with
    from vmtasks.run.rerun import words_of, words_of_failed

    run = read_run(_directory(results))
    if failed and run["recipe"] == "suite" and not run.get("runs"):
        words = words_of_failed_cases(run)
    else:
        words = words_of_failed(run) if failed else words_of(run)
    print(shlex.join(words), file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        # This program, whatever the first word leads to. Signals and the terminal are its own, as when it was typed.
        os.execv(sys.executable, called_with(words[1:]))  # noqa: S606
    except OSError as problem:
        raise UsageError(f"cannot run {words[0]}: {problem.strerror}") from None


def _directory(results: str) -> Path:
    from vmtasks.run.record import output

    return Path(results) if results else output() / "latest"
