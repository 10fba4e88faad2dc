"""The fake QEMU against the real one, which is paused and has no machine: what the supervisor sees is the same."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from tests.fake_qemu import command
from vmtasks.deadline import Deadline
from vmtasks.profile.qemu_stats import BLOCK_QUERY, KVM_ARGUMENTS, KVM_QUERY, block_counters
from vmtasks.qemu.qmp import _FORWARD

LIMIT_S = 30.0
REAL = shutil.which("qemu-system-x86_64")
OPTIONS = (
    *("-S", "-nodefaults", "-no-user-config", "-display", "none", "-M", "none"),
    *("-chardev", "socket,id=control,fd=100", "-mon", "chardev=control,mode=control"),
    *("-chardev", "socket,id=console,fd=101"),
    *("-netdev", "user,id=net,hostfwd=tcp:127.0.0.1:0-:22,hostfwd=tcp:127.0.0.1:0-:8080"),
)


class Talk:
    """A QEMU, fake or real, and our end of its control line."""

    def __init__(self, argv: list[str]) -> None:
        self.line, control = socket.socketpair()
        self.console, console = socket.socketpair()
        self.line.settimeout(LIMIT_S)
        with control, console:
            # The child's numbers are those that the argv names, whatever they are here.
            argv = [re.sub(r"fd=100\b", f"fd={control.fileno()}", word) for word in argv]
            argv = [re.sub(r"fd=101\b", f"fd={console.fileno()}", word) for word in argv]
            self.process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(control.fileno(), console.fileno()),
            )
        self._lines = self.line.makefile("rb")

    def hear(self) -> dict[str, Any]:
        """Return the next message, without what is never the same."""
        message: dict[str, Any] = json.loads(self._lines.readline())
        if "timestamp" in message:
            assert set(message.pop("timestamp")) == {"seconds", "microseconds"}
        return message

    def ask(self, request: Mapping[str, Any] | bytes) -> list[dict[str, Any]]:
        """Return everything that comes in up to the answer."""
        self.line.sendall((request if isinstance(request, bytes) else json.dumps(request).encode()) + b"\n")
        heard = [self.hear()]
        while "event" in heard[-1]:
            heard.append(self.hear())
        return heard

    def is_closed(self) -> bool:
        """Tell whether nothing more comes; a line feed that QEMU left unread makes it a reset."""
        try:
            return self.line.recv(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        """End the process if it still runs."""
        with self.process:
            self.process.kill()
        self._lines.close()
        self.line.close()
        self.console.close()


@pytest.fixture
def talk() -> Iterator[Callable[[list[str]], Talk]]:
    talks: list[Talk] = []

    def start(argv: list[str]) -> Talk:
        talks.append(Talk(argv))
        return talks[-1]

    yield start
    for one in talks:
        one.close()


def shape(value: Any) -> Any:
    """Return a value with its numbers and version strings replaced by their kind."""
    if isinstance(value, dict):
        return {key: "..." if key == "package" else shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [shape(inner) for inner in value]
    return value if isinstance(value, bool | str) else type(value).__name__


def ports_hidden(text: str) -> str:
    """Return the table of forwarded ports with the host's ports and the descriptors made equal, widths kept."""
    return re.sub(r"(HOST_FORWARD\])( +\d+)( +[\d.]+)( +\d+)", lambda m: f"{m[1]}{len(m[2])}{m[3]}{len(m[4])}", text)


EARLY = {"execute": "query-status", "id": 0}
NEGOTIATE = {"execute": "qmp_capabilities", "id": 1}
USERNET = {"execute": "human-monitor-command", "arguments": {"command-line": "info usernet"}, "id": 2}
REQUESTS = [
    EARLY,
    NEGOTIATE,
    NEGOTIATE,
    {"execute": "query-status", "id": "any"},
    {"execute": "human-monitor-command", "arguments": {"command-line": "info nothing"}, "id": 3},
    {"execute": "human-monitor-command", "id": 4},
    {"execute": BLOCK_QUERY, "id": "block"},
    {"execute": KVM_QUERY, "arguments": KVM_ARGUMENTS, "id": "kvm"},
    {"execute": "stop", "id": 5},
    {"execute": "nonsense", "id": 6},
    {"execute": "quit", "id": 7},
]


@pytest.mark.skipif(REAL is None, reason="there is no qemu-system-x86_64 to compare with")
def test_fake_and_real_say_the_same(talk: Callable[[list[str]], Talk]) -> None:
    fake, real = talk([*command(), *OPTIONS]), talk([str(REAL), *OPTIONS])
    assert shape(fake.hear()) == shape(real.hear()), "the greeting"
    for request in REQUESTS:
        assert fake.ask(request) == real.ask(request), request
    assert fake.is_closed()
    assert real.is_closed()
    assert fake.process.wait(LIMIT_S) == real.process.wait(LIMIT_S) == 0


@pytest.mark.skipif(REAL is None, reason="there is no qemu-system-x86_64 to compare with")
def test_fake_and_real_end_at_a_reset_if_they_are_told_so(talk: Callable[[list[str]], Talk]) -> None:
    action = {"execute": "set-action", "arguments": {"reboot": "shutdown"}, "id": 2}
    heard = []
    for one in (talk([*command(), *OPTIONS]), talk([str(REAL), *OPTIONS])):
        one.hear()
        assert one.ask(NEGOTIATE) == [{"return": {}, "id": 1}]
        assert one.ask(action) == [{"return": {}, "id": 2}]
        answers = one.ask({"execute": "system_reset", "id": 3})
        if len(answers) == 1:  # which of the two comes first is a matter of QEMU's threads
            answers.append(one.hear())
        heard.append(sorted(answers, key=str))
        assert one.process.wait(LIMIT_S) == 0
    assert heard[0] == heard[1]


@pytest.mark.skipif(REAL is None, reason="there is no qemu-system-x86_64 to ask")
def test_the_real_one_counts_for_each_drive(talk: Callable[[list[str]], Talk]) -> None:
    real = talk([str(REAL), *OPTIONS, "-drive", "if=none,id=disk,file=null-co://,format=raw"])
    real.hear()
    real.ask(NEGOTIATE)
    (answer,) = real.ask({"execute": BLOCK_QUERY, "id": 2})
    names = ("read_bytes", "written_bytes", "reads", "writes", "flushes")
    assert block_counters(answer["return"]) == {"disk": dict.fromkeys(names, 0)}


@pytest.mark.skipif(REAL is None, reason="there is no qemu-system-x86_64 to compare with")
def test_fake_and_real_lay_out_forwarded_ports_alike(talk: Callable[[list[str]], Talk]) -> None:
    tables = []
    for one in (talk([*command(), *OPTIONS]), talk([str(REAL), *OPTIONS])):
        one.hear()
        one.ask(NEGOTIATE)
        (answer,) = one.ask(USERNET)
        tables.append(answer["return"])
        forwards = _FORWARD.findall(answer["return"])
        assert sorted(guest for _, guest in forwards) == ["22", "8080"]
        for port, _ in forwards:
            socket.create_connection(("127.0.0.1", int(port)), timeout=LIMIT_S).close()
    fake, real = (sorted(ports_hidden(table).splitlines()) for table in tables)
    assert fake == real


@pytest.mark.parametrize("which", ["fake", "real"])
def test_sigterm_ends_it_well(talk: Callable[[list[str]], Talk], which: str) -> None:
    if which == "real" and REAL is None:
        pytest.skip("there is no qemu-system-x86_64")
    one = talk([*(command() if which == "fake" else [str(REAL)]), *OPTIONS])
    one.hear()
    one.ask(NEGOTIATE)  # it greets before it is ready for signals, but answers only after
    one.process.send_signal(signal.SIGTERM)
    assert one.process.wait(LIMIT_S) == 0


@pytest.mark.parametrize("which", ["fake", "real"])
def test_it_outlives_its_control_line(
    talk: Callable[[list[str]], Talk], which: str, ended: Callable[..., bool]
) -> None:
    if which == "real" and REAL is None:
        pytest.skip("there is no qemu-system-x86_64")
    one = talk([*(command() if which == "fake" else [str(REAL)]), *OPTIONS])
    one.hear()
    one.line.shutdown(socket.SHUT_RDWR)
    assert not ended(one.process.pid, timeout_s=0.3)


def test_no_forwards_no_table(talk: Callable[[list[str]], Talk]) -> None:
    fake = talk([*command(), *OPTIONS[:-2], "-nic", "none"])
    fake.hear()
    fake.ask(NEGOTIATE)
    assert fake.ask(USERNET)[0]["return"] == ""


def test_script_makes_it_misbehave(talk: Callable[[list[str]], Talk]) -> None:
    fake = talk(
        [
            *command(
                {
                    "start": [["complain", "the weather"]],
                    "qmp_capabilities": [["say", "Hello, "], ["say", "console"]],
                    "query-status": [["event", "RESET", {"guest": True}], ["after", "event", "STOP"]],
                    "cont": [["ignore"], ["send", "?!"]],
                    "stop": [["exit", 7]],
                }
            ),
            *OPTIONS,
        ]
    )
    fake.hear()
    fake.ask(NEGOTIATE)
    assert fake.console.recv(5, socket.MSG_WAITALL) == b"Hello"
    reset, status = fake.ask(EARLY)
    assert (reset, status["id"]) == ({"event": "RESET", "data": {"guest": True}}, 0)
    assert fake.hear() == {"event": "STOP"}
    fake.line.sendall(json.dumps({"execute": "cont", "id": 1}).encode() + b"\n")
    assert fake._lines.readline() == b"?!\r\n"
    fake.line.sendall(json.dumps({"execute": "stop", "id": 2}).encode() + b"\n")
    _, complaints = fake.process.communicate(timeout=LIMIT_S)
    assert complaints == b"qemu-system-fake: the weather\n"
    assert fake.process.returncode == 7


def test_flood_does_not_keep_it_from_answering(talk: Callable[[list[str]], Talk]) -> None:
    fake = talk([*command({"qmp_capabilities": [["flood", "all work and no play\n"]]}), *OPTIONS])
    fake.hear()
    fake.ask(NEGOTIATE)
    received = 0
    deadline = Deadline.after(LIMIT_S)
    while received < 1_000_000:
        assert select.select([fake.console], [], [], deadline.left_s)[0]
        received += len(os.read(fake.console.fileno(), 65536))
        if received % 7 == 0:
            fake.ask(EARLY)
    assert fake.ask(EARLY)[0]["return"]["status"] == "prelaunch"


def test_it_needs_its_wires() -> None:
    done = subprocess.run(command(), capture_output=True, check=False, timeout=LIMIT_S)
    assert done.returncode == 1
    assert b"cannot start without -chardev socket,id=control" in done.stderr


def test_a_script_that_cannot_be_followed_is_not_passed_over(talk: Callable[[list[str]], Talk]) -> None:
    fake = talk([*command({"start": [["dance"]]}), *OPTIONS])
    assert "cannot follow the script: dance" in fake.process.communicate(timeout=LIMIT_S)[1].decode()
