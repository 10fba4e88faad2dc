"""What git knows of a project, made into files that travel: objects, names for them, and nothing else.

Neither the checkout's .git nor a copy of it goes into a machine: it has hooks, the addresses of other hosts, perhaps
with passwords, and everything that somebody has ever thrown away. What git packs here are the objects that a build can
ask for; a repository is made of them in the machine, by the git there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vmtasks.errors import UsageError
from vmtasks.project.git import git
from vmtasks.project.git_query import query_in
from vmtasks.project.text import text_of

_ASKERS = (
    *("GNUmakefile", "makefile", "Makefile", "Makefile.am", "configure.ac", "CMakeLists.txt", "meson.build"),
    *("pyproject.toml", "setup.py", "setup.cfg", "debian/rules"),
)
_STAYS = "hooks"
"""The directory of .git that is never looked into: what is in there is run on the host, and does not travel."""
_LEADS_ELSEWHERE = ("commondir", "objects/info/alternates", "objects/info/http-alternates")
_WITHOUT_HISTORY = "leave [source] git out, and say its version: [source] version, or VMTASKS_VERSION"
_WITHOUT_ORIG = (
    'git clone it, or set [source] orig = "tree" (VMTASKS_ORIG=tree): upstream\'s tarball is then made of the tree'
)

IMPORT = """# make a repository of what travelled
set -eu
tree=$1 files=$2
git init --quiet --template= "$tree"
cd "$tree"
git index-pack --stdin <"$files/objects.pack" >/dev/null
if [ -s "$files/shallow" ]; then cp "$files/shallow" .git/shallow; fi
git update-ref --stdin <"$files/refs"
head=$(cat "$files/head")
[ "$head" ] || exit 0
branch=$(cat "$files/branch")
if [ "$branch" ]; then git symbolic-ref HEAD "$branch"; else git update-ref --no-deref HEAD "$head"; fi
git read-tree HEAD
git update-index -q --refresh || :
"""
"""Shell for the guest; its arguments are the tree, and the directory of the files that travelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Objects of a checkout's and the names that they are to have."""

    objects: tuple[str, ...] = ()
    refs: dict[str, str] = field(default_factory=dict)
    """The id that each name, from ``refs/`` on, stands for."""
    head: str = ""
    branch: str = ""
    """The name that HEAD stands for; nothing: it stands for the commit itself."""
    shallow: tuple[str, ...] = ()
    """The commits whose parents are not among the objects."""

    @classmethod
    def of(cls, root: Path) -> History:
        """Return what git needs to describe the checkout *root*: its commits and tags, and the files of the last one.

        :raise UsageError: it is no checkout with a commit, part of a larger one, or leads elsewhere.
        """
        _expect_whole(root, hint=_WITHOUT_HISTORY)
        commits = _lines(root, "rev-list", "HEAD")
        if not commits:
            raise UsageError(f"cannot send the history of {root}: it has no commit yet")
        listed = _lines(root, "for-each-ref", "--merged=HEAD", "--format=%(refname) %(objectname)", "refs/tags")
        tags = {name: one for name, _, one in (line.partition(" ") for line in listed)}
        branch = "".join(_lines(root, "symbolic-ref", "--quiet", "HEAD"))
        shallow = text_of(root, ".git/shallow") or ""
        return cls(
            objects=(*commits, *_tree(root, "HEAD"), *tags.values()),
            refs=tags | ({branch: commits[0]} if branch else {}),
            head=commits[0],
            branch=branch,
            shallow=tuple(shallow.split()),
        )

    @classmethod
    def of_one(cls, root: Path, ref: str, trees: Iterable[str] = (), *, name: str) -> History:
        """Return the commit that *ref* stands for as *name*, without what went before it, and *trees* besides.

        :raise UsageError: one of them is not there, or the checkout leads elsewhere.
        """
        _expect_whole(root, hint=_WITHOUT_ORIG)
        (commit,) = _lines(root, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
        objects = (commit, *(one for tree in (ref, *trees) for one in _tree(root, tree)))
        return cls(objects=tuple(dict.fromkeys(objects)), refs={name: commit}, shallow=(commit,))

    def write(self, root: Path, target: Path) -> None:
        """Write the files that travel into the directory *target*."""
        with (target / "objects.pack").open("wb") as pack:
            git(root, "pack-objects", "--quiet", "--stdout", stdin=_text(self.objects).encode(), into=pack)
        (target / "refs").write_text(_text(f"create {name} {one}" for name, one in self.refs.items()))
        (target / "shallow").write_text(_text(self.shallow))
        (target / "head").write_text(self.head)
        (target / "branch").write_text(self.branch)


def git_query_in(root: Path) -> str:
    """Return what in a checkout's files asks git for something, as ``FILE (words)``; empty where none does."""
    if git(root, "rev-parse", "--git-dir") is None:
        return ""
    for name in _ASKERS:
        if query := query_in(text_of(root, name) or ""):
            return f"{name} ({query})"
    return ""


def _expect_whole(root: Path, *, hint: str) -> None:
    """See that the checkout's .git is its own: what else it leads to is not the project's to hand out.

    :raise UsageError: it is not.
    """
    git_dir = root / ".git"
    if not git_dir.is_dir() or git_dir.is_symlink():
        raise UsageError(f"cannot send the history of {root}: it has no .git directory of its own", hint=hint)
    elsewhere = [*_links(git_dir), *(git_dir / name for name in _LEADS_ELSEWHERE if (git_dir / name).exists())]
    if elsewhere:
        raise UsageError(
            f"cannot send the history of {root}: {elsewhere[0].relative_to(root)} leads to files that are not its own",
            hint=f"a clone that was made without --shared and --reference has everything itself; or {hint}",
        )
    # A .git that is no repository has git look above it, where somebody else's may be.
    if (git(root, "rev-parse", "--absolute-git-dir") or b"").rstrip(b"\n") != os.fsencode(git_dir.resolve()):
        raise UsageError(f"cannot send the history of {root}: git does not take its .git for a repository", hint=hint)


def _links(git_dir: Path) -> Iterator[Path]:
    """Yield the symbolic links below a .git, but for those among its hooks: git looks for no objects and names there.

    :raise UsageError: some of it cannot be read.
    """
    todo = [git_dir]  # not os.walk: to a stranger's tree of directories, that is a call within a call
    while todo:
        try:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    path = Path(entry.path)
                    if path == git_dir / _STAYS:
                        continue
                    if entry.is_symlink():
                        yield path
                    elif entry.is_dir(follow_symlinks=False):
                        todo.append(path)
        except OSError as problem:
            raise UsageError(f"cannot read {problem.filename or git_dir}: {problem.strerror}") from problem


def _tree(root: Path, revision: str) -> list[str]:
    """Return the ids of a commit's or a tree's files and directories."""
    listed = _lines(root, "rev-list", "--objects", "--no-object-names", f"{revision}^{{tree}}")
    if not listed:
        raise UsageError(f"cannot look into the checkout {root}: there is no {revision}")
    return listed


def _lines(root: Path, *arguments: str) -> list[str]:
    return os.fsdecode(git(root, *arguments) or b"").splitlines()


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
