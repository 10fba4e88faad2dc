"""Finding again what was frozen of a run."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from vmtasks import events
from vmtasks.config.settings import HostSettings
from vmtasks.errors import Outcome, UsageError
from vmtasks.report.files.read import run_at
from vmtasks.run.freeze import reopen_line
from vmtasks.run.own_results import expect_ours

if TYPE_CHECKING:
    from vmtasks.cache.snapshot import Snapshot
    from vmtasks.ssh.command import CommandSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """A machine that was frozen, as a run has written it down."""

    run: Path
    machine: str
    host: str
    snapshot: str


def frozen_in(directory: Path) -> Frozen:
    """Return the machine that was frozen of a run, or of one run of a matrix.

    :param directory: of the run's results.
    :raise UsageError: there is no such run, nothing was frozen of it, or several runs of a matrix have one.
    """
    run = read_run(directory)
    found = list(_frozen(directory, run))
    if len(found) > 1:
        raise UsageError(
            f"cannot tell which machine to reopen: {len(found)} runs of {directory.resolve().name} have one",
            hint="; ".join(reopen_line(one.run) for one in found),
        )
    if not found:
        raise _none(directory, run)
    return found[0]


def snapshot_of(frozen: Frozen) -> Snapshot:
    """Return the snapshot of a machine that was frozen, on the host where that is.

    :raise HostError: it is gone by now, or damaged, or that host cannot be reached.
    """
    from vmtasks.cache import snapshots
    from vmtasks.providers.qemu.provider import place_of

    return place_of(frozen.host).call(snapshots.failure, frozen.snapshot)


def read_run(directory: Path) -> dict[str, Any]:
    """Return what a run of this user's has written down.

    :raise UsageError: there is none, or it came with the project.
    """
    expect_ours(directory)
    run = run_at(directory / "result.json")
    if run is None:
        raise UsageError(
            f"there is no run in {directory}",
            hint="--results names the directory of one; without it, the last run that was called from here counts",
        )
    return run


def restricted(failed: CommandSpec, *, machine: str, environ: Mapping[str, str] = os.environ) -> CommandSpec:
    """Return a command that failed with those variables of this host alone that are for it, and name the others.

    Where they go, and which they are, was written down somewhere, perhaps by somebody else. So what a project's file
    may ask for holds here: the settings' ``env_allowed``, or instead of that the user's own word.
    """
    if own := environ.get("VMTASKS_ENV_FROM"):
        refused = [name for name in failed.env_from if name not in own.split()]
    else:
        refused = HostSettings.load(environ).refused(failed.env_from)
    if refused:
        text = (
            f"{' and '.join(refused)} of env_from is not handed on: the settings do not give it to projects "
            "(env_allowed); VMTASKS_ENV_FROM, with its name, does"
        )
        events.emit(events.Note(machine=machine, text=text, level="warning"))
    return replace(failed, env_from=tuple(name for name in failed.env_from if name not in refused))


def _frozen(directory: Path, run: dict[str, Any]) -> Iterator[Frozen]:
    """Yield what was frozen of a run, and of those that it consists of, which have their directories in its own."""
    yield from _rows(directory, run)
    home = directory.resolve()
    for name in {PurePath(part["directory"]).name: None for part in run.get("runs", [])}:
        below = home / name
        is_inside = name not in ("", "..") and not below.is_symlink()
        if is_inside and (inner := run_at(below / "result.json")):
            yield from _rows(below, inner)


def _rows(directory: Path, run: dict[str, Any]) -> Iterator[Frozen]:
    for row in run.get("frozen", []):
        if row["snapshot"]:
            yield Frozen(run=directory, machine=row["machine"], host=row["host"], snapshot=row["snapshot"])


def _none(directory: Path, run: dict[str, Any]) -> UsageError:
    """Return why there is nothing to reopen of a run."""
    name = directory.resolve().name
    if reason := next((row["reason"] for row in run.get("frozen", [])), ""):
        return UsageError(f"there is nothing to reopen of {name}: {reason}")
    if run["outcome"] == Outcome.PASSED:
        return UsageError(f"there is nothing to reopen of {name}: it passed")
    return UsageError(
        f"there is nothing to reopen of {name} ({run['outcome']}): no machine of it was frozen",
        hint="a run with --freeze freezes the machine of its first failure, if that is still there (freeze = true in "
        "the host's settings: every run)",
    )
