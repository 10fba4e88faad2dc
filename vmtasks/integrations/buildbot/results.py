"""What a Buildbot is told of a run, from what the run wrote down (docs/results.md) and shows. Knows no Buildbot."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from vmtasks.errors import Outcome
from vmtasks.report.files.read import run_in
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
_LONGEST_S = 1e9
"""No run takes as long as that: neither infinity nor what is no number passes."""
_KILLED = "was killed before it could say how it ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """What became of a run.

    :param message: a sentence about it.
    :param times: where the time went.
    :param artifacts: the paths of what came out.
    """

    results: Results
    message: str
    times: str = ""
    artifacts: tuple[str, ...] = ()


def read(text: str) -> dict[str, Any] | None:
    """Return the document in the text of a result.json; None where there is none that we know."""
    document = run_in(text)
    if document is None or document["schema"] != SCHEMA or not document.keys() >= {"message", "artifacts"}:
        return None
    return document if all("exit_code" in command for command in document["commands"]) else None


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
    outcome, recipe = document["outcome"], one_line(document["recipe"])
    results = _RESULTS.get(outcome, "exception")
    message = f"{recipe}: {one_line(_KILLED if outcome == RUNNING else document['message'])}"
    if results == "success":
        message = f"{recipe} passed in {duration(document['duration_s'] or 0.0)}"
        if status:
            results, message = "failure", f"{message}, and make ended with status {status} after that"
    elif results == "retry":
        message += f" (attempt {retries + 1} of {max_retries + 1})"
        if retries >= max_retries:
            results = "exception"
    times = Times.of(document).text()
    return BuildResult(results=results, message=message, times=times, artifacts=tuple(document["artifacts"]))


def by_hand(target: str, variables: Mapping[str, str], *, builddir: str, revision: str, repository: str) -> str:
    """Return what a developer types to repeat a build: its own paths are of the worker, and lead nowhere elsewhere.

    :param builddir: the builder's directory on the worker, beneath which the checkout is.
    :param revision: what was checked out; empty where that is not known.
    """
    name = posixpath.basename(repository.rstrip("/")).removesuffix(".git") or "project"
    place = f"../{name}"
    # A whole path or what is below it, and not another builder's that begins alike.
    checkout = re.compile(rf"{re.escape(builddir.rstrip('/'))}/build(?=/|$)")
    words = (f"{key}={checkout.sub(lambda _: place, value)}" for key, value in variables.items())
    commit = f"at commit {revision}" if revision else "as it was built"
    where = f"# In the directory in which make ran, with {repository or 'the project'} in {place}, {commit}:\n"
    return where + shlex.join(["make", target, *words]) + "\n"
