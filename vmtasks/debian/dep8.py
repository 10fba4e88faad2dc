"""Which tests a debian/tests/control lists. What they are and whether they can run, autopkgtest decides.

Source: autopkgtest's README.package-tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_WHOLE_LINE = re.compile(r"(?m)^[ \t]*#.*\n?")
_TRAILING = re.compile(r"(?m)[ \t]*#.*$")
_FIELD = re.compile(r"(?m)^([\w-]+)[ \t]*:(.*(?:\n[ \t].*)*)")
_TEST_NAME = "test-name="


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A test by its name, and whether it asks for a built source tree."""

    name: str
    needs_build: bool


def listed(control: str) -> list[Listed]:
    """Return the tests that the text of a debian/tests/control lists, each name once, in its order."""
    found: dict[str, Listed] = {}
    unnamed = 0
    for fields in _paragraphs(control):
        needs_build = "build-needed" in _words(fields.get("restrictions", ""))
        names = _words(fields.get("tests", ""))
        if not names and "test-command" in fields:
            named = [word for word in _words(fields.get("features", "")) if word.startswith(_TEST_NAME)]
            unnamed += not named
            names = [named[0].removeprefix(_TEST_NAME) if named else f"command{unnamed}"]
        for name in names:
            found.setdefault(name, Listed(name=name, needs_build=needs_build))
    return list(found.values())


def _paragraphs(control: str) -> Iterator[dict[str, str]]:
    for paragraph in re.split(r"\n[ \t]*\n", _TRAILING.sub("", _WHOLE_LINE.sub("", control.replace("\r\n", "\n")))):
        yield {match[1].lower(): match[2] for match in _FIELD.finditer(paragraph)}


def _words(text: str) -> list[str]:
    return text.replace(",", " ").split()
