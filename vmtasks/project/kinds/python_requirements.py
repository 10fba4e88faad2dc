"""What a Python project's tests need, in pip's words, as far as its files tell it without being run."""

from __future__ import annotations

import os
import posixpath
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from vmtasks.errors import UsageError
from vmtasks.project.kinds.kind import Tree, table, word
from vmtasks.project.kinds.python_metadata import setup_cfg

_LISTS = 200
"""So many lists of requirements are looked for: each may include any number of others."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
EXTRAS = ("test", "tests", "testing")
"""What projects call the extra, or the dependency group, that their tests need."""
_LOCKS = {"uv.lock": "package", "poetry.lock": "package", "pdm.lock": "package", "pylock.toml": "packages"}
"""Lock -> its list of what it names. (They have the same keys for that.)"""
_REQUIRES = re.compile(r"^Requires-Dist: (.+)$", re.MULTILINE)
_OF_EXTRA = re.compile(r"""(?<![\w.-])extra\s*+==\s*+['"]([\w.-]++)['"]\s*+$""")
_AND = re.compile(r"(.*\S)\s++and\s++|\s*+", re.DOTALL)
_INSIDE = re.compile(r"\[([^\[\]]*+)\]")
INCLUDES = re.compile(r"^[ \t]*+(?:-[rc]|--requirement\b|--constraint\b)[ \t=]*+(\S++)", re.MULTILINE)
"""A line by which a list of requirements includes another."""
_EDITABLE = re.compile(r"^\s*+(?:-e|--editable\b)[\s=]*+")
_DIRECTORY = re.compile(r"[.~/]|file:|[^\s;@#]++\s*+@\s*+file:|(?!-)[^\s;@#:/]++/")
"""What begins a requirement that is a directory, and no name or address."""

# A package that has several versions, by the platform, is none of one version; one that is a directory has no number.
# A release has the same version wherever it was built: what follows a + is another index's.
_PINS = (
    "import sys, tomllib; found = tomllib.load(open(sys.argv[1], 'rb'))[sys.argv[2]]; "
    "names = [one['name'] for one in found]; "
    "own = {'editable', 'virtual', 'directory', 'path', 'git', 'url', 'file', 'vcs', 'archive'}; "
    "print(*(one['name'] + '==' + one['version'].split('+')[0] for one in found if names.count(one['name']) == 1 "
    "and 'version' in one and not own & {*one, *one.get('source', {}), one.get('source', {}).get('type')}), sep='\\n')"
)


def lock_of(tree: Tree) -> tuple[str, str]:
    """Return a project's lock file, and the shell line that prints the versions in it as pip's constraints."""
    name = next((name for name in _LOCKS if tree.has(name)), "")
    return name, f'python3 -c "{_PINS}" {name} {_LOCKS[name]}' if name else ""


def lists(tree: Tree, *names: str) -> tuple[str, ...]:
    """Return lists of requirements, and the lists that these include.

    :raise UsageError: one of them cannot be read, or more than :data:`_LISTS` are named.
    """
    found: list[str] = []
    seen, files = set[str](), set[str]()
    todo = [name for name in names if name]
    while todo:
        here = posixpath.normpath(todo.pop())
        if here in seen or here.startswith(("..", "/")):
            continue
        seen.add(here)
        if len(seen) > _LISTS:
            raise UsageError(f"cannot tell what the tests need: more than {_LISTS} lists of requirements are named")
        # By way of links, one file has any number of names.
        if tree.has(here) and (file := os.path.realpath(tree.root / here)) not in files:
            files.add(file)
            found.append(here)
            directory = here.rpartition("/")[0]
            todo += [f"{directory}/{one}" if directory else one for one in INCLUDES.findall(tree.text(here))]
    return tuple(found)


def is_directory(requirement: str) -> bool:
    """Whether a line of requirements is the project itself, or another directory: ``-e .``, ``./sub[test]``."""
    return bool(_DIRECTORY.match(_EDITABLE.sub("", requirement).lstrip()))


def name_directories(tree: Tree, names: Iterable[str]) -> bool:
    """Whether any of these lists of requirements names a directory."""
    return any(is_directory(line) for name in names for line in tree.text(name).splitlines())


def needed(tree: Tree, pyproject: Mapping[str, Any], extra: str, group: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the requirements of a project that is installed with an extra; what only running it tells is missing.

    :param extra: an empty one is none.
    :param group: what else its tests require.
    """
    project = table(pyproject, "project")
    dynamic = project.get("dynamic")
    is_static = not (isinstance(dynamic, list) and {"dependencies", "optional-dependencies"} & {*map(str, dynamic)})
    if project and is_static:
        found = [*_texts(project.get("dependencies")), *_texts(table(project, "optional-dependencies").get(extra))]
    else:
        found = [*_of_setup_cfg(tree, extra), *_of_release(tree, extra)]
    return tuple(dict.fromkeys(_without_itself(project, [*found, *group])))


def _without_itself(project: Mapping[str, Any], requirements: Iterable[str]) -> Iterator[str]:
    """Yield what extras of the project have where these requirements name it: from the index, it would be another."""
    extras, own = table(project, "optional-dependencies"), normal(project.get("name", ""))
    todo, seen = deque(requirements), set[str]()
    while todo:
        requirement = todo.popleft()
        if not own or normal(requirement) != own:
            yield requirement
        elif inside := _INSIDE.search(requirement):
            new = {one.strip() for one in inside[1].split(",")} - seen
            seen |= new
            todo += [more for name in sorted(new) for more in _texts(extras.get(name))]


def _of_setup_cfg(tree: Tree, extra: str) -> Iterator[str]:
    parser = setup_cfg(tree)
    for section, key in (("options", "install_requires"), ("options.extras_require", extra)):
        text = parser.get(section, key, fallback="") if key else ""
        if not text.startswith(("file:", "attr:")):
            yield from (line.strip() for line in text.splitlines() if line.strip() and "#" not in line)


def _of_release(tree: Tree, extra: str) -> Iterator[str]:
    """Yield what a release says of itself in its PKG-INFO."""
    for requirement in _REQUIRES.findall(tree.text("PKG-INFO").partition("\n\n")[0]):
        if "extra" not in requirement:
            yield requirement.strip()
        elif wanted := _of_extra(requirement, extra):
            yield wanted


def _of_extra(requirement: str, extra: str) -> str:
    """Return a requirement that an extra has, without that condition; nothing if it is no such, or another's."""
    name, _, marker = requirement.rpartition(";")
    if not (found := _OF_EXTRA.search(marker)) or found[1] != extra:
        return ""
    others = _AND.fullmatch(marker[: found.start()])
    if others is None:
        return ""
    return f"{name.rstrip()} ; {others[1].lstrip()}" if others[1] else name.rstrip()


def normal(requirement: object) -> str:
    """Return the name in a requirement, as all ways to write it have in common; empty if it is none."""
    match = NAME.match(str(requirement))
    return re.sub(r"[-_.]+", "-", match[0]).lower() if match else ""


def _texts(items: object) -> Iterable[str]:
    return [one for one in items if word(one)] if isinstance(items, list) else []
