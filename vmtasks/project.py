"""A project: what its vmtasks.toml says, and what can be found out without asking.

Three sources, each over the one before: what the tree itself tells (debian/changelog, a Makefile, pyproject.toml),
``vmtasks.toml`` at its root, and ``VMTASKS_...`` in the environment. docs/vmtasks.toml.md lists every key.
"""

from __future__ import annotations

import email.utils
import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC
from pathlib import Path
from typing import Any, Literal

from vmtasks import toml
from vmtasks.config import image_dirs
from vmtasks.errors import HostError, UsageError
from vmtasks.spec import Network

_GIT_LIMIT_S = 120.0
_OUR_OUTPUT = Path("build/vmtasks")
_BYPRODUCTS = (".venv", "__pycache__")
_NOTHING_THERE = ("not a git repository", "bad revision 'HEAD'")
_CHANGELOG = "debian/changelog"

_HEADING = re.compile(r"([a-z0-9][a-z0-9+.-]+) \(([0-9][A-Za-z0-9.+~:-]*)\)(?: [A-Za-z0-9.+-]+)+; ?urgency=\w+.*")
_SIGNATURE = re.compile(r" -- .*<.*>  ?(\S.*)")
_TARGETS = re.compile(r"^([\w./ -]+?) *::?(?![:=])", re.MULTILINE)
_AC_INIT = re.compile(r"^AC_INIT\(\s*\[?([\w.+ -]+)\]?\s*,\s*\[?([\w.+~-]+)\]?\s*[,)]", re.MULTILINE)

_AUTOTOOLS = "autoreconf --force --install && ./configure && "
_BACKENDS = {
    "flit_core": ("flit",),
    "hatchling": ("python3-hatchling",),
    "poetry": ("python3-poetry-core",),
    "setuptools": ("python3-setuptools", "python3-wheel"),
}
"""What builds Python packages, by the first name of its module, and Debian's packages of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Which machines the project's commands run in."""

    build: str = field(
        default="bookworm-build",
        metadata={"says": "the image that builds and tests", "env": "VMTASKS_BUILD_IMAGE"},
    )
    install: str = field(
        default="bookworm",
        metadata={"says": "the image that packages are installed in", "env": "VMTASKS_INSTALL_IMAGE"},
    )

    @classmethod
    def like(cls, name: str, directories: Iterable[Path]) -> Images:
        """Return the pair that *name* belongs to: ``trixie`` installs in it and builds in ``trixie-build``.

        The same pair comes of ``trixie-build``. An image that has no such counterpart does both.

        :param directories: where image definitions are.
        """
        plain = name.removesuffix("-build")
        counterpart = plain if plain != name else f"{plain}-build"
        if not any((directory / f"{counterpart}.toml").is_file() for directory in directories):
            return cls(build=name, install=name)
        return cls(build=f"{plain}-build", install=plain)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What machine the project needs; None leaves it to the image."""

    memory_mib: int | None = field(
        default=None, metadata={"says": "memory in MiB", "at_least": 64, "env": "VMTASKS_MEMORY_MIB"}
    )
    cpus: int | None = field(
        default=None, metadata={"says": "virtual processors", "at_least": 1, "env": "VMTASKS_CPUS"}
    )
    network: Network | None = field(
        default=None, metadata={"says": "what the machine reaches", "env": "VMTASKS_NETWORK"}
    )
    on: str = field(default="", metadata={"says": "where the machine runs", "env": "VMTASKS_ON"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    """The project's own commands: shell lines, run at its root; an empty one is none."""

    dist: str = field(default="", metadata={"says": "a shell line", "env": "VMTASKS_DIST"})
    test: str = field(default="", metadata={"says": "a shell line", "env": "VMTASKS_TEST"})
    smoke: str = field(default="", metadata={"says": "a shell line", "env": "VMTASKS_SMOKE"})
    timeout_s: float = field(
        default=3600.0,
        metadata={"says": "limit of one command in seconds, 0 for none", "at_least": 0, "env": "VMTASKS_TIMEOUT_S"},
    )
    packages: tuple[str, ...] = field(default=(), metadata={"says": "Debian packages", "env": "VMTASKS_PACKAGES"})
    lintian: Literal["error", "warning", "info", "none", "off"] = field(
        default="error", metadata={"says": "the least that lintian fails on", "env": "VMTASKS_LINTIAN"}
    )
    env: dict[str, str] = field(default_factory=dict, metadata={"says": "the commands' environment"})
    env_from: tuple[str, ...] = field(
        default=(), metadata={"says": "names of the host's variables", "env": "VMTASKS_ENV_FROM"}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Install:
    """What install-test makes of what it finds."""

    leftovers: Literal["fail", "warn"] = field(
        default="fail",
        metadata={"says": "what a purge that leaves or changes files is", "env": "VMTASKS_LEFTOVERS"},
    )
    skipped: Literal["fail", "pass"] = field(
        default="fail",
        metadata={"says": "what it is if no test of the source tells anything", "env": "VMTASKS_SKIPPED"},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """How its Debian packages are built."""

    profiles: tuple[str, ...] = field(default=(), metadata={"says": "build profiles", "env": "VMTASKS_BUILD_PROFILES"})
    options: tuple[str, ...] = field(default=(), metadata={"says": "build options", "env": "VMTASKS_BUILD_OPTIONS"})
    network: Literal["none", "user"] = field(
        default="none", metadata={"says": "what the build reaches", "env": "VMTASKS_BUILD_NETWORK"}
    )
    source: bool = field(
        default=False, metadata={"says": "whether a source package comes out", "env": "VMTASKS_BUILD_SOURCE"}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifacts:
    """What to bring out of the machine: globs relative to the project's root."""

    dist: tuple[str, ...] = field(
        default=("*.tar.gz", "dist/*.tar.gz"), metadata={"says": "globs", "env": "VMTASKS_DIST_ARTIFACTS"}
    )
    test: tuple[str, ...] = field(default=(), metadata={"says": "globs", "env": "VMTASKS_TEST_ARTIFACTS"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePackage:
    """The Debian source package that debian/changelog speaks of."""

    name: str
    version: str

    @classmethod
    def of(cls, root: Path) -> SourcePackage:
        """Read the first line of the debian/changelog below *root*.

        :raise UsageError: there is no such file, or it begins otherwise.
        """
        first, _, _ = _changelog(root).partition("\n")
        if match := _HEADING.fullmatch(first.rstrip()):
            return cls(name=match[1], version=match[2])
        raise UsageError(
            f"cannot read {root / _CHANGELOG}: "
            f"its first line must be like 'name (version) dist; urgency=medium', not '{first[:80]}'"
        )

    @property
    def upstream_version(self) -> str:
        """The version without Debian's epoch and revision."""
        return self.version.split(":", 1)[-1].rsplit("-", 1)[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """What is to be built and tested; *version* is empty where nothing tells it."""

    root: Path = field(metadata={"key": None})
    version: str = field(default="", metadata={"key": None})
    name: str = field(metadata={"says": "the project's name", "env": "VMTASKS_NAME"})
    images: Images = Images()
    machine: Machine = Machine()
    commands: Commands = field(default_factory=Commands)
    build: Build = Build()
    install: Install = Install()
    artifacts: Artifacts = Artifacts()

    @classmethod
    def load(cls, root: Path, environ: Mapping[str, str] = os.environ) -> Project:
        """Look at the directory *root*, read its vmtasks.toml if there is one, and let *environ* override both.

        :raise UsageError: it is no directory, or something in it is not as it should be.
        """
        root = Path(os.path.abspath(os.path.expanduser(root)))  # noqa: PTH100, PTH111 - pathlib leaves ".." standing
        try:
            os.scandir(root).close()
        except OSError as error:
            raise UsageError(f"cannot open the project {root}: {error.strerror}") from error
        name, version = _identity(root)
        project = cls(root=root, name=name, version=version, commands=_usual_commands(root))
        if os.path.lexists(root / "vmtasks.toml"):
            project = toml.load(cls, root / "vmtasks.toml", over=project)
            _check_place(root / "vmtasks.toml", project.machine.on)
        if image := environ.get("VMTASKS_IMAGE"):
            project = replace(project, images=Images.like(image, image_dirs(environ)))
        return toml.override(project, environ)

    @classmethod
    def of_file(cls, path: Path, environ: Mapping[str, str] = os.environ) -> Project:
        """Return the project that a source archive stands for: defaults, and *environ* over them."""
        return toml.override(cls(root=path.absolute(), name=path.name.split("_")[0]), environ)

    @property
    def is_packaged(self) -> bool:
        """Whether it can be built as a Debian package."""
        return (self.root / "debian/control").is_file()

    @property
    def source_package(self) -> SourcePackage:
        """The source package that it is; a UsageError where debian/changelog does not tell."""
        return SourcePackage.of(self.root)


def _check_place(path: Path, on: str) -> None:
    """See that a project asks for clean machines alone: whose host it is root on, or whose money it spends, users say.

    :raise UsageError: it asks for others.
    """
    if on.startswith(("ssh://", "ec2")):
        raise UsageError(
            f"{path}: [machine] on = {on!r}: a project may name a host for its clean machines, as 'USER@HOST'",
            hint=f"if you want it so: --on {on}, or VMTASKS_ON",
        )


def source_date_epoch(root: Path) -> int:
    """Return the date of the sources in seconds since the epoch, so that the same tree gives the same bytes.

    It is that of debian/changelog's first entry, else of the last commit that changed something below *root*,
    else of the newest file.

    :raise UsageError: debian/changelog has no date where it should.
    """
    if os.path.lexists(root / _CHANGELOG):
        return _changelog_date(root)
    if commit := _git(root, "rev-list", "--max-count=1", "--timestamp", "HEAD", "--", "."):
        return int(commit.split()[0])
    return max((int((root / path).lstat().st_mtime) for path in tree_files(root)), default=0)


def tree_files(root: Path) -> tuple[Path, ...]:
    """Return the files that travel to the guest, sorted and relative to *root*; links are links.

    In a git checkout these are the tracked files and the new ones that it does not ignore, those of submodules
    too; elsewhere all but byproducts. What this program itself wrote is never among them.

    :raise UsageError: a directory cannot be read, or git has a complaint.
    """
    exclude = [f"--exclude={name}" for name in _BYPRODUCTS]
    listing = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard", *exclude)
    if listing or (listing is not None and os.path.lexists(root / ".git")):
        found = _present(root, {Path(os.fsdecode(name)) for name in listing.split(b"\0") if name})
    else:  # no checkout, or one around us that ignores all of us
        found = _walk(root)
    return tuple(sorted(path for path in found if not path.is_relative_to(_OUR_OUTPUT)))


def _present(root: Path, listed: Iterable[Path]) -> Iterator[Path]:
    """Yield those of the files that git knows which are there, and the files of submodules."""
    links: set[Path] = set()
    for path in sorted(listed):
        if not links.isdisjoint(path.parents):
            continue  # to git it is still in a directory, but a link has taken that one's place
        if (root / path).is_symlink():
            links.add(path)
            yield path
        elif (root / path).is_file():
            yield path
        elif os.path.lexists(root / path / ".git"):
            yield from (path / below for below in tree_files(root / path))


def _walk(root: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise UsageError(f"cannot read {error.filename}: {error.strerror}") from error

    for name, directories, files in os.walk(root, onerror=refuse):
        here = Path(name)
        directories[:] = [child for child in directories if child not in {".git", *_BYPRODUCTS}]
        for child in (*directories, *files):
            path = here / child
            if child != ".git" and (path.is_symlink() or path.is_file()):
                yield path.relative_to(root)


def _git(root: Path, *arguments: str) -> bytes | None:
    """Return what git says about *root*; None where there is no git, no checkout or no commit.

    The checkout may be somebody else's, and nothing of a project's runs on the host: so git is told to trust its
    owner, not to call the program that core.fsmonitor may name, and to fetch nothing that is missing, which would call
    the one of remote.NAME.uploadpack.

    :raise UsageError: git has another complaint.
    """
    # Variables such as GIT_DIR, which git sets for its hooks, would lead to another checkout.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environ |= {"LC_ALL": "C", "GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": "none"}
    argv = ["git", "-C", str(root), "-c", "safe.directory=*", "-c", "core.fsmonitor=false", *arguments]
    try:
        answer = subprocess.run(
            argv, env=environ, stdin=subprocess.DEVNULL, capture_output=True, timeout=_GIT_LIMIT_S, check=False
        )
    except FileNotFoundError:
        return None
    except subprocess.TimeoutExpired as error:
        raise HostError(
            f"cannot look into the checkout {root}: git has not answered for {_GIT_LIMIT_S:.0f} s"
        ) from error
    complaint = " ".join(answer.stderr.decode(errors="replace").split())
    if answer.returncode == 0:
        return answer.stdout
    if any(nothing in complaint for nothing in _NOTHING_THERE):
        return None
    raise UsageError(f"cannot look into the checkout {root}: git says '{complaint}'")


def _changelog(root: Path) -> str:
    text = _text(root / _CHANGELOG)
    if text is None:
        raise UsageError(f"cannot tell which source package {root} is: it has no {_CHANGELOG}")
    return text


def _changelog_date(root: Path) -> int:
    line = next((line for line in _changelog(root).splitlines() if line.startswith(" --")), "")
    match = _SIGNATURE.fullmatch(line.rstrip())
    try:
        date = email.utils.parsedate_to_datetime(match[1] if match else "")
    except ValueError:
        wanted = "' -- Name <address>  Wed, 01 Jan 2025 12:00:00 +0000'"
        raise UsageError(
            f"cannot read {root / _CHANGELOG}: its first entry must end in a line like {wanted}, not '{line[:80]}'"
        ) from None
    return int((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp())


def _identity(root: Path) -> tuple[str, str]:
    """Return the project's name, and its version if something tells it."""
    if os.path.lexists(root / _CHANGELOG):
        package = SourcePackage.of(root)
        return package.name, package.upstream_version
    python = _table(_pyproject(root), "project")
    if name := python.get("name"):
        return str(name), str(python.get("version", ""))
    if match := _AC_INIT.search(_text(root / "configure.ac") or ""):
        return re.sub(r"\W+", "-", match[1].removeprefix("GNU ").strip().lower()), match[2]
    return root.name or "project", ""


def _usual_commands(root: Path) -> Commands:
    """Return the commands that projects of this kind have, and the Debian packages that these need."""
    pyproject = _pyproject(root)
    autotools = (root / "configure.ac").is_file() and (root / "Makefile.am").is_file()
    python = (root / "setup.py").is_file() or not pyproject.keys().isdisjoint(("project", "build-system"))
    # With automake a Makefile is made, not read: it is there on the host at most.
    targets = frozenset() if autotools else _make_targets(root)
    sdist, pytest = "python3 -m build --sdist --no-isolation", "python3 -m pytest"
    dist = {f"{_AUTOTOOLS}make dist": autotools, "make dist": "dist" in targets, sdist: python}
    test = {
        f"{_AUTOTOOLS}make check": autotools,
        "make check": "check" in targets,
        "make test": "test" in targets,
        pytest: python and any((root / name).is_dir() for name in ("tests", "test")),
    }
    chosen = [next((command for command, fits in kind.items() if fits), "") for kind in (dist, test)]
    backend = str(_table(pyproject, "build-system").get("build-backend", "setuptools")).partition(".")[0]
    packages = {
        ("autoconf", "automake", "libtool"): autotools,
        ("python3-build", *_BACKENDS.get(backend, ())): sdist in chosen,
        ("python3-pytest",): pytest in chosen,
    }
    return Commands(
        dist=chosen[0],
        test=chosen[1],
        packages=tuple(package for group, fits in packages.items() if fits for package in group),
    )


def _make_targets(root: Path) -> frozenset[str]:
    """Return the targets of the makefile that make would read; those of included files are not seen."""
    texts = (_text(root / name) for name in ("GNUmakefile", "makefile", "Makefile"))
    makefile = next((text for text in texts if text is not None), "")
    return frozenset(name for match in _TARGETS.finditer(makefile) for name in match[1].split())


def _pyproject(root: Path) -> dict[str, Any]:
    path = root / "pyproject.toml"
    return toml.read(path) if os.path.lexists(path) else {}


def _table(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the table *key*; an empty one if it is not there, or is something else."""
    table = document.get(key)
    return table if isinstance(table, dict) else {}


def _text(path: Path) -> str | None:
    """Return a file's text, whatever its encoding; None if there is no such file."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
