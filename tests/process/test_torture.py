"""What strikes runs, on runs that are nothing but a shell and a sleep: that something is left behind is seen."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from functools import partialmethod
from pathlib import Path

import pytest

from tests.process.rehearsal import rehearsal_in
from tests.torture import victim
from tests.torture.kinds import GROUP
from tests.torture.leftovers import MARK
from tests.torture.struck import Struck
from vmtasks import CommandFailed, Run
from vmtasks.run.options import RecipeOptions

LIMIT_S = 30.0


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Struck]:
    """Return what starts a run in which a shell calls another one, with a line."""

    def start(line: str, *, on_terminal: bool = False) -> Struck:
        environ = {**os.environ, MARK: str(tmp_path)}
        return Struck(
            f"sh -c '{line}; true'",
            ("sh", "sleep"),
            cwd=tmp_path,
            environ=environ,
            mark=str(tmp_path),
            on_terminal=on_terminal,
        )

    return start


@pytest.mark.parametrize("process", ["shell", "sh"])
def test_an_orphan_is_left_until_the_block_ends(run: Callable[..., Struck], process: str) -> None:
    with run("sleep 600") as struck:
        assert struck.wait_for(lambda: any(one.startswith("sleep") for one in struck.left()), LIMIT_S)
        assert struck.strike(process, "KILL")
        assert struck.wait_for(struck.ended, LIMIT_S)
        assert struck.left()[-1].startswith("sleep")
        assert not struck.has_lost()
    assert struck.left() == []


def test_a_daemon_with_an_environment_of_its_own_is_found_while_its_parent_is_there(
    run: Callable[..., Struck], tmp_path: Path
) -> None:
    with run("env -i setsid sleep 600") as struck:
        assert struck.wait_for(lambda: any(one.startswith("sleep") for one in struck.left()), LIMIT_S)
        assert struck.strike("job", "KILL")
        assert struck.wait_for(struck.ended, LIMIT_S)
        assert struck.wait_for(lambda: [one.split()[0] for one in struck.left()] == ["sleep"], LIMIT_S)
    assert struck.left() == []


@pytest.mark.parametrize("way", ["INT", "TERM", "HUP", "QUIT", "KILL"])
def test_a_signal_to_the_job_reaches_all_of_it(run: Callable[..., Struck], way: str) -> None:
    with run("sleep 600") as struck:
        assert struck.wait_for(lambda: any(one.startswith("sleep") for one in struck.left()), LIMIT_S)
        assert struck.strike("job", way)
        assert struck.wait_for(lambda: not struck.left(), LIMIT_S)


def test_a_terminal_that_closes_ends_all_that_it_controls(run: Callable[..., Struck]) -> None:
    with run("test -t 1 && echo on a terminal && sleep 600", on_terminal=True) as struck:
        assert struck.wait_for(lambda: "on a terminal" in struck.tail, LIMIT_S)
        assert struck.strike("terminal", "closed")
        assert struck.wait_for(lambda: not struck.left(), LIMIT_S)


def test_a_pipe_that_closes_ends_who_writes_into_it(run: Callable[..., Struck]) -> None:
    with run("yes") as struck:
        assert struck.wait_for(lambda: struck.tail, LIMIT_S)
        assert struck.strike("stdout", "closed")
        assert struck.wait_for(struck.ended, LIMIT_S)


@pytest.mark.parametrize("to", [one.name for one in GROUP.phases if one.name not in {"restore", "ssh", "boot"}])
def test_a_groups_victim_comes_to_each_phase_and_stays_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    """Guests of the fake QEMU are there at once, neither copied nor booted: three phases are left out."""
    phases = tmp_path / "phases"
    monkeypatch.setenv("VMTASKS_TORTURE_PHASES", str(phases))
    monkeypatch.setattr(victim, "_STAYS_S", 0.3)
    run = Run(recipe="victim-group", flags=RecipeOptions(), directory=tmp_path)
    with tempfile.TemporaryDirectory(prefix="group-") as name, rehearsal_in(Path(name)):
        Path(name).chmod(0o755)
        if to == "message":
            monkeypatch.setattr(Run, "group", partialmethod(Run.group, wait_timeout_s=0.3))
            with pytest.raises(CommandFailed, match="lava-wait never"):
                victim.victim_group(run, to)
        else:
            victim.victim_group(run, to)
    assert to in phases.read_text().splitlines()


def test_nobody_is_struck_who_is_not_there(run: Callable[..., Struck]) -> None:
    with run("true") as struck:
        assert struck.wait_for(struck.ended, LIMIT_S)
        assert not struck.strike("qemu", "KILL")
