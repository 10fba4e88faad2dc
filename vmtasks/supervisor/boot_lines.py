"""The command lines of QEMU's that a machine boots with, where its kernel may change while it lives.

QEMU reads a kernel, its initrd and its arguments when it starts, and keeps them over every reset. So a machine that is
to boot another one has QEMU end at the next reset (``set-action``), and is started anew on the same disk, with another
command line. A request ``boots`` says which: ``once`` (null: none) for the next boot alone, ``default`` for those after
it. Standard library only, because it rides with the supervisor. Source: QEMU's qapi/run-state.json.
"""

from __future__ import annotations

import socket
from contextlib import ExitStack, contextmanager, suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

RESETS = ("guest-reset", "host-qmp-system-reset")
"""What QEMU says of an end that would have been a reset, where it does not end at resets."""
BY_HOST = RESETS[1]


class BootLines:
    """What QEMU runs with, and what it is to be started with at the next reset.

    :param argv: what it runs with.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        self.running = tuple(argv)
        self._default = self.running
        self._once: tuple[str, ...] = ()
        self._end: Mapping[str, Any] = {}
        """What QEMU has told of its end."""

    def choose(self, request: Mapping[str, Any]) -> None:
        """Take a request's lines."""
        self._default, self._once = tuple(request["default"]), tuple(request["once"] or ())

    @property
    def action(self) -> dict[str, Any]:
        """The command that tells QEMU what to do at a reset."""
        ends = self._next != self.running
        return {"execute": "set-action", "arguments": {"reboot": "shutdown" if ends else "reset"}}

    def hear(self, event: Mapping[str, Any]) -> None:
        """Take note of an event of QEMU's, if it is one of its end."""
        if event["event"] == "SHUTDOWN":
            self._end = event.get("data", {})

    @property
    def ended_by_reset(self) -> bool:
        """Whether QEMU has ended, or is about to, where it would have reset the machine."""
        return self._end.get("reason") in RESETS

    @property
    def was_reset_by_host(self) -> bool:
        """Whether it was from here that the machine was reset."""
        return bool(self._end.get("reason") == BY_HOST)

    def turn(self) -> tuple[str, ...]:
        """Return the line for the boot that comes; what is for one boot alone is over with it."""
        self.running, self._once, self._end = self._next, (), {}
        return self.running

    @property
    def _next(self) -> tuple[str, ...]:
        return self._once or self._default


@contextmanager
def kept_ports(ports: Iterable[int]) -> Iterator[None]:
    """Keep ports of this host from those who take any, in the block; who asks for one by its number gets it.

    They are bound and not listened to: with SO_REUSEADDR on both sides, QEMU may bind them, too. Source: socket(7).
    """
    with ExitStack() as stack:
        for port in ports:
            held = stack.enter_context(socket.socket())
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):  # QEMU tells why it does not get it
                held.bind(("127.0.0.1", port))
        yield
