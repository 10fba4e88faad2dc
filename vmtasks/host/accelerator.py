"""Which accelerator serves on this host: found by trying, because /dev/kvm being there proves nothing.

Nested and cloud hosts have a /dev/kvm that opens, creates a machine, and then aborts or crawls. So QEMU runs a
boot sector that counts 20 million down and leaves through ``isa-debug-exit``: milliseconds on a KVM that works,
about a quarter of a second under emulation. KVM is taken only if it gets there first.

What KVM is refused for stays so until the host boots anew. That it was slow may have been the host's business of that
moment, so it counts for some minutes only.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from vmtasks import events
from vmtasks.config.paths import cache_dir
from vmtasks.errors import UsageError
from vmtasks.files import typed_json
from vmtasks.files.typed_json import NUMBER
from vmtasks.host.architectures import EMULATED, expect_programs
from vmtasks.host.confined import confined_argv
from vmtasks.host.findings import remember
from vmtasks.host.tsc import tsc_khz
from vmtasks.process.cleanup import remove_at_exit
from vmtasks.process.landlock import Reach
from vmtasks.spec import Accelerator, Architecture

KVM = Path("/dev/kvm")
TRIAL_LIMIT_S = 10.0
"""For emulation, also on a host that is itself slow, or emulated; KVM has as long as emulation took."""
SLOW_FOR_S = 600.0
"""How long it is believed that KVM is slow."""
_SHAPE = {"circumstances": [str], "until_s": NUMBER, "accelerator": {"kvm", "tcg"}, "reason": str}

_COUNTDOWN = bytes.fromhex(
    "66b9002d3101"  # mov ecx, 20_000_000
    "6649"  # dec ecx
    "75fc"  # jnz back to the dec
    "b010"  # mov al, 0x10
    "e6f4"  # out 0xf4, al: isa-debug-exit ends QEMU with status 0x10 * 2 + 1
    "f4"  # hlt
)
BOOT_SECTOR = _COUNTDOWN.ljust(510, b"\0") + b"\x55\xaa"
_STATUS_OF_SUCCESS = 0x10 * 2 + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """An accelerator, and in a few words why it is this one."""

    accelerator: Accelerator
    reason: str
    tsc_khz: int = 0
    """How fast the time stamp counter of a machine ticks, in kHz, where its kernel must be told; 0: it finds out."""


def choose(value: Literal["auto", "kvm", "tcg"], architecture: Architecture = "amd64") -> Choice:
    """Return the accelerator to use.

    :param value: ``auto`` tries, once per boot of the host; the others are taken at their word.
    :param architecture: the guest's: KVM has only those that the host's processor is.
    :raise HostError: there is no QEMU for it.
    :raise UsageError: KVM is asked for where it cannot be.
    """
    expect_programs(architecture)
    choice = _chosen(value, architecture)
    if choice.accelerator == "tcg" and architecture not in EMULATED:
        return replace(choice, tsc_khz=tsc_khz())
    return choice


def _chosen(value: Literal["auto", "kvm", "tcg"], architecture: Architecture) -> Choice:
    if architecture in EMULATED:
        if value == "kvm":
            raise UsageError(
                f"cannot run a machine for {architecture} under KVM: this host is amd64, and emulates it",
                hint="leave accel (VMTASKS_ACCEL) at auto",
            )
        return Choice(accelerator="tcg", reason=f"{architecture} is emulated on an amd64 host")
    if value != "auto":
        return Choice(accelerator=value, reason="as asked for")
    memory = cache_dir() / "accelerator.json"
    circumstances = _circumstances()
    known = typed_json.read(memory, _SHAPE)  # none where it was never tried
    if known and known["circumstances"] == circumstances and time.monotonic() < known["until_s"]:
        return Choice(accelerator=known["accelerator"], reason=known["reason"])
    with events.phase("accelerator", detail="KVM and emulation are tried"):
        choice, holds_s = _try()
    remember(memory, {"circumstances": circumstances, "until_s": time.monotonic() + holds_s, **asdict(choice)})
    return choice


def _circumstances() -> list[str]:
    """What the answer depends on: this boot of this host (of which it counts the seconds), this user, this QEMU."""
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    qemu = Path(shutil.which("qemu-system-x86_64") or "")
    return [boot_id, str(os.access(KVM, os.R_OK | os.W_OK)), str(qemu.stat().st_mtime_ns)]


def _try() -> tuple[Choice, float]:
    """Return a choice, and for how many seconds it holds."""
    if not KVM.exists():
        return Choice(accelerator="tcg", reason="no /dev/kvm here"), math.inf
    if not os.access(KVM, os.R_OK | os.W_OK):
        reason = "/dev/kvm is not open to this user; joining the group kvm may help"
        return Choice(accelerator="tcg", reason=reason), math.inf
    with tempfile.NamedTemporaryFile(suffix=".img") as sector:
        remove_at_exit(Path(sector.name))
        sector.write(BOOT_SECTOR)
        sector.flush()
        # Emulation first: the first one waits for the disk to give QEMU's program and libraries.
        tcg_s = countdown_s("tcg", Path(sector.name), TRIAL_LIMIT_S)
        to_beat_s = min(TRIAL_LIMIT_S, tcg_s or math.inf)
        kvm_s = countdown_s("kvm", Path(sector.name), to_beat_s)
        if kvm_s == math.inf:  # something else may have kept the host busy
            kvm_s = countdown_s("kvm", Path(sector.name), to_beat_s) or math.inf
    if kvm_s is None:
        reason = "/dev/kvm is there, but a trial under it did not get through"
        return Choice(accelerator="tcg", reason=reason), math.inf
    if kvm_s == math.inf:
        reason = f"/dev/kvm is there, but slow: a trial took over {to_beat_s:.2f} s"
        return Choice(accelerator="tcg", reason=reason), SLOW_FOR_S
    return Choice(accelerator="kvm", reason=f"a trial took {kvm_s:.2f} s"), math.inf


def countdown_s(accelerator: Accelerator, sector: Path, timeout_s: float) -> float | None:
    """Run the trial under one accelerator; return its seconds, infinity if it took too long, None if it failed."""
    command = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-M", "pc"]
    command += ["-accel", accelerator, "-cpu", "host" if accelerator == "kvm" else "max", "-m", "16M"]
    command += ["-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-drive", f"file={sector},format=raw,if=ide"]
    began_s = time.monotonic()
    try:
        status = subprocess.run(
            confined_argv(command, Reach(write=(str(sector), str(KVM)))),
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        return math.inf
    return time.monotonic() - began_s if status == _STATUS_OF_SUCCESS else None
