"""Reboots that hang, commands that go on through reboots, and machines that are off; by the fake's machines."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from vmtasks import BootOptions, CommandFailed, Guest, GuestLost, TimedOut, UsageError, events
from vmtasks.deadline import Deadline
from vmtasks.errors import BootError, ConnectionLost, InfrastructureError
from vmtasks.guest import power, through_reboots
from vmtasks.guest.power import Power
from vmtasks.providers.base import MachineRequest
from vmtasks.testing import FakeProvider

LIMIT_S = 20.0
HANGS = {"systemctl --no-block reboot": ":", "systemctl --no-block poweroff": ":"}
NEVER_ANSWERS = dict.fromkeys(HANGS, "sleep 600")


@contextmanager
def machine(**instead: str) -> Iterator[Guest]:
    with FakeProvider(instead=instead).machine(
        MachineRequest(image="bookworm", options=BootOptions(name="m"))
    ) as guest:
        yield guest


@pytest.fixture
def notes() -> Iterator[list[str]]:
    notes: list[str] = []
    with events.listening(lambda event: notes.append(event.text) if isinstance(event, events.Note) else None):
        yield notes


@pytest.mark.parametrize("instead", [HANGS, NEVER_ANSWERS], ids=["ignored", "no answer"])
def test_a_reboot_that_hangs_is_told_or_made_hard_where_that_is_allowed(
    notes: list[str], instead: dict[str, str]
) -> None:
    with machine(**instead) as guest:
        before = guest.boot_id()
        with pytest.raises(TimedOut, match=r"m never went down: it is in the same boot after"):
            guest.reboot(timeout_s=1)
        assert guest.boot_id() == before
        guest.reboot(timeout_s=LIMIT_S, hard_after_s=1)
        assert guest.boot_id() != before
    (note,) = notes
    assert note.startswith("m did not reboot in order within 1 s, and is reset hard: m never went down: ")


def test_a_reboot_that_may_take_no_time_is_made_hard(notes: list[str]) -> None:
    with machine(**HANGS) as guest:
        before = guest.boot_id()
        guest.reboot(timeout_s=LIMIT_S, hard_after_s=0)
        assert guest.boot_id() != before
    assert notes[0].startswith("m did not reboot in order within 0 s, and is reset hard: ")


def test_a_reboot_in_order_is_no_reset(notes: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with machine() as guest:
        monkeypatch.setattr(guest, "hard_reset", lambda **_: pytest.fail("it was to reboot in order"))
        before = guest.boot_id()
        guest.reboot(timeout_s=LIMIT_S, hard_after_s=LIMIT_S)
        assert guest.boot_id() != before
    assert notes == []


def test_a_machine_without_a_switch_says_so_before_anything_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    with machine() as guest:
        monkeypatch.setattr(guest, "_power", Power(hint="buy one"))
        before = guest.boot_id()
        verbs: list[Callable[[], None]] = [guest.hard_reset, guest.power_cycle, lambda: guest.reboot(hard_after_s=1)]
        for verb in verbs:
            with pytest.raises(UsageError, match=r"^cannot have m (reset|switched off and on): there is no way") as no:
                verb()
            assert no.value.hint == "buy one"
        assert guest.boot_id() == before


@pytest.mark.parametrize(("effect_limit_s", "times"), [(0.1, power.TRIES), (LIMIT_S, 1)])
def test_a_reset_without_an_effect_is_made_again_within_the_limit(
    monkeypatch: pytest.MonkeyPatch, effect_limit_s: float, times: int
) -> None:
    presses: list[int] = []
    monkeypatch.setattr(power, "EFFECT_LIMIT_S", effect_limit_s)
    with machine() as guest:
        monkeypatch.setattr(guest, "_power", Power(reset=lambda _: presses.append(1)))
        with pytest.raises(TimedOut, match=r"m was reset, and goes on in the same boot after 3 s"):
            guest.hard_reset(timeout_s=3)
        assert guest.is_up()
    assert len(presses) == times


def test_a_reset_that_takes_all_of_the_time_is_looked_after(monkeypatch: pytest.MonkeyPatch) -> None:
    with machine() as guest:
        before, real = guest.boot_id(), guest._power.reset

        def slow(limit: Deadline) -> None:
            while not limit.passed:
                time.sleep(0.05)
            assert real
            real(limit)

        monkeypatch.setattr(guest, "_power", Power(reset=slow))
        guest.hard_reset(timeout_s=1)
        assert guest.boot_id() != before


def test_what_was_not_reset_is_not_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    with machine() as guest:
        monkeypatch.setattr(guest, "_power", Power(reset=lambda _: pytest.fail("there is no time")))
        with pytest.raises(TimedOut, match=r"^m was not reset: 1e-06 s went by before that$"):
            guest.hard_reset(timeout_s=1e-6)


def test_a_boot_that_was_never_known_is_told_by_its_age() -> None:
    with machine() as guest:
        session = guest._session
        assert not power.Boot(id="", seen_s=time.monotonic()).is_over(session), "this host has been up for longer"
        assert power.Boot(id="", seen_s=float("-inf")).is_over(session)


@pytest.mark.parametrize("instead", [HANGS, NEVER_ANSWERS], ids=["ignored", "no answer"])
def test_a_machine_that_does_not_halt_is_told(instead: dict[str, str]) -> None:
    with machine(**instead) as guest:
        with pytest.raises(TimedOut, match=r"did not switch itself off within 1 s"):
            guest.halt(timeout_s=1)
        assert guest.is_up()


def test_a_machine_that_is_off_can_be_switched_on() -> None:
    with machine() as guest:
        before = guest.boot_id()
        guest.halt(timeout_s=LIMIT_S)
        with pytest.raises(GuestLost, match=r"^m is down: halt\(\) has switched it off$") as down:
            guest.put(__file__, "there")
        assert down.value.hint == "guest.power_cycle() is what switches it on"
        guest.power_cycle(timeout_s=LIMIT_S)
        assert guest.boot_id() != before


def test_the_last_start_is_the_one_that_counts(notes: list[str]) -> None:
    line = 'echo "$VMTASKS_REBOOT_COUNT $RSTRNT_REBOOTCOUNT $X"; [ $TMT_REBOOT_COUNT = 2 ] && exit 3; reboot; sleep 600'
    with machine() as guest:
        result = guest.run_through_reboots(line, warn=True, timeout_s=LIMIT_S, env={"X": "y"})
        assert (result.exited, result.stdout) == (3, "2 2 y\n")
        with pytest.raises(CommandFailed, match=r"`exit 4` on m ended with status 4"):
            guest.run_through_reboots("exit 4", timeout_s=LIMIT_S)
    assert notes == [f"m has rebooted ({count}): the command is started again" for count in (1, 2)]


def test_a_limit_counts_for_all_starts_together() -> None:
    with machine() as guest, pytest.raises(TimedOut, match=r"did not end within [12] s"):
        guest.run_through_reboots("[ $VMTASKS_REBOOT_COUNT = 1 ] || reboot; sleep 600", timeout_s=3)


def test_a_connection_that_breaks_without_a_reboot_is_no_reboot() -> None:
    with machine() as guest:
        boot_id, connection = guest.boot_id(), guest.connection

        def hang_up(event: events.Event) -> None:
            if isinstance(event, events.Output):
                connection.close()

        with (
            events.listening(hang_up),
            pytest.raises((ConnectionLost, GuestLost), match=r"the connection to m broke while it ran `echo begun"),
        ):
            guest.run_through_reboots("echo begun; sleep 600", timeout_s=LIMIT_S)
        assert guest.boot_id() == boot_id


def test_a_machine_that_does_not_come_back_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(through_reboots, "RETURN_LIMIT_S", 1.0)
    with machine() as guest:
        with pytest.raises(BootError, match=r"the guest did not answer over ssh within 1 s \(it is off\)"):
            guest.run_through_reboots("poweroff; sleep 600", timeout_s=LIMIT_S)
        with pytest.raises(InfrastructureError):
            guest.boot_id()
