"""The pure parts of tests/torture: what is drawn, the table of it, and who is recognized as left behind."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from tests.torture.deck import Trial, draws, table
from tests.torture.kinds import GROUP, INV
from tests.torture.leftovers import MARK, family, files, listening, mounts, processes, roles

SUPERVISOR = "python -c from vmtasks.supervisor.__main__ import main; main()"


@pytest.fixture
def host(tmp_path: Path) -> Callable[..., None]:
    """Return what puts a process into an empty /proc."""

    def add(
        pid: int, parent: int, name: str, *, line: str = "", mark: str = "", began: int = 1, state: str = "S"
    ) -> None:
        path = tmp_path / str(pid)
        (path / "fd").mkdir(parents=True, exist_ok=True)
        (path / "stat").write_text(f"{pid} ({name}) {state} {parent} {'0 ' * 17}{began} 0\n")
        (path / "cmdline").write_bytes((line or name).replace(" ", "\0").encode())
        (path / "environ").write_bytes(b"HOME=/\0" + (f"{MARK}={mark}\0".encode() if mark else b""))

    return add


def names(trials: islice[Trial]) -> list[tuple[str, str]]:
    return [(trial.phase.name, trial.strike) for trial in trials]


def test_a_seed_draws_the_same_trials_again() -> None:
    first = list(islice(draws(INV, 3), 50))
    assert first == list(islice(draws(INV, 3), 50))
    assert first != list(islice(draws(INV, 4), 50))
    assert [trial.number for trial in first] == list(range(1, 51))


def test_nothing_comes_twice_before_all_has_come_once() -> None:
    size = len(list(INV.cards()))
    both = names(islice(draws(INV, 1), 2 * size))
    assert len(set(both[:size])) == size
    assert both[:size] == both[size:]


def test_every_caller_can_be_lost_in_every_phase() -> None:
    drawn = {(phase.name, process) for phase, process, _ in INV.cards()}
    assert {(phase.name, process) for phase in INV.phases for process in ("job", "shell", "make", "inv")} <= drawn
    assert ("slot", "qemu") not in drawn
    assert "switch" not in {process for _, process in drawn}
    assert ("shell", "tool") in drawn


def test_a_groups_switch_is_lost_in_every_phase_by_the_signal_that_it_cannot_ignore() -> None:
    drawn = {(phase.name, way) for phase, process, way in GROUP.cards() if process == "switch"}
    assert drawn == {(phase.name, "KILL") for phase in GROUP.phases}
    assert "RECIPE=victim-group" in GROUP.line("stop").split()


def test_what_is_wished_for_is_all_that_is_drawn() -> None:
    trials = islice(draws(INV, 1, phase="stop", way="KILL"), 20)
    assert {(trial.phase.name, trial.way) for trial in trials} == {("stop", "KILL")}
    with pytest.raises(ValueError, match="cannot draw slot qemu"):
        next(draws(INV, 1, phase="slot", process="qemu"))


def test_pipes_are_closed_where_there_are_pipes() -> None:
    for trial in islice(draws(INV, 1), 500):
        assert trial.on_terminal != (trial.process in ("stdout", "stderr")) or trial.way != "closed"


def test_the_table_counts_what_was_tried_and_what_left_something() -> None:
    trial = next(draws(INV, 1, phase="stop", process="make", way="KILL"))
    other = next(draws(INV, 1, phase="bake", process="job", way="INT"))
    head, *rows = table(INV, [(trial, True), (trial, False), (trial, True), (other, True)]).splitlines()
    assert head.split()[:2] == ["accelerator", "bake"]
    assert rows[0].split() == ["job", "INT", "1"]
    assert rows[1].startswith("make KILL")
    assert rows[1].endswith("1 of 3")
    assert rows[1].index("1 of 3") == head.index("stop")
    assert len(rows) == 2


def test_what_has_ended_is_no_process(host: Callable[..., None], tmp_path: Path) -> None:
    host(2, 1, "sh")
    host(3, 1, "qemu", state="Z")
    (tmp_path / "4").mkdir()
    assert list(processes(tmp_path)) == [2]


def test_a_family_is_found_by_its_mark_and_below_it_and_by_those_known(
    host: Callable[..., None], tmp_path: Path
) -> None:
    host(2, 1, "sh", mark="ours")
    host(3, 2, "a bake) (", mark="")
    host(4, 3, "apt")
    host(5, 1, "orphan")
    host(6, 1, "stranger", mark="theirs")
    host(7, 6, "stranger")
    found = processes(tmp_path)
    assert found[3].name == "a bake) ("
    assert {one.pid for one in family(found, [found[5]], "ours")} == {2, 3, 4, 5}
    assert {one.pid for one in family(found, [found[3]])} == {3, 4}


def test_another_process_of_the_same_number_is_a_stranger(host: Callable[..., None], tmp_path: Path) -> None:
    host(2, 1, "qemu")
    before = processes(tmp_path)
    host(2, 1, "stranger", began=2)
    assert family(processes(tmp_path), before.values(), "ours") == set()


def test_roles_are_told_by_who_called_whom(host: Callable[..., None], tmp_path: Path) -> None:
    host(2, 1, "sh")
    host(3, 2, "make", line="make INV=bin/inv")
    host(4, 3, "inv", line="python bin/inv victim")
    host(5, 4, "python", line=SUPERVISOR)
    host(6, 5, "python", line=SUPERVISOR)  # about to become something else
    host(7, 5, "qemu-system-x86", line="qemu-system-x86_64 -S")
    host(8, 4, "ssh")
    host(10, 4, "sh", line="/bin/sh -c trap... remover ")
    host(9, 4, "inv", line="python bin/inv victim")  # about to become something else
    host(11, 4, "python", line="python -c from vmtasks.group.switch import main; main()")
    host(12, 1, "python", line=SUPERVISOR)
    cast = roles(processes(tmp_path), 2, INV.callers)
    assert {name: one.pid for name, one in cast.items()} == {
        "shell": 2, "make": 3, "inv": 4, "supervisor": 5, "qemu": 7, "tool": 8, "switch": 11,
    }  # fmt: skip


def test_nobody_is_below_a_shell_that_has_just_begun(host: Callable[..., None], tmp_path: Path) -> None:
    host(2, 1, "sh")
    host(5, 4, "python", line=SUPERVISOR)
    assert list(roles(processes(tmp_path), 2, INV.callers)) == ["shell"]
    assert roles(processes(tmp_path), 3, INV.callers) == {}


def test_ports_are_those_that_a_process_itself_listens_on(host: Callable[..., None], tmp_path: Path) -> None:
    host(2, 1, "qemu")
    row = "   0: 0100007F:{port:04X} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 0 0 {inode} 1\n"
    (tmp_path / "net").mkdir()
    (tmp_path / "net/tcp").write_text(
        "  sl  local_address ...\n"
        + row.format(port=2222, state="0A", inode=11)
        + row.format(port=2222, state="01", inode=12)
        + row.format(port=22, state="0A", inode=13)
    )
    for fd, inode in ((3, 11), (4, 12)):
        (tmp_path / f"2/fd/{fd}").symlink_to(f"socket:[{inode}]")
    assert listening(processes(tmp_path).values(), tmp_path) == {"11": 2222}


def test_mounts_below_a_directory_are_found(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    rows = ("36 25 0:31 / /a/b rw - tmpfs tmpfs rw", "37 25 0:32 / /ab rw - tmpfs tmpfs rw")
    (tmp_path / "self/mountinfo").write_text("\n".join(rows))
    assert list(mounts(Path("/a"), tmp_path)) == ["/a/b"]


def test_files_that_nobody_needs_are_found_and_what_is_kept_is_not(tmp_path: Path) -> None:
    cache, tmp = tmp_path / "cache", tmp_path / "tmp"
    old, template, checkpoint = (f"{'0' * 15}{digit}-1" for digit in "123")
    for name in ("images/good-1", "images/.bad.part", f"snapshots/.{old}.part", f"snapshots/{old}", "machines/m-1"):
        (cache / name).mkdir(parents=True)
    for name, kind in ((template, "template"), (checkpoint, "checkpoint")):
        (cache / "snapshots" / name).mkdir()
        (cache / "snapshots" / name / "snapshot.json").write_text(f'{{"kind": "{kind}"}}')
    (cache / "snapshots/good.lock").touch()
    (cache / ".accelerator-x1y2").touch()
    tmp.mkdir()
    (tmp / "forgotten").touch()
    assert {path.name for path in files(cache, tmp, snapshots=[old])} == {
        "m-1", ".bad.part", f".{old}.part", ".accelerator-x1y2", "forgotten", checkpoint,
    }  # fmt: skip


def test_a_process_of_the_real_host_is_read_as_it_is() -> None:
    own = processes()[os.getpid()]
    assert own.parent == os.getppid()
