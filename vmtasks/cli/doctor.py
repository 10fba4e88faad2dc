"""The host: what it can and cannot do."""

from __future__ import annotations

from dataclasses import asdict

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

from vmtasks.cli.table import AS_JSON, Column, tell

_MARKS = {"good": "ok     ", "limited": "limited", "bad": "BAD    "}


@task(help={"json": AS_JSON}, auto_shortflags=False)
def doctor(_: Context, json: bool = False) -> None:
    """Tell what this host can and cannot do, each finding with its remedy."""
    from vmtasks.cli.checks import examine
    from vmtasks.errors import Outcome

    findings = []
    for finding in examine():
        findings.append(finding)
        if not json:
            print(
                f"{_MARKS[finding.level]}  {finding.says}"
                + (f"\n         -> {finding.remedy}" if finding.remedy else "")
            )
    if json:
        columns = [Column(name, name) for name in ("level", "says", "remedy")]
        print(tell(columns, [asdict(finding) for finding in findings], as_json=True))
    if any(finding.level == "bad" for finding in findings):
        raise Exit(code=Outcome.HOST.exit_code)
