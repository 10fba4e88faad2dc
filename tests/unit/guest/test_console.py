from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from vmtasks.errors import BootError, ConnectionLost, GuestLost, HostError, TimedOut, UsageError
from vmtasks.guest import console as module
from vmtasks.guest.console import GuestConsole, HasConsole, follow


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "console.log"


def prints(log: Path, *pieces: bytes) -> Callable[[float], None]:
    """Return a wait in which the guest prints the next of *pieces*."""
    rest = iter(pieces)

    def watch(_: float) -> None:
        with log.open("ab") as file:
            file.write(next(rest, b""))

    return watch


def console_of(log: Path, *pieces: bytes, type_in: Callable[[bytes], int] = len, from_bytes: int = 0) -> GuestConsole:
    return GuestConsole("m", log, watch=prints(log, *pieces), type_in=type_in, from_bytes=from_bytes)


def test_all_of_it_from_the_first_character(log: Path) -> None:
    console = console_of(log)
    assert console.transcript == ""
    log.write_bytes(b"Booting\r\n\xc3")
    assert console.transcript == "Booting\r\n"
    with log.open("ab") as file:
        file.write(b"\xa4 \xff")
    assert console.transcript == "Booting\r\n\u00e4 \ufffd"


def test_what_another_machine_has_left_in_the_log_is_not_its_own(log: Path) -> None:
    log.write_bytes(b"login: ")
    assert console_of(log, from_bytes=5).transcript == ": "


def test_a_pattern_is_waited_for_and_each_is_looked_for_behind_the_last(log: Path) -> None:
    console = console_of(log, b"debian lo", b"gin: ", b"Password: ", b"\r\ndebian login: ")
    assert console.expect(r"(\w+) login: ")[1] == "debian"
    assert console.expect("Password: ").start() == 14
    assert console.expect(re.compile("LOGIN", re.IGNORECASE))[0] == "login"


def test_a_pattern_that_does_not_come_shows_what_did(log: Path) -> None:
    console = console_of(log, b"one\r\n", b"two\r\n")
    with pytest.raises(TimedOut, match=r"the console of m did not show 'login: ' within 0.05 s") as late:
        console.expect("login: ", timeout_s=0.05)
    assert late.value.details == ("one", "two")


def test_a_log_that_is_full_is_no_silence(log: Path) -> None:
    log.write_bytes(b"before\r\n")
    prints_more = prints(log, b"x" * (1 << 20) + b"one\r\n")
    console = GuestConsole("m", log, watch=prints_more, type_in=len, from_bytes=8, limit_bytes=5 + (1 << 20))
    assert console.expect("one")[0] == "one"
    with pytest.raises(TimedOut, match=r"cannot wait for 'login: ' on the console of m: its log is full \(1 MiB\)"):
        console.expect("login: ", timeout_s=3600)


def test_a_machine_that_is_gone_ends_the_wait(log: Path) -> None:
    def gone(_: float) -> None:
        raise ConnectionLost("m is gone")

    with pytest.raises(ConnectionLost):
        GuestConsole("m", log, watch=gone, type_in=len).expect("x")


def test_what_a_machine_printed_last_is_found_though_it_is_gone(log: Path) -> None:
    def power_off(_: float) -> None:
        log.write_bytes(b"reboot: Power down\r\n")
        raise GuestLost("m is gone: it powered itself off")

    console = GuestConsole("m", log, watch=power_off, type_in=len)
    assert console.expect("Power down")[0] == "Power down"
    with pytest.raises(GuestLost):
        console.expect("Power down")


def test_typing_on_a_machine_that_is_gone_says_what_became_of_it(log: Path) -> None:
    def refuse(_: bytes) -> int:
        raise BootError("cannot have QEMU execute type: no answer")

    def gone(_: float) -> None:
        raise GuestLost("m is gone: it powered itself off")

    with pytest.raises(GuestLost, match="it powered itself off"):
        GuestConsole("m", log, watch=gone, type_in=refuse).send("poweroff")
    with pytest.raises(BootError, match="no answer"):
        console_of(log, type_in=refuse).send("poweroff")


def test_a_line_is_typed_in_as_many_pieces_as_it_takes(log: Path) -> None:
    typed = []

    def three(data: bytes) -> int:
        typed.append(data[:3])
        return 3

    console_of(log, type_in=three).send("r\u00f6ot")
    assert b"".join(typed) == "r\u00f6ot\r".encode()
    typed.clear()
    console_of(log, type_in=three).send("\x03", end="")
    assert typed == [b"\x03"]


def test_a_guest_that_does_not_read_is_not_waited_for_without_end(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TYPE_LIMIT_S", 0.05)
    with pytest.raises(TimedOut, match="cannot type on the console of m: its guest does not read there"):
        console_of(log, type_in=lambda _: 0).send("root")


def test_a_guest_without_a_console_says_so() -> None:
    guest = HasConsole()
    guest.name = "m"
    assert guest.alarms == ()
    with pytest.raises(UsageError, match="cannot use the console of m: machines of its kind have none"):
        _ = guest.console


def test_what_is_followed_is_shown_to_its_last_character(log: Path) -> None:
    log.write_bytes(b"one \xc3")
    alive = iter([True, True, False])
    pieces = iter([b"\xa4", b" three"])
    shown: list[str] = []

    def pause() -> None:
        with log.open("ab") as file:
            file.write(next(pieces))

    follow(log, lambda: next(alive), shown.append, pause)
    assert "".join(shown) == "one \u00e4 three"


def test_a_log_that_cannot_be_followed_is_a_sentence(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "none", "."):
        with pytest.raises(HostError, match="cannot read the console's log "):
            follow(tmp_path / name, lambda: False, print, lambda: None)


def test_a_reader_that_is_gone_is_not_the_logs_failure(log: Path) -> None:
    def show(_: str) -> None:
        raise BrokenPipeError

    log.write_bytes(b"one")
    with pytest.raises(BrokenPipeError):
        follow(log, lambda: False, show, lambda: None)
