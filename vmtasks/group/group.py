"""A group of machines that runs: its members, its network, its messages, its end."""

from __future__ import annotations

import re
import shlex
import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from vmtasks.deadline import Deadline
from vmtasks.errors import GuestLost, InfrastructureError, Interrupted, TimedOut, UsageError, VmtasksError
from vmtasks.group.hub import Hub
from vmtasks.group.network import Network
from vmtasks.group.roles import GroupMember, expand
from vmtasks.process.signals import interrupt_behind
from vmtasks.process.threads import BranchEnded, check_interrupted, parallel

if TYPE_CHECKING:
    from vmtasks.guest import Guest, Result
    from vmtasks.ssh.command import Command

_TURN_S = 0.2


class GroupEnded(Interrupted):
    """The group has ended, and what is done in it is to end, too."""


class Group:
    """Machines that belong together.

    ``group["server"]`` is the guest of that role, or of that name; a list of guests where a role has several.

    :param members: who is in it.
    :param wait_timeout_s: how long a message may be waited for.
    """

    def __init__(self, members: Sequence[GroupMember], *, wait_timeout_s: float) -> None:
        self._deadline = Deadline.after(None)
        self.members = tuple(members)
        self.messages = Hub(members, timeout_s=wait_timeout_s, check=self.check)
        """Messages from the host's side: ``send``, ``wait``, ``wait_all``."""
        self._network: Network | None = None
        self._guests: dict[str, Guest] = {}
        self._is_several = {
            member.role: sum(other.role == member.role for other in members) > 1 for member in self.members
        }
        self._lost: dict[str, VmtasksError] = {}
        self._losing = threading.RLock()
        self.end: VmtasksError | None = None
        """Why the group has ended before its time."""

    # --- members

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - a guest, or a list of them, as the roles have it
        found = self.guests(name)
        return found if self._is_several.get(name) else found[0]

    def guests(self, name: str = "") -> list[Guest]:
        """Return the guests of a role, or of a member; of all members by default; without those that did not come up.

        :raise UsageError: there is no such role or member.
        :raise BootError: none of them came up, none of which is essential; or what else kept them from it.
        """
        return [self._guests[one] for one in self._names(name)]

    @property
    def gone(self) -> dict[str, VmtasksError]:
        """Which members are gone or did not come up, by name, and what became of them."""
        with self._losing:
            return dict(self._lost)

    def missing(self, member: GroupMember) -> VmtasksError | None:
        """Return why a member did not come up, which is not essential; None if it did."""
        return None if member.name in self._guests else self.gone.get(member.name)

    def _names(self, name: str) -> list[str]:
        """Return which members that came up *name* stands for, see :meth:`guests`."""
        names = expand(self.members, name) if name else [member.name for member in self.members]
        found = [one for one in names if one in self._guests]
        if name and not found:
            problem = self.gone[names[0]]
            raise type(problem)(
                f"{names[0]} is not there: {problem}",
                details=problem.details,
                hint="its role is not essential, and so the group went on; group.gone says which members are not there",
            )
        return found

    def run_all(self, command: Command, *, role: str = "", **options: Any) -> dict[str, Result]:  # noqa: ANN401
        """Run a command in all members, or in those of a role, at once; return what came of each, by its name.

        :param options: those of ``guest.run``.
        :raise CommandFailed: it failed in one of them, and *options* do not say ``warn=True``; the others went on to
            their end.
        """
        names = self._names(role)
        results: dict[str, Result] = {}

        def run(name: str) -> None:
            results[name] = self._guests[name].run(command, **options)

        parallel(*(partial(run, name) for name in names))
        return {name: results[name] for name in names}

    @property
    def network(self) -> Network:
        """The network between the members, into which faults can be put.

        :raise UsageError: these machines have none of their own: QEMU does not run them.
        """
        if self._network is None:
            raise UsageError("this group has no network of its own: only machines that QEMU runs have")
        return self._network

    # --- messages from the host's side

    def send(self, name: str, **pairs: str) -> None:
        """Send a message to every member, as ``lava-send`` does.

        :raise TestFailed: it is no message.
        """
        self.messages.send(name, **pairs)

    def wait(self, name: str, *, timeout_s: float | None = None) -> dict[str, Mapping[str, str]]:
        """Wait until anybody has sent a message, as ``lava-wait`` does; return its pairs by their senders.

        :raise TestFailed: it cannot be met any more, or was not within *timeout_s* seconds.
        """
        return self.messages.wait(name, timeout_s=timeout_s)

    def wait_all(self, name: str, role: str = "", *, timeout_s: float | None = None) -> dict[str, Mapping[str, str]]:
        """Wait until all members, or all of a role, have sent a message, as ``lava-wait-all`` does.

        :raise TestFailed: it cannot be met any more, or was not within *timeout_s* seconds.
        """
        return self.messages.wait_all(name, role, timeout_s=timeout_s)

    # --- the end

    def watch(self, wait_s: float) -> None:
        """Let *wait_s* seconds pass.

        :raise Interrupted: the group has ended meanwhile.
        """
        until_s = time.monotonic() + wait_s
        self.check()
        while (left_s := until_s - time.monotonic()) > 0:
            time.sleep(min(left_s, _TURN_S))
            self.check()

    def check(self) -> None:
        """Do nothing as long as the group lives; whatever waits for one of its machines calls this.

        :raise GroupEnded: it has ended, and so whatever is done in it is to end.
        :raise Interrupted: the run was interrupted.
        """
        check_interrupted()
        if self.end is None and self._network is not None and (gone := self._network.end) is not None:
            self.fail(gone)
        if self.end is None and self._deadline.passed:
            text = f"the group did not end within {self._deadline.timeout_s:g} s"
            self.fail(TimedOut(text, details=tuple(self.messages.waits())))
        if self.end is not None:
            raise GroupEnded(f"the group has ended: {self.end}")

    def finished(self, member: GroupMember) -> None:
        """Take note that a member sends no more messages: those who wait for one of its own need not."""
        self.messages.gone(member.name, f"the tests of {member.name} have ended")

    def host_finished(self, reason: str = "") -> None:
        """Take note that the host's side sends no more messages: who waits for anybody's need not wait for its.

        Until then it may send one at any moment, as a recipe does.

        :param reason: a sentence for those who wait, if the host's side had anything to do.
        """
        self.messages.host_gone(reason)

    def ssh_env(self) -> dict[str, str]:
        """Return variables for commands on the host: ``SSH_NAME`` is the line that runs a command in a member."""
        return {
            f"SSH_{re.sub('[^A-Z0-9]', '_', name.upper())}": shlex.join(guest.ssh_command)
            for name, guest in self._guests.items()
        }

    def lost(self, member: GroupMember, problem: VmtasksError) -> None:
        """Take note that a machine is gone; the group ends with it if it is essential."""
        with self._losing:
            if member.name in self._lost or isinstance(problem, Interrupted):
                return
            self._lost[member.name] = problem
            if member.is_essential:
                self.fail(_end_with(member, problem, self.messages.waits()))
        self.messages.gone(member.name, str(problem))

    def ended(self, problem: BaseException) -> BaseException:
        """Return what the group's block ends with, when *problem* is what it came to.

        An interrupt is none of the group's: that its machines end with it is no news of them, and that they cannot be
        ended well is none either.
        """
        problem = interrupt_behind(problem)
        if not isinstance(problem, Exception) or (
            isinstance(problem, Interrupted) and not isinstance(problem, GroupEnded | BranchEnded)
        ):
            return problem
        if isinstance(problem, GuestLost | InfrastructureError):
            for member in self.members:  # whatever was heard of a machine first, its own news say more
                if member.name in self._guests:
                    try:
                        self._guests[member.name].watch(0.0)
                    except VmtasksError as news:
                        self.lost(member, news)
        return self.end or problem

    def address_of(self, member: GroupMember) -> str:
        """Return the address at which others reach a member: on the group's network, or an existing host's own."""
        if member.address:
            return member.address
        line = 'set -- $SSH_CONNECTION; [ "$3" ] || set -- . . $(hostname --all-ip-addresses); echo "$3"'
        return self.guests(member.name)[0].query(line).strip()

    def blamed(self, problem: BaseException) -> Guest:
        """Return the guest that a person wants to look at after *problem*: the one that it is about, or the first."""
        machine = getattr(getattr(problem, "result", None), "machine", "")
        return next((guest for guest in self._guests.values() if guest.name == machine), self.guests()[0])

    # --- for those who make one

    @property
    def has_network(self) -> bool:
        """Whether its machines have a network of their own."""
        return self._network is not None

    def fail(self, problem: BaseException) -> None:
        """End it, because a machine did not come up, say; the first reason stays."""
        with self._losing:
            if self.end is None and isinstance(problem, VmtasksError) and not isinstance(problem, Interrupted):
                self.end = problem

    def limit(self, timeout_s: float) -> None:
        """Have it end after so many seconds from now; 0: never."""
        self._deadline = Deadline.after(timeout_s)

    def plug(self, network: Network) -> None:
        """Give it a network."""
        self._network = network

    def add(self, member: GroupMember, guest: Guest) -> None:
        """Have a machine as a member."""
        with self._losing:
            guests = {**self._guests, member.name: guest}  # in their order, whichever came first
            self._guests = {one.name: guests[one.name] for one in self.members if one.name in guests}

    def expect_anybody(self) -> None:
        """See that some member has come up.

        :raise BootError: none has.
        """
        if not self._guests:
            raise next(iter(self.gone.values()))


def _end_with(member: GroupMember, problem: VmtasksError, waits: Sequence[str]) -> VmtasksError:
    """Return the error that the group ends with: of the kind that the loss of its member is."""
    return type(problem)(
        f"{problem}; {member.name} is essential, and so the group ended",
        details=(*waits, *problem.details),
        hint=problem.hint or "a role whose machines may die has essential=False",
    )
