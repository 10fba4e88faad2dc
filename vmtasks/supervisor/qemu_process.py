"""A running QEMU, its control line and its console."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import subprocess
import time
from contextlib import suppress

from vmtasks.host.flock import flock
from vmtasks.qemu import migration
from vmtasks.qemu.descriptors import CONSOLE_FD, QMP_FD
from vmtasks.qemu.qmp import Qmp, QmpError, ports_of
from vmtasks.supervisor.boot_lines import BY_HOST, BootLines, kept_ports
from vmtasks.supervisor.confined import start_confined
from vmtasks.supervisor.console import LAST_WORDS_BYTES, Console
from vmtasks.supervisor.console_socket import ConsoleSocket
from vmtasks.supervisor.control import CallerGone, ControlChannel, emit, os_error_text
from vmtasks.supervisor.disks import failure
from vmtasks.supervisor.lifetime import Lifetime
from vmtasks.supervisor.sampler import Sampler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from vmtasks.supervisor.plan import Plan

CONTROL_LIMIT_S = 10.0
QUIT_LIMIT_S = 3.0
EXIT_LIMIT_S = 0.5
"""How long a QEMU may take to go that never came to greet: it has failed, or no caller waits for it any more."""
LOOK_S = 1.0


class QemuProcess:
    """A running QEMU, its control line and its console; at a reset, another one may take its place."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._log = plan.qemu_log
        self._directory = plan.directory
        self._written_mib = plan.written_mib
        self._next_look_s = 0.0
        self._ports: dict[str, int] = {}
        self.lifetime = Lifetime(0)
        self.on_new_process: Callable[[dict[str, Any]], None] = lambda _: None
        """Told what a QEMU that has taken another's place reports of itself, and its command line."""
        screen, serial = socket.socketpair()
        self.console = Console(
            screen,
            plan.console,
            on_panic=lambda line: emit("panic", line=line),
            on_out_of_memory=lambda line: emit("out-of-memory", line=line),
            on_text=lambda text: emit("console", text=text),
        )
        self.attached = ConsoleSocket(self.console, plan.directory)
        self.console.show = self.attached.show
        self.boots = BootLines(plan.argv)
        self._start(serial)

    def _start(self, serial: socket.socket) -> None:
        """Start QEMU, with *serial* as its end of the console; what was known of another one is let go of."""
        ours, theirs = socket.socketpair()
        self._greeted = False
        self.qmp = Qmp(ours)
        with theirs, serial, open(self._log, "ab") as log:
            os.dup2(theirs.fileno(), QMP_FD, inheritable=True)
            os.dup2(serial.fileno(), CONSOLE_FD, inheritable=True)
            self.process = start_confined(
                self.boots.running,
                self._plan.reach,
                stdout=log,
                stderr=log,
                pass_fds=(QMP_FD, CONSOLE_FD),
                cwd=self._plan.cwd or self._plan.directory,
                env={**os.environ, "TMPDIR": self._plan.directory},
            )
        os.close(QMP_FD)
        os.close(CONSOLE_FD)
        self.ended = os.pidfd_open(self.process.pid)
        self.sampler = Sampler(self.process.pid, self.qmp, self._directory)

    def greet(self, control: ControlChannel) -> dict[str, Any]:
        """Return what QEMU reports of itself: process, version, and guest ports to the host ports that it picked.

        :raise QmpError: it does not greet.
        :raise CallerGone: the caller went before it did.
        """
        deadline_s = time.monotonic() + CONTROL_LIMIT_S
        control.wait(CONTROL_LIMIT_S, self.qmp)
        version = self.qmp.greet(deadline_s - time.monotonic())
        self._greeted = True
        network = self.qmp.human("info usernet", timeout_s=deadline_s - time.monotonic())
        self._ports = ports_of(network)
        return {"qemu_pid": self.process.pid, "version": version, "ports": self._ports}

    def watch(self, control: ControlChannel) -> None:
        """Serve the caller's requests until QEMU has ended, has written more than it may, or its time has passed.

        :raise CallerGone: the caller is gone, or asked us to stop.
        """
        watched: list[Any] = [control, self.qmp, self.console, self.ended]
        self.emit_events()
        while True:
            # SIGTERM may have come just before: look again
            waits_for = [*watched, *self.attached.waits_for()]
            wait_s = self.sampler.left_s(self.lifetime.left_s(LOOK_S))
            ready = select.select(waits_for, self.attached.waits_for_room(), [], wait_s)[0]
            if self.console in ready and not self.console.pump():
                watched.remove(self.console)
            self.attached.serve(ready)
            if self.qmp in ready:
                try:
                    self.qmp.pump()
                except QmpError:
                    watched.remove(self.qmp)
                self.emit_events()
            if control in ready:
                for request in control.requests():
                    self.serve(request, control)
            if self.sampler.tick():
                self.emit_events()
            if self.ended in ready and self._ends_to_boot_anew():
                self._boot_anew(control)
                watched = [control, self.qmp, self.console, self.ended]
            elif self.ended in ready or self._is_overfull() or self._is_expired():
                return

    def _ends_to_boot_anew(self) -> bool:
        """Tell whether QEMU, which has ended, is to be followed by another one."""
        self._take_rest()
        self.emit_events()
        return self.boots.ended_by_reset and self.process.wait() == 0

    def _take_rest(self) -> None:
        """Take in what a QEMU that has ended has left on its control line."""
        with suppress(QmpError):
            while select.select([self.qmp], [], [], 0)[0]:
                self.qmp.pump()

    def _boot_anew(self, control: ControlChannel) -> None:
        """Start another QEMU in the place of one that has ended.

        :raise QmpError: it does not greet.
        :raise CallerGone: the caller went before it did.
        """
        by_host = self.boots.was_reset_by_host
        emit("restarting")
        self.sampler.close()
        self.qmp.line.close()
        ended = self.ended
        screen, serial = socket.socketpair()
        self.console.hear_from(screen)
        with kept_ports(self._ports.values()):
            self.boots.turn()
            self._start(serial)
            os.close(ended)
            facts = self.greet(control)
        action = self.boots.action
        self.qmp.execute(action["execute"], action["arguments"], timeout_s=CONTROL_LIMIT_S)
        self.on_new_process({**facts, "argv": self.boots.running})
        emit("restarted", **facts)
        if by_host:  # who had it reset waits for that
            emit("qemu", name="RESET", data={"guest": False, "reason": BY_HOST})

    def _is_expired(self) -> bool:
        """Tell whether, and that, the machine has lived as long as it may."""
        is_over = self.lifetime.is_over
        if is_over:
            emit("expired", lifetime_s=self.lifetime.lifetime_s)
        return is_over

    def _is_overfull(self) -> bool:
        """Tell whether, and that, more was written than is allowed; it is looked at every :data:`LOOK_S` at most."""
        if not self._written_mib or time.monotonic() < self._next_look_s:
            return False
        self._next_look_s = time.monotonic() + LOOK_S
        is_overfull = written_bytes(self._directory) > self._written_mib << 20
        if is_overfull:
            emit("overfull", written_mib=self._written_mib)
        return is_overfull

    def serve(self, request: dict[str, Any], control: ControlChannel) -> None:
        """Do what one request asks for."""
        if request["do"] == "stop":
            self.wait_exited(request.get("timeout_s", 0.0), control)
            control.keeps = request.get("keep", False)
            raise CallerGone
        try:
            emit("answer", id=request["id"], result=self.answer(request, control))
        except OSError as problem:
            emit("answer", id=request["id"], error=os_error_text(problem))
        except subprocess.CalledProcessError as problem:
            emit("answer", id=request["id"], error=failure(problem))
        self.emit_events()

    def answer(self, request: dict[str, Any], control: ControlChannel) -> Any:  # noqa: ANN401 - whatever QEMU returns
        """Return what a request asks for."""
        if request["do"] == "save":
            downtime_s = migration.save(self.qmp, request, lambda left_s: control.wait(left_s, self.qmp))
            for path in request["hold"]:  # its disk lies over the saved one from now on
                flock(path, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return downtime_s
        if request["do"] == "live":
            return self.lifetime.set(request["lifetime_s"])
        if request["do"] == "type":
            return self.console.type_in(request["text"].encode("latin-1"))
        if request["do"] == "profile":
            return self.sampler.begin(request["number"], request["interval_s"])
        if request["do"] == "profiled":
            return self.sampler.end(request["number"])
        if request["do"] == "boots":
            self.boots.choose(request)
            request = self.boots.action
        return self.qmp.execute(request["execute"], request.get("arguments"), timeout_s=CONTROL_LIMIT_S)

    def emit_events(self) -> None:
        """Pass QEMU's own events on."""
        for event in self.qmp.events:
            data = event.get("data", {})
            self.boots.hear(event)
            if event["event"] == "RESET" and not data.get("guest"):  # by us, and not by the guest
                self.console.hear_anew()
            emit("qemu", name=event["event"], data=data)
        self.qmp.events.clear()

    def wait_exited(self, timeout_s: float, *control: ControlChannel) -> bool:
        """Give QEMU *timeout_s* seconds to end of its own accord, while the console is kept flowing.

        :raise CallerGone: the caller on the *control* line, if one is given, is gone.
        """
        deadline_s = time.monotonic() + timeout_s
        watched: list[Any] = [self.console, self.ended, *control]
        while (left_s := deadline_s - time.monotonic()) > 0:
            ready = select.select(watched, [], [], min(left_s, LOOK_S))[0]
            if self.ended in ready:
                return True
            for caller in control:
                if caller in ready:
                    caller.requests()
            if self.console in ready and not self.console.pump():
                watched.remove(self.console)
        return False

    def end(self, error: str = "") -> dict[str, Any]:
        """End QEMU: by ``quit``, which leaves its disk in order, or by force; return the last words on it."""
        deadline_s = time.monotonic() + (QUIT_LIMIT_S if self._greeted else EXIT_LIMIT_S)
        by_itself = True
        with suppress(QmpError):  # it may have ended, or be beyond answering: then the kill below serves
            self.qmp.execute("quit", timeout_s=deadline_s - time.monotonic())
            by_itself = False
        if not self.wait_exited(deadline_s - time.monotonic()):
            self.process.kill()
            by_itself = False
        status = self.process.wait()
        self._take_rest()
        for event in self.qmp.events:  # nobody waits for them any more
            self.boots.hear(event)
        if self.boots.ended_by_reset:  # the guest has not powered itself off, though QEMU has ended as if it had
            by_itself = False
        self.sampler.close()
        self.console.close()
        self.attached.close()
        with open(self._log, "rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - LAST_WORDS_BYTES))
            qemu = log.read().decode(errors="replace")
        console = self.console.tail()
        return {"status": status, "by_itself": by_itself, "error": error, "qemu": qemu, "console": console}


def written_bytes(directory: str) -> int:
    """Return how much room the files of a directory take."""
    total_bytes = 0
    with os.scandir(directory) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # it has gone just now
                total_bytes += entry.stat(follow_symlinks=False).st_blocks * 512
    return total_bytes
