"""A supervisor as a process, and how any process is listened to that says one JSON value a line."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import vmtasks
from tests.fake_qemu import FILES, Script, command
from vmtasks.deadline import Deadline
from vmtasks.process.landlock import Reach
from vmtasks.supervisor.plan import Owner, Plan, SlotRequest

LIMIT_S = 30.0
PACKAGE = Path(vmtasks.__file__).parent
PROGRAM = """
import json, sys
sys.path.insert(0, sys.argv[1])
from vmtasks.supervisor import __main__ as program, console, qemu_process
for name, value in json.loads(sys.argv[2]).items():
    (module,) = [one for one in (console, qemu_process) if hasattr(one, name)]
    setattr(module, name, value)
program.main()
"""
WIRES = (
    *("-chardev", "socket,id=control,fd=100", "-chardev", "socket,id=console,fd=101"),
    *("-netdev", "user,id=net,hostfwd=tcp:127.0.0.1:0-:22"),
)


def plan_in(home: Path, script: Script | None = None, *, claim_mib: int = 100, **more: Any) -> Plan:
    """Return a plan whose QEMU is the fake one, and whose files and queue for slots are in *home*."""
    slot = SlotRequest(
        machines=1, memory_mib=1000, claim_mib=claim_mib, purpose="a test", directory=str(home / "queue")
    )
    plan = Plan(
        directory=str(home / "machine"),
        argv=(*command(script), *WIRES),
        slot=slot,
        owner=Owner(name="guest", image="", user="", what="a test", caller_pid=os.getpid(), memory_mib=claim_mib),
        console=str(home / "console.log"),
        qemu_log=str(home / "qemu.log"),
        reach=Reach(FILES, (str(home),)),
    )
    return plan._replace(**more)


class Lines:
    """What a process says, line by line."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._received = b""

    def next(self, timeout_s: float = LIMIT_S) -> Any:
        """Return the next line, or fail."""
        assert self._process.stdout
        deadline = Deadline.after(timeout_s)
        while b"\n" not in self._received:
            assert select.select([self._process.stdout], [], [], deadline.left_s)[0], "it says nothing"
            data = os.read(self._process.stdout.fileno(), 65536)
            assert data, self._process.communicate()[1].decode()
            self._received += data
        line, self._received = self._received.split(b"\n", 1)
        return json.loads(line)


class Supervisor:
    """A supervisor with a plan; what it says is read line by line.

    :param limits: other values for the modules' constants, for what would take long with the usual ones.
    """

    def __init__(self, plan: Plan, *more: dict[str, Any], home: Path = PACKAGE.parent, **limits: Any) -> None:
        argv = [sys.executable, "-I", "-S", "-c", PROGRAM, str(home), json.dumps(limits)]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._lines = Lines(self.process)
        self._send([plan.to_json(), *map(json.dumps, more)])

    def send(self, *requests: dict[str, Any]) -> None:
        """Send all requests in one piece."""
        self._send(map(json.dumps, requests))

    def _send(self, lines: Iterable[str]) -> None:
        assert self.process.stdin
        os.write(self.process.stdin.fileno(), b"".join(line.encode() + b"\n" for line in lines))

    def hear(self, timeout_s: float = LIMIT_S) -> dict[str, Any]:
        """Return the next thing said, whatever it is."""
        return dict(self._lines.next(timeout_s))

    def says(self, event: str, timeout_s: float = LIMIT_S) -> dict[str, Any]:
        """Return the next thing said, which is an *event*."""
        message = self.hear(timeout_s)
        assert message.pop("event") == event, message
        return message

    def hears(self, event: str, timeout_s: float = LIMIT_S) -> dict[str, Any]:
        """Return the next *event*, whatever is said before it."""
        deadline = Deadline.after(timeout_s)
        while (message := self.hear(deadline.left_s)).pop("event") != event:
            pass
        return message

    def starts(self) -> dict[str, Any]:
        """Return the facts of its machine, once it runs."""
        self.prepares()
        self.says("greeted")
        return self.says("started")

    def prepares(self) -> None:
        """Hear it until QEMU is about to start."""
        self.says("admitted")
        self.says("prepared")

    def asks(self, execute: str, **arguments: Any) -> None:
        """Have QEMU execute a command."""
        self.send({"do": "qmp", "id": execute, "execute": execute, "arguments": arguments})

    def close(self) -> None:
        """Close its standard input."""
        assert self.process.stdin
        self.process.stdin.close()

    def ends(self, timeout_s: float = LIMIT_S) -> dict[str, Any]:
        """Return its last words, which nothing follows."""
        last = self.says("exited", timeout_s)
        assert self.process.stdout
        assert self.process.stdout.read() == b""
        assert self.process.wait(LIMIT_S) == 0
        return last
