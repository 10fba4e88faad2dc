"""What qemu-img knows of an image, before anything that the image names is opened: it may come from a stranger."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from vmtasks.errors import HostError, UsageError
from vmtasks.host.confined import qemu_img
from vmtasks.process.landlock import Reach

_LONGEST_CHAIN = 200
_SHOWN = 200
_PROTOCOL = re.compile(r"(?!file:)[A-Za-z][A-Za-z0-9+.-]*:")
"""What begins the name of something that is no file of this host, to QEMU: ``nbd:``, ``json:``, ``http:``."""


def info_of(image: Path, *, named: Path | None = None) -> dict[str, Any]:
    """Return what ``qemu-img info`` says of an image alone.

    :param named: the image that an error is about, where this one is beneath it.
    :raise HostError: it is no image, or there is no qemu-img.
    """
    path = str(image.absolute())
    done = qemu_img("info", "--force-share", "--output=json", path, reach=Reach(read=(path,)))
    if done.returncode:
        raise HostError(f"cannot use {named or image}: {done.stderr.strip().removeprefix('qemu-img: ')}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def expect_self_contained(image: Path) -> None:
    """See that an image from elsewhere names no file but itself.

    :raise UsageError: it does: QEMU would read that file of the host's, or connect to that server.
    """
    info = info_of(image)
    if other := next((name for name in (*_data_files(info, image), info.get("backing-filename")) if name), None):
        raise UsageError(
            f"cannot use {image}: it names another file, {str(other)[:_SHOWN]!r}, which would come to be part of it",
            hint=f"`qemu-img convert -O qcow2 {image} whole.qcow2` where it was made makes one that names none",
        )


def chain_of(image: Path) -> list[dict[str, Any]]:
    """Return what there is to know of an image and of all that it stands on, the nearest first.

    :raise UsageError: something in the chain is no file of this host, or has its data elsewhere.
    :raise HostError: something in it is no image.
    """
    chain: list[dict[str, Any]] = []
    path = image
    while len(chain) < _LONGEST_CHAIN:
        chain.append(info_of(path, named=image))
        for name in _data_files(chain[-1], path):
            raise UsageError(f"cannot use {image}: the data of {path} are in another file, {name[:_SHOWN]!r}")
        below = chain[-1].get("full-backing-filename") or chain[-1].get("backing-filename")
        if not below:
            return chain
        if _PROTOCOL.match(below):
            raise UsageError(f"cannot use {image}: {path} stands on {below[:_SHOWN]!r}, which is no file of this host")
        path = Path(below)
    raise UsageError(f"cannot use {image}: it stands on more than {_LONGEST_CHAIN} others, or on itself")


def _data_files(info: dict[str, Any], image: Path) -> list[str]:
    """Return the files other than the image's own that have its data: qcow2's data file, the extents of a vmdk."""
    data = info.get("format-specific", {}).get("data", {})
    names = [data.get("data-file"), *(one.get("filename") for one in data.get("extents", ()) if isinstance(one, dict))]
    return [name for name in names if name and Path(name) != image.absolute()]
