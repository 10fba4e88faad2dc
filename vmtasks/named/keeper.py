"""The process that keeps one named machine: it boots it as any run does, and stays until that ends.

It leads a session of its own. While the machine boots, it ends with the call that started it, and shows its display
there; then it lets go of that. The machine's supervisor holds the time to live, and ends the machine when this process
ends, however that comes; so there is no state in which a machine is left that nobody keeps.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TextIO, cast

from vmtasks import events
from vmtasks.config.settings import HostSettings
from vmtasks.deadline import Deadline
from vmtasks.errors import HostError, Interrupted, TimedOut, UsageError, VmtasksError
from vmtasks.guest import Guest
from vmtasks.named import registry
from vmtasks.named.attached import guest_address
from vmtasks.named.control import serving
from vmtasks.named.present import PURPOSE
from vmtasks.named.registry import NamedMachine
from vmtasks.process.signals import interrupt_behind, interrupt_on_signals
from vmtasks.providers.base import BootOptions, MachineRequest
from vmtasks.providers.boot import machine as machine_of
from vmtasks.providers.boot import provider_of, settled, where
from vmtasks.providers.qemu.provider import Qemu
from vmtasks.report import reporting
from vmtasks.report.display.plain import Plain
from vmtasks.report.display.stream import SafeStream
from vmtasks.run.debug import watch_until
from vmtasks.spec import Network

if TYPE_CHECKING:
    from vmtasks.machine.instance import QemuGuest

LOG = "keeper.log"
_ANSWER_LIMIT_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The machine that a keeper is to boot."""

    name: str
    image: str
    on: str = ""
    ttl_s: int
    memory_mib: int | None = None
    cpus: int | None = None
    accel: Literal["auto", "kvm", "tcg"] | None = None
    network: Network | None = None

    def to_json(self) -> str:
        """Return the line that a keeper reads."""
        return json.dumps(asdict(self)) + "\n"

    def request(self) -> MachineRequest:
        """Return what a provider is asked for.

        :raise UsageError: it is to run where nothing could hold its time to live.
        """
        options = BootOptions(
            name=self.name,
            on=self.on,
            memory_mib=self.memory_mib,
            cpus=self.cpus,
            accel=self.accel,
            network=self.network,
        )
        # The supervisor counts from before the boot; once the machine is ready, its time begins anew.
        boots_s = math.ceil(HostSettings.load().boot_timeout_s) + self.ttl_s
        request = settled(
            MachineRequest(image=self.image, options=options, purpose=PURPOSE.format(self.name), lifetime_s=boots_s)
        )
        on = where(request)
        if not isinstance(provider_of(on), Qemu):
            raise UsageError(
                f"cannot keep a named machine on '{on}': nothing there could hold its time to live",
                hint="--on local or --on USER@HOST can",
            )
        return request


def main() -> NoReturn:
    """Keep the machine that standard input orders; the arguments are the descriptors for our answer and our display."""
    answer, display = (os.fdopen(_own(number), "w") for number in sys.argv[1:3])
    order = Order(**json.loads(sys.stdin.readline()))
    # Interrupts first: others may end us from the moment that we are registered.
    with answer, display, interrupt_on_signals(outputs={}):
        try:
            _keep(order, answer, display)
        except Exception as problem:
            _answer(answer, **_described(interrupt_behind(problem)))
            raise
    sys.exit(0)


def _keep(order: Order, answer: TextIO, display: TextIO) -> None:
    """Boot the machine, answer that it is there, and keep it.

    :raise VmtasksError: it does not come to be there.
    """
    request = order.request()
    with _registered(order, where(request)) as kept, ExitStack() as stack:
        with Path(os.devnull).open("w") as nowhere, ExitStack() as boots:
            boots.enter_context(interrupt_on_signals(outputs={answer.fileno(): "the call that started it"}))
            boots.enter_context(reporting(None, stderr=display, stdout=nowhere))
            guest = stack.enter_context(machine_of(request))
            kept.came(guest)
            guest.close()  # calls have connections of their own; by ours, a guest that hangs for a while would be lost
        stack.enter_context(serving(kept.machine.directory, kept.serve))
        with kept.end_written_down():
            kept.is_answered_for = True
            _answer(answer)
            answer.close()
            display.close()
            stack.enter_context(events.listening(Plain(SafeStream(sys.stderr))))
            watch_until(guest, Deadline.after(None))


class _Kept:
    """What is written down of the machine that is kept."""

    def __init__(self, machine: NamedMachine) -> None:
        self.machine = machine
        self.is_answered_for = False
        """Whether the call that started us is told that the machine is there."""
        self._guest: QemuGuest | None = None

    def came(self, guest: Guest) -> None:
        """Write down that the guest is there; its time to live begins."""
        self._guest = cast("QemuGuest", guest)  # which every guest is of the provider that was expected
        self._live(self.machine.ttl_s, address=guest_address(self._guest.address), ssh=guest.ssh_command)

    def serve(self, request: dict[str, Any]) -> object:
        """Do what a later call asks for: ``live`` for another time from now on."""
        if request.get("do") != "live" or type(request.get("ttl_s")) is not int:
            raise UsageError(f"the process that keeps '{self.machine.name}' knows no such request")
        return self._live(request["ttl_s"])

    def _live(self, ttl_s: int, **news: Any) -> float | None:  # noqa: ANN401 - fields of what is written down
        if self._guest is None:
            raise AssertionError("there is a guest by now")
        until_s = self._guest.client.request(Deadline.after(_ANSWER_LIMIT_S), do="live", lifetime_s=ttl_s)
        self.machine = replace(self.machine, ttl_s=ttl_s, until_s=until_s, **news)
        self.machine.write()
        return self.machine.until_s

    @contextmanager
    def end_written_down(self) -> Iterator[None]:
        """Write down how the machine came to its end, whichever it is in the block."""
        try:
            yield
        except Interrupted:
            self._ended("down", "it was ended")
        except TimedOut:
            self._ended("expired")
        except VmtasksError as problem:
            self._ended("lost", str(problem))

    def _ended(self, end: registry.End, reason: str = "") -> None:
        self.machine = replace(self.machine, end=end, why=reason)
        with suppress(OSError):  # a full disk: then it has ended without a word
            self.machine.write()


@contextmanager
def _registered(order: Order, on: str) -> Iterator[_Kept]:
    """Have the machine's name, and what others read of it; of one that never came to be there, nothing stays.

    :raise UsageError: another machine has the name.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(registry.entered(order.name))
        except BlockingIOError as problem:
            raise UsageError(f"there is a machine '{order.name}' already") from problem
        except OSError as problem:
            raise HostError(f"cannot write down the machine '{order.name}': {problem}") from problem
        directory = registry.directory_of(order.name)
        _let_go_of_streams(directory / LOG)
        kept = _Kept(
            NamedMachine(
                name=order.name,
                image=order.image,
                on=on,
                pid=os.getpid(),
                since_s=time.time(),
                ttl_s=order.ttl_s,
            )
        )
        kept.machine.write()
        try:
            yield kept
        finally:
            if not kept.is_answered_for:
                shutil.rmtree(directory, ignore_errors=True)


def _own(number: str) -> int:
    """Return a descriptor that we were given, and that none of our children is to have."""
    os.set_inheritable(int(number), False)
    return int(number)


def _let_go_of_streams(log: Path) -> None:
    """Have what we and our children print go to a file: who reads the caller's output must not wait for us."""
    with log.open("ab") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)


def _answer(answer: TextIO, **error: object) -> None:
    """Tell the call that started us that the machine is there, or what is in the way: it is told once."""
    if not answer.closed:
        with suppress(BrokenPipeError), closing(answer):
            answer.write(json.dumps(error) + "\n")


def _described(problem: BaseException) -> dict[str, object]:
    if isinstance(problem, VmtasksError):
        return {
            # The caller finds it in vmtasks.errors; some are made of those elsewhere.
            "kind": next(kind.__name__ for kind in type(problem).__mro__ if kind.__module__ == VmtasksError.__module__),
            "message": str(problem),
            "details": problem.details,
            "hint": problem.hint,
        }
    return {"kind": "HostError", "message": f"cannot keep the machine: {problem!r}", "details": (), "hint": ""}


if __name__ == "__main__":
    main()
