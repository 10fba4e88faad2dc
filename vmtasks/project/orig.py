"""Upstream's tarball: where the one that a Debian package is made from can be found, and what it is called.

Looked for in the order in which Debian's own tools would find one: beside the tree, on a pristine-tar branch, at a tag,
and where debian/watch leads to. Source: dpkg-source(1), pristine-tar(1), gbp-buildpackage(1), DEP-14, uscan(1).
"""

from __future__ import annotations

import configparser
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vmtasks.errors import UsageError
from vmtasks.project.changelog import SourcePackage
from vmtasks.project.git import git
from vmtasks.project.history import History
from vmtasks.project.ini import read_ini
from vmtasks.project.text import text_of

ENDINGS = r"tar\.(?:gz|bz2|lzma|xz)"
"""A pattern: how the name of upstream's tarball may end, behind a dot."""
_PRISTINE = ("refs/heads/pristine-tar", "refs/remotes/origin/pristine-tar")
_TAGS = ("upstream/%(version)s", "v%(version)s", "%(version)s")
_NATIVE = re.compile(r"3\.0 \((?:native|git)\)")
_PATTERN_LENGTH = 255
_COMPONENTS = 100
"""More tarballs than any version has; git is asked about each."""
_WATCH_VERSION = re.compile(r"(?i:version)\s*[=:]\s*[0-9]+")
_ID = re.compile(r"[0-9a-f]{40,64}")
_ID_LIMIT_BYTES = 1024
"""More than any .id of pristine-tar's has: one name of a tree."""


OrigKind = Literal["beside", "pristine-tar", "tag", "watch", "tree", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Orig:
    """Where upstream's tarball comes from."""

    kind: OrigKind
    stem: str
    """What it is called, up to ``.tar``."""
    files: tuple[Path, ...] = ()
    """Files on the host that are it: components and signatures among them."""
    names: tuple[str, ...] = ()
    """What pristine-tar has under its own names."""
    ref: str = ""
    history: History = field(default_factory=History)
    trouble: str = ""
    """What came of debian/watch, where it is made of the tree since that led to none."""

    def says(self) -> str:
        """Return a sentence about what was done."""
        made = f"upstream's tarball {self.stem}.tar.* is "
        match self.kind:
            case "beside":
                return made + f"{self.files[0]}" + (f" and {len(self.files) - 1} more" if self.files[1:] else "")
            case "pristine-tar":
                return made + f"what {self.ref.removeprefix('refs/')} has"
            case "tag":
                return made + f"made of the tag {self.ref.removeprefix('refs/tags/')}"
            case "watch":
                return made + "what debian/watch leads to"
            case "tree":
                reason = "none was found beside it, with pristine-tar or at a tag"
                if self.trouble:
                    reason += f", and debian/watch leads to none: {self.trouble}"
                return made + f"made of the tree without debian/: {reason}"
        return ""


def format_of(root: Path) -> str:
    """Return the source format of the package in *root*; dpkg-source takes the oldest where none is named."""
    text = text_of(root, "debian/source/format") or ""
    return next((line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")), "1.0")


def is_native(root: Path) -> bool:
    """Tell by its format whether a package is Debian's own, without an upstream tarball."""
    return _NATIVE.fullmatch(format_of(root)) is not None


def misfit(root: Path) -> str:
    """Say why dpkg-source makes no package of the version of the one in *root*; nothing if its format allows it.

    A quilt package has a revision, and a native one has none.

    :raise UsageError: debian/changelog does not tell which it is.
    """
    version, form = SourcePackage.of(root).version, format_of(root)
    if form == "3.0 (quilt)" and "-" not in version:
        return f"a package in the format {form} has a revision, as {version}-1 has; in debian/changelog it is {version}"
    if form == "3.0 (native)" and "-" in version:
        return f"a package in the format {form} has no revision; in debian/changelog it is {version}"
    return ""


def find(root: Path, *, only_tree: bool = False) -> Orig:
    """Look for upstream's tarball of the package in *root*; there is none of a native one.

    :param only_tree: do not look: it is to be made of the tree.
    :raise UsageError: debian/changelog does not tell which it is, or git has a complaint.
    """
    package = SourcePackage.of(root)
    stem = f"{package.name}_{package.upstream_version}.orig"
    # Of the older formats, 2.0 has upstream's tarball whatever its version, and 1.0 has none without a revision.
    if is_native(root) or ("-" not in package.version and format_of(root) != "2.0"):
        return Orig(kind="none", stem=stem)
    if only_tree:
        return Orig(kind="tree", stem=stem)
    found = _beside(root, stem) or _pristine(root, stem) or _tag(root, package, stem)
    return found or Orig(kind="watch" if _is_watched(root) else "tree", stem=stem)


def _beside(root: Path, stem: str) -> Orig | None:
    wanted = re.compile(rf"{re.escape(stem)}(-[a-z0-9-]+)?\.{ENDINGS}(\.asc)?", re.IGNORECASE)
    found = sorted(path for path in root.parent.iterdir() if wanted.fullmatch(path.name) and path.is_file())
    is_there = any(path.name.startswith(f"{stem}.tar.") for path in found)
    return Orig(kind="beside", stem=stem, files=tuple(found)) if is_there else None


def _pristine(root: Path, stem: str) -> Orig | None:
    wanted = re.compile(rf"({re.escape(stem)}(?:-[A-Za-z0-9-]+)?\.{ENDINGS})\.delta")
    for ref in _PRISTINE if _is_whole(root) else ():
        listed = (git(root, "ls-tree", "-z", "--name-only", ref) or b"") if _exists(root, ref) else b""
        names = [match[1] for name in listed.decode(errors="replace").split("\0") if (match := wanted.fullmatch(name))]
        if any(name.startswith(f"{stem}.tar.") for name in names):
            if len(names) > _COMPONENTS:
                raise UsageError(
                    f"cannot take upstream's tarball from {ref}: it has more than {_COMPONENTS} of this version",
                    hint='[source] orig = "tree" (VMTASKS_ORIG=tree) makes it of the tree',
                )
            ids = [_id(root, f"{ref}:{name}.id") for name in names]
            trees = [one for one in ids if _ID.fullmatch(one)]
            history = History.of_one(root, ref, trees, name=_PRISTINE[0])
            return Orig(kind="pristine-tar", stem=stem, names=tuple(names), ref=ref, history=history)
    return None


def _id(root: Path, name: str) -> str:
    """Return what the .id of a tarball holds; nothing where it is larger than one can be.

    :raise UsageError: it is not there.
    """
    size = (git(root, "cat-file", "-s", name) or b"").strip()
    if not size.isdigit() or len(size) > len(str(_ID_LIMIT_BYTES)) or int(size) > _ID_LIMIT_BYTES:
        return ""
    return (git(root, "cat-file", "blob", name) or b"").decode(errors="replace").strip()


def _tag(root: Path, package: SourcePackage, stem: str) -> Orig | None:
    # DEP-14: what a ref's name cannot have.
    version = package.upstream_version.replace(":", "%").replace("~", "_").replace("..", ".#.")
    patterns = dict.fromkeys((*_gbp_patterns(root), *_TAGS)) if _is_whole(root) else ()
    for pattern in patterns:
        ref = "refs/tags/" + pattern.replace("%(version)s", version)
        if _exists(root, ref):
            return Orig(kind="tag", stem=stem, ref=ref, history=History.of_one(root, ref, name=ref))
    return None


def _gbp_patterns(root: Path) -> list[str]:
    """Return the pattern of upstream's tags that debian/gbp.conf sets."""
    try:
        settings = read_ini(text_of(root, "debian/gbp.conf") or "")
    except configparser.Error as problem:
        raise UsageError(f"cannot read {root / 'debian/gbp.conf'}: {problem.message.splitlines()[0]}") from problem
    sections = [settings.defaults(), *(settings[name] for name in settings.sections())]
    patterns = [section["upstream-tag"].strip("'\"") for section in sections if "upstream-tag" in section]
    if unusable := [pattern for pattern in patterns if not pattern.isprintable() or len(pattern) > _PATTERN_LENGTH]:
        raise UsageError(
            f"cannot read {root / 'debian/gbp.conf'}: "
            f"its upstream-tag {unusable[0][:80]!r} is no name that a tag can have",
            hint="write a pattern such as upstream/%(version)s",
        )
    return patterns


def _is_watched(root: Path) -> bool:
    """Whether debian/watch says where upstream's tarballs are: it has more than comments and a version of its own."""
    lines = (line.strip() for line in (text_of(root, "debian/watch") or "").splitlines())
    return any(line and not line.startswith("#") and not _WATCH_VERSION.fullmatch(line) for line in lines)


def _is_whole(root: Path) -> bool:
    """Whether *root* is all of a checkout, and not a part of one."""
    return git(root, "rev-parse", "--show-prefix") == b"\n"


def _exists(root: Path, ref: str) -> bool:
    return bool(git(root, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}"))
