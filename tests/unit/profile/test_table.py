"""A profile as people read it."""

from __future__ import annotations

from tests.samples import sample, task
from vmtasks.profile.table import gist, table
from vmtasks.profile.usage import Ending, Usage, usage_of

DISK = {"read_bytes": 0, "written_bytes": 0, "reads": 0, "writes": 0, "flushes": 0}


def usage(ending: Ending = Ending(), **more: object) -> Usage:  # noqa: B008 - frozen
    first = sample(0, task("CPU 0/TCG", 1.0, 1), task("qemu", 1.0, 2), **{"block": {"disk": DISK}, **more})
    grown = {**DISK, "read_bytes": 3 << 20, "written_bytes": 1 << 19, "reads": 7}
    last = sample(10, task("CPU 0/TCG", 9.0, 1), task("qemu", 1.5, 2), **{"block": {"disk": grown}, **more})
    return usage_of((first, last), ending)


def rows(text: str) -> dict[str, str]:
    """Return the lines of a table by their first column."""
    return {
        label.strip(): value.strip() for label, _, value in (line.strip().partition("  ") for line in text.splitlines())
    }


def test_a_table() -> None:
    network = {"eth0": {"received_bytes": 1 << 20, "sent_bytes": 0}}
    ending = Ending(
        perf={"task-clock (msec)": 8500.25, "cycles": None},
        pss_bytes=2 << 20,
        network=network,
        cost_s=0.05,
        not_supported={"cycles": "no counter"},
    )
    found = rows(table("bookworm", usage(ending)))
    assert found["profile of"] == "bookworm, 10.0 s"
    assert found["CPU 0/TCG"].split() == ["8.00", "80.0", "%"]
    assert found["all of QEMU"].split() == ["8.50", "85.0", "%"]
    assert found["resident"] == "3.0 MiB at most, 3.0 MiB at the end"
    assert found["proportional set size"] == "2.0 MiB"
    assert found["disk"] == "3.0 MiB read, 0.5 MiB written (7 reads, 0 writes, 0 flushes)"
    assert found["eth0"] == "1.0 MiB received, 0.0 MiB sent"
    assert found["KVM, over all vCPUs"] == "not supported: emulated"
    assert found["task-clock (msec)"] == "8,500.25"
    assert found["cycles"] == "not supported: no counter"
    assert found["cost of the profile"].split() == ["0.05", "0.5", "%"]


def test_what_is_missing_is_never_a_zero() -> None:
    text = table("m", usage(block=None, storage=None))
    for label in (
        "drives of the machine",
        "storage of the host",
        "network cards",
        "perf stat",
        "proportional set size",
    ):
        (line,) = (line for line in text.splitlines() if label in line)
        assert "not supported: " in line
        assert "0.0" not in line


def test_the_gist() -> None:
    assert gist(usage(Ending(cost_s=0.05))) == (
        "8.5 s of processor time in 10.0 s (CPU 0/TCG 8.0 s, qemu 0.5 s); at most 3.0 MiB in memory; "
        "3.0 MiB read from its drives and 0.5 MiB written; the profile itself took 0.5 % of one core"
    )
    assert "drives" not in gist(usage(block=None))
