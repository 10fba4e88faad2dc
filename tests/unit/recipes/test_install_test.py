"""What install-test makes of what its machines tell: no process, no machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from recipes import install_test
from recipes.install_test import _Traces, _Trial
from vmtasks import CommandFailed, Run, TestFailed, TestSkipped, events
from vmtasks.debian import leftovers, packages
from vmtasks.debian.debfile import Package

BEFORE: Any = SimpleNamespace(known=frozenset({"apt"}))
LEFT = [leftovers.Leftover(path="/etc/tiny", kind="left"), leftovers.Leftover(path="/var/tinyd", kind="left")]


def some(*names: str) -> dict[str, Package]:
    return {name: Package(path=Path(f"{name}.deb"), name=name, version="1", architecture="all") for name in names}


class Booting(Run):
    """A run whose machines are none."""

    @contextmanager
    def boot(self, image: Any, *, name: str = "", **_: Any) -> Iterator[Any]:
        yield SimpleNamespace(name=name)


class World:
    """What is done with packages, by name, in the order in which it is done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
        self.done: list[str] = []
        self.notes: list[str] = []
        self.altered: list[list[str]] = []
        """What is found to be altered, one time after the other."""
        self.complaint: TestFailed | None = None
        self.at_rest: TestFailed | None = None
        self.sets = [some("tiny")]
        self.older: list[list[str]] = [["tiny"]]
        settings = SimpleNamespace(leftovers="fail")
        commands = SimpleNamespace(env={}, env_from=())
        self.project: Any = SimpleNamespace(install=settings, commands=commands)
        self.run = Booting(recipe="install-test", directory=directory)
        self.run.debug = lambda *_: None  # type: ignore[method-assign]
        fake = {
            "AT_REST": packages.AT_REST,
            "install": self.install,
            "install_older": self.install_older,
            "older_sets": lambda *_: self.older,
            "sets_of": lambda *_: self.sets,
            "altered": lambda *_: self.altered.pop(0) if self.altered else [],
            "below_var": packages.below_var,
            "expect_unaltered": packages.expect_unaltered,
            "logs_kept": lambda *_: nullcontext(),
            "expect_silence": lambda *_: self.tell(self.complaint),
            "failed_units": lambda *_: (),
            "purge": lambda _, chosen, __: self.done.append(f"purge {' '.join(chosen)}"),
            "purge_at_rest": lambda *_: self.done.append("purge at rest"),
            **dict.fromkeys(["serve", "rest", "forget"], lambda *_: None),
        }
        monkeypatch.setattr(install_test, "packages", SimpleNamespace(**fake))
        monkeypatch.setattr(install_test.leftovers, "snapshot", lambda _: BEFORE)
        monkeypatch.setattr(install_test.leftovers, "outlived", lambda *_: [])
        monkeypatch.setattr(install_test.leftovers, "compare", lambda *_: [])
        monkeypatch.setattr(events, "emit", self.hear)

    def hear(self, event: object) -> None:
        if isinstance(event, events.Note):
            self.notes.append(event.text)

    def tell(self, problem: TestFailed | None) -> None:
        if problem:
            raise problem

    def install(self, _: Any, chosen: Sequence[str], *, root: str = "") -> None:
        self.done.append(f"install {' '.join(chosen)}{root and ' at rest'}")
        if root:
            self.tell(self.at_rest)

    def install_older(self, _: Any, __: Any, names: Sequence[str], *, root: str = "") -> None:
        self.done.append(f"old {' '.join(names)}{root and ' at rest'}")

    def trial(self, **packages: Any) -> _Trial:
        new = packages or some("tiny")
        return _Trial(run=self.run, new=new, project=self.project, smoke="", before=BEFORE)

    @property
    def failed(self) -> dict[str, str]:
        return {name: str(problem) for name, problem in self.run.failed.items()}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    return World(monkeypatch, tmp_path)


GUEST: Any = SimpleNamespace(name="install")
START: Any = SimpleNamespace()


def test_what_is_left_counts_where_nobody_can_tell_what_services_wrote(world: World) -> None:
    world.at_rest = CommandFailed("apt-get cannot install tiny: no systemd")
    trial = world.trial()
    trial.judge(_Traces(left=LEFT), START, lambda guest: trial.at_rest(some("tiny"), guest), some("tiny"))
    assert "2 left (/etc/tiny)" in world.failed["leftovers"]
    assert (world.run.directory / "leftovers.txt").read_text() == "left: /etc/tiny\nleft: /var/tinyd\n"
    assert any("no systemd" in note for note in world.notes)


def test_what_is_left_at_rest_counts_alone_where_that_can_be_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install_test.leftovers, "compare", lambda *_: LEFT[:1])
    trial = world.trial()
    trial.judge(_Traces(left=LEFT), START, lambda guest: trial.at_rest(some("tiny"), guest), some("tiny"))
    assert "1 left (/etc/tiny)" in world.failed["leftovers"]
    assert world.done == ["install tiny at rest", "purge at rest"]
    assert world.notes[0] == "not purged, but written by what ran meanwhile: /var/tinyd"


def test_files_that_scripts_have_changed_fail_and_the_purge_is_tried_all_the_same(world: World) -> None:
    world.altered = [["changed: /etc/tiny.conf"]]
    trial = world.trial()
    altered = trial.install(GUEST, some("tiny"))
    assert trial.use_and_purge(GUEST, some("tiny"), altered) == _Traces(altered=[], left=[])
    assert "changed: /etc/tiny.conf" in world.failed["files"]
    assert world.done == ["install tiny", "purge tiny"]


@pytest.mark.parametrize("is_by_service", [True, False])
def test_who_has_changed_a_file_below_var_is_told_where_no_service_starts(world: World, is_by_service: bool) -> None:
    """piuparts calls debsums where none starts: a daemon may write to a file that its package ships there."""
    changed = ["changed: /var/lib/tiny/state"]
    world.altered = [changed, [] if is_by_service else changed]
    trial = world.trial()
    traces = trial.use_and_purge(GUEST, some("tiny"), trial.install(GUEST, some("tiny")))
    assert world.failed == {}
    trial.judge(traces, START, lambda guest: trial.at_rest(some("tiny"), guest), some("tiny"))
    assert [*world.failed] == ([] if is_by_service else ["files"])
    note = "not as unpacked, but written by what ran meanwhile: changed: /var/lib/tiny/state"
    assert (note in world.notes) is is_by_service


@pytest.mark.parametrize("start", [START, None])
def test_a_changed_file_below_var_counts_where_nobody_can_tell_who_did_it(world: World, start: Any) -> None:
    world.at_rest = CommandFailed("apt-get cannot install tiny: no systemd")
    trial, traces = world.trial(), _Traces(altered=["changed: /var/lib/tiny/state"])
    trial.judge(traces, start, lambda guest: trial.at_rest(some("tiny"), guest), some("tiny"))
    assert [*world.failed] == ["files"]


def test_what_was_changed_is_told_though_the_purge_fails(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise TestFailed("prerm says no")

    monkeypatch.setattr(install_test.packages, "purge", fail)
    assert world.trial().use_and_purge(GUEST, some("tiny"), ["changed: /var/lib/tiny/state"]) is None
    assert [*world.failed] == ["purge", "files"]


def test_jobs_that_complain_fail_and_what_is_left_is_told_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.complaint = TestFailed("/etc/cron.daily/tiny complains")
    monkeypatch.setattr(install_test.leftovers, "compare", lambda *_: LEFT)
    assert world.trial().use_and_purge(GUEST, some("tiny"), []) == _Traces(altered=[], left=LEFT)
    assert world.failed == {"purge": "/etc/cron.daily/tiny complains"}


def test_a_purge_that_fails_leaves_nothing_to_compare(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def purge(*_: object) -> None:
        raise TestFailed("figlet: not found")

    monkeypatch.setattr(install_test.packages, "purge", purge)
    assert world.trial().use_and_purge(GUEST, some("tiny"), []) is None
    assert world.failed == {"purge": "figlet: not found"}


def test_older_packages_that_exclude_each_other_are_upgraded_in_their_turn(world: World) -> None:
    world.older = [["tcp", "new"], ["tcp-ipv6"]]
    world.sets = [some("tcp"), some("tcp-ipv6", "new")]
    world.trial(**some("tcp", "tcp-ipv6", "new")).upgrade(START, {})
    assert world.done == ["old tcp new", "install tcp", "purge tcp", "old tcp-ipv6", "install tcp-ipv6 new",
                          "purge tcp-ipv6 new"]  # fmt: skip
    assert world.failed == {}


def test_where_there_is_nothing_to_upgrade_from_nothing_is_upgraded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def skip(*_: object) -> None:
        raise TestSkipped("the archive has none")

    monkeypatch.setattr(install_test.packages, "install_older", skip)
    world.trial().upgrade(START, {})
    assert (world.done, world.failed) == ([], {})
