"""The virtualisation server that autopkgtest starts within a run: all it does is to connect autopkgtest with the run.

The run listens on an abstract UNIX socket, whose name is the only argument. Standard library only: it starts in a
moment.
"""

from __future__ import annotations

import os
import selectors
import socket
import sys

_PIECE_BYTES = 65536


def main() -> None:
    """Pass on what autopkgtest sends and what the run answers, until either side closes.

    To be gone is autopkgtest's right: it closes our output before it asks us to quit, and takes any other status than 0
    for a testbed that failed.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as run, selectors.DefaultSelector() as selector:
        run.connect(f"\0{sys.argv[1]}")
        ways = {sys.stdin.fileno(): run.fileno(), run.fileno(): sys.stdout.fileno()}
        for source in ways:
            selector.register(source, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                data = os.read(key.fd, _PIECE_BYTES)
                if not data:
                    return
                try:
                    _write(ways[key.fd], data)
                except BrokenPipeError:
                    return


def _write(target: int, data: bytes) -> None:
    while data:
        data = data[os.write(target, data) :]
