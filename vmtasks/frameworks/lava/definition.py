"""A test definition: the YAML file of a lava-test-shell, checked, as a value.

What LAVA takes and does nothing with is taken (metadata); what it takes and loses is refused, each with a sentence.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from vmtasks.config import toml
from vmtasks.errors import UsageError, did_you_mean
from vmtasks.frameworks.lava import yaml11

RESULTS = ("pass", "fail", "skip", "unknown")
INSTALL_PARTS = {
    "keys": ("keys",),
    "sources": ("sources",),
    "deps": ("deps", "deps_of"),
    "steps": ("steps",),
    "repos": ("git_repos",),
    "all": ("keys", "sources", "deps", "deps_of", "steps", "git_repos"),
}
"""What ``skip_install`` can name, and which fields of :class:`InstallSection` that is."""
_FIXUPS = {word.upper(): word for word in RESULTS}
VARIABLE = re.compile(r"[A-Za-z_]\w*", re.ASCII)
"""The name of a variable of the shell."""
_ADDRESS = re.compile(r"[a-z]{2,}:/")
"""A URL, of whose slashes a path has one."""
_PARAMS = ("params", "parameters")
_LONGEST_PATTERN = 4096
"""Characters; what Python makes of more of them takes its time."""
_REFUSED = {
    "test-case-deps": "name the other definitions on the command line, before this one",
    "handler": "it ran programs beside the board, where vmtasks runs nothing of a project",
}
_REFUSED_INSTALL = {"bzr-repos": "bazaar is gone; give a git repository in git-repos"}


@dataclass(frozen=True, slots=True, kw_only=True)
class GitRepository:
    """A git repository that is cloned into the definition's directory."""

    url: str
    branch: str = ""
    destination: str = ""
    skip_by_default: bool = False

    @property
    def directory(self) -> str:
        """Where it goes, relative to the definition's directory."""
        return self.destination or PurePosixPath(self.url.rstrip("/")).name.removesuffix(".git")


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallSection:
    """What ``install`` says, in the order in which it is done."""

    git_repos: tuple[GitRepository, ...] = ()
    keys: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    deps: tuple[str, ...] = ()
    deps_of: Mapping[str, tuple[str, ...]] = field(default_factory=dict, metadata={"key": None})
    """More packages, by the ID of the system that needs them (os-release(5))."""
    steps: tuple[str, ...] = ()

    def without(self, parts: Iterable[str]) -> InstallSection:
        """Return it without those parts, which :data:`INSTALL_PARTS` names.

        :raise UsageError: there is no such part.
        """
        kept, nothing = self, InstallSection()
        for part in parts:
            if part not in INSTALL_PARTS:
                raise UsageError(f"cannot skip '{part}' of install; {_nearest(part, tuple(INSTALL_PARTS))}")
            kept = replace(kept, **{name: getattr(nothing, name) for name in INSTALL_PARTS[part]})
        return kept


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSection:
    """What ``run`` says."""

    steps: tuple[str, ...] = field(metadata={"says": "lines of shell"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ParseSection:
    """What ``parse`` says: test cases that a program tells in words of its own."""

    pattern: str = field(metadata={"says": "a regular expression with the groups test_case_id and result"})
    fixupdict: dict[str, str] = field(default_factory=dict)
    """What results are called there. LAVA's words in capitals need not be said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """The keys of the file, beside metadata and parameters."""

    run: RunSection
    install: InstallSection = field(default_factory=InstallSection)
    parse: ParseSection | None = None
    expected: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TestDefinition:
    """A test definition."""

    __test__ = False  # not a test class, whatever pytest makes of the name

    name: str
    path: Path
    metadata: Mapping[str, str]
    params: Mapping[str, str]
    """The values of its parameters, as the shell gets them."""
    install: InstallSection
    steps: tuple[str, ...]
    parse: ParseSection | None = None
    expected: tuple[str, ...] = ()
    """The names of its cases, if it says them: any other, and one that is missing, is a failure."""
    is_alone: bool = False
    """Whether no files go along but its own: it is from a URL, or part of a job."""

    def with_params(self, params: Mapping[str, str]) -> TestDefinition:
        """Return it with other values of parameters.

        :raise UsageError: a name cannot be a variable of the shell.
        """
        return replace(self, params=_params({**self.params, **params}, "a parameter"))

    def skipping(self, parts: Iterable[str]) -> TestDefinition:
        """Return it without parts of its install.

        :raise UsageError: :data:`INSTALL_PARTS` does not name one.
        """
        return replace(self, install=self.install.without(parts))


def load(path: Path) -> TestDefinition:
    """Read a definition.

    :raise UsageError: the file cannot be read, or is not a definition; the message says what is wrong in it.
    """
    if _ADDRESS.match(str(path)):
        raise UsageError(f"cannot read {path}: it is not here", hint="clone its repository, and name the file in that")
    return definition_of(yaml11.read(path), path)


def definition_of(document: Mapping[str, Any], path: Path) -> TestDefinition:
    """Make a definition of a YAML document.

    :param path: the file that it is from, which messages name.
    :raise UsageError: it is none.
    """
    where = str(path)
    defaults = _defaults(document, where)
    rest = yaml11.without_nulls({key: value for key, value in document.items() if key not in _PARAMS})
    _refuse(_REFUSED, rest, where)
    metadata = rest.pop("metadata", None)
    if not isinstance(metadata, dict) or not metadata.get("name"):
        slips = () if isinstance(metadata, dict) else rest
        near = next((f"; key '{key}': {ask}" for key in slips if (ask := did_you_mean(key, ("metadata",)))), "")
        raise UsageError(f"{where}: the definition has no name{near}", hint="metadata: {name: NAME} gives it one")
    install, more = _install(rest.pop("install", {}), where)
    found = toml.parse(_File, {**rest, "install": install}, where=where)
    return TestDefinition(
        name=yaml11.as_text(metadata["name"]),
        path=path,
        metadata={key: _flat(value) for key, value in metadata.items()},
        params=_params(defaults, where),
        install=_checked(replace(found.install, deps_of=more), where),
        steps=_steps(found.run.steps, where),
        parse=_pattern(found.parse, where),
        expected=found.expected,
    )


def _defaults(document: Mapping[str, Any], where: str) -> dict[str, str]:
    """Return the parameters; one without a value is empty, and not left out."""
    found: dict[str, str] = {}
    for key in _PARAMS:
        given = document.get(key)
        if not isinstance(given, dict | None):
            raise UsageError(f"{where}: key '{key}' must map names to values")
        found |= {yaml11.as_text(name): yaml11.as_text(value) for name, value in (given or {}).items()}
    return found


def _install(table: object, where: str) -> tuple[dict[str, Any], dict[str, tuple[str, ...]]]:
    """Return ``install`` as a table of ours, and the packages for single systems."""
    if not isinstance(table, dict):
        raise UsageError(f"{where}: key 'install' must be a mapping")
    _refuse(_REFUSED_INSTALL, table, where)
    ours, more = dict(table), {}
    for key, value in table.items():
        if key.startswith("deps-"):
            del ours[key]
            more[key.removeprefix("deps-")] = toml.parse(InstallSection, {"deps": value}, where=f"{where}: {key}").deps
    repos = ours.get("git-repos")
    if isinstance(repos, list):
        ours["git-repos"] = [{"url": one} if isinstance(one, str) else one for one in repos]
    return ours, more


def _checked(install: InstallSection, where: str) -> InstallSection:
    for repository in install.git_repos:
        place = PurePosixPath(repository.directory)
        if place.is_absolute() or ".." in place.parts or not place.parts:
            raise UsageError(
                f"{where}: cannot clone {repository.url} to {place}: it must be below the definition's files"
            )
    return install


def _steps(steps: tuple[str, ...], where: str) -> tuple[str, ...]:
    if not steps:
        raise UsageError(f"{where}: key 'steps' in [run] is empty: there is nothing to run")
    return steps


def _pattern(parse: ParseSection | None, where: str) -> ParseSection | None:
    if parse is None:
        return None
    if len(parse.pattern) > _LONGEST_PATTERN:
        raise UsageError(f"{where}: key 'pattern' in [parse] has more than {_LONGEST_PATTERN} characters")
    try:
        with warnings.catch_warnings(action="ignore"):  # of what Python may read otherwise some day
            groups = re.compile(parse.pattern).groupindex
    except (re.error, OverflowError, RecursionError) as error:
        raise UsageError(f"{where}: key 'pattern' in [parse] is no regular expression of Python's: {error}") from error
    if missing := [name for name in ("test_case_id", "result") if name not in groups]:
        hint = "a group is (?P<test_case_id>...)"
        raise UsageError(f"{where}: key 'pattern' in [parse] has no group {' and none '.join(missing)}", hint=hint)
    if wrong := [word for word in parse.fixupdict.values() if word not in RESULTS]:
        raise UsageError(f"{where}: key 'fixupdict' in [parse] has '{wrong[0]}'; {_nearest(wrong[0], RESULTS)}")
    return replace(parse, fixupdict=_FIXUPS | parse.fixupdict)


def _params(params: Mapping[str, str], where: str) -> dict[str, str]:
    for name in params:
        if not VARIABLE.fullmatch(name):
            raise UsageError(f"{where}: the parameter '{name}' cannot be a variable of the shell")
    return dict(params)


def _refuse(reasons: Mapping[str, str], table: Mapping[str, Any], where: str) -> None:
    for key, reason in reasons.items():
        if key in table:
            raise UsageError(f"{where}: key '{key}' is LAVA's, and not supported: {reason}")


def _flat(value: object) -> str:
    return ", ".join(map(yaml11.as_text, value)) if isinstance(value, list) else yaml11.as_text(value)


def _nearest(word: str, known: tuple[str, ...]) -> str:
    return did_you_mean(word, known, otherwise="known are " + ", ".join(f"'{one}'" for one in known))
