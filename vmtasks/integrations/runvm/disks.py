"""More disks for a machine without IDE, asked for in the words of one that has it."""

from __future__ import annotations

import re
from collections.abc import Iterator

_DISK = re.compile(r"--?(hd[b-d]|cdrom)")
_DRIVE = re.compile(r"--?drive")
_IDE = re.compile(r"(^|,)if=ide(?=,|$)")
_ANY = re.compile(r"(^|,)if=")


def lean_disks(words: tuple[str, ...]) -> tuple[str, ...]:
    """Return QEMU's arguments with virtio disks for the IDE ones: ``-hdb FILE`` is the next ``/dev/vd?`` of the guest.

    All else is as it was. Source: qemu-system-x86_64(1), ``-hda``, ``-cdrom`` and ``-drive``.
    """
    return tuple(_changed(words))


def _changed(words: tuple[str, ...]) -> Iterator[str]:
    left = iter(words)
    for word in left:
        value = next(left, None) if _DISK.fullmatch(word) or _DRIVE.fullmatch(word) else None
        if value is None:
            yield word
        elif _DRIVE.fullmatch(word):
            yield from (word, _IDE.sub(r"\1if=virtio", value) if _ANY.search(value) else f"{value},if=virtio")
        else:
            file = value.replace(",", ",,")
            yield from ("-drive", f"if=virtio,file={file}{',format=raw,readonly=on' if 'cdrom' in word else ''}")
