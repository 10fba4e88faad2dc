"""Which accelerator is taken: the choice with every kind of host, and the trial itself under emulation."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Literal

import pytest

from vmtasks.config.paths import cache_dir
from vmtasks.errors import HostError
from vmtasks.host import accelerator as accel
from vmtasks.spec import Accelerator


@dataclass(slots=True)
class Host:
    """What a trial takes on it, in seconds: infinity is too long, None is that it fails. The last of KVM's stays."""

    kvm_s: tuple[float | None, ...]
    tcg_s: float | None
    tried: list[Accelerator] = field(default_factory=list)

    def countdown_s(self, accelerator: Accelerator, sector: Path, limit_s: float) -> float | None:
        assert sector.read_bytes() == accel.BOOT_SECTOR
        self.tried.append(accelerator)
        kvm_s = self.kvm_s[min(self.tried.count("kvm"), len(self.kvm_s)) - 1]
        taken_s = kvm_s if accelerator == "kvm" else self.tcg_s
        return inf if taken_s is not None and taken_s > limit_s else taken_s


MakeHost = Callable[..., Host]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeHost:
    """Make a host that has QEMU and, unless it is told otherwise, a /dev/kvm."""
    monkeypatch.setenv("VMTASKS_CACHE", str(tmp_path / "cache"))
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("qemu-system-x86_64", "qemu-img"):
        (programs / name).write_text("#!/bin/false\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))

    def make(*kvm_s: float | None, tcg_s: float | None = 0.3, has_kvm: bool = True) -> Host:
        device = tmp_path / "kvm"
        device.touch()
        monkeypatch.setattr(accel, "KVM", device if has_kvm else tmp_path / "none")
        made = Host(kvm_s or (0.01,), tcg_s)
        monkeypatch.setattr(accel, "countdown_s", made.countdown_s)
        monkeypatch.setattr(accel, "tsc_khz", lambda: 0)
        return made

    return make


def memory() -> Path:
    return cache_dir() / "accelerator.json"


@pytest.mark.parametrize(
    ("kvm_s", "tcg_s", "accelerator", "reason"),
    [
        (0.01, 0.3, "kvm", "a trial took 0.01 s"),
        (0.01, None, "kvm", "a trial took 0.01 s"),
        (0.3, 0.3, "kvm", "a trial took 0.30 s"),
        (2.1, 4.4, "kvm", "a trial took 2.10 s"),  # as in a host that is emulated itself
        (1.2, 0.3, "tcg", "/dev/kvm is there, but slow: a trial took over 0.30 s"),
        (inf, 0.3, "tcg", "/dev/kvm is there, but slow: a trial took over 0.30 s"),
        (inf, inf, "tcg", "/dev/kvm is there, but slow: a trial took over 10.00 s"),
        (None, 0.3, "tcg", "/dev/kvm is there, but a trial under it did not get through"),
        (None, None, "tcg", "/dev/kvm is there, but a trial under it did not get through"),
    ],
)
def test_kvm_is_taken_if_it_gets_there_first(
    host: MakeHost, kvm_s: float | None, tcg_s: float | None, accelerator: str, reason: str
) -> None:
    host(kvm_s, tcg_s=tcg_s)
    choice = accel.choose("auto")
    assert (choice.accelerator, choice.reason) == (accelerator, reason)


@pytest.mark.parametrize(
    ("kvm_s", "reason"),
    [
        ((1.2, 0.02), "a trial took 0.02 s"),
        ((0.4, 1.2), "/dev/kvm is there, but slow: a trial took over 0.30 s"),
        ((0.4, None), "/dev/kvm is there, but slow: a trial took over 0.30 s"),
    ],
)
def test_one_bad_moment_does_not_speak_against_kvm(
    host: MakeHost, kvm_s: tuple[float | None, ...], reason: str
) -> None:
    made = host(*kvm_s)
    assert accel.choose("auto").reason == reason
    assert made.tried == ["tcg", "kvm", "kvm"]


@pytest.mark.parametrize(("kvm_s", "trials"), [(0.01, 2), (1.2, 6), (inf, 6), (None, 2)])
def test_only_slowness_is_believed_for_some_minutes_only(
    host: MakeHost, monkeypatch: pytest.MonkeyPatch, kvm_s: float | None, trials: int
) -> None:
    made = host(kvm_s)
    began_s = time.monotonic()
    for passed_s in (0.0, accel.SLOW_FOR_S - 1, accel.SLOW_FOR_S + 1):
        monkeypatch.setattr(time, "monotonic", lambda now_s=began_s + passed_s: now_s)
        accel.choose("auto")
    assert len(made.tried) == trials


def test_without_the_device_nothing_is_tried(host: MakeHost) -> None:
    made = host(has_kvm=False)
    assert accel.choose("auto") == accel.Choice(accelerator="tcg", reason="no /dev/kvm here")
    assert made.tried == []


def test_a_device_that_is_not_ours_is_not_tried(host: MakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    made = host()
    access = os.access  # root may open everything, so a mode will not do
    monkeypatch.setattr(os, "access", lambda path, mode: path != accel.KVM and access(path, mode))
    choice = accel.choose("auto")
    assert choice.accelerator == "tcg"
    assert "not open to this user" in choice.reason
    assert made.tried == []


@pytest.mark.parametrize("wish", ["kvm", "tcg"])
def test_a_wish_is_taken_at_its_word(host: MakeHost, wish: Accelerator) -> None:
    made = host(None)
    assert accel.choose(wish) == accel.Choice(accelerator=wish, reason="as asked for")
    assert made.tried == []
    assert not memory().exists()


def test_the_answer_is_remembered(host: MakeHost) -> None:
    first = host()
    choice = accel.choose("auto")
    assert first.tried == ["tcg", "kvm"]
    second = host(None)
    assert accel.choose("auto") == choice
    assert second.tried == []
    assert [path.name for path in memory().parent.iterdir()] == ["accelerator.json"]


def test_another_boot_of_the_host_is_another_trial(host: MakeHost) -> None:
    host()
    accel.choose("auto")
    known = json.loads(memory().read_text())
    known["circumstances"][0] = "another boot id"
    memory().write_text(json.dumps(known))
    again = host(None)
    assert accel.choose("auto").accelerator == "tcg"
    assert again.tried == ["tcg", "kvm"]
    assert accel.choose("auto").accelerator == "tcg", "and that is remembered instead"
    assert again.tried == ["tcg", "kvm"]


def test_another_qemu_is_another_trial(host: MakeHost) -> None:
    host()
    accel.choose("auto")
    qemu = Path(shutil.which("qemu-system-x86_64") or "")
    qemu.unlink()
    qemu.write_text("#!/bin/false\nanother\n")
    qemu.chmod(0o755)
    again = host()
    accel.choose("auto")
    assert again.tried == ["tcg", "kvm"]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", "{}", '{"circumstances": 1}', "\x00"])
def test_a_damaged_memory_is_forgotten(host: MakeHost, text: str) -> None:
    made = host()
    memory().parent.mkdir()
    memory().write_text(text)
    assert accel.choose("auto").accelerator == "kvm"
    assert made.tried == ["tcg", "kvm"]
    assert json.loads(memory().read_text())["accelerator"] == "kvm"


def test_a_memory_of_another_form_is_forgotten(host: MakeHost) -> None:
    host()
    accel.choose("auto")
    known = json.loads(memory().read_text())
    del known["reason"]
    memory().write_text(json.dumps(known))
    again = host()
    assert accel.choose("auto").reason
    assert again.tried == ["tcg", "kvm"]


def test_a_cache_that_cannot_be_written_costs_a_trial_each_time_and_no_more(host: MakeHost) -> None:
    made = host()
    memory().parent.write_text("a file where a directory belongs")
    assert accel.choose("auto").accelerator == "kvm"
    assert accel.choose("auto").accelerator == "kvm"
    assert made.tried == ["tcg", "kvm"] * 2


@pytest.mark.parametrize("wish", ["auto", "kvm", "tcg"])
@pytest.mark.parametrize(
    ("program", "package"), [("qemu-system-x86_64", "qemu-system-x86"), ("qemu-img", "qemu-utils")]
)
def test_without_qemu_this_host_cannot(
    host: MakeHost, wish: Literal["auto", "kvm", "tcg"], program: str, package: str
) -> None:
    host()
    Path(shutil.which(program) or "").unlink()
    with pytest.raises(HostError, match=f"{program} is not installed") as caught:
        accel.choose(wish)
    assert caught.value.hint == f"run `make setup`, which installs it, or `apt install {package}`"


def test_the_boot_sector_is_one() -> None:
    assert len(accel.BOOT_SECTOR) == 512
    assert accel.BOOT_SECTOR.endswith(b"\x55\xaa")


@pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="there is no QEMU here")
def test_the_trial_gets_through_under_emulation(tmp_path: Path) -> None:
    sector = tmp_path / "sector.img"
    sector.write_bytes(accel.BOOT_SECTOR)
    assert accel.countdown_s("tcg", sector, 60.0)  # a busy host is no fault


@pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="there is no QEMU here")
@pytest.mark.parametrize(
    ("code", "limit_s", "taken_s"),
    [("f4", 0.5, inf), ("b011e6f4f4", 60.0, None)],
    ids=["a guest that hangs", "a guest that leaves with another status"],
)
def test_a_trial_that_does_not_get_through_has_no_time(
    tmp_path: Path, code: str, limit_s: float, taken_s: float | None
) -> None:
    sector = tmp_path / "sector.img"
    sector.write_bytes(bytes.fromhex(code).ljust(510, b"\0") + b"\x55\xaa")
    assert accel.countdown_s("tcg", sector, limit_s) == taken_s


@pytest.mark.parametrize(("wish", "khz"), [("kvm", 0), ("tcg", 2_596_130)])
def test_who_emulates_is_told_how_fast_the_counter_ticks(
    host: MakeHost, monkeypatch: pytest.MonkeyPatch, wish: Accelerator, khz: int
) -> None:
    """KVM tells the kernel itself."""
    host()
    monkeypatch.setattr(accel, "tsc_khz", lambda: 2_596_130)
    assert accel.choose(wish).tsc_khz == khz
