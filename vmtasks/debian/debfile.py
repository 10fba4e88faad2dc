"""Files of Debian packages on the host: what they are is in their control file, whatever they are called.

Source: deb(5), deb-control(5), deb-changes(5).
"""

from __future__ import annotations

import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vmtasks.config.here import task_line
from vmtasks.config.paths import is_at
from vmtasks.errors import HostError, UsageError

_FIELDS = ("Package", "Version", "Architecture", "Essential", "Protected", "Auto-Built-Package", "Recommends")
_LIMIT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A package, by its control file."""

    path: Path
    name: str
    version: str
    architecture: str
    must_stay: bool = False
    """Whether it is Essential or Protected: dpkg and apt refuse to remove it."""
    recommends: tuple[str, ...] = ()
    """Relations, as its control file has them."""
    is_debug: bool = False
    """Whether it has nothing but another package's debug symbols."""


Packages = dict[str, Package]
"""Packages by their names."""


def find(names: Sequence[str]) -> Packages:
    """Return the packages of .deb files, .changes files and directories of them; those with debug symbols are left out.

    :raise UsageError: one is none of these, or not there, there are two of one package, or no packages at all.
    """
    found: list[Path] = []
    for name in names or ["."]:
        path = Path(name)
        if is_at(path, stat.S_ISDIR):
            found += sorted(one for one in path.glob("*.deb") if one.is_file())
        elif path.suffix == ".changes" and path.is_file():
            words = path.read_text(errors="replace").split()
            found += dict.fromkeys(path.with_name(Path(word).name) for word in words if word.endswith(".deb"))
        elif path.suffix == ".deb":
            found.append(path)
        else:
            raise UsageError(f"cannot install {name}: it is neither a .deb file, nor a .changes file, nor a directory")
    if missing := [str(path) for path in found if not path.is_file()]:
        raise UsageError(f"cannot install {missing[0]}: there is no such file")
    packages: Packages = {}
    for package in map(read, found):
        if package.is_debug:
            continue
        first = packages.setdefault(package.name, package)
        if first.path.resolve() != package.path.resolve():
            raise UsageError(
                f"cannot install {first.path} and {package.path}: they are one package, {package.name}",
                hint="name the file that is meant, or the .changes file of its build",
            )
    if not packages:
        raise UsageError(
            f"there are no packages in {', '.join(names) or 'this directory'}",
            hint=f"{task_line('build-deb')} makes some",
        )
    return packages


def read(path: Path) -> Package:
    """Read the control file of a .deb file.

    :raise UsageError: it is no Debian package.
    :raise HostError: this host has no dpkg-deb.
    """
    command = ["dpkg-deb", "--field", str(path.absolute()), *_FIELDS]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_LIMIT_S, check=False)
    except FileNotFoundError as problem:
        raise HostError("cannot read .deb files: this host has no dpkg-deb", hint="it comes with dpkg") from problem
    except subprocess.TimeoutExpired as problem:
        raise UsageError(f"cannot read {path}: dpkg-deb did not end within {_LIMIT_S:g} s") from problem
    lines = done.stdout.decode(errors="replace").splitlines()
    fields = {name: value.strip() for name, colon, value in (line.partition(":") for line in lines) if colon}
    if done.returncode or not all(fields.get(name) for name in _FIELDS[:3]):
        words = " ".join(done.stderr.decode(errors="replace").split()).removeprefix("dpkg-deb: error: ")
        raise UsageError(f"cannot read {path}: {words or 'it is no Debian package'}")
    name, version, architecture = (fields[name] for name in _FIELDS[:3])
    return Package(
        path=path,
        name=name,
        version=version,
        architecture=architecture,
        must_stay="yes" in (fields.get("Essential"), fields.get("Protected")),
        recommends=tuple(one.strip() for one in fields.get("Recommends", "").split(",") if one.strip()),
        is_debug=name.endswith("-dbgsym") and fields.get("Auto-Built-Package") == "debug-symbols",
    )
