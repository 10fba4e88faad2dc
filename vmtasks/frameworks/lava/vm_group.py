"""The host of virtual machines and its guests, as LAVA's first version has them; here all are machines side by side.

Guests begin when they get a message: at once, or when the tests of the host call lava-start-vms. Each sends another one
when its tests have ended, for which lava-wait-for-vms waits, and the host before its next test shell.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from vmtasks.errors import TestFailed

if TYPE_CHECKING:
    from vmtasks.frameworks.lava.group_job import LavaGroupJob
    from vmtasks.group.coordinator import Answer, Verb
    from vmtasks.group.group import Group
    from vmtasks.group.roles import GroupMember

START, STOP = "lava_vm_start", "lava_vm_stop"
TURN_S = 0.2


class MemberCall:
    """A call in the name of a member, as one of its programs would make it.

    :param on_met: called, in any thread, when it is met.
    """

    def __init__(
        self,
        group: Group,
        member: GroupMember,
        verb: Verb,
        name: str,
        *,
        pairs: Mapping[str, str] = {},
        role: str = "",
        timeout_s: float | None = None,
        on_met: Callable[[], object] = lambda: None,
    ) -> None:
        self._group = group
        self._what = f"{member.name} cannot go on"
        self._answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()

        def take(answer: Answer) -> None:
            if not answer.error:
                on_met()
            self._answers.put(answer)

        self._serial = group.messages.new_call()
        group.messages.call(
            self._serial, member.name, verb, name, role=role, pairs=pairs, take=take, timeout_s=timeout_s
        )  # fmt: skip

    def wait(self, is_vain: Callable[[], str] = str) -> None:
        """Wait until it is met.

        :param is_vain: returns a sentence when it cannot be met any more.
        :raise TestFailed: it cannot be.
        :raise Interrupted: the group has ended.
        """
        try:
            while True:
                why = is_vain()
                self._group.check()
                try:
                    answer = self._answers.get(timeout=TURN_S)
                    break
                except queue.Empty:
                    if why:
                        raise TestFailed(why) from None
        except BaseException:
            self._group.messages.withdraw(self._serial)
            raise
        if answer.error:
            self._group.check()  # others that end with the group are no reason of their own
            raise TestFailed(is_vain() or f"{self._what}: {answer.error}")


class VmGroup:
    """Who of a group is a guest of whom, and who has ended."""

    def __init__(self, job: LavaGroupJob, group: Group) -> None:
        self._job = job
        self._group = group
        self._ended = {member.name: threading.Event() for member in group.members}
        self._has_started = threading.Event()
        self._starts: dict[str, MemberCall] = {}
        if not job.auto_start:  # before any test of the host can send it
            for member in self._guests():
                self._starts[member.name] = MemberCall(group, member, "wait", START, on_met=self._has_started.set)

    def is_host(self, member: GroupMember) -> bool:
        """Tell whether a member is the host."""
        return bool(self._job.host_role) and member.role == self._job.host_role

    def begin(self, member: GroupMember) -> None:
        """Come back when a member is to begin.

        :raise TestFailed: it is not to: the tests of the host have ended, and none has said so.
        """
        if self.is_host(member) and self._job.auto_start:
            MemberCall(self._group, member, "send", START, pairs={"host_ip": self._group.address_of(member)})
        elif start := self._starts.get(member.name):
            start.wait(lambda: self._no_start(member))

    def end(self, member: GroupMember) -> None:
        """Take note that the tests of a member have ended."""
        if self._is_guest(member):
            MemberCall(self._group, member, "send", STOP)
        self._ended[member.name].set()

    def wait_for_guests(self, member: GroupMember) -> None:
        """Come back when the tests of all guests have ended, if *member* is their host, and they began."""
        if not self.is_host(member) or not (self._job.auto_start or self._has_started.is_set()):
            return
        for guest in self._guests():
            while not self._ended[guest.name].wait(TURN_S):
                self._group.check()

    def _no_start(self, member: GroupMember) -> str:
        host = next(one for one in self._group.members if self.is_host(one))
        if not self._ended[host.name].is_set():
            return ""
        return (
            f"{member.name} was not to begin: the tests of {host.name} have ended, and none has called lava-start-vms"
        )

    def _is_guest(self, member: GroupMember) -> bool:
        return self._job.host_role not in ("", member.role)

    def _guests(self) -> list[GroupMember]:
        return [member for member in self._group.members if self._is_guest(member)]
