"""The file of a Debian package by its name, as this host's apt has it: asked for, and fetched if it is not kept."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vmtasks import events
from vmtasks.errors import HostError, UsageError
from vmtasks.files.checksum import sha256_of

_LIMIT_S = 600.0
_LISTED = re.compile(r"'[^']+' \S+ \d+ SHA256:([0-9a-f]{64})")
_IMAGE = re.compile(r"linux-image-[a-z0-9.+-]+")
_UNKNOWN = re.compile(r"Unable to locate package|No packages found|Can't find a source|has no installation candidate")
_LINES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelPackage:
    """A package of the archive that this host's apt knows."""

    name: str
    sha256: str

    def __str__(self) -> str:
        """Return what a message calls it."""
        return self.name

    @classmethod
    def find(cls, name: str) -> KernelPackage:
        """Return the package with the kernel: the one of that name, or of what it depends on if it is a metapackage.

        :raise UsageError: there is none.
        :raise HostError: this host has no apt, or it fails.
        """
        about = _asked(["apt-cache", "--no-all-versions", "show", name], name)
        depends = [line for line in about.splitlines() if line.startswith("Depends:")]
        images = sorted({found for line in depends for found in _IMAGE.findall(line)})
        own = images[0] if len(images) == 1 else name
        listed = _LISTED.search(_asked(["apt-get", "--print-uris", "download", own], own))
        if listed is None:
            raise HostError(
                f"cannot fetch the Debian package {own}: apt knows no sum of its file", hint="apt-get update, and again"
            )
        return cls(name=own, sha256=listed[1])

    def fetch(self, room: Path) -> Path:
        """Fetch its file into a directory, which is empty, and return where it is.

        :raise HostError: it cannot be fetched, or something else came.
        """
        events.emit(events.Note(text=f"fetching the Debian package {self.name}"))
        _asked(["apt-get", "--quiet", "download", self.name], self.name, room=room)
        files = list(room.glob("*.deb"))
        if len(files) != 1 or sha256_of(files[0]) != self.sha256:
            raise HostError(f"cannot use the Debian package {self.name}: apt has fetched something else than it lists")
        return files[0]


def _asked(argv: Sequence[str], name: str, *, room: Path | None = None) -> str:
    """Return what a program of apt's says."""
    try:
        done = subprocess.run(
            argv, cwd=room, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=_LIMIT_S, check=False,
        )  # fmt: skip
    except FileNotFoundError as problem:
        raise HostError(
            f"cannot fetch the Debian package {name}: there is no {argv[0]} on this host",
            hint="name its .deb file instead, or its address with its sum",
        ) from problem
    except subprocess.TimeoutExpired as problem:
        message = f"cannot fetch the Debian package {name}: {argv[0]} took longer than {_LIMIT_S:g} s"
        raise HostError(message) from problem
    if done.returncode == 0:
        return done.stdout
    lines = done.stderr.strip().splitlines()
    if any(map(_UNKNOWN.search, lines)):
        raise UsageError(
            f"there is no Debian package {name} that this host's apt knows",
            hint=f"`apt list 'linux-image-*'` lists those that there are; if you mean what lies here: ./{name}",
        )
    errors = [line.removeprefix("E: ") for line in lines if line.startswith("E: ")]
    reason = (errors or lines or [f"{argv[0]} ended with status {done.returncode}"])[0]
    raise HostError(f"cannot fetch the Debian package {name}: {reason}", details=tuple(lines[-_LINES:]))
