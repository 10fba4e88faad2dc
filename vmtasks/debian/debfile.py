"""Files of Debian packages on the host: what they are is in their control file, whatever they are called.

Source: deb(5), deb-control(5), deb-changes(5), dpkg-deb(1).
"""

from __future__ import annotations

import re
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vmtasks.config.bounded import read_file
from vmtasks.config.here import task_line
from vmtasks.config.paths import is_at
from vmtasks.errors import HostError, TestFailed, UsageError
from vmtasks.files.checksum import sha256_of
from vmtasks.guest.unpack import first_file
from vmtasks.host.confined import confined_argv
from vmtasks.process.confined import NOT_FOUND
from vmtasks.process.landlock import Reach

_NEEDED = {
    "Package": re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]{1,199}"),
    "Version": re.compile(r"[A-Za-z0-9][A-Za-z0-9+.~:-]{0,199}"),
    "Architecture": re.compile(r"[a-z0-9][a-z0-9-]{0,99}"),
}
"""What each package says, and what it can be."""
_FIELDS = ("Essential", "Protected", "Important", "Auto-Built-Package", "Recommends")
_RELATION = re.compile(r"[A-Za-z0-9+.:~=<>()| _-]+")
_SUM = re.compile(r"^ ([0-9a-f]{64}) [0-9]{1,18} ([^\s/]+)$", re.MULTILINE)
"""A line of a .changes file's Checksums-Sha256."""
_CONTROL = re.compile(r"(\./)?control")
_LIMIT_BYTES = 256 * 1024
"""More than any control file has."""
_SHOWN, _LONGEST = 80, 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A package, by its control file."""

    path: Path
    name: str
    version: str
    architecture: str
    must_stay: bool = False
    """Whether it is Essential or Protected, or Important, as apt calls that: dpkg or apt refuses to remove it."""
    recommends: tuple[str, ...] = ()
    """Relations, as its control file has them."""
    is_debug: bool = False
    """Whether it has nothing but another package's debug symbols."""


Packages = dict[str, Package]
"""Packages by their names."""


def find(names: Sequence[str]) -> Packages:
    """Return the packages of .deb files, .changes files and directories of them; those with debug symbols are left out.

    :raise UsageError: one is none of these, not there, or another than a .changes file names; there are two of one
        package, or of one name; or no packages at all.
    """
    found: list[Path] = []
    for name in names or ["."]:
        path = Path(name)
        if is_at(path, stat.S_ISDIR):
            found += sorted(one for one in path.glob("*.deb") if one.is_file())
        elif path.suffix == ".changes" and path.is_file():
            found += _named_in(path)
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
    _expect_names(packages)
    return packages


def _expect_names(packages: Packages) -> None:
    """See that the files have names of their own: they lie in one directory of the machine.

    :raise UsageError: two have the same.
    """
    called: dict[str, Path] = {}
    for package in packages.values():
        if (other := called.setdefault(package.path.name, package.path)) != package.path:
            raise UsageError(
                f"cannot install {other} and {package.path}: two packages in files of one name",
                hint="rename one of the files",
            )


def _named_in(listing: Path) -> list[Path]:
    """Return the .deb files that a .changes file names, beside it.

    :raise UsageError: one is another than the one that it names.
    """
    text = (read_file(listing) or b"").decode(errors="replace")
    named = dict.fromkeys(listing.with_name(Path(word).name) for word in text.split() if word.endswith(".deb"))
    for digest, name in _SUM.findall(text):
        path = listing.with_name(name)
        if path in named and path.is_file() and sha256_of(path) != digest:
            raise UsageError(
                f"cannot install {path}: it is not the file that {listing.name} names: its sha256 is another",
                hint="name the .deb files themselves, if they are what is meant",
            )
    return [*named]


def read(path: Path) -> Package:
    """Read the control file of a .deb file, which may be a stranger's.

    :raise UsageError: it is no Debian package.
    :raise HostError: this host has no dpkg-deb.
    """
    fields = _fields(_control_of(path))
    for name, pattern in _NEEDED.items():
        if not pattern.fullmatch(fields.get(name, "")):
            value = repr(fields[name][:_SHOWN]) if fields.get(name) else "missing"
            raise UsageError(f"cannot read {path}: it is no Debian package: its field {name} is {value}")
    name, version, architecture = (fields[name] for name in _NEEDED)
    recommends = tuple(" ".join(one.split()) for one in fields.get("Recommends", "").split(",") if one.strip())
    if unknown := [one for one in recommends if not _RELATION.fullmatch(one)]:
        raise UsageError(f"cannot read {path}: it recommends {unknown[0][:_SHOWN]!r}, which is no package")
    return Package(
        path=path,
        name=name,
        version=_as_dpkg_has_it(version),
        architecture=architecture,
        must_stay=any(fields.get(name, "").lower() == "yes" for name in ("Essential", "Protected", "Important")),
        recommends=recommends,
        is_debug=name.endswith("-dbgsym") and fields.get("Auto-Built-Package") == "debug-symbols",
    )


def _as_dpkg_has_it(version: str) -> str:
    """Return a version as dpkg tells it once it is installed: an epoch is a number, and one of 0 is none."""
    epoch, colon, rest = version.partition(":")
    if not colon or not epoch.isdecimal():
        return version
    return rest if not int(epoch) and ":" not in rest else f"{int(epoch)}:{rest}"


def _control_of(path: Path) -> str:
    """Return the text of a package's control file; dpkg-deb takes the archive apart, and reaches nothing else.

    Nothing is unpacked onto this host's disk, as ``dpkg-deb --field`` does, with all that lies beside the control file.

    :raise UsageError: there is none.
    :raise HostError: this host has no dpkg-deb.
    """
    where = str(path.resolve())
    argv = confined_argv(["dpkg-deb", "--ctrl-tarfile", where], Reach((where,)))
    data, problem = b"", ""
    with (
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints) as process,
    ):
        if process.stdout is None:
            raise AssertionError("it is a pipe")
        try:
            data = first_file(process.stdout, _CONTROL, limit_bytes=_LIMIT_BYTES + 1)
        except TestFailed as damage:
            problem = str(damage.__cause__ or damage)
        finally:
            process.stdout.close()  # what follows is nobody's; a program that goes on to write ends by that
        if process.wait() == NOT_FOUND:
            raise HostError("cannot read .deb files: this host has no dpkg-deb", hint="it comes with dpkg")
        complaints.seek(0)
        words = " ".join(complaints.read(_LIMIT_BYTES).decode(errors="replace").split())
    if len(data) > _LIMIT_BYTES:
        raise UsageError(f"cannot read {path}: its control file has more than {_LIMIT_BYTES >> 10} KiB")
    if not data:
        reason = words.removeprefix("dpkg-deb: error: ")[:_LONGEST] or problem or "it is no Debian package"
        raise UsageError(f"cannot read {path}: {reason}")
    return data.decode(errors="replace")


def _fields(control: str) -> dict[str, str]:
    """Return those fields of a control file that are of use here, each on one line."""
    wanted = {name.lower(): name for name in (*_NEEDED, *_FIELDS)}
    fields: dict[str, str] = {}
    name = ""
    for line in control.strip("\n").split("\n"):
        if not line.strip():
            break
        if line[0] in " \t":
            if name in fields:
                fields[name] += f" {line.strip()}"
            continue
        key, _, value = line.partition(":")
        name = wanted.get(key.strip().lower(), "")
        if name:
            fields[name] = value.strip()
    return fields
