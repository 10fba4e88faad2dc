"""The keeper's socket: a line of JSON asks for something, a line of JSON answers, and that is all of a connection.

The socket lies in the machine's directory, which is its user's alone.
"""

from __future__ import annotations

import json
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from vmtasks.errors import HostError, VmtasksError
from vmtasks.files.short_name import short_name

ANSWER_LIMIT_S = 30.0
_PEER_LIMIT_S = 5.0
"""How long a caller may take to say what it wants: there is but one at a time."""
_LINE_BYTES = 4096
_NAME = "control"

Answer = Callable[[dict[str, Any]], object]
"""Does what a request asks for, and returns what there is to tell."""


@contextmanager
def serving(directory: Path, answer: Answer) -> Iterator[None]:
    """Serve the socket in a thread, for as long as the block lasts.

    :raise OSError: it cannot be made.
    """
    over = os.eventfd(0)
    try:
        with socket.socket(socket.AF_UNIX) as server, short_name(directory) as name:
            server.bind(f"{name}/{_NAME}")
            server.listen()
            thread = threading.Thread(target=_serve, args=(server, over, answer), name="control", daemon=True)
            thread.start()
            try:
                yield
            finally:
                os.eventfd_write(over, 1)
                thread.join()
    finally:
        os.close(over)


def ask(directory: Path, **request: object) -> Any:  # noqa: ANN401 - what the keeper tells
    """Ask the keeper of a machine for something, and return its answer.

    :raise HostError: it does not answer, or could not do it.
    """
    try:
        with socket.socket(socket.AF_UNIX) as line, short_name(directory) as name:
            line.settimeout(ANSWER_LIMIT_S)
            line.connect(f"{name}/{_NAME}")
            line.sendall(json.dumps(request).encode() + b"\n")
            answer = json.loads(_line_of(line))
    except (OSError, ValueError) as problem:
        raise HostError(
            f"cannot ask the process that keeps the machine '{directory.name}': {problem}",
            hint=f"{directory}/keeper.log may tell more",
        ) from problem
    if "error" in answer:
        raise HostError(str(answer["error"]))
    return answer["result"]


def _serve(server: socket.socket, over: int, answer: Answer) -> None:
    watched: list[Any] = [server, over]
    while over not in select.select(watched, [], [])[0]:
        line, _ = server.accept()
        with line, suppress(OSError, ValueError):  # a caller that has gone, or sends what is no request
            line.settimeout(_PEER_LIMIT_S)
            request = json.loads(_line_of(line))
            try:
                told: dict[str, object] = {"result": answer(request)}
            except (VmtasksError, OSError) as problem:
                told = {"error": str(problem)}
            line.sendall(json.dumps(told).encode() + b"\n")


def _line_of(line: socket.socket) -> bytes:
    """Return the one line that the other side sends."""
    received = b""
    while b"\n" not in received and len(received) < _LINE_BYTES:
        data = line.recv(_LINE_BYTES)
        if not data:
            break
        received += data
    return received
