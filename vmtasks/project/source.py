"""Where a build starts from: a project's tree, a tarball, or a Debian source package."""

from __future__ import annotations

import re
import shlex
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vmtasks import events
from vmtasks.config.paths import is_at
from vmtasks.errors import TestFailed, UsageError
from vmtasks.guest import Guest
from vmtasks.project import Project, left_behind, source_date_epoch, source_package, tree_files
from vmtasks.project.release import is_tarball
from vmtasks.project.source_package import USER, WORKSHOP
from vmtasks.project.text import text_of

if TYPE_CHECKING:
    from vmtasks.project.orig import OrigKind

_COMMENT = re.compile(r"^#.*\n", re.MULTILINE)
_BUILD_FIELD = re.compile(
    r"^(?:Source|Build-(?:Depends|Conflicts)(?:-Arch|-Indep)?)[ \t]*:.*(?:\n[ \t].*)*", re.MULTILINE | re.IGNORECASE
)
_CONTROL = re.compile(r"(\./)?[^/]+/debian/control")
_CONTROL_LIMIT_BYTES = 1024 * 1024
_UNPACKED_BY = {".zst": "zstd", ".lz": "lzip"}
"""What unpacks a tarball, by its ending; dpkg-dev brings what unpacks all others."""


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
        if is_at(path, stat.S_ISDIR):
            return cls(path=path, kind="tree")
        if not is_at(path, stat.S_ISREG):
            raise UsageError(f"there is no source {path}", hint="--source takes a directory, a tarball or a .dsc file")
        if path.suffix == ".dsc":
            from vmtasks.project.dsc import Dsc

            Dsc.read(path).check()
            return cls(path=path, kind="dsc")
        if is_tarball(path.name):
            return cls(path=path, kind="tarball", debian=debian)
        raise UsageError(f"cannot build {path}: it is neither a directory, nor a tarball, nor a .dsc file")

    def build_needs(self) -> str:
        """Return what a Debian build of it needs to be there: the fields of debian/control that list it, as they are.

        Nothing where it has no such file, or one that is out of our reach: then the tree in the guest tells.

        Source: deb-src-control(5), and dsc(5), which repeats them.
        """
        match self.kind:
            case "tree":
                control = _text(self.path, "debian/control")
            case "tarball":
                control = _control_in(self.path) or (
                    _text(self.debian.parent, f"{self.debian.name}/control") if self.debian else ""
                )
            case "dsc":
                from vmtasks.project.dsc import Dsc

                control = Dsc.read(self.path).control
        return self.build_needs_in(control)

    @staticmethod
    def build_needs_in(control: str) -> str:
        """Return those fields of the text of a debian/control."""
        return "".join(f"{field}\n" for field in _BUILD_FIELD.findall(_COMMENT.sub("", control)))

    def upstream(self) -> OrigKind:
        """Return where the upstream tarball of a tree that is a Debian package comes from; ``none``: it has none.

        :raise UsageError: debian/changelog does not tell which it is, or git has a complaint.
        """
        if self.kind != "tree":
            return "none"
        from vmtasks.project.orig import find

        project = Project.load(self.path)
        return find(project.root, only_tree=project.source.orig == "tree").kind

    @property
    def is_refused(self) -> bool:
        """Whether it is a tree whose version its source format does not allow; a UsageError where it tells none."""
        from vmtasks.project.orig import misfit

        return self.kind == "tree" and bool(misfit(Project.load(self.path).root))

    def deliver(self, guest: Guest, *, patched: bool = True, adds_git: bool = True) -> str:
        """Put the source into the guest's workshop and return the directory of its tree there.

        A package's is what ``dpkg-source --extract`` makes of it: with upstream's tarball, its components, debian/ and
        the patches.

        :param patched: whether a tree and a tarball have the patches of debian/patches applied; a .dsc always has.
        :param adds_git: whether git is installed where the history travels and the guest has no git; else the history
            does not travel there, unless the project's settings want it.
        :raise UsageError: it is not one tree.
        :raise CommandFailed: dpkg-source cannot unpack it, or a patch does not apply.
        """
        source_package.open_workshop(guest)
        match self.kind:
            case "tree":
                tree = self._deliver_tree(guest, adds_git=adds_git)
            case "tarball":
                tree = self._deliver_tarball(guest)
            case "dsc":
                tree = self._deliver_dsc(guest)
        series = shlex.quote(f"{tree}/debian/patches/series")
        # All of it, because dpkg-source writes anew what lies beside the tree.
        has_patches = guest.query(f"chown -R {USER}:{USER} {WORKSHOP}; [ ! -s {series} ] || echo yes")
        if patched and has_patches and self.kind != "dsc":
            source_package.expect_tool(guest, "dpkg-source", "dpkg-dev")
            guest.succeed(["dpkg-source", "--before-build", tree], cwd=WORKSHOP, user=USER)
        return tree

    def package(self, guest: Guest, tree: str, into: Path) -> list[Path]:
        """Make the Debian source package of a tree that was delivered, and bring it out: the .dsc comes first.

        :param tree: what :meth:`deliver` returned.
        :raise UsageError: this source is no tree, or debian/changelog does not tell what it is.
        :raise CommandFailed: dpkg-source cannot: there are changes to upstream's files that no patch has, say.
        """
        if self.kind != "tree":
            raise UsageError(f"cannot make a source package of {self.path}: it is no tree")
        return source_package.make(guest, Project.load(self.path), tree, into)

    def shown(self, guest: Guest, tree: str, into: Path) -> list[Path]:
        """Return the files of the source package that a tree came in, or that dpkg-source makes of it: for lintian.

        None where it cannot make one, which a note tells; it is called before a build that changes the tree.

        :param tree: what :meth:`deliver` returned.
        :param into: where those that are made go.
        :raise UsageError: it is not whole.
        """
        if self.kind == "dsc":
            from vmtasks.project.dsc import Dsc

            return list(Dsc.read(self.path).files)
        made = guest.run(["dpkg-source", "--build", tree], cwd=WORKSHOP, user=USER, warn=True)
        if made.ok:
            (name, *_) = (path.rpartition("/")[2] for path in guest.glob(f"{WORKSHOP}/*.dsc"))
            return source_package.bring_out(guest, name, into)
        text = f"lintian sees no source: dpkg-source cannot make a package of it: {''.join(made.last_lines(1))}"
        events.emit(events.Note(machine=guest.name, text=text, level="warning"))
        return []

    def _deliver_tree(self, guest: Guest, *, adds_git: bool) -> str:
        project = Project.load(self.path)
        tree = f"{WORKSHOP}/{project.directory_name}"
        # The times are part of what is built from it: a checkout's are those of the checkout.
        guest.put(project.root, tree, files=tree_files(project.root), mtime_s=source_date_epoch(project.root))
        for text in left_behind(project.root):
            events.emit(events.Note(machine=guest.name, text=text, level="warning"))
        self._deliver_history(guest, project, tree, adds_git=adds_git)
        return tree

    @staticmethod
    def _deliver_history(guest: Guest, project: Project, tree: str, *, adds_git: bool) -> None:
        """Make a git repository of the tree where that is wished, or where a build asks git and no setting forbids it.

        :raise UsageError: it is wished, and cannot be.
        """
        from vmtasks.project.history import History, git_query_in

        wished, asks = project.source.git, git_query_in(project.root)
        if not wished and not (asks and not project.source.version):
            return
        level: events.Level = "info"
        if wished is False:
            text, level = f"{asks} asks git, and '[source] git = false' keeps the history on the host", "warning"
        elif not wished and not adds_git and not guest.query("command -v git || :"):
            text = f"{asks} asks git, and Build-Depends do not name it: the build has no git and no history"
            level = "warning"
        else:
            try:
                source_package.put_history(guest, project.root, History.of(project.root), tree)
                text = (
                    f"{asks or '[source] git = true'} asks git: the history travels, without the files of older commits"
                )
            except UsageError as problem:
                if wished:
                    raise
                text, level = f"{asks} asks git, but {problem!s}; VMTASKS_VERSION can say the version", "warning"
        events.emit(events.Note(machine=guest.name, text=text, level=level))

    def _deliver_tarball(self, guest: Guest) -> str:
        if tool := _UNPACKED_BY.get(self.path.suffix):
            source_package.expect_tool(guest, tool, tool)
        guest.put(self.path, f"{WORKSHOP}/")
        guest.query(f"cd {WORKSHOP} && mkdir .unpacked && tar -x -C .unpacked -f ./{shlex.quote(self.path.name)}")
        found = guest.query(["find", f"{WORKSHOP}/.unpacked", "-mindepth", "1", "-maxdepth", "1", "-printf", "%y%f\n"])
        tops = found.splitlines()
        if len(tops) != 1 or not tops[0].startswith("d"):
            raise UsageError(f"cannot build {self.path}: it must hold one directory, and holds {len(tops)} files")
        tree = f"{WORKSHOP}/{tops[0][1:]}"
        guest.query(f"cd {WORKSHOP} && mv .unpacked/{shlex.quote(tops[0][1:])} ./ && rmdir .unpacked")
        if self.debian is not None and self.debian.is_dir():
            from vmtasks.project.orig import is_native

            # dpkg-source: what upstream has of debian/ counts for nothing where Debian has its own.
            if not is_native(self.debian.parent):
                guest.query(["rm", "-rf", f"{tree}/debian"])
            if not guest.query(f"[ ! -e {shlex.quote(tree)}/debian ] || echo yes"):
                guest.put(self.debian, f"{tree}/debian", mtime_s=source_date_epoch(self.debian.parent))
            self._name_upstream(guest, self.debian.parent)
        return tree

    def _name_upstream(self, guest: Guest, root: Path) -> None:
        """Have a tarball in the workshop be upstream's by its name, too, where the package in *root* has one."""
        from vmtasks.project.orig import ENDINGS, find

        with suppress(UsageError):  # the tool that needs it reports that
            upstream = find(root, only_tree=True)
            ending = re.search(rf"\.({ENDINGS}|tgz)$", self.path.name)
            if upstream.kind != "none" and ending:
                name = f"{upstream.stem}.{ending[1].replace('tgz', 'tar.gz')}"
                guest.query(["ln", "-f", "--", f"{WORKSHOP}/{self.path.name}", f"{WORKSHOP}/{name}"])

    def _deliver_dsc(self, guest: Guest) -> str:
        from vmtasks.project.dsc import Dsc

        source_package.expect_tool(guest, "dpkg-source", "dpkg-dev")
        dsc = Dsc.read(self.path)
        guest.put(self.path.parent, WORKSHOP, files=[Path(path.name) for path in dsc.files])
        tree = f"{WORKSHOP}/{dsc.tree}"
        guest.succeed(["dpkg-source", "--extract", dsc.path.name, tree], cwd=WORKSHOP)
        return tree


def _text(root: Path, name: str) -> str:
    with suppress(UsageError):  # the tool that needs it reports that
        return text_of(root, name) or ""
    return ""


def _control_in(tarball: Path) -> str:
    import lzma
    import zlib

    from vmtasks.guest.unpack import first_file, opened

    # It may be damaged, or packed in a way that Python does not know: the guest's tar has the last word on that.
    with suppress(TestFailed, OSError, EOFError, zlib.error, lzma.LZMAError), opened(tarball) as source:
        return first_file(source, _CONTROL, limit_bytes=_CONTROL_LIMIT_BYTES).decode(errors="replace")
    return ""
