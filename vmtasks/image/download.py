"""Files that are fetched: in pieces, with progress, and with their sum."""

from __future__ import annotations

import hashlib
import http.client
import urllib.request
from pathlib import Path
from typing import IO

from vmtasks import events
from vmtasks.errors import HostError

LIMIT_BYTES = 64 * 1024**3
"""A server could send without end."""
_CHUNK_BYTES = 1024 * 1024
_NETWORK_LIMIT_S = 60.0


def download(url: str, target: Path, *, detail: str) -> str:
    """Fetch a file, and return its sha256: what comes need not be what was meant.

    :param detail: what the progress says.
    :raise ValueError: that is no URL.
    :raise HostError: the network or the disk failed.
    """
    try:
        # Any scheme will do, file: too: the user has named it, together with the sum of what must come.
        with urllib.request.urlopen(url, timeout=_NETWORK_LIMIT_S) as response, target.open("wb") as file:  # noqa: S310
            told = response.headers.get("Content-Length") or ""
            total_bytes = int(told) if told.isascii() and told.isdecimal() else 0
            digest = copied(response, file, total_bytes, detail=detail)
    except (OSError, http.client.HTTPException) as problem:  # URLError is an OSError
        cause = getattr(problem, "reason", None) or problem
        reason = getattr(cause, "strerror", None) or cause
        raise HostError(
            f"cannot download {url}: {reason}", hint="look at the network, or fetch it and name the file"
        ) from problem
    came_bytes = target.stat().st_size
    if came_bytes < total_bytes:
        raise HostError(
            f"cannot download {url}: the connection ended after {came_bytes} of {total_bytes} bytes", hint="try again"
        )
    return digest


def copied(source: IO[bytes], target: IO[bytes] | None, total_bytes: int, *, detail: str) -> str:
    """Copy (or only read) *source*, with progress; return its sha256."""
    digest = hashlib.sha256()
    done_bytes = 0
    while chunk := source.read(_CHUNK_BYTES):
        digest.update(chunk)
        if target is not None:
            target.write(chunk)
        done_bytes += len(chunk)
        if done_bytes > LIMIT_BYTES:
            raise HostError(f"what is fetched is larger than {LIMIT_BYTES >> 30} GiB, which none of it should be")
        progress = events.Progress(phase="bake", done=done_bytes, total=total_bytes, unit="bytes", detail=detail)
        events.emit(progress)
    return digest.hexdigest()
