"""What a kind of projects is: a function from a tree to a guess, or to None where the tree is of no such kind.

A guess is made of names and of the text of a few files at the root; nothing of a project runs on the host.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmtasks.config.bounded import read_file
from vmtasks.project.text import text_of

_AND_THEN = re.compile(r"&&|;")
_SAYS = re.compile(r"(?:echo|printf|true|:|exit 0)(?![\w|>-])[^|>]*+\Z")
_NUMBERS = re.compile(r"[0-9]+")


@dataclass(frozen=True, slots=True)
class Tree:
    """The directory of a project, to look at; a file that is no regular one inside it is a UsageError."""

    root: Path

    def has(self, *names: str) -> bool:
        """Whether any of these files or directories is there."""
        return any((self.root / name).exists() for name in names)

    def text(self, name: str) -> str:
        """Return the text of a file; an empty one if it is not there."""
        return text_of(self.root, name) or ""

    def first_text(self, *names: str) -> str:
        """Return the text of the first of these files that is there."""
        return next((text for name in names if (text := text_of(self.root, name)) is not None), "")

    def toml(self, name: str) -> Mapping[str, Any]:
        """Return the content of a TOML file; an empty one if it is not there."""
        from vmtasks.config import toml

        return {} if read_file(self.root / name, within=self.root) is None else toml.read(self.root / name)

    def json(self, name: str) -> Mapping[str, Any]:
        """Return the object that a JSON file holds; an empty one if it holds none."""
        try:
            content = json.loads(self.text(name) or "{}")
        except (ValueError, RecursionError):
            return {}
        return content if isinstance(content, dict) else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A shell line that tests a project or makes its release, and what only this needs."""

    line: str
    """It works in a clean machine; where :attr:`prepare` has been run before, it finds what it would else fetch."""
    packages: tuple[str, ...] = ()
    prepare: str = ""
    """A shell line that fetches what the tests need, for once: there is no more of the project then than
    :attr:`prepare_files`, and the machine is kept for as long as this line and those files stay the same."""
    installs: str = ""
    """What people know :attr:`prepare` by: the one command of it that counts."""
    prepare_files: tuple[str, ...] = ()
    """Globs relative to the project's root; a ``*`` goes over directories, too."""
    artifacts: tuple[str, ...] = ()
    """What it leaves to look at: globs relative to the project's root."""
    as_root: bool = False
    """Whether it needs root: to load a module of the kernel, for example."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """What a tree looks like, to one kind."""

    kind: str
    """In words: ``a Rust crate``."""
    known_by: str
    """The file that tells."""
    name: str = ""
    version: str = ""
    packages: tuple[str, ...] = ()
    """The Debian packages of its tools: needed however it is tested."""
    test: Way | None = None
    untested: str = ""
    """Why there is no :attr:`test` where there may be tests, as one sentence."""
    dist: Way | None = None
    tool: tuple[str, str] = ("", "")
    """A tool, and the oldest version of it that will do: which suite has that decides the image."""
    variant: str = "build"
    """Which image of the suite builds and tests it: ``bookworm-VARIANT``."""


Kind = Callable[[Tree], Guess | None]


def table(document: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """Return the table that the keys lead to; an empty one if it is not there, or is something else."""
    for key in keys:
        inside = document.get(key)
        document = inside if isinstance(inside, dict) else {}
    return document


def word(value: object) -> str:
    """Return a text of one line as it is; an empty one for anything else."""
    return value if isinstance(value, str) and "\n" not in value else ""


def only_says(*lines: str) -> bool:
    """Whether shell lines do nothing but print: ``echo "no tests yet"`` passes, and has tested nothing."""
    parts = [part.strip().lstrip("@-+ ") for line in lines for part in _AND_THEN.split(line)]
    return any(parts) and all(not part or _SAYS.match(part) for part in parts)


def numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version, to compare."""
    return tuple(int(found[:9]) for found in _NUMBERS.findall(version))


def wanted_by(text: str, needs: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """Return the Debian packages that words of *text* stand for."""
    return tuple(dict.fromkeys(name for mark, names in needs.items() if mark in text for name in names))
