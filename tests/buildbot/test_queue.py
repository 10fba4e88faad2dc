"""Two Buildbots and a developer on a host with room for one machine: who has it, and what the others are told."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.buildbot.farm import Farm, make_checkout
from tests.waiting import LIMIT_S, until
from vmtasks.host.slots import RUNNING, Claim, Limits, tickets
from vmtasks.process.user import user_name

BUILDER = "test-in-vm-bookworm"
SOMEBODY = "a machine of somebody's"
PARROT, NEWT, OTTER = LINE = tuple(f"test-in-vm of {project}" for project in ("parrot", "newt", "otter"))
LOOK_S = 0.01
BEHIND = re.compile(rf"waiting for a slot behind (.+) of {re.escape(user_name())} \(pid \d+\)(.*)$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Host:
    """A host whose queue is its own."""

    home: Path

    @property
    def queue(self) -> Path:
        return self.home / "queue"

    def environ(self, project: str) -> dict[str, str]:
        """Return the environment of whoever works on a project here."""
        return {"QUEUE": str(self.queue), "VMTASKS_SLOTS": "1", "VMTASKS_NAME": project}

    def farm(self, project: str) -> Farm:
        """Return the Buildbot of a project."""
        home = self.home / f"{project}s"
        home.mkdir()
        farm = Farm(home=home, environ=self.environ(project))
        farm.create()
        return farm

    def taken(self) -> Claim:
        """Take the one slot."""
        return Claim(SOMEBODY, 100, Limits(machines=1, memory_mib=1000), directory=str(self.queue))

    def queued(self, *purposes: str) -> None:
        """Wait until these and nobody else have a machine or wait for one, in this order."""
        until(f"queue of {purposes}", lambda: tuple(ticket.purpose for ticket in tickets(str(self.queue))) == purposes)

    def enough(self, purpose: str) -> Path:
        """Have a run go on to its end as soon as it has a machine; return the file that says so."""
        path = self.queue.with_name(purpose.rpartition(" ")[2])
        path.touch()
        return path

    @contextmanager
    def watched(self) -> Iterator[list[tuple[str, ...]]]:
        """Look at the queue all along, and note who had machines at the same time, one set after the other."""
        had: list[tuple[str, ...]] = []
        over = threading.Event()

        def watch() -> None:
            while not over.wait(LOOK_S):
                running = tuple(ticket.purpose for ticket in tickets(str(self.queue)) if ticket.state == RUNNING)
                if running and [running] != had[-1:]:
                    had.append(running)

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield had
        finally:
            over.set()
            thread.join()


@dataclass(frozen=True, kw_only=True)
class Asker:
    """Whoever has asked for a machine, and how to see what they are told."""

    screen: Callable[[], str]

    def told(self) -> list[str]:
        """Return whom they wait for, as they are told one after the other, and how many more."""
        return list(dict.fromkeys(first + more for first, more in BEHIND.findall(self.screen())))


@dataclass(frozen=True, kw_only=True)
class Developer(Asker):
    """At a terminal."""

    make: subprocess.Popen[bytes]


@dataclass(frozen=True, kw_only=True)
class Request(Asker):
    """Of a Buildbot."""

    results: Callable[[], list[str]]


def build(farm: Farm) -> Request:
    """Ask a Buildbot for a build."""
    number = farm.force(BUILDER, "machine")
    return Request(
        screen=lambda: farm.logs(farm.step(farm.builds(number)[-1]))["stdio"],
        results=lambda: [results for results, _ in farm.ended(number)],
    )


@contextmanager
def developer(host: Host, project: Path, directory: Path) -> Iterator[Developer]:
    """Have a developer call make in a checkout of theirs."""
    make_checkout(directory)
    (directory / "behaviour").write_text("machine")
    argv = ["make", "test-in-vm", f"PROJECT={project}"]
    environ = {**os.environ, **host.environ("newt")}
    screen = directory / "screen"
    with (
        screen.open("wb") as stderr,
        subprocess.Popen(
            argv, cwd=directory, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr
        ) as make,
    ):
        try:
            yield Developer(screen=screen.read_text, make=make)
        finally:
            make.kill()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    return Host(home=tmp_path_factory.mktemp("host"))


@pytest.fixture(scope="module")
def farms(host: Host) -> Iterator[list[Farm]]:
    with ExitStack() as stack:
        yield [stack.enter_context(host.farm(project).running(kill=True)) for project in ("parrot", "otter")]


@pytest.fixture
def line(host: Host, farms: list[Farm], tmp_path: Path) -> Iterator[tuple[Claim, Request, Developer, Request]]:
    """Yield the slot, which somebody has, and those who wait for it: a Buildbot, a developer, and another Buildbot."""
    parrots, otters = farms
    with host.taken() as slot:
        parrot = build(parrots)
        host.queued(SOMEBODY, PARROT)
        with developer(host, parrots.home / "project", tmp_path / "vmtasks") as newt:
            host.queued(SOMEBODY, PARROT, NEWT)
            otter = build(otters)
            host.queued(SOMEBODY, PARROT, NEWT, OTTER)
            yield slot, parrot, newt, otter
    for purpose in LINE:
        host.enough(purpose).unlink()


Line = tuple[Claim, Request, Developer, Request]


def test_each_has_the_machine_in_turn_and_is_told_whom_it_waits_for(host: Host, line: Line) -> None:
    slot, parrot, newt, otter = line
    with host.watched() as had:
        until("machine of somebody's", lambda: had)
        waiting = [parrot, newt, otter]
        end = slot.release
        for turn, purpose in enumerate(LINE, start=1):
            until("words", lambda turn=turn: all(len(one.told()) == turn for one in waiting))
            end()
            until(f"machine for {purpose}", lambda purpose=purpose: had[-1] == (purpose,))
            end = partial(host.enough, purpose)
            del waiting[0]
        end()
        host.queued()
    assert had == [(SOMEBODY,), (PARROT,), (NEWT,), (OTTER,)]
    assert parrot.told() == [SOMEBODY]
    assert newt.told() == [f"{SOMEBODY}, and 1 more", PARROT]
    assert otter.told() == [f"{SOMEBODY}, and 2 more", f"{PARROT}, and 1 more", NEWT]
    assert newt.make.wait(LIMIT_S) == 0
    assert parrot.results() == otter.results() == ["success"]


def test_those_who_are_killed_while_they_wait_are_waited_for_no_more(host: Host, farms: list[Farm], line: Line) -> None:
    slot, parrot, newt, otter = line
    with host.watched() as had:
        farms[0].end("big", kill=True)
        host.queued(SOMEBODY, NEWT, OTTER)
        newt.make.kill()
        host.queued(SOMEBODY, OTTER)
        until("words", lambda: otter.told()[-1:] == [SOMEBODY])
        slot.release()
        until("machine", lambda: had[-1:] == [(OTTER,)])
        farms[0].start_worker()
        host.queued(OTTER, PARROT)
        for purpose in (OTTER, PARROT):
            host.enough(purpose)
        host.queued()
    assert had == [(SOMEBODY,), (OTTER,), (PARROT,)]
    assert otter.results() == ["success"]
    assert parrot.results() == ["retry", "success"]
