"""A source's links that lead out of its tree: left out on this host, and made again in the machines of its tests.

They travel as an archive that only machines look into.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmtasks.guest import Guest

# $1 is the tree, $2 the archive. debian/tests/control is ours by then.
_PACK = r"""# pack the links of a tree, if one leads out of it
set -eu
cd -- "$1"
[ "$(find . -type l \( -lname '/*' -o -lname '*..*' \) ! -path ./debian/tests/control -print -quit)" ] || exit 0
# All of them: what leads out may do so by way of another link.
find . -type l ! -path ./debian/tests/control -print0 |
    tar --create --null --no-recursion --files-from=- --file="$2"
echo packed
"""


def pack(guest: Guest, tree: str, archive: Path) -> Path | None:
    """Bring the links of the guest's directory *tree* to *archive*; None: none of them leads out of it."""
    with guest.tmp_dir() as room:
        if not guest.query(["sh", "-c", _PACK, "sh", tree, f"{room}/links.tar"]):
            return None
        guest.files.get(f"{room}/links.tar", archive)
    return archive


def restorer(archive: Path | None, tree: Path) -> Callable[[Guest, Path, str], None]:
    """Return what makes the links in *archive* that are missing in a guest's copy of the host's *tree*.

    It is called with a guest, what was copied there from the host, and where it is now.
    """

    def restore(guest: Guest, source: Path, target: str) -> None:
        if archive and source == tree:
            with guest.tmp_dir() as room:
                guest.files.put(archive, f"{room}/links.tar", None, None)
                guest.query(f"tar -x --skip-old-files -C {shlex.quote(target)} -f {room}/links.tar")

    return restore
