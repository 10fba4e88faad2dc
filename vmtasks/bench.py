"""Speed and memory, measured side by side in one run: what is told is ratios, since no two hosts are alike.

Every measurement has a target and says whether it was reached. Nothing fails because of one: a busy host is
no defect.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from vmtasks import events
from vmtasks.errors import HostError, UsageError
from vmtasks.guest.command import short
from vmtasks.tail import last_lines

ROOT = Path(__file__).resolve().parents[1]
LEAN, STOCK = "bookworm", "bookworm-stock"
_STOCK_DEFINITION = f"""\
description = "{LEAN} with the initrd that Debian gives it, for comparison"
from = "{LEAN}"
packages = ["initramfs-tools", "busybox", "zstd"]   # with those that it recommends, so that it is at its best
initrd = "stock"
"""
_LIST_RUNS = 10
_FROM_MAKE = {
    "MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "ARGS", "PROJECT", "IMAGE", "OUT", "VM_DEBUG", "KEEP",
}  # fmt: skip
"""What `make bench ARGS=...` would hand down to the `make` of the example, which it is not meant for."""

BOOT_AT_LEAST_TIMES_FASTER = 2.2
LIST_AT_MOST_TIMES = 2.0
MEMORY_BELOW_MIB = 120.0
EXAMPLE_BELOW_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What was measured, every sample of it, and what it was meant to be."""

    what: str
    unit: str
    ours: tuple[float, ...]
    against: tuple[float, ...] = ()
    """The samples of what it is compared with, taken in turn with ours; none where the target is absolute."""
    ratio: float | None = None
    """Between the medians, in the direction that the target names."""
    target: str
    reached: bool

    def cells(self) -> tuple[str, ...]:
        """Return the measurement as a row of the table under :data:`HEADINGS`."""
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        verdict = "reached" if self.reached else "missed"
        return (self.what, self._median(self.ours), self._median(self.against), ratio, verdict, self.target)

    def _median(self, samples: tuple[float, ...]) -> str:
        return f"{median(samples):.2f} {self.unit}" if samples else ""


HEADINGS = ("MEASURED", "OURS", "AGAINST", "RATIO", "RESULT", "TARGET")


def measure(*, runs: int, gigabyte_mib: int, example: bool) -> Iterator[Measurement]:
    """Take the measurements, one after the other.

    :param runs: how often each image boots.
    :param gigabyte_mib: how much the guest prints.
    :param example: whether to build and test the example, which takes minutes.
    :raise UsageError: a number makes no sense, or this is no checkout.
    :raise HostError: something could not be measured.
    """
    if runs < 1 or gigabyte_mib < 1:
        raise UsageError("cannot measure less than one run and one MiB")
    if not (ROOT / "Makefile").exists():
        raise UsageError(f"cannot measure in {ROOT}: it is no checkout of vmtasks, with its tasks.py and its example")
    yield cold_boot(runs)
    yield inv_list()
    yield memory(gigabyte_mib)
    if example:
        yield second_example()


def write(measurements: Sequence[Measurement], path: Path) -> None:
    """Write the measurements down, for other programs.

    :raise HostError: *path* cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([asdict(one) for one in measurements], indent=1) + "\n")
    except OSError as problem:
        raise HostError(f"cannot write {path}: {problem.strerror}") from problem


def cold_boot(runs: int) -> Measurement:
    """Measure how long a machine takes from QEMU's start to the end of its first command, with either initrd."""
    with _stock_image():
        _bake(LEAN, STOCK)
        ours, against = _in_turn(runs, lambda: _boot_s(LEAN), lambda: _boot_s(STOCK))
    ratio = median(against) / median(ours)
    return Measurement(
        what="cold boot to the first command; against a stock initrd", unit="s", ours=ours, against=against,
        ratio=ratio, target=f"at least {BOOT_AT_LEAST_TIMES_FASTER:g} times faster",
        reached=ratio >= BOOT_AT_LEAST_TIMES_FASTER,
    )  # fmt: skip


def inv_list() -> Measurement:
    """Measure how long `inv --list` takes here, and where there is nothing to list."""
    with TemporaryDirectory(prefix="vmtasks-bench-") as empty, events.phase("inv --list"):
        Path(empty, "tasks.py").touch()
        ours, against = _in_turn(_LIST_RUNS, lambda: _list_s(ROOT), lambda: _list_s(Path(empty)))
    ratio = median(ours) / median(against)
    return Measurement(
        what="inv --list; against an empty tasks.py", unit="s", ours=ours, against=against,
        ratio=ratio, target=f"at most {LIST_AT_MOST_TIMES:g} times as long", reached=ratio <= LIST_AT_MOST_TIMES,
    )  # fmt: skip


def memory(size_mib: int) -> Measurement:
    """Measure the memory of the process that controls a machine, in a process of its own, while its guest prints."""
    program = f"from vmtasks.bench import listen_to_much; listen_to_much({size_mib})"
    with TemporaryDirectory(prefix="vmtasks-bench-") as directory, events.phase("print", detail=f"{size_mib} MiB"):
        log = Path(directory, "log")
        _run([sys.executable, "-c", program], log)
        peak_mib = int(last_lines(log)[-1]) / 1024
    return Measurement(
        what=f"peak memory while a guest prints {size_mib} MiB", unit="MiB", ours=(peak_mib,),
        target=f"under {MEMORY_BELOW_MIB:g} MiB", reached=peak_mib < MEMORY_BELOW_MIB,
    )  # fmt: skip


def second_example() -> Measurement:
    """Measure `make test-in-vm` of the example where its images are baked already."""
    from vmtasks.project import Project

    images = Project.load(ROOT / "examples" / "hello").images
    _bake(images.build, images.install)
    with TemporaryDirectory(prefix="vmtasks-bench-") as directory, events.phase("make test-in-vm"):
        duration_s = _timed(lambda: _run(["make", "test-in-vm"], Path(directory, "log")))
    return Measurement(
        what="a second `make test-in-vm` of the example", unit="s", ours=(duration_s,),
        target=f"under {EXAMPLE_BELOW_S:g} s", reached=duration_s < EXAMPLE_BELOW_S,
    )  # fmt: skip


def listen_to_much(size_mib: int) -> None:
    """Let a guest print so many MiB, with all that listens to a recipe, and print this process's peak in KiB."""
    from vmtasks import boot, sh
    from vmtasks.interrupts import signals_interrupt
    from vmtasks.report import reporting

    with (
        TemporaryDirectory(prefix="vmtasks-bench-") as directory,
        Path(os.devnull).open("w") as nowhere,
        reporting(Path(directory), stderr=nowhere),
        signals_interrupt(),
        boot(LEAN, what="a measurement of memory", logs=Path(directory)) as guest,
    ):
        guest.succeed(sh(f"head -c {size_mib}M /dev/zero | tr '\\0' x"))
    # Not getrusage(2): its maximum begins with the parent's.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    sys.stdout.write(status["VmHWM"].split()[0] + "\n")


def _in_turn(
    runs: int, ours: Callable[[], float], other: Callable[[], float]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the samples of both, taken alternately: whatever else the host does slows down both."""
    pairs = [(ours(), other()) for _ in range(runs)]
    return tuple(one for one, _ in pairs), tuple(another for _, another in pairs)


def _timed(work: Callable[[], object]) -> float:
    began_s = time.monotonic()
    work()
    return time.monotonic() - began_s


def _boot_s(image: str) -> float:
    """Return the seconds from the start of QEMU; that others on this host had the slot before is not its fault."""
    from vmtasks import boot

    began_s = 0.0

    def notice(event: events.Event) -> None:
        nonlocal began_s
        if isinstance(event, events.PhaseStarted) and event.phase == "start":
            began_s = time.monotonic()

    with events.listening(notice), boot(image, cold=True, what="a measurement of its boot") as guest:
        guest.succeed(["true"])
        return time.monotonic() - began_s


def _list_s(directory: Path) -> float:
    """Return the seconds of one `inv --list`; where there is nothing to list, Invoke ends with a status of its own."""
    command = [sys.executable, "-m", "invoke", "--list"]
    return _timed(
        lambda: subprocess.run(
            command, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, check=directory == ROOT
        )
    )


def _bake(*images: str) -> None:
    """Bake what is not baked yet, so that this is no part of what is measured."""
    from vmtasks.image.definition import find
    from vmtasks.machine import ensure_baked

    for image in images:
        ensure_baked(find(image))


@contextmanager
def _stock_image() -> Iterator[None]:
    """Define the image with a stock initrd, for this process and as long as the block lasts."""
    before = os.environ.get("VMTASKS_IMAGES")
    with TemporaryDirectory(prefix="vmtasks-bench-") as directory:
        Path(directory, f"{STOCK}.toml").write_text(_STOCK_DEFINITION)
        os.environ["VMTASKS_IMAGES"] = os.pathsep.join(filter(None, (directory, before)))
        try:
            yield
        finally:
            if before is None:
                del os.environ["VMTASKS_IMAGES"]
            else:
                os.environ["VMTASKS_IMAGES"] = before


def _run(command: Sequence[str], log: Path) -> None:
    """Run a program of ours in the checkout.

    :raise HostError: it ended with another status than 0.
    """
    env = {name: value for name, value in os.environ.items() if name not in _FROM_MAKE}
    with log.open("wb") as output:
        done = subprocess.run(
            command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode:
        shown = short(shlex.join(command))
        raise HostError(f"cannot measure `{shown}`: it ended with status {done.returncode}", evidence=last_lines(log))
