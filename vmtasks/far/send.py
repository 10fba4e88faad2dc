"""Sends a baked image to another host: once, whoever asks for it there, and from where the last attempt broke off."""

from __future__ import annotations

import hashlib
import json
import subprocess
from contextlib import suppress
from typing import IO, Any

from vmtasks import events
from vmtasks.errors import HostError
from vmtasks.far.host import FarHost
from vmtasks.far.receive import received
from vmtasks.image.cache import BakedImage

_FILES = ("disk.qcow2", "vmlinuz", "initrd", "manifest.json")
"""What a machine needs. How to get into it, nobody needs to know there."""
_PIECE_BYTES = 1024 * 1024


def sent(host: FarHost, image: BakedImage) -> BakedImage:
    """Return the image as it is on *host*, after sending it there if need be.

    :raise HostError: it cannot be sent, or that host has no room for it.
    """
    name = str(image.manifest["name"])
    if there := host.call(received, image.serial):
        return there
    with events.phase("send", detail=f"{name} to {host.name}"):
        _send(host, image, name)
    if there := host.call(received, image.serial):
        return there
    raise HostError(f"cannot send the image {name} to {host.name}: it did not arrive")


def _send(host: FarHost, image: BakedImage, name: str) -> None:
    sizes = {file: path.stat().st_size for file in _FILES if (path := image.directory / file).exists()}
    said: dict[str, Any] = {"event": "gone"}
    with subprocess.Popen(
        host.receiver(image.serial), stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/", start_new_session=True
    ) as line:
        if line.stdin is None or line.stdout is None:
            raise AssertionError("ssh speaks through pipes")
        try:
            with suppress(BrokenPipeError):  # why it broke off, is told at the other end, or not at all
                _line(line.stdin, sizes)
                said = _answer(line.stdout, name)
                if said["event"] == "at":
                    digests = _send_rest(image, sizes, said["have"], line.stdin)
                    _line(line.stdin, digests)
                    said = _answer(line.stdout, name)
        finally:
            line.kill()
    if said["event"] != "complete":
        raise HostError(
            f"cannot send the image {name} to {host.name}: {said.get('error', 'the link broke')}",
            hint="what has arrived need not be sent again",
        )


def _send_rest(image: BakedImage, sizes: dict[str, int], have: dict[str, int], stdin: IO[bytes]) -> dict[str, str]:
    """Send what is missing of each file, and return the sha256 of all of it."""
    digests = {}
    done, total = 0, sum(sizes.values())
    for file in sizes:
        digest = hashlib.sha256()
        with (image.directory / file).open("rb") as content:
            while piece := content.read(_PIECE_BYTES):
                digest.update(piece)
                done += len(piece)
                if (new := content.tell() - have[file]) > 0:
                    stdin.write(piece[-new:])
                events.emit(events.Progress(phase="send", done=done, total=total, unit="bytes"))
        digests[file] = digest.hexdigest()
    return digests


def _line(stdin: IO[bytes], said: object) -> None:
    stdin.write(json.dumps(said).encode() + b"\n")
    stdin.flush()


def _answer(stdout: IO[bytes], name: str) -> dict[str, Any]:
    """Return the next answer that tells something; one without an event to it, if there is none any more."""
    for line in stdout:
        with suppress(ValueError):
            said = json.loads(line)
            if said["event"] == "waiting":
                events.emit(events.Note(text=f"waiting for somebody else who sends {name}"))
            else:
                return dict(said)
    return {"event": "gone"}
