"""Text that a guest printed, made fit to be shown: whole lines, and nothing that a terminal would obey."""

from __future__ import annotations

import re

from vmtasks.events import Output

LONGEST_PARTIAL = 8192
"""Characters after which a line is shown although its end has not come: memory stays bounded."""

_BREAK = re.compile(r"\r+\n?")

# What ECMA-48 lets a program send to a terminal: strings (titles, links), control sequences (colours), the rest.
_SEQUENCE = re.compile(r"\x1b(?:[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)|\[[0-?]*[ -/]*[@-~]|[ -/]*[0-~])")

# Everything else that is not to be shown as it is: C0 (but tab and line feed), C1, what reorders, breaks or hides text
# behind the reader's back (marks of direction, zero width, tags), and halves of surrogate pairs, which cannot be
# written at all. The joiners U+200C and U+200D stay: words of several scripts need them.
_UNSEEN = (
    *((0x80, 0x9F), (0xAD, 0xAD), (0x61C, 0x61C), (0x180E, 0x180E), (0x200B, 0x200B), (0x200E, 0x200F)),
    *((0x2028, 0x202E), (0x2060, 0x206F), (0xD800, 0xDFFF), (0xFEFF, 0xFEFF), (0xFFF9, 0xFFFB), (0xE0000, 0xE007F)),
)
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f" + "".join(f"{chr(one)}-{chr(last)}" for one, last in _UNSEEN) + "]+")
_PICTURES = (
    dict.fromkeys((code for first, last in _UNSEEN for code in range(first, last + 1)), 0xFFFD)
    | {code: 0x2400 + code for code in range(0x20)}
    | {0x7F: 0x2421}
)


def sanitized(text: str) -> str:
    """Return *text* without anything that a terminal would obey, but with its tabs and line breaks.

    Escape sequences go; a carriage return is a line break; any other control character becomes a picture
    of itself. Text without any (nearly all of it) costs one search.
    """
    if _CONTROL.search(text) is None:
        return text
    return _CONTROL.sub(lambda match: match[0].translate(_PICTURES), _SEQUENCE.sub("", _BREAK.sub("\n", text)))


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
