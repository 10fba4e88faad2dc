"""Python wheels: fetched by this host's pip once, each with its sum, and installed in guests without an index."""

from __future__ import annotations

import shlex
import subprocess
import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vmtasks import events
from vmtasks.bootstrap import install_line
from vmtasks.debian import apt
from vmtasks.errors import HostError, TestFailed
from vmtasks.files.checksum import sha256_of
from vmtasks.installables.kept import kept, key_of

if TYPE_CHECKING:
    from vmtasks.guest import Guest

_LIMIT_S = 600.0
_LINES = 8
_OFFLINE = ("--isolated", "--no-index", "--disable-pip-version-check", "--no-warn-script-location", "--quiet")


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedWheel:
    """One wheel that any Python can use."""

    requirement: str
    """As pip has it: ``NAME==VERSION``."""
    sha256: str


PIP = PinnedWheel(requirement="pip==25.3", sha256="9655943313a94722b7774661c21049070f6bbb0a1516bf02f7c8d5d9201514cd")
"""What installs the others in the guest: pip runs from its own wheel, and Debian's is some 30 packages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheels:
    """Wheels that are installed together, in a virtual environment of their own.

    That has Debian's Python packages, too, behind its own.
    """

    name: str
    wheels: tuple[PinnedWheel, ...]
    target: str
    """The guest's directory for the environment."""

    def fetch(self) -> str:
        """Have them on this host; see :class:`Installable`."""
        with self._held():
            return self._key

    def install(self, guest: Guest) -> str:
        """Install them in a new environment, and return its directory.

        :raise TestFailed: the guest's Python does not serve.
        """
        if guest.run(["python3", "-c", "import venv"], warn=True, hide=True).failed:
            apt.install(guest, ["python3"])
        python = f"{self.target}/bin/python3"
        guest.query(["rm", "-rf", self.target])
        with guest.tmp_dir() as room:
            with self._held() as directory:
                guest.put(directory, room, files=[path.relative_to(directory) for path in _wheels_in(directory)])
            guest.succeed(["python3", "-m", "venv", "--system-site-packages", "--without-pip", self.target])
            pip = next((name for name in guest.glob(f"{room}/pip-*.whl")), "")
            if not pip:
                raise TestFailed(f"{guest.name} has no longer what was sent there: {room} has no wheel of pip")
            wanted = [one.requirement for one in self.wheels]
            guest.succeed([python, f"{pip}/pip", "install", *_OFFLINE, "--find-links", room, *wanted])
        return self.target

    @property
    def _all(self) -> tuple[PinnedWheel, ...]:
        return (*self.wheels, PIP)

    @property
    def _key(self) -> str:
        return key_of(*sorted(one.sha256 for one in self._all))

    def _held(self) -> AbstractContextManager[Path]:
        return kept(self._key, make=self._download, is_whole=self._is_whole)

    def _is_whole(self, directory: Path) -> bool:
        try:
            return {sha256_of(path) for path in _wheels_in(directory)} == {one.sha256 for one in self._all}
        except OSError:
            return False

    def _download(self, directory: Path) -> None:
        """Have pip fetch them into a directory.

        :raise HostError: it cannot, or something else has come.
        """
        events.emit(events.Note(text=f"fetching the wheels of {self.name}"))
        requirements = directory / "requirements.txt"
        requirements.write_text("".join(f"{line}\n" for line in requirement_lines(self._all)))
        try:
            done = subprocess.run(
                download_argv(requirements, directory), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True, errors="replace", timeout=_LIMIT_S, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as problem:
            raise HostError(f"cannot fetch the wheels of {self.name}: pip took longer than {_LIMIT_S:g} s") from problem
        if done.returncode:
            lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
            if lines[-1:] == [f"{sys.executable}: No module named pip"]:
                raise HostError(
                    f"cannot fetch the wheels of {self.name}: the Python that runs vmtasks has no pip",
                    hint=f"{_pip_line()} installs it",
                )
            errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
            reason = (errors or lines or [f"pip ended with status {done.returncode}"])[-1]
            raise HostError(
                f"cannot fetch the wheels of {self.name}: {reason}",
                details=tuple(lines[-_LINES:]),
                hint="see that pip on this host reaches its index: pip config list",
            )
        requirements.unlink()
        if not self._is_whole(directory):
            raise HostError(f"cannot use the wheels of {self.name}: pip has fetched others than were asked for")


def requirement_lines(wheels: tuple[PinnedWheel, ...]) -> list[str]:
    """Return the lines of a file of requirements that nothing else fulfils."""
    return [f"{one.requirement} --hash=sha256:{one.sha256}" for one in wheels]


def download_argv(requirements: Path, directory: Path) -> list[str]:
    """Return the command line that fetches wheels: from the index that this host's pip asks, and only these."""
    options = ("--require-hashes", "--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check")
    return [
        *(sys.executable, "-P", "-m", "pip", "download", "--quiet", *options),
        *("--dest", str(directory), "--requirement", str(requirements)),
    ]


def _pip_line() -> str:
    """Return what brings pip to the Python that runs this: Debian's own has it from a package."""
    if sys.prefix != sys.base_prefix:
        return shlex.join([sys.executable, "-m", "ensurepip"])
    return install_line(["python3-pip"])


def _wheels_in(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.whl"))
