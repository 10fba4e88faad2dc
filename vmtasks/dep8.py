"""Debian's as-installed package tests: debian/tests/control, read.

Source: DEP-8 and autopkgtest's README.package-tests.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from vmtasks.errors import UsageError

SUPPORTED = frozenset(
    {
        "allow-stderr", "breaks-testbed", "flaky", "isolation-container", "isolation-machine", "needs-internet",
        "needs-root", "rw-build-tree", "skip-not-installable", "skippable", "superficial",
    }
)  # fmt: skip
"""Restrictions that a machine of our own honours or has no need of."""
SKIP_STATUS = 77
"""The exit status by which a test marked ``skippable`` says that it cannot run here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dep8Test:
    """One test: a program in debian/tests, or a command line."""

    name: str
    command: str
    """A shell line, to be run at the root of the source tree."""
    depends: tuple[str, ...]
    restrictions: frozenset[str]

    @property
    def unsupported(self) -> tuple[str, ...]:
        """The restrictions that we cannot honour, in order: the test is to be skipped if there are any."""
        return tuple(sorted(self.restrictions - SUPPORTED))

    @property
    def needs_own_machine(self) -> bool:
        """Whether others cannot run where this one has run."""
        return "breaks-testbed" in self.restrictions


def parse(text: str, where: str) -> tuple[Dep8Test, ...]:
    """Read debian/tests/control.

    :param where: what messages call the file.
    :raise UsageError: a paragraph names no test, or a line is no field.
    """
    tests: list[Dep8Test] = []
    for paragraph in re.split(r"\n\s*\n", re.sub(r"(?m)^#.*\n?", "", text)):
        if fields := _fields(paragraph, where):
            tests += _tests(fields, len(tests), where)
    return tuple(tests)


def _tests(fields: dict[str, str], number: int, where: str) -> list[Dep8Test]:
    depends = tuple(part.strip() for part in fields.get("depends", "@").split(",") if part.strip())
    restrictions = frozenset(_words(fields.get("restrictions", "")))
    directory = fields.get("tests-directory", "debian/tests").strip()
    if "test-command" in fields:
        name = next((word[10:] for word in _words(fields.get("features", "")) if word.startswith("test-name=")), "")
        name = name or f"command{number + 1}"
        return [Dep8Test(name=name, command=fields["test-command"], depends=depends, restrictions=restrictions)]
    if "tests" not in fields:
        raise UsageError(f"{where}: a paragraph has neither 'Tests' nor 'Test-Command'")
    return [
        Dep8Test(name=name, command=f"exec {directory}/{name}", depends=depends, restrictions=restrictions)
        for name in _words(fields["tests"])
    ]


def _fields(paragraph: str, where: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    last = ""
    for line in paragraph.splitlines():
        if line[:1].isspace():
            fields[last] = f"{fields.get(last, '')} {line.strip()}"
        elif ":" in line:
            last, _, value = line.partition(":")
            last = last.strip().lower()
            fields[last] = value.strip()
        elif line:
            raise UsageError(f"{where}: a line must be like 'Field: value', not '{line[:80]}'")
    return fields


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[,\s]+", text) if word]
