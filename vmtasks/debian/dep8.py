"""Which tests a debian/tests/control lists. What they are and whether they can run, autopkgtest decides.

Source: autopkgtest's README.package-tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_WHOLE_LINE = re.compile(r"(?m)^[ \t]*#.*\n?")
_TRAILING = re.compile(r"(?m)(?<![ \t])[ \t]*+#.*$")
_FIELD = re.compile(r"(?m)^([\w-]+)[ \t]*:(.*(?:\n[ \t].*)*)")
_TEST_NAME = "test-name="


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A test by its name, whether it asks for a built source tree, and which of its failures do not count."""

    name: str
    needs_build: bool = False
    is_flaky: bool = False
    may_lack_packages: bool = False
    """Whether it is skipped where what it depends on cannot be installed."""

    def is_excused(self, *, has_begun: bool) -> bool:
        """Tell whether a failure does not count, of the test or of what is done before it begins."""
        return self.is_flaky if has_begun else self.may_lack_packages


def listed(control: str) -> list[Listed]:
    """Return the tests that the text of a debian/tests/control lists, each name once, in its order.

    Of several tests of one name, autopkgtest runs all: one that wants the tree built has it built for all of them, and
    a failure counts unless it counts of none.
    """
    found: dict[str, Listed] = {}
    unnamed = 0
    for fields in _paragraphs(control):
        asks = _words(fields.get("restrictions", ""))
        names = _words(fields.get("tests", ""))
        if not names and "test-command" in fields:
            named = [word for word in _words(fields.get("features", "")) if word.startswith(_TEST_NAME)]
            unnamed += not named
            names = [named[0].removeprefix(_TEST_NAME) if named else f"command{unnamed}"]
        for name in names:
            one = Listed(
                name=name,
                needs_build="build-needed" in asks,
                is_flaky="flaky" in asks,
                may_lack_packages="skip-not-installable" in asks,
            )
            found[name] = one if name not in found else _both(found[name], one)
    return list(found.values())


def _both(first: Listed, second: Listed) -> Listed:
    """Return what holds for two tests of one name together."""
    return Listed(
        name=first.name,
        needs_build=first.needs_build or second.needs_build,
        is_flaky=first.is_flaky and second.is_flaky,
        may_lack_packages=first.may_lack_packages and second.may_lack_packages,
    )


def _paragraphs(control: str) -> Iterator[dict[str, str]]:
    for paragraph in re.split(r"\n[ \t]*\n", _TRAILING.sub("", _WHOLE_LINE.sub("", control.replace("\r\n", "\n")))):
        yield {match[1].lower(): match[2] for match in _FIELD.finditer(paragraph)}


def _words(text: str) -> list[str]:
    return text.replace(",", " ").split()
