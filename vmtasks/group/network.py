"""The network of a group, as its host sees it: the switch that carries it, and the faults that can be put into it."""

from __future__ import annotations

import itertools
import json
import os
import secrets
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from vmtasks.config.paths import socket_dir
from vmtasks.deadline import Deadline
from vmtasks.errors import HostError, UsageError
from vmtasks.group.forwarding import Link
from vmtasks.host.local import LOCAL_HOST, Host
from vmtasks.process.cleanup import remove_at_exit

ANSWER_LIMIT_S = 10.0
"""How long the switch may take to have a change in effect, on a host that is very busy; it is milliseconds."""


class Network:
    """The network between the members of a group.

    A name that is given is a member's or a role's, which stands for all of its members. Changes are in effect when a
    call returns, for frames in both directions, and members notice nothing of it but what no longer arrives.

    :param names: those of the members.
    :param expand: returns the members that a name stands for.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        directory: Path,
        names: Sequence[str],
        expand: Callable[[str], Sequence[str]],
    ) -> None:
        self._process = process
        self._directory = directory
        self._names = tuple(names)
        self._expand = expand
        self._serials = itertools.count(1)
        self._asking = threading.Lock()
        self._answered = -1
        self._last_word = ""
        self._news = threading.Condition()
        self._listener = threading.Thread(target=self._listen, name="switch", daemon=True)
        self._listener.start()

    def cut(self, one: str, other: str = "") -> None:
        """Let nothing through between two members; between *one* and all others if no *other* is given.

        :raise UsageError: there is no such member.
        """
        self._change(one, other, Link(is_cut=True))

    def link(
        self, one: str, other: str = "", *, delay_s: float = 0.0, loss: float = 0.0, kbit_per_s: float = 0.0
    ) -> None:
        """Have what goes between two members take longer, get lost, or be slow.

        :param delay_s: seconds that each frame takes, each way.
        :param loss: which part of the frames does not arrive, from 0 to 1.
        :param kbit_per_s: how fast it is each way, in 1000 bits a second; 0: as fast as can be.
        :raise UsageError: there is no such member, or a number makes no sense.
        """
        if delay_s < 0 or kbit_per_s < 0 or not 0 <= loss <= 1:
            raise UsageError("cannot have such a link: delay_s and kbit_per_s are 0 or more, and loss is from 0 to 1")
        self._change(one, other, Link(delay_s=delay_s, loss=loss, bytes_per_s=kbit_per_s * 125))

    def heal(self, one: str = "", other: str = "") -> None:
        """Have the link between two members be as it was; all of *one*'s, or of everybody's, if they are not given.

        :raise UsageError: there is no such member.
        """
        self._change(one, other, Link())

    def socket(self, name: str) -> Path:
        """Return the socket that is the port of a member."""
        return self._directory / name

    @property
    def end(self) -> HostError | None:
        """Why it is no more; None as long as its switch runs."""
        if self._process.poll() is None:
            return None
        self._listener.join(ANSWER_LIMIT_S)  # the last word may be on its way
        return HostError(f"the network of the group is gone: {self._last_word or 'its switch has ended'}")

    def _change(self, one: str, other: str, link: Link) -> None:
        left = self._expand(one) if one else self._names
        right = self._expand(other) if other else self._names
        pairs = {pair for a in left for b in right if a != b for pair in ((a, b), (b, a))}
        if not pairs:
            raise UsageError(f"cannot change a link between {one} and {other or one}: it takes two members")
        self._ask(pairs=sorted(pairs), link=link._asdict())

    def _ask(self, **request: object) -> None:
        with self._asking:
            serial = next(self._serials)
            with suppress(BrokenPipeError):  # it is gone: the wait tells
                _input(self._process).write(json.dumps({"id": serial, **request}).encode() + b"\n")
            self.wait_for(serial)

    def wait_for(self, serial: int) -> None:
        """Wait until the switch has answered the request *serial*; 0: until it is there.

        :raise HostError: it does not.
        """
        deadline = Deadline.after(ANSWER_LIMIT_S)
        with self._news:
            while self._answered < serial:
                if deadline.passed or not self._listener.is_alive():
                    why = self._last_word or "its switch ended, or does not answer"
                    raise HostError(f"the network of the group is gone: {why}")
                self._news.wait(deadline.within(0.25))

    def _listen(self) -> None:
        for line in _output(self._process):
            message = json.loads(line)
            with self._news:
                if message["event"] == "exited":  # the proxy's to a switch elsewhere
                    self._last_word = str(message["error"])
                else:
                    self._answered = message["id"]
                self._news.notify_all()


@contextmanager
def switched(
    names: Sequence[str],
    expand: Callable[[str], Sequence[str]],
    log_dir: Path | None = None,
    place: Host = LOCAL_HOST,
) -> Iterator[Network]:
    """Run a switch with a port for each name for as long as the block lasts.

    :param log_dir: receives what the switch itself has to complain about.
    :param place: where the machines run, and so the switch.
    :raise HostError: it does not start.
    """
    if log_dir:
        log_dir.mkdir(parents=True, exist_ok=True)
    directory = place.call(socket_dir) / f"vmtasks-{secrets.token_hex(4)}"
    if place.is_local:  # elsewhere, that end of the link sees to it
        remove_at_exit(directory)  # for the case that both of us are killed
    log = log_dir / "switch.log" if log_dir else Path(os.devnull)
    with ExitStack() as stack:
        complaints = stack.enter_context(log.open("ab"))
        process: subprocess.Popen[Any] = stack.enter_context(
            subprocess.Popen(
                place.program("vmtasks.group.switch"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
                bufsize=0,
                cwd="/",
                start_new_session=True,  # Ctrl-C is for the caller
            )
        )
        if place.is_local:
            stack.callback(shutil.rmtree, directory, ignore_errors=True)  # what one that was killed could not remove
        stack.callback(_end, process)
        network = Network(process, directory, names, expand)
        plan = {"directory": str(directory), "ports": list(names)}
        with suppress(BrokenPipeError):  # it is gone: the wait tells
            _input(process).write(json.dumps(plan).encode() + b"\n")
        network.wait_for(0)
        yield network


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let go of the switch and see it out."""
    _input(process).close()
    try:
        process.wait(ANSWER_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _input(process: subprocess.Popen[bytes]) -> IO[bytes]:
    if process.stdin is None:
        raise AssertionError("the line is a pipe")
    return process.stdin


def _output(process: subprocess.Popen[bytes]) -> IO[bytes]:
    if process.stdout is None:
        raise AssertionError("answers come through a pipe")
    return process.stdout
