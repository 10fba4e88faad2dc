"""What a Buildbot is told of a run, from what the run wrote down (docs/results.md) and shows. Knows no Buildbot."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from vmtasks.errors import Outcome
from vmtasks.report.files.result import SCHEMA
from vmtasks.report.files.rows import RUNNING
from vmtasks.report.format import duration
from vmtasks.report.sanitize import one_line
from vmtasks.report.timings import Times

Results = Literal["success", "warnings", "failure", "exception", "retry", "cancelled"]
"""Buildbot's words; its numbers are their places in ``buildbot.process.results.Results``."""

# A usage error is the project's or the configuration's, and stays: an exception would put the worker in quarantine.
_RESULTS: Mapping[str, Results] = MappingProxyType(
    {
        Outcome.PASSED: "success",
        Outcome.FAILED: "failure",
        Outcome.SKIPPED: "warnings",
        Outcome.USAGE: "failure",
        Outcome.TIMEOUT: "failure",
        Outcome.INTERRUPTED: "cancelled",
        RUNNING: "retry",  # killed before it could write how it ended
        **{outcome: "retry" for outcome in Outcome if outcome.is_infrastructure},
    }
)
_KILLED = "was killed before it could say how it ended"
_SHOWN = re.compile(r"\d\d:\d\d:\d\d (?P<machine>[^\s*$|]\S*)? *[*$] (?P<text>.+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """What became of a run.

    :param message: a sentence about it.
    :param times: where the time went.
    :param products: the paths of what came out.
    """

    results: Results
    message: str
    times: str = ""
    artifacts: tuple[str, ...] = ()


def read(text: str) -> dict[str, Any] | None:
    """Return the document in the text of a result.json; None where there is none that we know."""
    try:
        document = json.loads(text)
    except ValueError:
        return None
    return document if isinstance(document, dict) and document.get("schema") == SCHEMA else None


def cut_short(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what *document* comes to if a limit of the build step has ended the run.

    A run that was still waiting for other people's machines proves nothing about the project.
    """
    outcome, message = Outcome.TIMEOUT, "a limit of the build step has passed"
    last = document["phases"][-1] if document["phases"] else {"phase": ""}
    works = any(command["exit_code"] is None for command in document["commands"])  # in another machine
    if last["phase"] == "slot" and (last["error"] or last["duration_s"] is None) and not works:
        outcome, message = Outcome.HOST, "no slot was free within the step's limit"
    return {**document, "outcome": outcome, "message": message}


def build_result(document: Mapping[str, Any], *, retries: int, max_retries: int, status: int | None = 0) -> BuildResult:
    """Return what became of the run that *document* describes.

    :param retries: how often it was tried before.
    :param max_retries: after how many of them the infrastructure is given up.
    :param status: what make ended with: a run that passed is not all that a target may do.
    """
    outcome, recipe = document["outcome"], document["recipe"]
    results = _RESULTS.get(outcome, "exception")
    message = f"{recipe}: {one_line(_KILLED if outcome == RUNNING else document['message'])}"
    if results == "success":
        message = f"{recipe} passed in {duration(document['duration_s'])}"
        if status:
            results, message = "failure", f"{message}, and make ended with status {status} after that"
    elif results == "retry":
        message += f" (attempt {retries + 1} of {max_retries + 1})"
        if retries >= max_retries:
            results = "exception"
    times = Times.of(document).text()
    return BuildResult(results=results, message=message, times=times, artifacts=tuple(document["artifacts"]))


def shown(line: str) -> str:
    """Return what a line of the display reports of the run itself, with its machine; nothing for a guest's output."""
    found = _SHOWN.fullmatch(line)
    return ": ".join(part for part in found.groups() if part) if found else ""
