"""The one place where the messages of a group meet: threads ask it, and it answers each when the time has come."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from vmtasks import events
from vmtasks.errors import TestFailed
from vmtasks.group.coordinator import Answer, Coordinator, MessageCall, Pairs, Verb
from vmtasks.group.roles import HOST, OTHER_HOST, GroupMember, expand

TURN_S = 0.2
Take = Callable[[Answer], None]
_SHOWN = 200
"""So many letters of what a guest calls a message are written down."""


class Hub:
    """The messages between members, and from and to the host's side.

    :param members: who is in the group.
    :param timeout_s: how long a call may wait.
    :param check: called while the host's side waits; raises when the group has ended.
    """

    def __init__(self, members: Sequence[GroupMember], *, timeout_s: float, check: Callable[[], None]) -> None:
        self._members = tuple(members)
        is_taken = any(HOST in (member.name, member.role) for member in members)
        self._host = OTHER_HOST if is_taken else HOST
        self._coordinator = Coordinator(members, self._host)
        self._timeout_s = timeout_s
        self._check = check
        self._serials = itertools.count(1)
        self._takers: dict[int, Take] = {}
        self._news = threading.Condition()
        self._is_over = False

    # --- for the host's side

    def send(self, name: str, **pairs: str) -> None:
        """Send a message to every member, as ``lava-send`` does.

        :raise TestFailed: it is no message.
        """
        self._ask("send", name, pairs=pairs)

    def wait(self, name: str, *, timeout_s: float | None = None) -> dict[str, Pairs]:
        """Wait until anybody has sent a message, as ``lava-wait`` does; return its pairs by their senders.

        :param timeout_s: seconds, 0 for a look; by default as long as the group lets calls wait.
        :raise TestFailed: it cannot be met any more, or was not within its time.
        """
        return self._ask("wait", name, timeout_s=timeout_s)

    def wait_all(self, name: str, role: str = "", *, timeout_s: float | None = None) -> dict[str, Pairs]:
        """Wait until all members, or all of a role, have sent a message, as ``lava-wait-all`` does.

        :raise UsageError: there is no such role.
        :raise TestFailed: it cannot be met any more, or was not within its time.
        """
        if role:
            expand(self._members, role)
        return self._ask("wait-all", name, role=role, timeout_s=timeout_s)

    def _ask(
        self, verb: Verb, name: str, *, role: str = "", pairs: Pairs | None = None, timeout_s: float | None = None
    ) -> dict[str, Pairs]:
        answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        serial = self.new_call()
        try:
            self.call(
                serial, self._host, verb, name, role=role, pairs=pairs or {}, take=answers.put, timeout_s=timeout_s
            )
            while True:
                self._check()
                try:
                    answer = answers.get(timeout=TURN_S)
                    break
                except queue.Empty:
                    continue
        except BaseException:
            self.withdraw(serial)
            raise
        if answer.error:
            raise TestFailed(f"the host's {answer.error}")
        return dict(answer.messages)

    # --- for those that speak for members

    def new_call(self) -> int:
        """Return a number for a call that is to come."""
        return next(self._serials)

    def call(
        self,
        serial: int,
        member: str,
        verb: Verb,
        name: str,
        *,
        role: str = "",
        pairs: Pairs,
        take: Take,
        timeout_s: float | None = None,
    ) -> None:
        """Ask for something; *take* is called with the answer, in any thread, and must not call back."""
        call = MessageCall(
            serial=serial,
            member=member,
            verb=verb,
            id=name,
            role=role,
            pairs=pairs,
            at_s=0.0,
            timeout_s=self._timeout_s if timeout_s is None else timeout_s,
        )
        with self._news:
            self._takers[call.serial] = take
            self._give(self._coordinator.call(replace(call, at_s=time.monotonic())))
            self._news.notify()

    def withdraw(self, serial: int) -> None:
        """Forget a call."""
        with self._news:
            self._give(self._coordinator.withdraw(serial, time.monotonic()))

    def gone(self, member: str, reason: str) -> None:
        """Take note that a member sends no more."""
        with self._news:
            self._give(self._coordinator.gone(member, reason, time.monotonic()))

    def host_gone(self, reason: str) -> None:
        """Take note that the host's side sends no more; *reason* is a sentence, if there is something to tell."""
        self.gone(self._host, reason)

    def waits(self) -> list[str]:
        """Say who waits for what, and how long already."""
        with self._news:
            return self._coordinator.waits(time.monotonic())

    @contextmanager
    def keeping_time(self) -> Iterator[None]:
        """See to deadlines for as long as the block lasts."""
        thread = threading.Thread(target=self._keep_time, name="deadlines", daemon=True)
        thread.start()
        try:
            yield
        finally:
            with self._news:
                self._is_over = True
                self._news.notify()
            thread.join()

    def _keep_time(self) -> None:
        with self._news:
            while not self._is_over:
                self._give(self._coordinator.passed(time.monotonic()))
                left_s = self._coordinator.next_deadline_s() - time.monotonic()
                self._news.wait(max(0.0, min(left_s, threading.TIMEOUT_MAX)))

    def _give(self, answers: list[Answer]) -> None:
        """Hand answers to those who asked, and report each."""
        for answer in answers:
            call = answer.call
            events.emit(
                events.GroupCall(
                    machine=call.member,
                    verb=call.verb,
                    id=call.id[:_SHOWN],  # a guest's words, of which each row keeps some
                    role=call.role[:_SHOWN],
                    outcome=answer.outcome,
                    waited_for=answer.waited_for,
                    duration_s=answer.duration_s,
                    error=answer.error[: 4 * _SHOWN],
                )
            )
            self._takers.pop(call.serial)(answer)
