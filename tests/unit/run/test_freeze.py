"""The first machine of a run that fails is frozen, and found again; or a sentence says why not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from vmtasks import events
from vmtasks.cache import snapshots
from vmtasks.errors import GuestLost, HostError, TestFailed, TimedOut, UsageError, VmtasksError
from vmtasks.run.freeze import Freezer
from vmtasks.run.frozen import Frozen, frozen_in, restricted, snapshot_of
from vmtasks.run.options import RecipeOptions
from vmtasks.ssh.command import CommandSpec

FAILED = TestFailed("no")
NAME = "0123456789abcdef-1"


@dataclass
class Guest:
    """A machine that can be frozen, or says why not."""

    name: str = "m"
    on: str = "local"
    problem: VmtasksError | None = None
    count: int = 0

    @property
    def directory(self) -> Path:
        """Where it is, once it is frozen."""
        return Path("/cache/snapshots") / NAME

    def freeze(self) -> Guest:
        """Count, and do so."""
        self.count += 1
        if self.problem:
            raise self.problem
        return self


@dataclass
class Told:
    """What a freezer tells."""

    events: list[events.Event] = field(default_factory=list)

    def notes(self) -> list[str]:
        """Return the sentences."""
        return [one.text for one in self.events if isinstance(one, events.Note)]

    def frozen(self) -> list[tuple[str, str, str, str]]:
        """Return the rows."""
        return [
            (one.machine, one.host, one.snapshot, one.reason)
            for one in self.events
            if isinstance(one, events.MachineFrozen)
        ]


def frozen_by(freezer: Freezer, guest: Any, problem: VmtasksError, directory: Path) -> Told:
    told = Told()
    with events.listening(told.events.append):
        freezer.freeze(guest, problem, directory)
    return told


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the directory of the last run."""
    monkeypatch.chdir(tmp_path)
    path = Path("build/vmtasks/greet 1")
    path.mkdir(parents=True)
    (path.parent / "latest").symlink_to(path.name)
    return path


def test_the_first_failure_of_a_run_is_frozen_and_no_other(directory: Path) -> None:
    freezer, first, second = Freezer(), Guest(), Guest(name="n")
    told = frozen_by(freezer, first, FAILED, directory)
    assert told.notes() == ["frozen as it failed; a copy of it opens with `inv reopen`"]
    assert told.frozen() == [("m", "local", NAME, "")]
    assert not frozen_by(freezer, second, TimedOut("late"), directory).events
    assert (first.count, second.count) == (1, 0)


def test_the_line_names_a_run_that_latest_does_not_lead_to(directory: Path) -> None:
    inner = directory / "trixie"
    inner.mkdir()
    (note,) = frozen_by(Freezer(), Guest(), FAILED, inner).notes()
    assert note.endswith("`inv reopen --results 'build/vmtasks/greet 1/trixie'`")


def test_why_a_machine_cannot_be_frozen_is_told_and_written_down(directory: Path) -> None:
    problem = UsageError("cannot freeze m: it is what it is", hint="do without")
    freezer = Freezer()
    told = frozen_by(freezer, Guest(problem=problem), FAILED, directory)
    assert told.notes() == ["cannot freeze m: it is what it is; do without"]
    assert told.frozen() == [("m", "", "", "cannot freeze m: it is what it is")]
    assert frozen_by(freezer, Guest(), FAILED, directory).frozen() == [("m", "local", NAME, "")], "it is the first one"


@pytest.mark.parametrize("problem", [GuestLost("it is gone"), UsageError("it cannot be")])
def test_what_is_gone_or_is_no_failure_is_left_alone_and_the_next_one_counts(
    directory: Path, problem: VmtasksError
) -> None:
    freezer, guest = Freezer(), Guest()
    assert not frozen_by(freezer, guest, problem, directory).events
    assert frozen_by(freezer, guest, FAILED, directory).frozen()


def test_the_command_line_or_the_host_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not Freezer.is_wanted(RecipeOptions())
    assert Freezer.is_wanted(RecipeOptions(freeze=True))
    monkeypatch.setenv("VMTASKS_FREEZE", "1")
    assert Freezer.is_wanted(RecipeOptions())


Write = Callable[..., None]


@pytest.fixture
def write() -> Write:
    """Return what writes a run down."""

    def write(directory: Path, **more: object) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        run = {
            "schema": 2,
            "recipe": "greet",
            "outcome": "test-failed",
            "duration_s": 1.0,
            "phases": [],
            "commands": [],
        }
        (directory / "result.json").write_text(json.dumps({**run, **more}))

    return write


ROW = {"machine": "m", "host": "alice@big", "snapshot": NAME, "reason": ""}


def test_what_was_frozen_of_a_run_is_found(directory: Path, write: Write) -> None:
    write(directory, frozen=[ROW])
    latest = directory.parent / "latest"
    assert frozen_in(latest) == Frozen(run=latest, machine="m", host="alice@big", snapshot=NAME)


def test_of_a_matrix_the_only_one_is_found_and_of_several_the_lines_are_told(directory: Path, write: Write) -> None:
    inner = [directory / name for name in ("bookworm", "trixie", "sid")]
    runs = [{"combination": one.name, "outcome": "running", "directory": str(one.absolute())} for one in inner]
    write(directory, runs=runs)
    write(inner[0], outcome="passed")
    write(inner[1], frozen=[ROW])
    assert frozen_in(directory).run == inner[1].absolute()
    moved = directory.rename(directory.with_name("moved"))
    assert frozen_in(moved).run == (moved / "trixie").absolute()
    moved.rename(directory)
    write(inner[2], frozen=[ROW])
    with pytest.raises(UsageError, match="2 runs of greet 1 have one") as caught:
        frozen_in(directory)
    assert caught.value.hint == (
        "`inv reopen --results 'build/vmtasks/greet 1/trixie'`; `inv reopen --results 'build/vmtasks/greet 1/sid'`"
    )


@pytest.mark.parametrize("there", ["", "/", "..", ".", "link", "../../../elsewhere", "/a/greet 1"])
def test_a_run_has_the_runs_that_it_consists_of_in_its_own_directory(directory: Path, write: Write, there: str) -> None:
    elsewhere = Path("elsewhere")
    write(elsewhere, frozen=[ROW])
    (directory / "link").symlink_to(elsewhere.absolute())
    write(directory.parent, frozen=[ROW])
    write(directory, runs=[{"combination": "x", "outcome": "running", "directory": there}])
    with pytest.raises(UsageError, match="no machine of it was frozen"):
        frozen_in(directory)


def test_a_run_of_a_matrix_consists_of_no_others(directory: Path, write: Write) -> None:
    inner = {"combination": "x", "outcome": "running", "directory": str(directory / "x")}
    write(directory, runs=[inner, inner])
    write(directory / "x", frozen=[ROW], runs=[inner])
    write(directory / "x/x", frozen=[ROW])
    assert frozen_in(directory).run == (directory / "x").absolute()


@pytest.mark.parametrize(
    ("environ", "given"),
    [
        ({}, ("LANG", "LC_ALL")),
        ({"VMTASKS_ENV_ALLOWED": "TOKEN"}, ("TOKEN",)),
        ({"VMTASKS_ENV_FROM": "TOKEN LANG"}, ("TOKEN", "LANG")),
        ({"VMTASKS_ENV_FROM": " "}, ()),
    ],
)
def test_a_copy_gets_those_variables_of_the_host_alone_that_are_for_projects(
    tmp_path: Path, environ: dict[str, str], given: tuple[str, ...]
) -> None:
    failed = CommandSpec(command="make", env_from=("TOKEN", "LANG", "LC_ALL"))
    told: list[events.Event] = []
    config = tmp_path / "config.toml"
    config.touch()
    with events.listening(told.append):
        got = restricted(failed, machine="m", environ={"VMTASKS_CONFIG": str(config), **environ})
    assert got == CommandSpec(command="make", env_from=given)
    (note,) = [one.text for one in told if isinstance(one, events.Note)]
    refused = [name for name in failed.env_from if name not in given]
    assert note.startswith(f"{' and '.join(refused)} of env_from is not handed on")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"frozen": [{**ROW, "snapshot": "", "reason": "cannot freeze m: no"}]}, "greet 1: cannot freeze m: no"),
        ({"outcome": "passed"}, "greet 1: it passed"),
        ({}, r"greet 1 \(test-failed\): no machine of it was frozen"),
        ({"frozen": 5}, "there is no run in"),
    ],
)
def test_why_there_is_nothing_to_reopen(directory: Path, write: Write, more: dict[str, object], message: str) -> None:
    write(directory, **more)
    with pytest.raises(UsageError, match=message):
        frozen_in(directory)


def test_no_run_at_all_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no run in"):
        frozen_in(tmp_path / "latest")


def test_a_snapshot_that_went_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMTASKS_CACHE", str(tmp_path))
    frozen = Frozen(run=tmp_path, machine="m", host="local", snapshot=NAME)
    with pytest.raises(HostError, match="the frozen machine is gone"):
        snapshot_of(frozen)
    assert not snapshots.snapshots_dir().exists()
