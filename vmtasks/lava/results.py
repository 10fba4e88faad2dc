"""lava-results.yaml: the rows of a job in the form in which LAVA exports them, all values texts, for its consumers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

import yaml

from vmtasks.lava.cases import OWN, CaseRow
from vmtasks.lava.recorder import Attachment

_NO_VALUE = "None"
"""What LAVA writes where a case measured nothing."""


def as_yaml(
    rows: Iterable[tuple[str, CaseRow]],
    *,
    job: str,
    is_complete: bool,
    metadata: Mapping[str, Mapping[str, str]],
    attachments: Iterable[Attachment] = (),
) -> str:
    """Return the document.

    :param rows: each case, and the machine that it ran in.
    :param job: what takes the place of the job's number: the name of the run.
    :param is_complete: whether all ran to its end, whatever came of the cases: LAVA's Complete or Incomplete.
    :param metadata: what definitions told of themselves, by their suites; it goes to the row about the definition, as
        do the files that it has attached.
    """
    own = CaseRow(suite=OWN, name="job", result="pass" if is_complete else "fail")
    told: dict[str, dict[str, Any]] = {suite: {"told": dict(texts)} for suite, texts in metadata.items() if texts}
    for one in attachments:
        file = {"case": one.case, "pathname": f"{one.place}/{PurePosixPath(one.path).name}", "mime_type": one.mime_type}
        told.setdefault(one.suite, {}).setdefault("attachments", []).append(file)
    found = [_row(number, machine, row, job, told) for number, (machine, row) in enumerate([*rows, ("", own)], 1)]
    return yaml.safe_dump(found, sort_keys=False, allow_unicode=True, width=10_000)


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
