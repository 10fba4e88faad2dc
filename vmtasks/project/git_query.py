"""Where a file of a project's asks git for something: in a makefile, in the languages of build systems, in Python."""

from __future__ import annotations

import re

# Each pattern is tried at a place that another one has found, and takes a bounded number of characters there: a file
# may have been written to be slow to read.
_GIT = re.compile(r"\bgit\b|\$\(GIT(?:_EXECUTABLE)?\)|\$\{GIT(?:_EXECUTABLE)?\}|\$GIT\b")
_BLANK = re.compile(r"[\"']?[\s\\]{1,100}")
_COMMA = re.compile(r"[\"']?\s{0,20},\s{0,100}")
"""Between two words of a command line, and of a list."""
_NESTED = r"\((?:[^()\n]|\((?:[^()\n]|\([^()\n]{0,100}+\)){0,100}+\)){0,200}+\)"
_QUOTED = r"'[^'\n]{0,200}+'|\"[^\"\n]{0,200}+\""
_WORD = re.compile(rf"{_QUOTED}|(?:[^\s'\",;|&()<>`$]|\${_NESTED}|\$|(?<==)(?:{_QUOTED})){{1,200}}+")
_LISTED = re.compile(_QUOTED)
_EXPRESSION = re.compile(rf"{_QUOTED}|(?:[^,()\n]|{_NESTED}){{1,200}}+")
_QUESTION = re.compile(r"(?:describe|rev-parse|rev-list|log|show|archive|ls-files|shortlog|tag|status)(?![\w-])")
_HAS_ARGUMENT = ("-C", "-c", "--git-dir", "--work-tree", "--namespace", "--config-env")
_MOST_WORDS = 16
"""How many options may stand between git and what it is asked."""
_BY_OTHERS = re.compile(r"\b(?:setuptools[-_]scm|hatch-vcs|versioneer|git-version-gen|pbr|vcs_tag)\b")
"""Programs and functions that ask git themselves."""


def query_in(text: str) -> str:
    """Return the words in *text* that ask git, the first ones, or the name of what does; nothing if nothing does."""
    for program in _GIT.finditer(text):
        if question := _question_at(text, program.end()):
            return f"{program[0]} {question}"
    other = _BY_OTHERS.search(text)
    return other[0] if other else ""


def _question_at(text: str, at: int) -> str:
    """Return what git is asked by the words from *at* on, behind its options."""
    is_argument = False
    for _ in range(_MOST_WORDS):
        if gap := _COMMA.match(text, at):
            word = (_EXPRESSION if is_argument else _LISTED).match(text, gap.end())
        else:
            gap = _BLANK.match(text, at)
            word = _WORD.match(text, gap.end()) if gap else None
        if word is None:
            return ""
        at = word.end()
        inside = word[0].strip("\"'")
        if is_argument:
            is_argument = False
        elif inside.startswith("-"):
            is_argument = inside in _HAS_ARGUMENT
        else:
            question = _QUESTION.match(inside)
            return question[0] if question else ""
    return ""
