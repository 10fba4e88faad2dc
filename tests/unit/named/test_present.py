"""Which machine is meant, and in which words there is none. Keepers are played by who holds the lock."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vmtasks.errors import ConnectionLost, HostError, TimedOut, UsageError
from vmtasks.host import slots
from vmtasks.host.slots import Ticket
from vmtasks.named import present as room
from vmtasks.named import registry
from vmtasks.named.present import present, ready, wait_until_ready
from vmtasks.named.registry import GuestAddress, NamedMachine

ADDRESS = GuestAddress(host="127.0.0.1", port=2301, user="root", identity="/i/key", known_hosts="/i/known")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMTASKS_CACHE", str(tmp_path))
    monkeypatch.setattr(slots, "default_directory", lambda: str(tmp_path / "queue"))


@pytest.fixture
def keepers() -> Iterator[ExitStack]:
    """Yield what holds the locks of all machines that are there."""
    with ExitStack() as stack:
        yield stack


def kept(keepers: ExitStack, name: str, **about: Any) -> NamedMachine:
    """Write a machine down, as its keeper does."""
    keepers.enter_context(registry.entered(name))
    usual: dict[str, Any] = {"image": "trixie", "on": "local", "pid": os.getpid(), "since_s": time.time(), "ttl_s": 60}
    ready = {"address": ADDRESS, "until_s": time.time() + 60, "ssh": ("ssh", "there")}
    machine = NamedMachine(name=name, **{**usual, **ready, **about})
    machine.write()
    return machine


def test_what_a_keeper_wrote_down_is_what_others_read(keepers: ExitStack) -> None:
    machine = kept(keepers, "web")
    assert present("web") == machine
    assert registry.machines() == (machine,)
    keepers.close()
    assert not registry.machines()[0].is_alive


def test_two_machines_cannot_have_one_name(keepers: ExitStack) -> None:
    kept(keepers, "web")
    with pytest.raises(BlockingIOError), registry.entered("web", patience_s=0):
        pass
    assert present("web").is_alive


def test_a_new_machine_knows_nothing_of_an_earlier_one_of_its_name(keepers: ExitStack) -> None:
    kept(keepers, "web", end="expired")
    keepers.close()
    with registry.entered("web"):
        assert registry.find("web") is None


def test_a_name_that_is_not_known_is_asked_about(keepers: ExitStack) -> None:
    with pytest.raises(UsageError, match="there is no machine 'web'") as caught:
        present("web")
    assert "you have none; " in caught.value.hint
    for name in ("wed", "database"):
        kept(keepers, name)
    with pytest.raises(UsageError) as caught:
        present("web")
    assert caught.value.hint.startswith("did you mean 'wed'? yours are database, wed; ")


def test_a_machine_that_boots_is_there_but_not_ready(keepers: ExitStack) -> None:
    kept(keepers, "web", address=None, until_s=None)
    assert present("web").until_s is None
    with pytest.raises(HostError, match="the machine 'web' is not there yet: it boots"):
        ready("web")


def test_who_takes_a_machine_that_boots_waits_for_it(keepers: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    booting = kept(keepers, "web", address=None, until_s=None)
    looks = iter([booting, booting, replace(booting, address=ADDRESS)])
    monkeypatch.setattr(room, "present", lambda _: next(looks))
    assert wait_until_ready("web").address == ADDRESS
    assert list(looks) == []


def test_a_machine_whose_time_has_passed_says_so_whether_its_keeper_could_or_not(keepers: ExitStack) -> None:
    kept(keepers, "web", end="expired")
    with pytest.raises(TimedOut, match="'web' is gone: its time to live of 1m has passed at "):
        present("web")
    kept(keepers, "db", until_s=time.time() - 1)
    keepers.close()
    with pytest.raises(TimedOut, match="'db' is gone: its time to live of 1m has passed at "):
        present("db")


def test_a_machine_that_is_lost_says_why(keepers: ExitStack) -> None:
    kept(keepers, "web", end="lost", why="the link to big broke")
    kept(keepers, "db")
    keepers.close()
    with pytest.raises(ConnectionLost, match="the machine 'web' is gone: the link to big broke"):
        present("web")
    with pytest.raises(ConnectionLost, match="'db' is gone: the process that kept it was killed, or this host was"):
        present("db")


def test_a_sweep_takes_what_is_gone_and_nothing_else(keepers: ExitStack) -> None:
    machine = kept(keepers, "web")
    with registry.entered("db"):
        pass
    assert list(registry.sweep()) == [registry.directory_of("db")]
    assert registry.machines() == (machine,)
    keepers.close()
    assert list(registry.sweep()) == [registry.directory_of("web")]
    assert list(registry.sweep()) == []


def test_a_sweep_heals_what_is_no_lock_and_says_where_nothing_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    (registry.directory_of("web") / "lock").mkdir(parents=True)
    assert list(registry.sweep()) == [registry.directory_of("web")]
    assert not registry.directory_of("web").exists()
    (registry.directory_of("db")).mkdir(parents=True)

    def read_only(*_: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "lock")

    monkeypatch.setattr(registry, "flock", read_only)
    with pytest.raises(HostError, match=r"cannot write to the cache \S+db: Read-only file system"):
        list(registry.sweep())


def test_what_is_written_down_of_another_users_machine_is_not_used(
    keepers: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(keepers, "web")
    mine = os.geteuid()
    monkeypatch.setattr(room.os, "geteuid", lambda: mine + 1)
    with pytest.raises(UsageError, match="cannot use the machine 'web': it is "):
        present("web")


def test_another_users_machine_of_that_name_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = Ticket(
        seq=1, state="running", user="alice", uid=os.geteuid() + 1, pid=7, purpose="up web", memory_mib=1, since_s=0.0
    )
    monkeypatch.setattr(slots, "tickets", lambda: (theirs, theirs._replace(uid=os.geteuid(), purpose="up db")))
    with pytest.raises(UsageError, match="cannot use the machine 'web': it is alice's"):
        present("web")
    with pytest.raises(UsageError, match="there is no machine 'db'"):
        present("db")


@pytest.mark.parametrize("content", ["", "{}", '{"image": 7}', "[" * 100_000])
def test_what_is_no_record_is_no_machine(keepers: ExitStack, content: str) -> None:
    machine = kept(keepers, "web")
    (machine.directory / "machine.json").write_text(content)
    with pytest.raises(UsageError, match="there is no machine 'web'"):
        present("web")
