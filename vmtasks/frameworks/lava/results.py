"""lava-results.yaml: the rows of a job in the form in which LAVA exports them, all values texts, for its consumers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

import yaml

from vmtasks.frameworks.lava.cases import OWN, Attachment, CaseRow
from vmtasks.frameworks.lava.recorder import Recorder

_NO_VALUE = "None"
"""What LAVA writes where a case measured nothing."""


@dataclass(slots=True, kw_only=True)
class MachineResults:
    """What the tests of one machine have told."""

    machine: str
    rows: list[CaseRow] = field(default_factory=list)
    metadata: dict[str, Mapping[str, str]] = field(default_factory=dict)
    """What definitions told of themselves, by their suites; it goes to the row about the definition, as do the files
    that it has attached."""
    attachments: list[Attachment] = field(default_factory=list)
    directory: str = ""
    """The directory of its attachments, if the machine has one of its own."""

    @classmethod
    def of(cls, machine: str, recorder: Recorder) -> MachineResults:
        """Return what one recorder has heard."""
        return cls(
            machine=machine, rows=recorder.rows, metadata=dict(recorder.metadata), attachments=recorder.attachments
        )


def as_yaml(machines: Iterable[MachineResults], *, job: str, is_complete: bool) -> str:
    """Return the document.

    :param job: what takes the place of the job's number: the name of the run.
    :param is_complete: whether all ran to its end, whatever came of the cases: LAVA's Complete or Incomplete.
    """
    found: list[dict[str, Any]] = []
    for one in machines:
        told = _told(one)
        found += [_row(number, one.machine, row, job, told) for number, row in enumerate(one.rows, len(found) + 1)]
    own = CaseRow(suite=OWN, name="job", result="pass" if is_complete else "fail")
    found.append(_row(len(found) + 1, "", own, job, {}))
    return yaml.safe_dump(found, sort_keys=False, allow_unicode=True, width=10_000)


def _told(machine: MachineResults) -> dict[str, dict[str, Any]]:
    """Return what goes to the rows about definitions, by their suites."""
    told: dict[str, dict[str, Any]] = {
        suite: {"told": dict(texts)} for suite, texts in machine.metadata.items() if texts
    }
    for one in machine.attachments:
        path = PurePosixPath(machine.directory, one.place, PurePosixPath(one.path).name)
        file = {"case": one.case, "pathname": str(path), "mime_type": one.mime_type}
        told.setdefault(one.suite, {}).setdefault("attachments", []).append(file)
    return told


def _row(number: int, machine: str, row: CaseRow, job: str, told: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    first, last = (str(line) if line else "" for line in row.lines)
    more = {"set": row.test_set, "reference": row.reference, "machine": machine, "message": row.message}
    return {
        "name": row.name,
        "job": job,
        "suite": row.suite,
        "result": row.result,
        "measurement": row.measurement or _NO_VALUE,
        "unit": row.units,
        "duration": f"{row.duration_s:.2f}",
        "timeout": _NO_VALUE,
        "logged": datetime.fromtimestamp(row.at_s, tz=UTC).isoformat(sep=" "),
        "level": "",
        "url": row.reference,
        "id": str(number),
        "log_start_line": first,
        "log_end_line": last,
        "metadata": {
            "case": row.name,
            "definition": row.suite,
            "result": row.result,
            **{key: value for key, value in more.items() if value},
            **(told.get(row.name, {}) if row.suite == OWN else {}),
        },
    }
