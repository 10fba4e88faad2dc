"""Where trials are held: a cache and directories of their own, as good as new for each of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.torture.deck import Kind, Phase, Trial
from tests.torture.leftovers import MARK, files, mounts
from tests.torture.struck import Struck
from tests.torture.victim import LAYER
from vmtasks.deadline import Deadline
from vmtasks.errors import HostError
from vmtasks.host import slots
from vmtasks.image.definition import find
from vmtasks.providers.qemu.provider import ensure_baked

GONE_LIMIT_S = 5.0
"""The promise."""
_REACH_LIMIT_S = 90.0
_MANY = 2**31


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of a trial."""

    took_s: float = 0.0
    """How long it was until nothing was left."""
    left: tuple[str, ...] = ()
    """What was left in the end, and whatever else went wrong."""
    missed: str = ""
    """Why there was nothing to strike, if so."""


class Arena:
    """See :func:`arena`."""

    def __init__(self, root: Path, kind: Kind, *, allowance_s: float) -> None:
        self._root = root
        self._kind = kind
        self._limit_s = GONE_LIMIT_S + allowance_s
        self._cache, self._tmp, self._cwd = root / "cache", root / "tmp", root / "cwd"
        self._pristine = root / "pristine"
        self._snapshots: tuple[str, ...] = ()
        """The snapshots that were there before."""
        self._count = 0

    def fill(self) -> None:
        """Have the image, and a run of its own make the template that all others start from.

        :raise HostError: that run did not pass.
        """
        definitions = self._root / "images"
        definitions.mkdir()
        (definitions / f"{LAYER}.toml").write_text('from = "bookworm"\n')
        baked = ensure_baked(find("bookworm")).directory
        _link(baked, self._pristine / "images" / baked.name)
        self._renew()
        if wrong := self.try_normally():
            raise HostError(f"cannot begin: {wrong}")
        _link(self._cache, filled := self._root / "filled")
        shutil.rmtree(self._pristine)
        filled.rename(self._pristine)

    def hold(self, trial: Trial) -> Verdict:
        """Hold one trial."""
        phase = trial.phase
        self._renew()
        with ExitStack() as stack:
            if phase.name == "template":
                shutil.rmtree(self._cache / "snapshots")
            if phase.name == "accelerator":
                (self._cache / "accelerator.json").unlink(missing_ok=True)
            if phase.name == "slot":
                claim = slots.Claim("torture", 0, slots.Limits(machines=_MANY, memory_mib=_MANY))
                stack.enter_context(claim).wait()
            struck = stack.enter_context(self._run(phase.name, on_terminal=trial.on_terminal))
            struck.wait_for(lambda: self._has_come(struck, phase) or struck.ended(), _REACH_LIMIT_S)
            if not self._has_come(struck, phase):
                return Verdict(left=(f"it did not come to {phase.name}: {struck.tail}",))
            moment = Deadline.after(trial.moment * phase.usual_s)
            struck.wait_for(lambda: moment.passed, _REACH_LIMIT_S)
            machines = tuple(self._cache.glob("machines/*"))
            if not struck.strike(trial.process, trial.way):
                return Verdict(missed=f"there was no {trial.process} any more")
            if phase.goes_on and trial.process in {"supervisor", "qemu"}:
                if self._kind.machines > 1:  # the others are well
                    machines = tuple(path for path in machines if struck.is_about(path))
                if not struck.wait_for(lambda: struck.has_lost() and not _any(machines), self._limit_s):
                    return Verdict(left=self._left(struck))
                struck.interrupt()
            deadline = Deadline.after(self._limit_s)
            struck.wait_for(lambda: not self._left(struck), self._limit_s)
            return Verdict(took_s=self._limit_s - deadline.left_s, left=(*self._left(struck), *self._damaged()))

    def try_normally(self) -> str:
        """Make a run that nobody strikes, in what is there now; return what was wrong with it."""
        with self._run("stop", on_terminal=False) as run:
            run.wait_for(run.ended, _REACH_LIMIT_S)
            if run.shell.returncode != 0:
                return f"a normal run ended with {run.shell.returncode}: {run.tail}"
            run.wait_for(lambda: not run.left(), self._limit_s)  # what it has told to end, may take a moment
            return ", ".join(run.left())

    def _renew(self) -> None:
        """Undo what the last trial did."""
        for path in (self._cache, self._tmp, self._cwd):
            shutil.rmtree(path, ignore_errors=True)
        _link(self._pristine, self._cache)
        self._snapshots = tuple(path.name for path in self._cache.glob("snapshots/*"))
        self._tmp.mkdir()
        self._cwd.mkdir()

    def _run(self, to: str, *, on_terminal: bool) -> Struck:
        self._count += 1
        mark = f"{self._root.name}-{self._count}"
        self._phases.write_text("")
        own = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
        environ = own | {
            MARK: mark,
            "TERM": "xterm",
            "TMPDIR": str(self._tmp),
            "XDG_RUNTIME_DIR": str(self._tmp),  # sockets, and a group's switch, are looked for as well
            "VMTASKS_ATTEMPTS": "1",
            "VMTASKS_CACHE": str(self._cache),
            "VMTASKS_IMAGES": str(self._root / "images"),
            "VMTASKS_SLOTS": str(1 if to == "slot" else _MANY),
            "VMTASKS_TORTURE_PHASES": str(self._phases),
        }
        kind = self._kind
        return Struck(kind.line(to), kind.callers, cwd=self._cwd, environ=environ, mark=mark, on_terminal=on_terminal)

    @property
    def _phases(self) -> Path:
        return self._cwd / "phases"

    def _has_come(self, struck: Struck, phase: Phase) -> bool:
        return phase.name in self._phases.read_text().splitlines() or (phase.sign or "\0") in struck.tail

    def _left(self, struck: Struck) -> tuple[str, ...]:
        lost = (*files(self._cache, self._tmp, snapshots=self._snapshots), *self._cwd.glob(".*"))
        return (
            *struck.left(),
            *(f"a mount on {point}" for point in mounts(self._root)),
            *(str(path.relative_to(self._root)) for path in lost),
        )

    def _damaged(self) -> Iterator[str]:
        """Yield the disks that are kept and no longer sound; clusters that were merely lost are no damage."""
        for disk in (*self._cache.glob("[fi]*/[!.]*/disk.qcow2"), *self._cwd.glob("*.qcow2")):
            done = subprocess.run(["qemu-img", "check", "-q", disk], capture_output=True, text=True, check=False)
            if done.returncode not in (0, 3):
                yield f"{disk.relative_to(self._root)} is damaged: {done.stderr.strip()}"


@contextmanager
def arena(kind: Kind, *, allowance_s: float = 0.0) -> Iterator[Arena]:
    """Yield an arena that is ready, and leave nothing of it.

    Its path is part of what templates are known by, and so is the same for all trials.

    :param allowance_s: how much longer than promised a slow host may take.
    """
    with tempfile.TemporaryDirectory(prefix="vmtasks-torture-") as root:
        made = Arena(Path(root), kind, allowance_s=allowance_s)
        made.fill()
        yield made


def _any(paths: tuple[Path, ...]) -> bool:
    return any(path.exists() for path in paths)


def _link(source: Path, target: Path) -> None:
    """Copy a tree by links; its locks, and what another file system has, as files."""

    def copy(one: str, other: str) -> None:
        if Path(one).name != "in-use":
            with suppress(OSError):
                os.link(one, other)
                return
        shutil.copy2(one, other)

    shutil.copytree(source, target, copy_function=copy)
