"""A guest's serial console, as its supervisor hears it. Standard library only, because it rides with that."""

from __future__ import annotations

import re
import select
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

CONSOLE_LIMIT_BYTES = 32 * 1024 * 1024
"""How much of the guest's output the log holds, from the beginning."""
LAST_WORDS_BYTES = 4096

_PANIC = re.compile(rb"Kernel panic - not syncing[^\r\n]*(?=[\r\n])")  # the whole line: a UART sends it in crumbs
_OUT_OF_MEMORY = re.compile(rb"Out of memory: Killed process \d+ \([^)\r\n]*\)")
_SIGN_BYTES = 1024


class Console:
    """The guest's serial console: into a log of bounded size, watched for its kernel's messages of a bad end.

    :param on_panic: told of its first panic.
    :param on_out_of_memory: told of the first process that it killed because memory ran out.
    :param path: the log; None: its reader is elsewhere.
    :param on_text: told what would go into a log, where there is none.
    """

    def __init__(
        self,
        line: socket.socket,
        path: str | None,
        on_panic: Callable[[str], None],
        on_out_of_memory: Callable[[str], None] = lambda _: None,
        on_text: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.line = line
        self._of_each_boot = {_PANIC: on_panic, _OUT_OF_MEMORY: on_out_of_memory}
        self._signs = dict(self._of_each_boot)
        # It lives as long as the machine. (No pathlib here.)
        self._log = open(path, "ab", buffering=0) if path else None  # noqa: SIM115
        self._on_text = on_text
        self.show: Callable[[bytes], None] = lambda _: None
        """Told all that the guest prints, beyond the log's size, too."""
        self._room_bytes = CONSOLE_LIMIT_BYTES
        self._tail = self._unsearched = b""
        line.setblocking(False)

    def fileno(self) -> int:
        """Return the descriptor to select on."""
        return self.line.fileno()

    def pump(self) -> bool:
        """Take in what has arrived and tell of the signs in it; return whether the line is still open."""
        try:
            data = self.line.recv(65536)
        except BlockingIOError:
            return True
        except ConnectionResetError:
            return False
        if logged := data[: self._room_bytes]:
            self._keep(logged)
        self._room_bytes = max(0, self._room_bytes - len(data))
        self._tail = (self._tail + data)[-LAST_WORDS_BYTES:]
        self.show(data)
        self._look_for_signs(data)
        return bool(data)

    def _keep(self, data: bytes) -> None:
        if self._log is None:
            self._on_text(data.decode("latin-1"))  # one letter a byte: pieces may be cut anywhere
            return
        with suppress(OSError):  # a full disk must not cost the machine: the console is evidence, not the run
            self._log.write(data)

    def _look_for_signs(self, data: bytes) -> None:
        seen = self._unsearched + data
        self._unsearched = seen[-_SIGN_BYTES:]  # a sign may be cut in two
        for sign in tuple(self._signs):
            if found := sign.search(seen):
                # Once: a guest that prints it without end must not fill the caller's memory.
                self._signs.pop(sign)(found[0].decode(errors="replace"))

    def hear_anew(self) -> None:
        """Tell of the next signs as of the first: they are those of another boot."""
        self._signs, self._unsearched = dict(self._of_each_boot), b""

    def hear_from(self, line: socket.socket) -> None:
        """Go on with another line, that of a boot of another QEMU, once what is left on this one is taken in."""
        self._take_rest()
        self.line.close()
        line.setblocking(False)
        self.line = line
        self.hear_anew()

    def type_in(self, data: bytes) -> int:
        """Type on the console; return how many bytes the guest has room for."""
        try:
            return self.line.send(data)
        except BlockingIOError:
            return 0

    def tail(self) -> str:
        """Return the end of the guest's output."""
        return self._tail.decode(errors="replace")

    def last_lines(self) -> bytes:
        """Return the end of the guest's output, from the beginning of a line on."""
        is_cut = len(self._tail) == LAST_WORDS_BYTES
        return self._tail.partition(b"\n")[2] if is_cut else self._tail

    def close(self) -> None:
        """Take in what is left on the line, and close the log."""
        self._take_rest()
        if self._log is not None:
            self._log.close()

    def _take_rest(self) -> None:
        while select.select([self], [], [], 0)[0] and self.pump():
            pass
