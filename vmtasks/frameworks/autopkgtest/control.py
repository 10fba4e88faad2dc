"""A debian/tests/control in words that every autopkgtest understands.

What its documentation allows, an installed one may not know yet: build profiles in Depends are an invalid control file
to autopkgtest 5.28, and restrictions that came later have it skip a test. What depends on the packages under test is
answered here, too, because these are here: autopkgtest reads Recommends in the source, where they may be variables. And
a command that reboots must not become the program that asks for it, as bash makes of the last one: 5.28 ends the test
by looking for its shell among that program's ancestors.

Source: README.package-tests.rst of autopkgtest, the newest there is; deb-src-control(5) for profiles.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

_FIELD = re.compile(
    r"(?mi)^(?P<name>depends|restrictions|test-command)[ \t]*:(?P<value>.*(?:\n(?:[ \t]|#).*)*)(?P<end>\n?)"
)
_COMMENT = re.compile(r"(?m)(?:^|(?<![ \t])[ \t]++)#.*$")
_PROFILES = re.compile(r"<([^<>]*)>")
_RECOMMENDS = "@recommends@"


def normalized(control: str, *, recommends: Sequence[str], can_build: bool) -> str:
    """Return *control* in such words: a pure function.

    :param recommends: what the packages under test recommend: relations, as in a control file.
    :param can_build: whether the tree has what builds it; if not, it counts as built.
    """

    def paragraph(text: str) -> str:
        asks: set[str] = set()

        def restrictions(value: str) -> str:
            words = value.replace(",", " ").split()
            asks.update(words)
            known = [word for word in words if word not in ("skip-foreign-architecture", "needs-recommends")]
            return ", ".join(word for word in known if can_build or word != "build-needed")

        text = _rewritten(text, "restrictions", restrictions)
        wants_recommended = "needs-recommends" in asks
        if wants_recommended and not _has(text, "depends") and text.strip():
            text = f"{text.rstrip()}\nDepends: @\n"
        if "needs-reboot" in asks:
            text = _rewritten(text, "test-command", _as_shell)
        more = f", {_RECOMMENDS}" if wants_recommended else ""
        return _rewritten(text, "depends", lambda value: _depends(value + more, recommends))

    parts = re.split(r"(\n[ \t]*\n)", control.replace("\r\n", "\n"))
    return "".join(part if index % 2 else paragraph(part) for index, part in enumerate(parts))


def _as_shell(command: str) -> str:
    end = "" if command.endswith((";", "&")) else ";"
    return f"{command}{end} exit $?"


def _has(text: str, name: str) -> bool:
    return any(match["name"].lower() == name for match in _FIELD.finditer(text))


def _rewritten(text: str, name: str, rewrite: Callable[[str], str]) -> str:
    """Return a paragraph with another value of one field, and with no field of that name that would be empty."""

    def field(match: re.Match[str]) -> str:
        if match["name"].lower() != name:
            return match[0]
        value = rewrite(" ".join(_COMMENT.sub("", match["value"]).split()))
        # An empty Depends means that there are none, where none would mean all of the source's packages. Of a field
        # that goes, its line goes too: an empty one would end the paragraph.
        return f"{match['name']}: {value}{match['end']}" if value or name == "depends" else ""

    return _FIELD.sub(field, text)


def _depends(value: str, recommends: Sequence[str]) -> str:
    kept: list[str] = []
    for relation in value.split(","):
        choices = [_without_profiles(choice) for choice in relation.split("|")]
        if chosen := " | ".join(choice for choice in choices if choice):
            kept += recommends if chosen == _RECOMMENDS else [chosen]
    return ", ".join(dict.fromkeys(kept))


def _without_profiles(choice: str) -> str:
    """Return one alternative without its profiles; nothing where it is not for a build without any."""
    formulas = [formula.split() for formula in _PROFILES.findall(choice)]
    if formulas and not any(all(term.startswith("!") for term in formula) for formula in formulas):
        return ""
    return _PROFILES.sub("", choice).strip()
