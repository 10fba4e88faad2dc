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
_ISOLATION = frozenset({"breaks-testbed", "isolation-container", "isolation-machine"})
_NAME = re.compile(r"[!-.0-~]+")
"""What a test may be called: files on the host and rows of reports are, too."""
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
    architectures: tuple[str, ...] = ()
    """Where it runs, or with ``!`` where it does not; nothing: everywhere."""

    def runs_on(self, architecture: str) -> bool:
        """Tell whether it is meant for *architecture*, as dpkg names it."""
        if f"!{architecture}" in self.architectures:
            return False
        wanted = [one for one in self.architectures if not one.startswith("!")]
        return not wanted or not {"any", architecture}.isdisjoint(wanted)

    @property
    def unsupported(self) -> tuple[str, ...]:
        """The restrictions that we cannot honour, in order: the test is to be skipped if there are any."""
        return tuple(sorted(self.restrictions - SUPPORTED))

    @property
    def needs_own_machine(self) -> bool:
        """Whether it asks to be kept apart from all others."""
        return not self.restrictions.isdisjoint(_ISOLATION)


def parse(text: str, where: str) -> tuple[Dep8Test, ...]:
    """Read debian/tests/control.

    :param where: what messages call the file.
    :raise UsageError: a paragraph names no test, or one that cannot be called so, or a line is no field.
    """
    tests: list[Dep8Test] = []
    for paragraph in re.split(r"\n\s*\n", re.sub(r"(?m)^#.*\n?", "", text)):
        if fields := _fields(paragraph, where):
            tests += _tests(fields, len(tests), where)
    return tuple(tests)


def _tests(fields: dict[str, str], number: int, where: str) -> list[Dep8Test]:
    if "test-command" in fields:
        features = _words(fields.get("features", ""))
        name = next((word[10:] for word in features if word.startswith("test-name=")), f"command{number + 1}")
        commands = {name: fields["test-command"]}
    elif "tests" in fields:
        directory = fields.get("tests-directory", "debian/tests").strip()
        commands = {name: f"exec {directory}/{name}" for name in _words(fields["tests"])}
    else:
        raise UsageError(f"{where}: a paragraph has neither 'Tests' nor 'Test-Command'")
    for name in commands:
        if not _NAME.fullmatch(name):
            raise UsageError(f"{where}: a test cannot be called {name[:80]!r}: only ASCII, and no '/'")
    depends = tuple(part.strip() for part in fields.get("depends", "@").split(",") if part.strip())
    restrictions = frozenset(_words(fields.get("restrictions", "")))
    architectures = tuple(_words(fields.get("architecture", "")))
    return [
        Dep8Test(name=name, command=command, depends=depends, restrictions=restrictions, architectures=architectures)
        for name, command in commands.items()
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
