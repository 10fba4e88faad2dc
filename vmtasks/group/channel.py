"""The line to one member: its verbs' calls come in over it, and their answers go out; and its end is noticed here."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from vmtasks.errors import ConnectionLost, GuestLost, HostError, Interrupted, TestFailed, VmtasksError
from vmtasks.group.coordinator import WITHDRAWN, Answer
from vmtasks.group.guest_programs import EXISTING_HOST, USUAL, GuestPaths, agent_command, join_command, joined_with
from vmtasks.group.hub import Hub
from vmtasks.group.roles import GroupMember
from vmtasks.group.wire import REFUSAL, FrameReader, Reply, frame, reply_to, understood
from vmtasks.ssh.arrivals import Arrivals
from vmtasks.ssh.sending import send

if TYPE_CHECKING:
    from paramiko.channel import Channel

    from vmtasks.guest import Guest

_TURN_S = 0.2
_FEED_TURN_S = 0.01
_CHUNK_BYTES = 65536
_PIECE_BYTES = 32768
_UNREAD_BYTES = 64 * 1024 * 1024
"""What a guest may leave unread of its replies: one that only asks must not fill the host's memory."""

_GREETING_BYTES = 1024 * 1024
"""What may come before an agent's first line ends."""


class MemberChannel:
    """Serves one member for as long as it lives, through reboots and broken connections.

    :param lost: called, once, with what became of the machine.
    :param paths: where things are in the guest; by default as what it is has them.
    :param has_network: whether the group has a network; an existing host has no card there even so.
    """

    def __init__(
        self,
        member: GroupMember,
        members: Sequence[GroupMember],
        guest: Guest,
        hub: Hub,
        lost: Callable[[VmtasksError], None],
        *,
        paths: GuestPaths | None = None,
        has_network: bool = True,
    ) -> None:
        self._member = member
        self._members = tuple(members)
        self._guest = guest
        self._hub = hub
        self._lost = lost
        self._paths = paths or (EXISTING_HOST if member.on else USUAL)
        self._has_network = has_network and not member.on
        self._over = threading.Event()
        self._arrivals: Arrivals | None = None
        """What is waited for while there is an agent."""
        self._sending = threading.Lock()
        self._outgoing = bytearray()
        self._calls: dict[int, int] = {}
        """The hub's numbers of the calls that wait, by the verbs' own."""
        self._thread = threading.Thread(target=self._serve, name=f"group-{member.name}", daemon=True)

    def join(self) -> None:
        """Make the machine a member, unless it is one: network, names, verbs.

        :raise CommandFailed: it cannot be.
        """
        command = join_command(self._paths, self._member, has_network=self._has_network)
        self._guest.query(command, stdin=joined_with(self._paths, self._members))
        if self._member.on:
            self._guest.find_programs_in(self._paths.verbs)

    def start(self) -> None:
        """Serve it from now on, in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Serve it no longer."""
        with self._sending:
            self._over.set()
            self._wake()
        if self._thread.is_alive():
            self._thread.join()

    def _serve(self) -> None:
        is_joined = True
        try:
            while not self._over.is_set():
                # A machine that boots answers nothing, and one whose network is not up yet cannot join.
                with suppress(ConnectionLost, GuestLost, TestFailed):
                    if not is_joined:
                        self.join()
                    is_joined = False
                    self._talk()
                for call in [*self._calls.values()]:
                    self._hub.withdraw(call)
                self._calls.clear()
                if not self._over.is_set():
                    self._guest.watch(_TURN_S)
        except Interrupted:
            return
        except VmtasksError as problem:
            self._lost(problem)
        except Exception as problem:  # noqa: BLE001 - a thread that ends must not do so in silence
            self._lost(HostError(f"cannot serve {self._member.name} any more: {type(problem).__name__}: {problem}"))

    def _talk(self) -> None:
        """Have an agent in the guest, until it ends or is not needed any more."""
        received = bytearray()
        has_begun, reader = False, FrameReader()
        with self._sending:
            self._outgoing.clear()
        with self._guest.channel(agent_command(self._paths)) as channel:
            self._arrivals = Arrivals(channel)
            while not self._over.is_set():
                if not channel.recv_ready() and (channel.eof_received or channel.closed):
                    return  # closed: with its connection, as the machine boots
                self._arrivals.wait(_FEED_TURN_S if self._outgoing else _TURN_S)
                self._guest.watch(0.0)
                while channel.recv_ready():
                    received += channel.recv(_CHUNK_BYTES)
                try:
                    has_begun = has_begun or _has_begun(received)
                    if not has_begun:
                        continue
                    new, received = bytes(received), bytearray()
                    for serial, data in reader.take(new):
                        self._hear(serial, data)
                except ValueError:  # it is no agent of ours that sends such frames: the next one may be
                    return
                if len(self._outgoing) >= _UNREAD_BYTES:
                    return
                self._send(channel)

    def _hear(self, serial: int, data: bytes | None) -> None:
        """Take in what a verb says; None: more than it may."""
        if data is None:
            self._reply(serial, REFUSAL)
            return
        if serial == 0:  # the agent is there
            return
        if not data:
            if (call := self._calls.pop(serial, None)) is not None:
                self._hub.withdraw(call)
            return
        found = understood(data, self._member, self._members)
        if isinstance(found, Reply):
            self._reply(serial, found)
            return
        complaint = found.complaint

        def take(answer: Answer) -> None:
            self._calls.pop(serial, None)
            if answer.outcome != WITHDRAWN:
                self._reply(serial, reply_to(answer, complaint))

        call = self._calls[serial] = self._hub.new_call()
        self._hub.call(call, self._member.name, found.verb, found.id, role=found.role, pairs=found.pairs, take=take)

    def _reply(self, serial: int, reply: Reply) -> None:
        """Have a reply sent, by the thread that serves the member."""
        with self._sending:
            if not self._over.is_set():
                if len(self._outgoing) < _UNREAD_BYTES:
                    self._outgoing += frame(serial, reply.encoded())
                self._wake()

    def _wake(self) -> None:
        if self._arrivals is not None:
            self._arrivals.wake()

    def _send(self, channel: Channel) -> None:
        """Send as much as the machine takes now."""
        with self._sending, suppress(OSError):  # the channel is closed, which the next turn sees
            while self._outgoing and channel.send_ready():
                sent = send(channel, bytes(self._outgoing[:_PIECE_BYTES]))
                del self._outgoing[:sent]


def _has_begun(received: bytearray) -> bool:
    """Take off what comes before an agent's frames, a line; tell whether it was there.

    :raise ValueError: it is too long.
    """
    end = received.find(b"\n") + 1
    if not end and len(received) > _GREETING_BYTES:
        raise ValueError(f"a line of more than {_GREETING_BYTES} bytes")
    del received[:end]
    return end > 0
