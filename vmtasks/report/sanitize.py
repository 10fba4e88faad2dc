"""Text that a guest printed, made fit to be shown: whole lines, and nothing that a terminal would obey."""

from __future__ import annotations

import json
import re

from vmtasks.errors import UNSEEN
from vmtasks.events import Output

LONGEST_PARTIAL = 8192
"""Characters after which a line is shown although its end has not come: memory stays bounded."""

_BREAK = re.compile(r"\r+\n?")

# What ECMA-48 lets a program send to a terminal: strings (titles, links), control sequences (colours), the rest.
_SEQUENCE = re.compile(r"\x1b(?:[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)|\[[0-?]*[ -/]*[@-~]|[ -/]*[0-~])")

_CONTROL = re.compile(f"[\x00-\x08\x0b-\x1f{UNSEEN}\ud800-\udfff]+")
"""Everything else that is not to be shown as it is; halves of surrogate pairs cannot be written at all."""
_UNESCAPED = re.compile(f"[{UNSEEN}]")
_IN_NO_NAME = re.compile(f"[\x00-\x1f{UNSEEN}]")
"""Names are bytes: other bytes that are no UTF-8 may stand in them."""


def sanitized(text: str) -> str:
    """Return *text* without anything that a terminal would obey, but with its tabs and line breaks.

    Escape sequences go; a carriage return is a line break; any other control character becomes a picture
    of itself. Text without any (nearly all of it) costs one search.
    """
    if _CONTROL.search(text) is None:
        return text
    return _CONTROL.sub(lambda match: "".join(map(_picture, match[0])), _SEQUENCE.sub("", _BREAK.sub("\n", text)))


def _picture(letter: str) -> str:
    """Return what is shown in the place of a control character."""
    return chr(0x2400 + ord(letter)) if letter < " " else "\u2421" if letter == "\x7f" else "\ufffd"


def is_harmless(name: str) -> bool:
    """Tell whether a file's name is one line, and shows as what it is."""
    return _IN_NO_NAME.search(name) is None


def in_json(document: str) -> str:
    """Return a JSON document whose texts have escapes for what JSON itself would let stand in them."""
    return _UNESCAPED.sub(lambda match: json.dumps(match[0])[1:-1], document)


def one_line(text: str) -> str:
    """Return the first line of *text* that is not blank, harmless; an ellipsis stands for the others."""
    lines = [line.strip() for line in sanitized(text).split("\n") if line.strip()]
    return " ".join([*lines[:1], *(["…"] if len(lines) > 1 else [])])


def lines_of(texts: tuple[str, ...], *, at_most: int) -> list[str]:
    """Return the last *at_most* lines of *texts*, harmless, each of which may hold several."""
    return [line for text in texts[-at_most:] for line in sanitized(text.rstrip("\r\n")).split("\n")][-at_most:]


class WholeLines:
    """Cuts chunks of output into whole lines and keeps the rest, apart for every machine and stream."""

    def __init__(self) -> None:
        self._rests: dict[tuple[str, str], str] = {}

    def add(self, output: Output) -> str:
        """Return the lines that *output* completes, harmless, each with its line feed; often none."""
        key = (output.machine, output.stream)
        text = self._rests.pop(key, "") + output.text
        # A carriage return at the very end may be the first half of a line break.
        end = max(text.rfind("\n"), text.rstrip("\r").rfind("\r")) + 1
        if len(text) - end > LONGEST_PARTIAL:
            end = len(text)
        if end < len(text):
            self._rests[key] = text[end:]
        return _ended(sanitized(text[:end]))

    def rest(self, machine: str) -> str:
        """Return, and forget, what *machine* has begun to print and not ended with a line break."""
        keys = [key for key in self._rests if key[0] == machine]
        return "".join(_ended(sanitized(self._rests.pop(key).rstrip("\r"))) for key in keys)

    def machines(self) -> list[str]:
        """Return the machines that have begun a line."""
        return list(dict.fromkeys(machine for machine, _ in self._rests))


def _ended(lines: str) -> str:
    return lines if not lines or lines.endswith("\n") else lines + "\n"
