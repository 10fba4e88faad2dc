"""The host: what it can and cannot do."""

from __future__ import annotations

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

_MARKS = {"good": "ok     ", "limited": "limited", "bad": "BAD    "}


@task
def doctor(_: Context) -> None:
    """Tell what this host can and cannot do, each finding with its remedy."""
    from vmtasks.cli.checks import examine
    from vmtasks.errors import Outcome

    bad = False
    for finding in examine():
        print(
            f"{_MARKS[finding.level]}  {finding.says}" + (f"\n         -> {finding.remedy}" if finding.remedy else "")
        )
        bad = bad or finding.level == "bad"
    if bad:
        raise Exit(code=Outcome.HOST.exit_code)
