"""Where a build starts from: a project's tree, a tarball, or a Debian source package."""

from __future__ import annotations

import lzma
import re
import shlex
import tarfile
import tempfile
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vmtasks import apt, events
from vmtasks.errors import UsageError
from vmtasks.guest import Guest, sh
from vmtasks.project import Project, left_behind, source_date_epoch, tree_files
from vmtasks.project.dsc import Dsc
from vmtasks.project.history import IMPORT, History, who_asks_git
from vmtasks.project.orig import Orig, find, format_of
from vmtasks.project.release import is_tarball

WORKSHOP = "/build"
"""Where builds happen in the guest: always the same, because paths find their way into what is built."""
USER = "builder"
"""Who builds there."""

_COMMENT = re.compile(r"^#.*\n", re.MULTILINE)
_BUILD_FIELD = re.compile(
    r"^(?:Source|Build-(?:Depends|Conflicts)(?:-Arch|-Indep)?):.*(?:\n[ \t].*)*", re.MULTILINE | re.IGNORECASE
)
_CONTROL = re.compile(r"(\./)?[^/]+/debian/control")
_CONTROL_LIMIT_BYTES = 1024 * 1024
_NOT_UPSTREAMS = r"(^|/)vmtasks\.toml$"
"""What a packaged tree may have beside upstream's files, besides what dpkg-source itself passes over."""

# One tarball, the same for the same tree; $1 is the tree, $2 the tarball.
_PACK = """# make upstream's tarball of the tree
set -eu
name=$(basename -- "$1")
tar -c -C "$(dirname -- "$1")" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \\
    --mode=go=rX,u+rw,a-s --format=gnu --anchored --no-wildcards --exclude="$name/debian" --exclude="$name/.git" \\
    "$name" >"$2.tmp"
gzip -9 -n <"$2.tmp" >"$2"
rm -- "$2.tmp"
"""
_ARCHIVE = """# make upstream's tarball of a tag
set -eu
printf '* -export-ignore -export-subst\\n' >"$1/.git/info/attributes"
git -C "$1" archive --format=tar --prefix="$4/" "$3" >"$2.tmp"
gzip -9 -n <"$2.tmp" >"$2"
rm -- "$2.tmp"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Something that can be built, on the host."""

    path: Path
    kind: Literal["tree", "tarball", "dsc"]
    debian: Path | None = None
    """The debian/ directory to build with where a tarball has none: upstream's releases need not."""

    @classmethod
    def of(cls, path: Path, *, debian: Path | None = None) -> Source:
        """Look at *path* and tell what it is.

        :param debian: the debian/ directory of the package that a tarball is the upstream of.
        :raise UsageError: it is not there, nothing that can be built, or not all of it is what it should be.
        """
        if path.is_dir():
            return cls(path=path, kind="tree")
        if not path.is_file():
            raise UsageError(f"there is no source {path}", hint="--source takes a directory, a tarball or a .dsc file")
        if path.suffix == ".dsc":
            Dsc.read(path).check()
            return cls(path=path, kind="dsc")
        if is_tarball(path.name):
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
                control = Dsc.read(self.path).control
        return "".join(f"{field}\n" for field in _BUILD_FIELD.findall(_COMMENT.sub("", control)))

    def deliver(self, guest: Guest) -> str:
        """Put the source into the guest's workshop and return the directory of its tree there.

        A package's is what ``dpkg-source --extract`` makes of it: with upstream's tarball, its components, debian/ and
        the patches.

        :raise UsageError: it is not one tree.
        :raise CommandFailed: dpkg-source cannot unpack it, or a patch does not apply.
        """
        guest.query(
            sh(
                f"id -u {USER} >/dev/null 2>&1 || useradd --create-home --shell /bin/bash {USER}; "
                f"install -d -o {USER} -g {USER} {WORKSHOP}"
            )
        )
        match self.kind:
            case "tree":
                tree = self._deliver_tree(guest)
            case "tarball":
                tree = self._deliver_tarball(guest)
            case "dsc":
                tree = self._deliver_dsc(guest)
        guest.query(["chown", "-R", f"{USER}:{USER}", tree])
        if self.kind != "dsc" and _holds(guest, f"test -s {shlex.quote(tree)}/debian/patches/series"):
            _expect_dpkg_source(guest)
            guest.succeed(["dpkg-source", "--before-build", tree], cwd=WORKSHOP, user=USER)
        return tree

    def package(self, guest: Guest, tree: str, into: Path) -> list[Path]:
        """Make the Debian source package of a tree that was delivered, and bring it out: the .dsc comes first.

        dpkg-source decides by debian/source/format what it is made of. Where that has an upstream tarball, it is the
        one that is found beside the tree, with pristine-tar or at a tag, else one of the tree itself; or the tarball
        that this source is.

        :param tree: what :meth:`deliver` returned.
        :raise CommandFailed: dpkg-source cannot: there are changes to upstream's files that no patch has, say.
        """
        _expect_dpkg_source(guest)
        # A patch that was applied for a build is none of upstream's: its tarball is made before.
        guest.succeed(["dpkg-source", "--after-build", tree], cwd=WORKSHOP, user=USER)
        said = guest.query(
            sh(f"cd {shlex.quote(tree)} && dpkg-parsechangelog -S Source && dpkg-parsechangelog -S Version")
        )
        name, version = said.split()
        self._bring_orig(guest, tree)
        options: tuple[str, ...] = ()
        match guest.query(sh(f"cat {shlex.quote(tree)}/debian/source/format 2>/dev/null || :")).strip() or "1.0":
            case "1.0":
                options = ("-i", "-I", f"--extend-diff-ignore={_NOT_UPSTREAMS}")
            case "2.0" | "3.0 (quilt)":
                options = (f"--extend-diff-ignore={_NOT_UPSTREAMS}",)
        guest.succeed(["dpkg-source", *options, "--build", tree], cwd=WORKSHOP, user=USER)
        described = f"{WORKSHOP}/{name}_{version.split(':', 1)[-1]}.dsc"
        (path,) = guest.get(described, into / described.rpartition("/")[2])
        dsc = Dsc.read(path)
        for part in dsc.parts:
            guest.get(f"{WORKSHOP}/{part.name}", into / part.name)
        dsc.check()
        return list(dsc.files)

    def _deliver_tree(self, guest: Guest) -> str:
        project = Project.load(self.path)
        tree = f"{WORKSHOP}/{project.directory_name}"
        # The times are part of what is built from it: a checkout's are those of the checkout.
        guest.put(project.root, tree, files=tree_files(project.root), mtime_s=source_date_epoch(project.root))
        notes = left_behind(project.root)
        if project.source.git:
            _put_history(guest, project.root, History.of(project.root), tree)
        elif not project.source.version and (asks := who_asks_git(project.root)):
            notes.append(
                f"{asks} asks git, and the history stays on the host: '[source] git = true' in vmtasks.toml has it "
                "travel, or VMTASKS_VERSION says the version"
            )
        for text in notes:
            events.emit(events.Note(machine=guest.name, text=text, level="warning"))
        return tree

    def _deliver_tarball(self, guest: Guest) -> str:
        guest.put(self.path, f"{WORKSHOP}/")
        guest.query(sh(f"cd {WORKSHOP} && mkdir .unpacked && tar -x -C .unpacked -f ./{shlex.quote(self.path.name)}"))
        found = guest.query(["find", f"{WORKSHOP}/.unpacked", "-mindepth", "1", "-maxdepth", "1", "-printf", "%y%f\n"])
        tops = found.splitlines()
        if len(tops) != 1 or not tops[0].startswith("d"):
            raise UsageError(f"cannot build {self.path}: it must hold one directory, and holds {len(tops)} files")
        tree = f"{WORKSHOP}/{tops[0][1:]}"
        guest.query(["mv", f"{WORKSHOP}/.unpacked/{tops[0][1:]}", tree])
        guest.query(["rmdir", f"{WORKSHOP}/.unpacked"])
        if self.debian is not None and self.debian.is_dir():
            is_upstreams = "native" not in format_of(self.debian.parent)
            if is_upstreams or not _holds(guest, f"test -e {shlex.quote(tree)}/debian"):
                guest.query(["rm", "-rf", f"{tree}/debian"])
                guest.put(self.debian, f"{tree}/debian", mtime_s=source_date_epoch(self.debian.parent))
        return tree

    def _deliver_dsc(self, guest: Guest) -> str:
        _expect_dpkg_source(guest)
        dsc = Dsc.read(self.path)
        for path in dsc.files:
            guest.put(path, f"{WORKSHOP}/")
        tree = f"{WORKSHOP}/{dsc.tree}"
        guest.succeed(["dpkg-source", "--extract", dsc.path.name, tree], cwd=WORKSHOP)
        return tree

    def _bring_orig(self, guest: Guest, tree: str) -> None:
        """See that upstream's tarball lies beside the tree, if the package has one."""
        root = self.path if self.kind == "tree" else self.debian.parent if self.debian else None
        if root is None:
            return
        project = Project.load(root)
        orig = find(root, only_tree=project.source.orig == "tree" or self.kind == "tarball")
        made = f"{WORKSHOP}/{orig.stem}.tar.gz"
        match orig.kind:
            case "none":
                return
            case "beside":
                for path in orig.files:
                    guest.put(path, f"{WORKSHOP}/")
            case "tree" if self.kind == "tarball":
                packed = self.path.name.rpartition(".tar.")[2] if ".tar." in self.path.name else "gz"
                guest.query(["cp", f"{WORKSHOP}/{self.path.name}", f"{WORKSHOP}/{orig.stem}.tar.{packed}"])
                return
            case "tree":
                env = {"SOURCE_DATE_EPOCH": str(source_date_epoch(root))}
                guest.succeed(["sh", "-c", _PACK, "sh", tree, made], user=USER, env=env)
            case "pristine-tar" | "tag":
                self._bring_from_git(guest, orig, made, tree.rpartition("/")[2])
        events.emit(events.Note(machine=guest.name, text=orig.says(), level="info"))

    def _bring_from_git(self, guest: Guest, orig: Orig, made: str, top: str) -> None:
        with guest.tmp_dir() as room:
            _put_history(guest, self.path, orig.history, f"{room}/git")
            if orig.kind == "tag":
                guest.succeed(["sh", "-c", _ARCHIVE, "sh", f"{room}/git", made, orig.ref, top])
                return
            apt.install(guest, ["pristine-tar"])
            for name in orig.names:
                guest.succeed(["pristine-tar", "checkout", f"{WORKSHOP}/{name}"], cwd=f"{room}/git")


def _holds(guest: Guest, condition: str) -> bool:
    return guest.query(sh(f"if {condition}; then echo yes; fi")) != ""


def _expect_dpkg_source(guest: Guest) -> None:
    """Have dpkg-source, which comes with what builds packages; a machine without it gets it."""
    if not _holds(guest, "command -v dpkg-source >/dev/null"):
        apt.install(guest, ["dpkg-dev"])


def _put_history(guest: Guest, root: Path, history: History, tree: str) -> None:
    if not _holds(guest, "command -v git >/dev/null"):
        apt.install(guest, ["git"])
    with tempfile.TemporaryDirectory(prefix="vmtasks-") as here, guest.tmp_dir() as there:
        history.write(root, Path(here))
        guest.put(Path(here), there)
        guest.succeed(["sh", "-c", IMPORT, "sh", tree, there])


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
