"""What /proc says of a process, as text and of this one."""

from __future__ import annotations

import os
import threading

import pytest

from vmtasks.profile import procfs
from vmtasks.profile.procfs import NotCounted, parse_io, parse_pss, parse_stat, parse_statm
from vmtasks.profile.sample import MemoryUse, StorageUse

STAT = (
    "4711 (CPU 0/TCG) S 1 4711 4711 0 -1 4194304 120 30 7 2 250 50 9 8 20 0 5 0 3456 1000 200 18446744073709551615 "
    "1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0\n"
)


def test_a_thread() -> None:
    found = parse_stat(STAT)
    assert (found.id, found.name, found.began_ticks) == (4711, "CPU 0/TCG", 3456)
    assert (found.minor_faults, found.major_faults) == (120, 7), "its own, and not its children's"
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    assert (found.user_s, found.system_s) == (250 * tick_s, 50 * tick_s)
    assert found.cpu_s == found.user_s + found.system_s


@pytest.mark.parametrize(
    ("name", "shown"),
    [("a) S (b", "a) S (b"), ("(", "("), ("", ""), ("\x1b[2J", "?[2J"), ("IO iothread0", "IO iothread0")],
)
def test_a_name_may_be_anything(name: str, shown: str) -> None:
    assert parse_stat(STAT.replace("CPU 0/TCG", name)).name == shown


def test_memory() -> None:
    found = parse_statm("1000 300 100 10 0 400 0\n", page_bytes=4096)
    assert found == MemoryUse(resident_bytes=300 * 4096, own_bytes=200 * 4096)


def test_storage() -> None:
    text = "rchar: 1\nwchar: 2\nsyscr: 3\nsyscw: 4\nread_bytes: 4096\nwrite_bytes: 8192\ncancelled_write_bytes: 0\n"
    assert parse_io(text) == StorageUse(read_bytes=4096, written_bytes=8192)
    with pytest.raises(NotCounted):
        parse_io("rchar: 1\n")


def test_the_proportional_set_size() -> None:
    assert parse_pss("5566-7fff ---p 00000000 00:00 0  [rollup]\nRss: 1740 kB\nPss:     204 kB\n") == 204 * 1024
    with pytest.raises(NotCounted):
        parse_pss("Rss: 1740 kB\n")


def test_this_process() -> None:
    pid = os.getpid()
    ready, done = threading.Event(), threading.Event()

    def wait() -> None:
        ready.set()
        done.wait()

    other = threading.Thread(target=wait)
    other.start()
    try:
        ready.wait()
        found = procfs.threads(pid)
        assert {other.native_id, pid} <= {one.id for one in found}
    finally:
        done.set()
        other.join()
    whole = procfs.process(pid)
    assert whole.id == pid
    assert whole.cpu_s > 0
    assert procfs.memory(pid).resident_bytes > 1 << 20
    assert procfs.pss_bytes(pid) > 1 << 20


def test_a_process_that_is_gone_is_not_one_that_did_nothing() -> None:
    gone = 2**22 + 1  # beyond the largest pid there can be
    for look in (procfs.process, procfs.threads, procfs.memory):
        with pytest.raises(OSError, match="No such file"):
            look(gone)
    for ask in (procfs.storage, procfs.pss_bytes):
        with pytest.raises(NotCounted, match="No such file"):
            ask(gone)
