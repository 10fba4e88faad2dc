"""What a Python project's files say of it without being run: its name, its version, and the Python that it wants."""

from __future__ import annotations

import configparser
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vmtasks.project.ini import read_ini
from vmtasks.project.kinds.kind import Tree, numbers, table, word

_RELEASED = re.compile(r"^(Name|Version|Requires-Python): (\S.*)$", re.MULTILINE)
"""What is in the PKG-INFO of a release."""
_PLAIN = re.compile(r"[\w.+!-]+")
_IN_SETUP_PY = re.compile(r"""\bpython_requires\s*+=\s*+(["'])([^"'\n]++)\1""")
_CLAUSE = re.compile(r"(>=|~=|===?|\^|~|>|(?<![<>=~!^\w.]))[ \t]{0,9}+v?([0-9][0-9.]*+)")
"""A part of a requirement that a version is the least of: pip's words for it, and Poetry's."""

_NUMBERS = 3
"""How many numbers a release of Python has; one of fewer stands for all that begin with them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What a project says of itself; empty where nothing tells."""

    name: str
    version: str
    python: str
    """The oldest version of Python that it wants."""


def metadata(tree: Tree, pyproject: Mapping[str, Any]) -> Metadata:
    """Return what the files say: pyproject.toml, then setup.cfg and setup.py, then the PKG-INFO of a release."""
    project, poetry = table(pyproject, "project"), table(pyproject, "tool", "poetry")
    setup = setup_cfg(tree)
    released = dict(_RELEASED.findall(tree.text("PKG-INFO").partition("\n\n")[0]))
    in_setup_py = _IN_SETUP_PY.search(tree.text("setup.py"))
    return Metadata(
        name=_first(project.get("name"), poetry.get("name"), _of(setup, "metadata", "name"), released.get("Name")),
        version=_first(
            project.get("version"), poetry.get("version"), _of(setup, "metadata", "version"), released.get("Version")
        ),
        python=oldest(
            word(project.get("requires-python"))
            or word(table(poetry, "dependencies").get("python"))
            or setup.get("options", "python_requires", fallback="").strip()
            or (in_setup_py[2] if in_setup_py else "")
            or released.get("Requires-Python", "")
        ),
    )


def oldest(requirement: str) -> str:
    """Return the oldest version that a requirement allows, in pip's words or Poetry's; empty if any will do."""
    return min((_least(alternative) for alternative in requirement.split("||")), key=numbers)


def setup_cfg(tree: Tree) -> configparser.RawConfigParser:
    """Return what setup.cfg has; nothing if it cannot be read."""
    try:
        return read_ini(tree.text("setup.cfg"))
    except configparser.Error:
        return configparser.RawConfigParser()


def _least(clauses: str) -> str:
    """Return the highest of the least versions in clauses that hold all together."""
    found = [""]
    for sign, number in _CLAUSE.findall(clauses):
        least = number.strip(".").split(".")
        if sign == ">" and len(least) >= _NUMBERS:
            least[-1] = str(int(least[-1][:9]) + 1)
        found.append(".".join(least))
    return max(found, key=numbers)


def _of(parser: configparser.RawConfigParser, section: str, key: str) -> str:
    """Return a plain value of setup.cfg; ``attr: …`` and ``file: …`` are none."""
    value = parser.get(section, key, fallback="").strip()
    return value if _PLAIN.fullmatch(value) else ""


def _first(*values: object) -> str:
    return next((word(value) for value in values if word(value)), "")
