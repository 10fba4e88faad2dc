"""What a project's own files tell about it: its name and version, and the commands that projects of its kind have."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from vmtasks.config import toml
from vmtasks.project import python
from vmtasks.project.changelog import CHANGELOG, SourcePackage
from vmtasks.project.settings import Commands
from vmtasks.project.text import text_of

_TARGETS = re.compile(r"^ *+([\w./-]++(?: ++[\w./-]++)*+) *+::?(?![:=])", re.MULTILINE)
# No two parts take the same character: a stranger's file must not make them try it both ways.
_AC_INIT = re.compile(
    r"^AC_INIT\(\s*+\[?+([\w.+-]++(?: ++[\w.+-]++)*+)\s*+\]?+\s*+,\s*+\[?+([\w.+~-]++)\s*+\]?+\s*+[,)]", re.MULTILINE
)

_PYTESTS = ("tests", "test", "testing", "pytest.ini", "conftest.py")
"""What a Python project that pytest can test has at its root, one of them at least."""
_AUTOTOOLS = "autoreconf --force --install && ./configure && "


def identity(root: Path) -> tuple[str, str]:
    """Return the project's name, and its version if something tells it."""
    if os.path.lexists(root / CHANGELOG):
        package = SourcePackage.of(root)
        return package.name, package.upstream_version
    metadata = _pyproject(root).get("project")
    if isinstance(metadata, dict) and (name := metadata.get("name")):
        return str(name), str(metadata.get("version", ""))
    if match := _AC_INIT.search(text_of(root, "configure.ac") or ""):
        return re.sub(r"\W+", "-", match[1].removeprefix("GNU ").strip().lower()), match[2]
    return root.name or "project", ""


def usual_commands(root: Path) -> Commands:
    """Return the commands that projects of this kind have, and the Debian packages that these need."""
    pyproject = _pyproject(root)
    autotools = (root / "configure.ac").is_file() and (root / "Makefile.am").is_file()
    is_python = (root / "setup.py").is_file() or not pyproject.keys().isdisjoint(("project", "build-system"))
    # With automake a Makefile is made, not read: it is there on the host at most.
    targets = frozenset() if autotools else _make_targets(root)
    pytest = python.test_line(pyproject)
    dist = {f"{_AUTOTOOLS}make dist": autotools, "make dist": "dist" in targets, python.SDIST: is_python}
    test = {
        f"{_AUTOTOOLS}make check": autotools,
        "make check": "check" in targets,
        "make test": "test" in targets,
        pytest: is_python and any((root / name).exists() for name in _PYTESTS),
    }
    chosen = [next((command for command, fits in kind.items() if fits), "") for kind in (dist, test)]
    packages = {
        ("autoconf", "automake", "libtool"): autotools,
        python.packages(pyproject): python.SDIST in chosen or pytest in chosen,
        ("python3-pytest",): pytest in chosen,
    }
    return Commands(
        dist=chosen[0],
        test=chosen[1],
        packages=tuple(package for group, fits in packages.items() if fits for package in group),
    )


def _make_targets(root: Path) -> frozenset[str]:
    """Return the targets of the makefile that make would read; those of included files are not seen."""
    texts = (text_of(root, name) for name in ("GNUmakefile", "makefile", "Makefile"))
    makefile = next((text for text in texts if text is not None), "")
    return frozenset(name for match in _TARGETS.finditer(makefile) for name in match[1].split())


def _pyproject(root: Path) -> dict[str, Any]:
    path = root / "pyproject.toml"
    return toml.read(path, within=root) if os.path.lexists(path) else {}
