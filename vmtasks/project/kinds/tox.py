"""tox: the environment that tests a project, and whether it can be made where there is no more than what tox reads."""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterator, Mapping
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
_EXPANDED = 200
"""So many environments of a list are looked at,"""
_LONGEST = 4000
"""and so many characters of it."""


def environment(tree: Tree) -> str:
    """Return the environment of tox that runs tests on a Python that Debian has; empty if there is none.

    tox invents an environment that is asked for and not there: it runs nothing, and passes. So ``py`` is asked for only
    where it has commands, and else an environment by the name of a Python.

    :raise UsageError: a file that tox reads is no valid TOML.
    """
    pythons = ["py", "py3", *(f"py{''.join(version.split('.')[:2])}" for version in VERSIONS["python3"].values())]
    if (parser := _ini(tree)) is not None:
        listed = [*_listed(parser), *(name[8:] for name in parser.sections() if name.startswith("testenv:"))]
        found = {name for name in ["py", *listed] if _ini_runs(parser, name)}
    else:
        settings = _native(tree)
        base, environments = table(settings, "env_run_base"), table(settings, "env")
        found = {name for name in environments if table(environments, name).get("commands", base.get("commands"))}
        if base.get("commands"):
            names = settings.get("env_list")
            found |= {"py", *(word(name) for name in (names if isinstance(names, list) else []))} - {*environments}
    named = sorted(found)
    return next((one for python in pythons for one in named if one == python or one.startswith(f"{python}-")), "")


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
