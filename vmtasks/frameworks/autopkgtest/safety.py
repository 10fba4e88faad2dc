"""What must not reach autopkgtest on the host: it puts the text of control files into Perl programs, between quotes."""

from __future__ import annotations

import re

from vmtasks.errors import TestFailed

_FIELD = re.compile(r"([^\s:#][^:]*+):")
_ENDS_A_STRING = re.compile(r"['\\]")
_FREE_TEXT = frozenset(
    {
        "bugs",
        "comment",
        "description",
        "homepage",
        "maintainer",
        "origin",
        "original-maintainer",
        "section",
        "summary",
        "test-command",
        "uploaders",
    }
)


def check_quotes(name: str, text: str) -> None:
    """See that no field of a control file but those of free text could end a string of Perl's.

    No relation, name or architecture of Debian's has a quote or a backslash (Debian Policy 5.6 and 7.1). What follows a
    ``#`` does not count: autopkgtest drops it before it reads a line, and a line of which nothing is left.

    :param name: what messages call the file.
    :raise TestFailed: one could.
    """
    field = ""
    for number, whole in enumerate(text.splitlines(), 1):
        line, hash_sign, _ = whole.partition("#")
        if hash_sign and not line.strip():
            continue
        if not line[:1].isspace():
            match = _FIELD.match(line)
            field = match[1].rstrip(" \t").lower() if match else ""
        is_free = field in _FREE_TEXT or field.startswith(("x", "vcs-"))
        if not is_free and _ENDS_A_STRING.search(line):
            raise TestFailed(
                f"cannot run the tests: line {number} of {name} has a quote or a backslash, which no "
                f"{field or 'such field'} may have",
                details=(line.strip()[:200],),
            )
