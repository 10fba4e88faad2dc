"""What runvm is to run: each word of the command line is a command, and its first characters say where and when."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ALWAYS = re.compile(r"(=?)!\s*")
_ON_HOST = re.compile(r"=\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestCommand:
    """One command: a line, or a whole script."""

    line: str
    on_host: bool
    """Whether this host's shell runs it (``=``), and not the guest's."""
    always: bool
    """Whether it is run after a failure, too (``!``)."""


def step_of(word: str) -> GuestCommand:
    """Read one command; ``=!`` is as good as ``!=``, and white space behind either is dropped."""
    line = _ALWAYS.sub(r"\1", word, count=1) if (always := _ALWAYS.match(word)) else word
    on_host = _ON_HOST.match(line)
    return GuestCommand(line=line[on_host.end() :] if on_host else line, on_host=bool(on_host), always=bool(always))
