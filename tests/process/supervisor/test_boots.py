"""A machine that boots with another kernel at its next reset: another QEMU, and all else as it was."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fake_qemu import Script, command
from tests.process.supervised import LIMIT_S, WIRES, Supervisor
from vmtasks.host import slots
from vmtasks.supervisor.console_socket import connect
from vmtasks.supervisor.plan import Plan

RESETS: Script = {"stop": [["reset"]]}
"""The guest resets its machine when QEMU is told to stop."""
MakePlan = Callable[..., Plan]
Ended = Callable[..., bool]


def line(port: int, script: Script, kernel: str) -> list[str]:
    """Return a command line of QEMU's with that kernel, and the port that the machine has."""
    wires = [word.replace(":0-:", f":{port}-:") for word in WIRES]
    return [*command(script), *wires, "-kernel", kernel]


def choose(one: Supervisor, **lines: Any) -> None:
    one.send({"do": "boots", "id": "boots", **lines})
    assert one.says("answer") == {"id": "boots", "result": {}}


def reset(one: Supervisor) -> dict[str, Any]:
    """Have the guest reset its machine, and return what the next QEMU reports."""
    one.asks("stop")
    assert one.hears("qemu") == {"name": "SHUTDOWN", "data": {"guest": True, "reason": "guest-reset"}}
    assert one.hears("restarting") == {}
    return one.says("restarted")


def kernel_of(pid: int) -> str:
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    return words[words.index("-kernel") + 1]


def test_what_is_chosen_is_booted_once_and_then_the_default(
    supervise: Callable[..., Supervisor], plan: MakePlan, ended: Ended
) -> None:
    ours = plan(RESETS)
    one = supervise(ours)
    first = one.starts()
    port = first["ports"]["22"]
    assert not ended(first["qemu_pid"], timeout_s=0)
    choose(one, once=line(port, RESETS, "once"), default=line(port, RESETS, "usual"))
    second = reset(one)
    assert ended(first["qemu_pid"], timeout_s=0)
    assert (second["ports"], kernel_of(second["qemu_pid"])) == (first["ports"], "once")
    lease = json.loads(Path(ours.directory, "lease.json").read_text())
    assert (lease["qemu_pid"], lease["argv"][-1], lease["name"]) == (second["qemu_pid"], "once", "guest")
    socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S).close()
    third = reset(one)
    assert (third["ports"], kernel_of(third["qemu_pid"])) == (first["ports"], "usual")
    one.asks("stop")
    assert one.hears("qemu") == {"name": "RESET", "data": {"guest": True, "reason": "guest-reset"}}, "as it ever was"
    assert not ended(third["qemu_pid"], timeout_s=0)
    one.send({"do": "stop"})
    assert one.hears("exited")["status"] == 0
    assert not Path(ours.directory).exists()
    assert slots.tickets(ours.slot.directory) == ()


def test_a_reset_from_here_boots_it_too_and_is_told_as_a_reset(
    supervise: Callable[..., Supervisor], plan: MakePlan
) -> None:
    one = supervise(plan())
    port = one.starts()["ports"]["22"]
    choose(one, once=None, default=line(port, {}, "usual"))
    one.asks("system_reset")
    assert kernel_of(one.hears("restarted")["qemu_pid"]) == "usual"
    data = {"guest": False, "reason": "host-qmp-system-reset"}
    assert one.says("qemu") == {"name": "RESET", "data": data}


def test_what_is_taken_back_is_not_booted(supervise: Callable[..., Supervisor], plan: MakePlan) -> None:
    one = supervise(plan(RESETS))
    port = one.starts()["ports"]["22"]
    usual = line(port, RESETS, "usual")
    choose(one, once=line(port, RESETS, "once"), default=usual)
    choose(one, once=None, default=usual)
    assert kernel_of(reset(one)["qemu_pid"]) == "usual"


def test_the_console_goes_on_and_who_is_attached_stays_attached(
    supervise: Callable[..., Supervisor], plan: MakePlan
) -> None:
    ours = plan({"stop": [["say", "first\n"], ["reset"]]})
    one = supervise(ours)
    port = one.starts()["ports"]["22"]
    with connect(ours.directory) as terminal:
        terminal.settimeout(LIMIT_S)
        panic = "Kernel panic - not syncing: no init\n"
        says: Script = {"human-monitor-command": [["say", panic]], "query-status": [["echo"]]}
        choose(one, once=None, default=line(port, says, "usual"))
        reset(one)
        assert one.hears("panic") == {"line": panic.strip()}
        one.asks("query-status")
        one.hears("answer")
        terminal.sendall(b"typed\n")
        received = b""
        while not received.endswith(b"typed\n"):
            received += terminal.recv(100)
        assert received.decode() == f"first\n{panic}typed\n"
    one.close()
    assert one.hears("exited")["console"] == f"first\n{panic}typed\n"
    assert Path(ours.console or "").read_text() == f"first\n{panic}typed\n"


def test_a_profile_ends_with_the_qemu_that_it_is_of(supervise: Callable[..., Supervisor], plan: MakePlan) -> None:
    one = supervise(plan(RESETS))
    port = one.starts()["ports"]["22"]
    one.send({"do": "profile", "id": "profile", "number": 1, "interval_s": 60.0})
    assert one.says("answer")["result"]["process"]
    choose(one, once=None, default=line(port, {}, "usual"))
    reset(one)
    one.send({"do": "profiled", "id": "end", "number": 1})
    assert one.hears("answer")["error"] == "cannot end the profile 1: it has not begun with this QEMU"
    one.send({"do": "profile", "id": "profile", "number": 2, "interval_s": 60.0})
    assert one.hears("answer")["result"]["process"]


def test_a_time_to_live_goes_on(supervise: Callable[..., Supervisor], plan: MakePlan) -> None:
    ours = plan(RESETS, lifetime_s=600)
    one = supervise(ours)
    port = one.starts()["ports"]["22"]
    lease = Path(ours.directory, "lease.json")
    until_s = json.loads(lease.read_text())["until_s"]
    choose(one, once=None, default=line(port, {}, "usual"))
    pid = reset(one)["qemu_pid"]
    assert json.loads(lease.read_text())["until_s"] == until_s
    assert json.loads(lease.read_text())["qemu_pid"] == pid


def test_a_guest_that_powers_itself_off_ends_whatever_is_chosen(
    supervise: Callable[..., Supervisor], plan: MakePlan
) -> None:
    end = [["event", "SHUTDOWN", {"guest": True, "reason": "guest-shutdown"}], ["after", "exit", 0]]
    one = supervise(plan({"stop": end}))
    port = one.starts()["ports"]["22"]
    choose(one, once=None, default=line(port, {}, "usual"))
    one.asks("stop")
    last = one.hears("exited")
    assert (last["status"], last["by_itself"]) == (0, True)


@pytest.mark.parametrize("script", [{"start": [["complain", "no such kernel"], ["exit", 1]]}, {"start": [["exit", 1]]}])
def test_a_qemu_that_does_not_start_ends_the_machine_and_nothing_is_left(
    supervise: Callable[..., Supervisor], plan: MakePlan, script: Script
) -> None:
    ours = plan(RESETS)
    one = supervise(ours)
    port = one.starts()["ports"]["22"]
    choose(one, once=None, default=line(port, script, "none"))
    one.asks("stop")
    one.hears("restarting")
    last = one.says("exited")
    assert (last["status"], last["by_itself"]) == (1, True)
    assert last["qemu"] == ("qemu-system-fake: no such kernel\n" if len(script["start"]) == 2 else "")
    assert not Path(ours.directory).exists()


def test_a_program_that_is_not_there_ends_the_machine(supervise: Callable[..., Supervisor], plan: MakePlan) -> None:
    ours = plan(RESETS)
    one = supervise(ours)
    one.starts()
    choose(one, once=None, default=["/nowhere/qemu"])
    one.asks("stop")
    one.hears("restarting")
    assert "/nowhere/qemu" in one.says("exited")["error"]
    assert not Path(ours.directory).exists()


def test_a_reset_while_it_is_to_power_itself_off_is_no_power_off(
    supervise: Callable[..., Supervisor], plan: MakePlan
) -> None:
    one = supervise(plan({"query-status": [["after", "reset"]], "stop": [["reset"]]}))
    port = one.starts()["ports"]["22"]
    choose(one, once=None, default=line(port, {}, "usual"))
    one.send({"do": "qmp", "id": 1, "execute": "query-status"}, {"do": "stop", "timeout_s": LIMIT_S, "keep": True})
    last = one.hears("exited")
    assert (last["status"], last["by_itself"]) == (0, False)


@pytest.mark.parametrize("hangs", [False, True])
def test_a_caller_that_goes_takes_the_next_qemu_along(
    supervise: Callable[..., Supervisor], plan: MakePlan, ended: Ended, *, hangs: bool
) -> None:
    ours = plan(RESETS)
    one = supervise(ours)
    port = one.starts()["ports"]["22"]
    choose(one, once=None, default=line(port, {"start": [["ignore"]]} if hangs else {}, "usual"))
    one.asks("stop")
    one.hears("restarting")
    if not hangs:
        pid = one.says("restarted")["qemu_pid"]
        assert not ended(pid, timeout_s=0)
    one.close()
    one.hears("exited")
    assert hangs or ended(pid)
    assert not Path(ours.directory).exists()


def test_a_supervisor_that_is_killed_takes_the_next_qemu_along(
    supervise: Callable[..., Supervisor], plan: MakePlan, ended: Ended
) -> None:
    one = supervise(plan(RESETS))
    port = one.starts()["ports"]["22"]
    choose(one, once=None, default=line(port, {}, "usual"))
    pid = reset(one)["qemu_pid"]
    assert not ended(pid, timeout_s=0)
    os.kill(one.process.pid, signal.SIGKILL)
    assert ended(pid)
