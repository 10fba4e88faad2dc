"""How fast the host's counter ticks: counted once per boot, and the same as long as it is about that."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from pathlib import Path

import pytest

from vmtasks.host import tsc

Reboot = Callable[[int], None]
BOOT_ID = Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reboot:
    """Return what has the host boot anew, and its counter tick that fast as far as counting tells."""
    monkeypatch.setenv("VMTASKS_CACHE", str(tmp_path))

    def reboot(khz: int) -> None:
        memory = tmp_path / "tsc.json"
        if memory.exists():
            memory.write_text(json.dumps({**json.loads(memory.read_text()), "boot_id": "another"}))
        monkeypatch.setattr(tsc, "counted_khz", lambda: khz)

    return reboot


def test_it_is_counted_once_per_boot(counted: Reboot, monkeypatch: pytest.MonkeyPatch) -> None:
    counted(2_596_130)
    assert tsc.tsc_khz() == 2_596_130
    monkeypatch.setattr(tsc, "counted_khz", lambda: pytest.fail("it was counted already"))
    assert tsc.tsc_khz() == 2_596_130


@pytest.mark.parametrize(("then", "expected"), [(2_596_900, 2_596_130), (2_600_000, 2_600_000), (0, 0)])
def test_what_was_made_with_it_serves_after_the_next_boot_unless_it_is_another(
    counted: Reboot, then: int, expected: int
) -> None:
    counted(2_596_130)
    tsc.tsc_khz()
    counted(then)
    assert tsc.tsc_khz() == expected


def test_a_processor_without_one_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert tsc.counted_khz() == 0


def test_where_no_page_can_be_executed_it_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr("mmap.mmap", refuse)
    assert tsc.counted_khz() == 0


@pytest.mark.skipif(platform.machine() != "x86_64", reason="it has no time stamp counter")
def test_this_hosts_is_counted_to_a_thousandth() -> None:
    one, other = tsc.counted_khz(), tsc.counted_khz()
    assert 100_000 < one < 20_000_000
    assert abs(one - other) < one / 1000
