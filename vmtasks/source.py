"""Where a build starts from: a project's tree, a tarball, or a Debian source package."""

from __future__ import annotations

import lzma
import re
import shlex
import tarfile
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vmtasks.errors import UsageError
from vmtasks.guest import Guest, sh
from vmtasks.project import Project, source_date_epoch, tree_files

WORKSHOP = "/build"
"""Where builds happen in the guest: always the same, because paths find their way into what is built."""
USER = "builder"
"""Who builds there."""

_TARBALL = re.compile(r".+\.(tar(\.(gz|xz|bz2|zst))?|tgz|txz)")
_COMMENT = re.compile(r"^#.*\n", re.MULTILINE)
_BUILD_FIELD = re.compile(
    r"^(?:Source|Build-(?:Depends|Conflicts)(?:-Arch|-Indep)?):.*(?:\n[ \t].*)*", re.MULTILINE | re.IGNORECASE
)
_CONTROL = re.compile(r"(\./)?[^/]+/debian/control")
_CONTROL_LIMIT_BYTES = 1024 * 1024
_CHECKSUM_LINE = re.compile(r"^ [0-9a-f]{64} \d+ (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Something that can be built, on the host."""

    path: Path
    kind: Literal["tree", "tarball", "dsc"]
    debian: Path | None = None
    """The debian/ directory to build with where a tarball has none: upstream's releases need not."""

    @staticmethod
    def is_tarball(name: str) -> bool:
        """Tell by its name whether a file is a tarball."""
        return _TARBALL.fullmatch(name.rpartition("/")[2]) is not None

    @classmethod
    def of(cls, path: Path, *, debian: Path | None = None) -> Source:
        """Look at *path* and tell what it is.

        :param debian: the debian/ directory to use where it is a tarball without one.
        :raise UsageError: it is not there, or nothing that can be built.
        """
        if path.is_dir():
            return cls(path=path, kind="tree")
        if not path.is_file():
            raise UsageError(f"there is no source {path}", hint="--source takes a directory, a tarball or a .dsc file")
        if path.suffix == ".dsc":
            return cls(path=path, kind="dsc")
        if cls.is_tarball(path.name):
            return cls(path=path, kind="tarball", debian=debian)
        raise UsageError(f"cannot build {path}: it is neither a directory, nor a tarball, nor a .dsc file")

    def build_needs(self) -> str:
        """Return what a Debian build of it needs to be there: the fields of debian/control that say so, as they are.

        Nothing where it has no such file, or one that is out of our reach: then the tree in the guest tells.

        Source: deb-src-control(5), and dsc(5), which repeats them.
        """
        match self.kind:
            case "tree":
                control = _text(self.path / "debian/control")
            case "tarball":
                control = _control_in(self.path) or (_text(self.debian / "control") if self.debian else "")
            case "dsc":
                control = _text(self.path)
        return "".join(f"{field}\n" for field in _BUILD_FIELD.findall(_COMMENT.sub("", control)))

    def deliver(self, guest: Guest) -> str:
        """Put the source into the guest's workshop and return the directory of its tree there.

        :raise UsageError: files that it consists of are missing, or it is not one tree.
        """
        guest.query(
            sh(
                f"id -u {USER} >/dev/null 2>&1 || useradd --create-home --shell /bin/bash {USER}; "
                f"install -d -o {USER} -g {USER} {WORKSHOP}"
            )
        )
        match self.kind:
            case "tree":
                return self._deliver_tree(guest)
            case "tarball":
                guest.put(self.path, f"{WORKSHOP}/")
                unpack = f"mkdir tree && tar -x -C tree -f ./{shlex.quote(self.path.name)}"
            case "dsc":
                for part in (self.path, *_parts(self.path)):
                    guest.put(part, f"{WORKSHOP}/")
                unpack = _unpack_dsc(self.path)
        guest.query(sh(f"cd {WORKSHOP} && {unpack}"))
        found = guest.glob(f"{WORKSHOP}/tree/*/")
        if len(found) != 1:
            raise UsageError(f"cannot build {self.path}: it must hold one directory, and holds {len(found)}")
        tree = f"{WORKSHOP}/{found[0].rstrip('/').rpartition('/')[2]}"
        guest.query(["mv", found[0], tree])
        if self.debian is not None and self.debian.is_dir() and not guest.glob(f"{tree}/debian"):
            guest.put(self.debian, f"{tree}/debian", mtime_s=source_date_epoch(self.debian.parent))
        guest.query(["chown", "-R", f"{USER}:{USER}", tree])
        return tree

    def _deliver_tree(self, guest: Guest) -> str:
        project = Project.load(self.path)
        tree = f"{WORKSHOP}/{project.name}" + (f"-{project.version}" if project.version else "")
        # The times are part of what is built from it: a checkout's are those of the checkout.
        guest.put(project.root, tree, files=tree_files(project.root), mtime_s=source_date_epoch(project.root))
        guest.query(["chown", "-R", f"{USER}:{USER}", tree])
        return tree


def _text(path: Path) -> str:
    with suppress(OSError):  # whoever needs it says so
        return path.read_text(errors="replace")
    return ""


def _control_in(tarball: Path) -> str:
    # It may be damaged, or packed in a way that Python does not know: the guest's tar has the last word on that.
    with suppress(tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError), tarfile.open(tarball) as archive:
        for member in archive:
            if _CONTROL.fullmatch(member.name) and (file := archive.extractfile(member)):
                return file.read(_CONTROL_LIMIT_BYTES).decode(errors="replace")
    return ""


def _parts(dsc: Path) -> tuple[Path, ...]:
    """Return the files that a .dsc names."""
    parts = tuple(dsc.with_name(name) for name in _CHECKSUM_LINE.findall(dsc.read_text(errors="replace")))
    missing = [part.name for part in parts if not part.is_file()]
    if missing or not parts:
        what = f"{', '.join(missing)} is missing beside it" if missing else "it names no files"
        raise UsageError(
            f"cannot build {dsc}: {what}", hint="`apt-get source --download-only PACKAGE` fetches all of them"
        )
    return parts


def _unpack_dsc(dsc: Path) -> str:
    """Return the script that unpacks a source package.

    dpkg-source comes with compilers; where it is missing, the archives are unpacked and the patches left out.
    """
    archives = [shlex.quote(part.name) for part in _parts(dsc) if _TARBALL.fullmatch(part.name)]
    upstream = next((name for name in archives if ".debian.tar" not in name), "")
    debian = next((name for name in archives if ".debian.tar" in name), "")
    by_hand = f"mkdir tree/source && tar -x --strip-components=1 -C tree/source -f {upstream}"
    if debian:
        by_hand += f" && rm -rf tree/source/debian && tar -x -C tree/source -f {debian}"
    return (
        "mkdir tree && if command -v dpkg-source >/dev/null; "
        f"then cd tree && dpkg-source --no-check --extract ../{shlex.quote(dsc.name)}; else {by_hand}; fi"
    )
