"""Python projects: what builds them, what tests them, and the shell lines that do."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

_BACKENDS = {
    "flit-core": "flit",
    "hatchling": "python3-hatchling",
    "poetry-core": "python3-poetry-core",
    "setuptools": "python3-setuptools",
    "wheel": "python3-wheel",
}
"""What builds Python packages, and Debian's packages of it."""
_LEGACY = ("setuptools", "wheel")
"""What builds a project that names nothing for that (PEP 518)."""
_EXTRAS = ("test", "tests", "testing")
"""What projects call the extra, or the dependency group, that their tests need."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

# What builds it is taken where it is there; else it comes from the index, into an environment of its own.
_IS_THERE = 'import build, sys; sys.exit(bool(build.ProjectBuilder(".").check_dependencies(sys.argv[1])))'
_ISOLATION = f"$(python3 -c '{_IS_THERE}' %s >/dev/null 2>&1 && echo %s)"

SDIST = f"python3 -m build --sdist {_ISOLATION % ('sdist', '--no-isolation')}"


def packages(pyproject: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the Debian packages that build a project, as far as Debian has them."""
    required = _table(pyproject, "build-system").get("requires", _LEGACY)
    names = [_normal(requirement) for requirement in required] if isinstance(required, list | tuple) else []
    return ("python3-build", "python3-venv", *dict.fromkeys(_BACKENDS[name] for name in names if name in _BACKENDS))


def test_line(pyproject: Mapping[str, Any]) -> str:
    """Return the shell line that tests the project itself: installed into an environment of its own, with pytest.

    Debian's packages serve that environment where they fit, and what is missing comes from the index. The project is
    never one of them: what an environment has of its own goes before them. ``-P`` keeps the tree itself off the path.
    """
    extras, groups = (
        _table(_table(pyproject, "project"), "optional-dependencies"),
        _table(pyproject, "dependency-groups"),
    )
    extra = next((name for name in _EXTRAS if name in extras), "")
    wanted = [f".[{extra}]" if extra else ".", *dict.fromkeys(_group(groups, _first(groups), frozenset()))]
    return (
        "python3 -m venv --system-site-packages ../.venv && . ../.venv/bin/activate && "
        f"python3 -m pip install {_ISOLATION % ('wheel', '--no-build-isolation')} --no-warn-script-location "
        f"{shlex.join(wanted)} && python3 -P -m pytest"
    )


def _first(groups: Mapping[str, Any]) -> str:
    return next((name for name in (*_EXTRAS, "dev") if name in groups), "")


def _group(groups: Mapping[str, Any], name: str, seen: frozenset[str]) -> Iterator[str]:
    """Yield the requirements of a dependency group (PEP 735), which may include others."""
    entries = groups.get(name, [])
    for entry in entries if isinstance(entries, list) and name not in seen else []:
        if isinstance(entry, str):
            yield entry
        elif isinstance(entry, dict):
            yield from _group(groups, str(entry.get("include-group", "")), seen | {name})


def _normal(requirement: object) -> str:
    match = _NAME.match(str(requirement))
    return re.sub(r"[-_.]+", "-", match[0]).lower() if match else ""


def _table(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the table *key*; an empty one if it is not there, or is something else."""
    table = document.get(key)
    return table if isinstance(table, dict) else {}
