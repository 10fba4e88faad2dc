"""Draw the beginning and the end of what a terminal showed, as an SVG.

CONTRIBUTING.md says how docs/test-in-vm.svg is made with it.
"""  # noqa: INP001 - a program, and not part of a package

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

COLUMNS = 110
FIRST, LAST = 20, 27
"""How many lines of the beginning and of the end are drawn."""
# What moves on a screen of ours: back to the line's start, up, and away with what stands there; colours are kept.
_MOVE = re.compile(r"\r|\n|\x1b\[(\d*)([A-KhlsuJ])|\x1b\[\?\d+[hl]")


def screen(typescript: str) -> list[str]:
    """Return the lines that a terminal shows in the end, with their colours."""
    lines, row, at = [""], 0, 0
    for move in _MOVE.finditer(f"{typescript}\n"):
        lines[row] += typescript[at : move.start()]
        at = move.end()
        if move[0] == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif move[2] == "A":
            row = max(0, row - int(move[1] or 1))
        elif move[2] == "K":
            lines[row] = ""
    return [line for line in lines if Text.from_ansi(line).plain.strip()]


def drawn(lines: list[str], command: str) -> str:
    """Return the SVG of the first and the last lines below a prompt."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, highlight=False)
    console.print(Text.assemble("$ ", (command, "bold")))
    left_out = len(lines) > FIRST + LAST
    for line in [*lines[:FIRST], "  ⋮", *lines[-LAST:]] if left_out else lines:
        console.print(Text.from_ansi(line))
    # The id is of the picture, not of its content: a new picture changes only the lines that differ.
    return console.export_svg(title=command, unique_id="t")


if __name__ == "__main__":
    _, path, command = sys.argv
    sys.stdout.write(drawn(screen(Path(path).read_bytes().decode()), command))
