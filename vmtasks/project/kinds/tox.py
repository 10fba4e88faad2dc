"""tox: the environment that tests a project, and whether it can be made where there is no more than what tox reads."""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from vmtasks.project.ini import read_ini
from vmtasks.project.kinds.kind import Tree, table, word
from vmtasks.project.kinds.python_requirements import INCLUDES, is_directory, lists, name_directories
from vmtasks.project.kinds.suites import VERSIONS

READS = (
    "tox.ini", "setup.cfg", "pyproject.toml", "tox.toml", "*requirements*.txt", "requirements/*.txt",
    "*constraints*.txt",
)  # fmt: skip
_ROOT = re.compile(r"\{(?:toxinidir|tox_root)\}")
_DEFAULT = re.compile(r"\{env:[^:{}]++:([^{}]*+)\}")
_FACTORS = re.compile(r"^([\w.,!{}-]++):(?=\s|$)\s*+")
"""What begins a line that is for some environments only: ``py311,!cov: name``."""
_BRACES = re.compile(r"\{([^{}]*+)\}")
_BETWEEN = re.compile(r"[,\s]++(?![^{}]{0,99}+\})")
"""What separates the environments of a list; a comma in braces does not."""
_OF_THIS_PYTHON = "py$(python3 -c 'import sys; print(*sys.version_info[:2], sep=str())')"
_OF_NO_TESTS = frozenset({
    "black", "build", "clean", "dist", "doc", "docs", "flake8", "format", "lint", "mypy", "pylint", "pyright", "report",
    "ruff", "style", "type", "types", "typing",
})  # fmt: skip
"""Parts of names of environments that are for something else than tests."""
_EXPANDED = 200
"""So many environments of a list are looked at,"""
_LONGEST = 4000
"""and so many characters of it."""


def environment(tree: Tree) -> str:
    """Return the environment of tox that runs tests on a Python that Debian has, as a shell's word; empty if none is.

    tox invents an environment that is asked for and not there: it runs nothing, and passes. So ``py`` is asked for only
    where it has commands. An environment that the project names for the usual Python goes before that: what is only for
    some environments (``py311: pytest``) is missing in ``py``. In another image it is that of the Python there, if that
    has commands, too.

    :raise UsageError: a file that tox reads is no valid TOML.
    """
    usual, *newer = (f"py{''.join(version.split('.')[:2])}" for version in VERSIONS["python3"].values())
    pythons = ["py3", usual, "py", *newer]
    if (parser := _ini(tree)) is not None:
        listed = [*_listed(parser), *(name[8:] for name in parser.sections() if name.startswith("testenv:"))]
        runs = partial(_ini_runs, parser)
    else:
        settings = _native(tree)
        names = settings.get("env_list")
        listed = [*table(settings, "env"), *(word(name) for name in (names if isinstance(names, list) else []))]
        runs = partial(_native_runs, settings)
    named = sorted(name for name in {"py", *listed} if runs(name) and _OF_NO_TESTS.isdisjoint(name.split("-")))
    name = next((one for python in pythons for one in named if one == python or one.startswith(f"{python}-")), "")
    others = name.removeprefix(usual)
    if others != name and all(runs(f"{python}{others}") for python in newer):
        return f'"{_OF_THIS_PYTHON}"{others}'
    return name


def python_of(name: str) -> str:
    """Return the version of Python that an environment's name asks for; empty if any will do."""
    version = re.match(r"py3([0-9]+)(?:-|\Z)", name)
    return f"3.{version[1]}" if version else ""


def is_apart(tree: Tree) -> bool:
    """Whether nothing that tox installs beside the project is the project, or a directory of it.

    That would be installed as empty as it is where the rest of the project is missing, and be taken for done.

    :raise UsageError: a list of requirements cannot be read.
    """
    if (parser := _ini(tree)) is not None:
        # Of all environments: one may take over what another has.
        sections = parser.sections()
        listed = [line for one in sections for line in parser.get(one, "deps", fallback="").splitlines()]
    else:
        settings = _native(tree)
        tables = [table(settings, "env_run_base"), *(table(settings, "env", name) for name in table(settings, "env"))]
        listed = []
        for deps in (one.get("deps", []) for one in tables):
            if not isinstance(deps, list) or not all(isinstance(one, str) for one in deps):
                return False  # what another place says is none of what is read here
            listed += deps
    lines = [_FACTORS.sub("", _plain(line.strip())) for line in listed]
    included = [name for line in lines for name in INCLUDES.findall(line)]
    return not any(map(is_directory, lines)) and not name_directories(tree, lists(tree, *included))


def _ini(tree: Tree) -> configparser.RawConfigParser | None:
    """Return the settings in the first place where tox looks for some in its older form; None where it finds none."""
    legacy = table(tree.toml("pyproject.toml"), "tool", "tox").get("legacy_tox_ini")
    for text, mark in (
        (tree.text("tox.ini"), ""),
        (tree.text("setup.cfg"), "tox:tox"),
        (legacy if isinstance(legacy, str) else "", ""),
    ):
        try:
            parser = read_ini(text)
        except configparser.Error:
            continue
        is_of_tox = any(name == "tox" or name.startswith("testenv") for name in parser.sections())
        if parser.has_section(mark) if mark else is_of_tox:
            return parser
    return None


def _native(tree: Tree) -> Mapping[str, Any]:
    return table(tree.toml("pyproject.toml"), "tool", "tox") or tree.toml("tox.toml")


def _listed(parser: configparser.RawConfigParser) -> Iterator[str]:
    """Yield the environments that tox runs if it is told none."""
    for section in ("tox", "tox:tox"):
        for key in ("env_list", "envlist"):
            for name in _BETWEEN.split(parser.get(section, key, fallback="")[:_LONGEST]):
                yield from filter(None, _expanded(name))


def _ini_runs(parser: configparser.RawConfigParser, name: str) -> bool:
    """Whether an environment has a command: its own section says it, or else that of all of them."""
    factors = {*name.split("-")}
    own = parser.get(f"testenv:{name}", "commands", fallback=None)
    for line in (parser.get("testenv", "commands", fallback="") if own is None else own).splitlines():
        condition = _FACTORS.match(line.strip())
        if line.strip() and not line.strip().startswith("#") and (not condition or _holds(condition[1], factors)):
            return True
    return False


def _native_runs(settings: Mapping[str, Any], name: str) -> bool:
    """Whether an environment has a command, in tox's form of TOML: its own, or that of all of them."""
    base = table(settings, "env_run_base").get("commands")
    return bool(table(settings, "env", name).get("commands", base))


def _holds(condition: str, factors: set[str]) -> bool:
    """Whether an environment with these factors is one of those before a line's colon."""
    return any(
        all((one[1:] not in factors) if one.startswith("!") else (one in factors) for one in alternative.split("-"))
        for whole in _BETWEEN.split(condition[:_LONGEST])
        for alternative in _expanded(whole)
    )


def _expanded(name: str) -> list[str]:
    """Return the names that a name with braces stands for: ``py3{11,13}``."""
    names = [name]
    while _BRACES.search(names[0]) and len(names) < _EXPANDED:
        names = [
            f"{one[: found.start()]}{each.strip()}{one[found.end() :]}"
            for one in names
            if (found := _BRACES.search(one))
            for each in found[1].split(",")[:_EXPANDED]
        ]
    return names[:_EXPANDED]


def _plain(line: str) -> str:
    return _DEFAULT.sub(r"\1", _ROOT.sub(".", line)).replace("{/}", "/")
