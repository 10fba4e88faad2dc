"""The control line's client, over a real socket: what it makes of all that can come in."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.fake_qemu import Script, command
from vmtasks.qemu import qmp as qmp_module
from vmtasks.qemu.qmp import Qmp, QmpError

LIMIT_S = 30.0
SOON_S = 0.05
GREETING = {"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 22}, "package": ""}, "capabilities": []}}


class FarEnd:
    """Plays QEMU by hand: what it says lies ready before the client asks."""

    def __init__(self, line: socket.socket) -> None:
        self.line = line

    def says(self, *messages: dict[str, Any] | bytes) -> None:
        """Send messages in one piece; bytes go as they are."""
        self.line.sendall(b"".join(m if isinstance(m, bytes) else json.dumps(m).encode() + b"\r\n" for m in messages))


@pytest.fixture
def ends() -> Iterator[tuple[Qmp, FarEnd]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Qmp(ours), FarEnd(theirs)


def event(name: str) -> dict[str, Any]:
    return {"event": name, "timestamp": {"seconds": 0, "microseconds": 0}}


def names(qmp: Qmp) -> list[str]:
    return [event["event"] for event in qmp.events]


def test_greeting_gives_the_version_and_leaves_negotiation(ends: tuple[Qmp, FarEnd]) -> None:
    qmp, far = ends
    far.says(GREETING, {"return": {}, "id": 1})
    assert qmp.greet(LIMIT_S) == "7.2.22"
    assert json.loads(far.line.recv(4096)) == {"execute": "qmp_capabilities", "arguments": {}, "id": 1}


def test_greeting_that_comes_in_pieces_and_behind_an_event(ends: tuple[Qmp, FarEnd]) -> None:
    qmp, far = ends
    greeting = json.dumps(GREETING).encode()
    far.says(event("EARLY"), greeting[:30])
    qmp.pump()
    far.says(greeting[30:] + b"\r\n", {"return": {}, "id": 1})
    assert qmp.greet(LIMIT_S) == "7.2.22"
    assert names(qmp) == ["EARLY"]


@pytest.mark.parametrize("greeting", [{}, {"QMP": None}, {"QMP": {"version": {"qemu": {"major": 7}}}}, {"return": {}}])
def test_greeting_of_somebody_else_is_refused(ends: tuple[Qmp, FarEnd], greeting: dict[str, Any]) -> None:
    qmp, far = ends
    far.says(greeting)
    with pytest.raises(QmpError, match="what answers is not QEMU"):
        qmp.greet(LIMIT_S)


def test_no_greeting_is_told_in_time(ends: tuple[Qmp, FarEnd]) -> None:
    qmp, _ = ends
    with pytest.raises(QmpError, match="did not send its greeting in time"):
        qmp.greet(SOON_S)


def test_error_answer_says_what_was_refused_and_why(ends: tuple[Qmp, FarEnd]) -> None:
    qmp, far = ends
    far.says({"error": {"class": "GenericError", "desc": "not today"}, "id": 1})
    with pytest.raises(QmpError, match="QEMU refused system_reset: not today"):
        qmp.execute("system_reset", timeout_s=LIMIT_S)


def test_answer_that_came_too_late_is_not_taken_for_the_next_ones(ends: tuple[Qmp, FarEnd]) -> None:
    qmp, far = ends
    with pytest.raises(QmpError, match="did not send the answer to query-status in time"):
        qmp.execute("query-status", timeout_s=SOON_S)
    far.says({"return": "late", "id": 1}, {"return": "right", "id": 2})
    assert qmp.execute("query-status", timeout_s=LIMIT_S) == "right"


def test_late_answer_is_dropped_by_pump(ends: tuple[Qmp, FarEnd]) -> None:
    qmp, far = ends
    with pytest.raises(QmpError, match="in time"):
        qmp.execute("query-status", timeout_s=SOON_S)
    far.says({"return": "late", "id": 1}, event("STOP"))
    qmp.pump()
    assert names(qmp) == ["STOP"]
    assert qmp._answers == []


def test_events_around_an_answer_are_all_heard_in_order(ends: tuple[Qmp, FarEnd]) -> None:
    qmp, far = ends
    far.says(event("ONE"), event("TWO"), {"return": 42, "id": 1}, event("THREE"))
    assert qmp.execute("query-status", timeout_s=LIMIT_S) == 42
    assert names(qmp) == ["ONE", "TWO", "THREE"], "one that came with the answer must not wait for the next traffic"


def test_event_cut_in_two_is_heard_once_it_is_whole(ends: tuple[Qmp, FarEnd]) -> None:
    qmp, far = ends
    whole = json.dumps(event("STOP")).encode()
    far.says(whole[:20])
    qmp.pump()
    assert qmp.events == []
    far.says(whole[20:], b"\n")
    qmp.pump()
    assert names(qmp) == ["STOP"]


def test_pump_with_nothing_there_does_not_wait(ends: tuple[Qmp, FarEnd]) -> None:
    qmp, _ = ends
    qmp.pump()
    assert qmp.events == []


def test_closed_line_is_told_by_every_call(ends: tuple[Qmp, FarEnd]) -> None:
    qmp, far = ends
    far.line.close()
    with pytest.raises(QmpError, match="QEMU closed its control line"):
        qmp.pump()
    with pytest.raises(QmpError, match="QEMU closed its control line"):
        qmp.greet(LIMIT_S)
    with pytest.raises(QmpError, match="cannot send quit to QEMU: Broken pipe"):
        qmp.execute("quit", timeout_s=LIMIT_S)


def test_line_that_closes_under_a_command_is_told(ends: tuple[Qmp, FarEnd]) -> None:
    qmp, far = ends
    far.line.shutdown(socket.SHUT_WR)
    with pytest.raises(QmpError, match="QEMU closed its control line"):
        qmp.execute("query-status", timeout_s=LIMIT_S)


def test_line_that_was_reset_is_told(ends: tuple[Qmp, FarEnd]) -> None:
    qmp, far = ends
    qmp.line.sendall(b"unread\n")
    far.line.close()
    with pytest.raises(QmpError, match="lost QEMU's control line: Connection reset by peer"):
        qmp.pump()


@pytest.mark.parametrize("garbage", [b"?!", b"", b"5", b"[]", b"null", b'{"return":', b"\xff\xfe", b"9" * 5000])
def test_garbage_is_an_error_of_ours_and_what_follows_is_heard(ends: tuple[Qmp, FarEnd], garbage: bytes) -> None:
    qmp, far = ends
    far.says(garbage + b"\n")
    with pytest.raises(QmpError, match="QEMU sent what is no message") as raised:
        qmp.execute("query-status", timeout_s=LIMIT_S)
    assert len(str(raised.value)) < 200
    far.says(garbage + b"\n")
    with pytest.raises(QmpError, match="QEMU sent what is no message"):
        qmp.pump()
    far.says({"return": "fine", "id": 2})
    assert qmp.execute("query-status", timeout_s=LIMIT_S) == "fine"


def test_a_flood_of_events_does_not_put_off_the_limit(ends: tuple[Qmp, FarEnd]) -> None:
    qmp, far = ends
    far.line.setblocking(False)
    with suppress(BlockingIOError):  # more lies there than is read at once
        while True:
            far.says(*[event("NOISE")] * 100)
    with pytest.raises(QmpError, match="did not send the answer to query-status in time"):
        qmp.execute("query-status", timeout_s=0.0)
    qmp.pump()
    before = len(qmp.events)
    qmp.pump()
    assert len(qmp.events) > before, "it did not read on until there was silence"


def test_a_message_without_end_fills_no_memory(ends: tuple[Qmp, FarEnd], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qmp_module, "MESSAGE_LIMIT_BYTES", 1 << 16)
    qmp, far = ends
    far.says(b"x" * (1 << 16))
    qmp.pump()  # so much is read at once
    far.says(b"x")
    with pytest.raises(QmpError, match="QEMU sent a message of more than 0 MiB"):
        qmp.pump()


@pytest.mark.parametrize("answer", [{"id": 1}, {"id": 1, "error": "why"}, {"id": 1, "error": {}}])
def test_answer_that_is_neither_result_nor_error_is_a_refusal(ends: tuple[Qmp, FarEnd], answer: dict[str, Any]) -> None:
    qmp, far = ends
    far.says(answer)
    with pytest.raises(QmpError, match="QEMU refused stop"):
        qmp.execute("stop", timeout_s=LIMIT_S)


def test_line_that_is_full_is_an_error_and_no_wait(ends: tuple[Qmp, FarEnd]) -> None:
    qmp, _ = ends
    with pytest.raises(QmpError, match="cannot send big to QEMU"):
        qmp.execute("big", {"text": "x" * 10_000_000}, timeout_s=LIMIT_S)


def test_a_conversation_with_a_process() -> None:
    script: Script = {"query-status": [["event", "BEFORE"], ["after", "event", "BEHIND"]]}
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wires = ["-chardev", f"socket,id=control,fd={theirs.fileno()}"]
        wires += ["-chardev", f"socket,id=console,fd={theirs.fileno()}"]
        with subprocess.Popen([*command(script), *wires], pass_fds=(theirs.fileno(),)) as process:
            theirs.close()
            qmp = Qmp(ours)
            assert qmp.greet(LIMIT_S) == "7.2.22"
            assert qmp.execute("query-status", timeout_s=LIMIT_S)["running"] is True
            assert names(qmp) == ["BEFORE", "BEHIND"]
            assert qmp.human("info usernet", timeout_s=LIMIT_S) == ""
            qmp.execute("quit", timeout_s=LIMIT_S)
            assert names(qmp) == ["BEFORE", "BEHIND", "SHUTDOWN"]
            assert process.wait(LIMIT_S) == 0
