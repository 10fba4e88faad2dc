"""A measurement as data, and how samples are taken fairly."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from vmtasks import events
from vmtasks.errors import HostError, UsageError
from vmtasks.process.tail import last_lines
from vmtasks.ssh.command import short

ROOT = Path(__file__).resolve().parents[1]
_FROM_MAKE = {
    "MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "ARGS", "PROJECT", "IMAGE", "OUT", "VM_DEBUG", "KEEP",
}  # fmt: skip
"""What `make bench ARGS=...` would hand down to the `make` of the example, which it is not meant for."""

HEADINGS = ("MEASURED", "OURS", "AGAINST", "RATIO", "RESULT", "TARGET")

Samples = tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What was measured, every sample of it, and what it was meant to be."""

    title: str
    unit: str
    ours: Samples
    against: Samples = ()
    """The samples of what it is compared with, taken in turn with ours; none where there is nothing to compare."""
    ratio: float | None = None
    """Between the medians, in the direction that the target names."""
    target: str = ""
    reached: bool | None = None
    """None: there is no target."""

    def cells(self) -> tuple[str, ...]:
        """Return the measurement as a row of the table under :data:`HEADINGS`."""
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        verdict = {True: "reached", False: "missed", None: ""}[self.reached]
        return (self.title, self._median(self.ours), self._median(self.against), ratio, verdict, self.target)

    def _median(self, samples: Samples) -> str:
        return f"{median(samples):.3g} {self.unit}".rstrip() if samples else ""


Rows = Iterable[Measurement]


def at_most(title: str, limit: float | None, ours: Samples, *, unit: str = "s") -> Measurement:
    """Return a measurement that is not to be more than *limit*; None: there is no target."""
    target = "" if limit is None else f"at most {limit:g} {unit}".rstrip()
    reached = None if limit is None else median(ours) <= limit
    return Measurement(title=title, unit=unit, ours=ours, target=target, reached=reached)


def slower(title: str, at_most_times: float | None, ours: Samples, against: Samples, *, unit: str = "s") -> Measurement:
    """Return a measurement that is not to take more than so many times as long as what it is compared with.

    :param unit: another one where it is not time that is taken.
    """
    ratio = median(ours) / median(against)
    return Measurement(
        title=title, unit=unit, ours=ours, against=against, ratio=ratio,
        target="" if at_most_times is None else f"at most {at_most_times:g} times as long",
        reached=None if at_most_times is None else ratio <= at_most_times,
    )  # fmt: skip


def faster(title: str, at_least_times: float | None, ours: Samples, against: Samples) -> Measurement:
    """Return a measurement that is to be so many times faster than what it is compared with."""
    ratio = median(against) / median(ours)
    return Measurement(
        title=title, unit="s", ours=ours, against=against, ratio=ratio,
        target="" if at_least_times is None else f"at least {at_least_times:g} times faster",
        reached=None if at_least_times is None else ratio >= at_least_times,
    )  # fmt: skip


def in_turn(runs: int, *works: Callable[[], float]) -> tuple[Samples, ...]:
    """Return the samples of each, taken alternately: whatever else the host does slows down all of them."""
    rounds = [[work() for work in works] for _ in range(runs)]
    return tuple(zip(*rounds, strict=True))


def timed(work: Callable[[], object]) -> float:
    """Return how many seconds *work* takes."""
    began_s = time.monotonic()
    work()
    return time.monotonic() - began_s


def python_s(argv: Sequence[str], directory: Path, compiled: Path, *, check: bool = True) -> float:
    """Return how many seconds a Python program takes whose modules have been compiled, as installed ones are.

    :param compiled: a directory for that, which the first call of several fills.
    """
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    env = kept | {"PYTHONPYCACHEPREFIX": str(compiled)}
    return timed(
        lambda: subprocess.run(argv, cwd=directory, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=check)
    )


def phase_seconds(heard: Iterable[events.Event], phase: str, machine: str) -> float:
    """Return how long a machine's phase took."""
    return sum(
        event.duration_s
        for event in heard
        if isinstance(event, events.PhaseEnded) and (event.phase, event.machine) == (phase, machine)
    )


def checkout() -> None:
    """See that this is a checkout, with its tasks.py and its example.

    :raise UsageError: it is not.
    """
    if not (ROOT / "Makefile").exists():
        raise UsageError(f"cannot measure in {ROOT}: it is no checkout of vmtasks, with its tasks.py and its example")


def call(command: Sequence[str], log: Path, *, cwd: Path = ROOT) -> None:
    """Run a program of ours.

    :raise HostError: it ended with another status than 0.
    """
    env = {name: value for name, value in os.environ.items() if name not in _FROM_MAKE}
    with log.open("wb") as output:
        done = subprocess.run(
            command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode:
        shown = short(shlex.join(command))
        raise HostError(f"cannot measure `{shown}`: it ended with status {done.returncode}", details=last_lines(log))


def bake(*images: str) -> None:
    """Bake what is not baked yet, so that this is no part of what is measured."""
    from vmtasks.image.definition import find
    from vmtasks.providers.qemu.provider import ensure_baked

    for image in images:
        ensure_baked(find(image))


def write(measurements: Sequence[Measurement], path: Path) -> None:
    """Write the measurements down, for other programs.

    :raise HostError: *path* cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([asdict(one) for one in measurements], indent=1) + "\n")
    except OSError as problem:
        raise HostError(f"cannot write {path}: {problem.strerror}") from problem
