"""What must not reach autopkgtest on the host: it puts the text of control files into Perl programs, between quotes.

And what must not be read there: a file of a tree that is a link to one of the host's.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from vmtasks.errors import TestFailed, UsageError

_LIMIT_BYTES = 1024 * 1024
_FIELD = re.compile(r"([^\s:#][^:]*?)[ \t]*:")
_ENDS_A_STRING = re.compile(r"['\\]")
_FREE_TEXT = frozenset(
    {"description", "maintainer", "uploaders", "homepage", "test-command", "section", "origin", "bugs"}
)


def check_quotes(name: str, text: str) -> None:
    """See that no field of a control file but those of free text could end a string of Perl's.

    No relation, name or architecture of Debian's has a quote or a backslash (Debian Policy 5.6 and 7.1).

    :param name: what messages call the file.
    :raise TestFailed: one could.
    """
    field = ""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("#"):
            continue
        if not line[:1].isspace():
            match = _FIELD.match(line)
            field = match[1].lower() if match else ""
        is_free = field in _FREE_TEXT or field.startswith(("x", "vcs-"))
        if not is_free and _ENDS_A_STRING.search(line):
            raise TestFailed(
                f"cannot run the tests: line {number} of {name} has a quote or a backslash, which no "
                f"{field or 'such field'} may have",
                details=(line.strip()[:200],),
            )


def text_of(path: Path, tree: Path) -> str:
    """Return the text of a file of a tree that came out of a machine: none where it is no file, or leads out of it.

    :raise UsageError: it is too large to be what it is called.
    """
    real = Path(os.path.realpath(path))
    if not real.is_relative_to(os.path.realpath(tree)):
        return ""
    try:
        status = real.lstat()
        descriptor = (
            os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK) if stat.S_ISREG(status.st_mode) else None
        )
    except OSError:
        return ""
    if descriptor is None:
        return ""
    with os.fdopen(descriptor, "rb") as file:
        text = file.read(_LIMIT_BYTES + 1)
    if len(text) > _LIMIT_BYTES:
        raise UsageError(f"cannot read {path}: it has more than {_LIMIT_BYTES >> 20} MiB")
    return text.decode(errors="replace")
