"""The lines of shell by which a guest packs and unpacks."""

from __future__ import annotations

import glob
import os
import shlex

from vmtasks.guest import transfer_disk
from vmtasks.spec import TRANSFER_DISK_BYTES
from vmtasks.ssh.session import NO_INPUT

BLOCKS = 2048
"""How many tar blocks (of 512 bytes) the guest reads and writes at once."""


def quoted_glob(pattern: str) -> str:
    """Quote everything of a pattern but what makes it one, for the guest's shell."""
    return "".join(letter if letter in "*?[]-!^" or letter.isalnum() else shlex.quote(letter) for letter in pattern)


BY_DISK = b"x"
"""What the guest's side prints where the data goes over the disk, and not in the stream."""


def tar_into(directory: str, *, source: str = "-") -> str:
    """Return what unpacks a stream into a directory, which is made."""
    where = shlex.quote(directory)
    return f"mkdir -p -- {where} && exec tar -x --no-same-owner -p -b {BLOCKS} -f {source} -C {where}"


def tar_from_disk(directory: str) -> str:
    """Return the guest's command; it prints ``x`` if it has the disk, and nothing if not."""
    # The guest may hold blocks of an earlier transfer in its cache.
    unpack = tar_into(directory, source='"$d"')
    return f"if {transfer_disk.FIND}; then printf x; blockdev --flushbufs $d && {unpack}; fi"


def tar_out_of(source: str, *, disk_too: bool) -> str:
    """Return the guest's command.

    The first byte that it prints is ``d`` if *source* is a directory, else ``f``; the second is ``x`` if the archive
    is to be found on the disk once the command has ended, and ``s`` if it follows in the stream.
    """
    where = shlex.quote(source)
    if glob.has_magic(source):
        # Each match goes under its own name, from the directory that it lies in.
        all_matches = '"$@"'
        return (
            f"set -- {quoted_glob(source)}; k=f; "
            f'[ -e "$1" ] || [ -L "$1" ] || {{ echo nothing matches {where} >&2; exit {NO_INPUT}; }}; '
            f"{_way(all_matches, disk_too=disk_too)}"
            'for f do shift; set -- "$@" -C "$(cd -- "$(dirname -- "$f")" && pwd)" "./$(basename -- "$f")"; done; '
            f"{_PACK}"
        )
    parent, name = os.path.split(source.rstrip("/") or "/")
    file = f"-C {shlex.quote(parent or '.')} {shlex.quote('./' + name)}"
    return (
        f"if [ -d {where} ]; then k=d; set -- -C {where} .; elif [ -e {where} ]; then k=f; set -- {file}; "
        f"else echo there is no {where} >&2; exit {NO_INPUT}; fi; "
        f"{_way(where, disk_too=disk_too)}{_PACK}"
    )


_PACK = (
    f'if [ "$d" ]; then tar -c -b {BLOCKS} -f "$d" "$@"; r=$?; blockdev --flushbufs "$d" || exit; '
    'else tar -c -f - "$@"; r=$?; fi; [ $r -le 1 ]'
)
"""Shell that packs what the arguments name, onto the disk ``d`` if there is one. tar's 1 means that a file, a log
perhaps, was written to meanwhile."""


def _way(paths: str, *, disk_too: bool) -> str:
    """Return shell that chooses the way, prints it behind ``k``, and sets ``d`` to the disk if it is that."""
    if not disk_too:
        return 'd=; printf "${k}s"; '
    kib = f"n=$(du -skc --apparent-size -- {paths} 2>/dev/null | tail -n 1 | cut -f 1)"
    fits = f'[ "${{n:-0}}" -ge {transfer_disk.WORTH_BYTES >> 10} ] && [ "$n" -lt {TRANSFER_DISK_BYTES >> 11} ]'
    return f'd=; {kib}; if {fits} && {transfer_disk.FIND}; then printf "${{k}}x"; else d=; printf "${{k}}s"; fi; '
