"""Sends a baked image to another host: once, whatever process asks there, and from where the last attempt broke off."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

from vmtasks import events
from vmtasks.errors import HostError
from vmtasks.host.local import PIECE_BYTES
from vmtasks.image.baked import BakedImage
from vmtasks.remote.host import RemoteHost
from vmtasks.remote.incoming import FILES, add, complete, received, receiving


def sent(host: RemoteHost, image: BakedImage) -> BakedImage:
    """Return the image as it is on *host*, after sending it there if need be.

    :raise HostError: it cannot be sent, or that host has no room for it.
    """
    name = str(image.manifest["name"])
    if there := host.call(received, image.serial):
        return there
    with events.phase("upload image", detail=f"{name} to {host.name}"):
        try:
            _send(host, image)
        except HostError as problem:
            hint = "what has arrived need not be sent again" if host.is_lost else problem.hint
            raise HostError(f"cannot send the image {name} to {host.name}: {problem!s}", hint=hint) from problem
    if there := host.call(received, image.serial):
        return there
    raise HostError(f"cannot send the image {name} to {host.name}: it did not arrive")


def _send(host: RemoteHost, image: BakedImage) -> None:
    sizes = {file: path.stat().st_size for file in FILES if (path := image.directory / file).exists()}
    with host.enter(receiving, image.serial, sizes) as have:
        if have is None:  # another process has sent it meanwhile
            return
        digests: dict[str, str] = {}
        host.each(add, ((image.serial, *piece) for piece in _pieces(image, sizes, have, digests)))
        host.call(complete, image.serial, digests)


def _pieces(
    image: BakedImage, sizes: Mapping[str, int], have: Mapping[str, int], digests: dict[str, str]
) -> Iterator[tuple[str, int, bytes]]:
    """Yield what is missing, as file, position and content; leave the sha256 of each whole file in *digests*."""
    done, total = 0, sum(sizes.values())
    for file in sizes:
        digest = hashlib.sha256()
        at = 0
        with (image.directory / file).open("rb") as content:
            while piece := content.read(PIECE_BYTES):
                digest.update(piece)
                if at + len(piece) > have[file]:
                    yield file, at, piece
                at += len(piece)
                done += len(piece)
                if done % (32 * PIECE_BYTES) < PIECE_BYTES:
                    events.emit(events.Progress(phase="upload image", done=done, total=total, unit="bytes"))
        digests[file] = digest.hexdigest()
