"""A machine's life as far as it goes without a guest: the fake QEMU boots nothing, and a stand-in plays the guest."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from invoke.context import Context

from tests.fake_qemu import FILES, Script, command
from tests.keys import make_keys
from vmtasks import events
from vmtasks.cache import snapshot
from vmtasks.cache.snapshot import Snapshot, file_stamps
from vmtasks.cli import vm
from vmtasks.config.settings import HostSettings
from vmtasks.deadline import Deadline
from vmtasks.errors import BootError, ConnectionLost, GuestLost, HostError, ShutdownTimedOut, TestFailed, UsageError
from vmtasks.guest import Guest, Result
from vmtasks.guest.console import GuestConsole
from vmtasks.guest.power import Power
from vmtasks.host import declared, slots
from vmtasks.host.accelerator import Choice
from vmtasks.host.lease import leases
from vmtasks.image.baked import BakedImage
from vmtasks.machine import lifecycle
from vmtasks.machine.alarm_watch import ConsoleAlarms
from vmtasks.machine.launch import BootSource, LaunchConfig
from vmtasks.machine.lifecycle import running
from vmtasks.process.landlock import Reach
from vmtasks.process.user import user_name
from vmtasks.providers.base import BootOptions, MachineRequest
from vmtasks.providers.qemu.provider import started
from vmtasks.spec import AlarmPolicy, DirectKernel, Machine
from vmtasks.ssh.connect import Address
from vmtasks.ssh.session import Session
from vmtasks.supervisor import watch
from vmtasks.supervisor.client import SupervisorClient
from vmtasks.supervisor.plan import Plan

LIMIT_S = 30.0
QEMU = """#!/bin/sh
PATH=/usr/bin:/bin
# Every start plays the next script there is; the last one stays.
cd '{scripts}'
script=$(ls | head -n 1)
words=$(cat "$script")
[ "$(ls | wc -l)" = 1 ] || rm "$script"
exec {fake} "$words" "$@"
"""
QEMU_IMG = '#!/bin/sh\nfor overlay; do :; done\n: >"$overlay"\n'
OOPS = """\
[   57.658354][  T650] BUG: unable to handle page fault for address: ffff888058a67000\r
[   57.659526][  T650] Oops: 000b [#3] SMP NOPTI\r
[   57.659526][  T650] ---[ end trace 0000000000000000 ]---\r
"""
PANIC: Script = {"human-monitor-command": [["say", "Booting\nKernel panic - not syncing: no init\n"]]}

Ended = Callable[..., bool]


class StandIn:
    """Plays a guest that answers at once, and does as it is told."""

    def __init__(
        self,
        session: Session,
        *,
        client: SupervisorClient,
        address: Address,
        source: BootSource,
        console: GuestConsole,
        console_alarms: ConsoleAlarms,
        console_log: Path,
        ssh_command: Sequence[str],
        power: Power,
        **_: object,
    ) -> None:
        self.power = power
        self.name = session.machine
        self.watch = session.watch
        self.client, self.address, self.source = client, address, source
        self.console_log, self.ssh_command = console_log, ssh_command
        self.console, self._alarms = console, console_alarms
        self.ran: list[Sequence[str]] = []
        self.is_closed = False

    def run(self, command: Sequence[str], **_: object) -> Result:
        """Note the command; the one that powers the machine off does."""
        self.ran.append(command)
        if "poweroff" in command:
            os.kill(qemu_of(), signal.SIGTERM)
        return Result(machine=self.name, command="", exited=0, stdout="", stderr="", duration_s=0.0)

    @property
    def alarms(self) -> Sequence[events.ConsoleAlarm]:
        """Return what its kernel has reported."""
        return self._alarms.found

    def close(self) -> None:
        """Note it."""
        self.is_closed = True


def lease() -> dict[str, Any]:
    (one,) = (lease for lease in leases() if lease.alive)
    return dict(one.info)


def qemu_of() -> int:
    return int(lease()["qemu_pid"])


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "QemuGuest", StandIn)
    monkeypatch.setattr(lifecycle, "connect", lambda *_, **__: None)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Give the host a QEMU that plays these scripts, one start after the other, and a queue of its own."""
    programs, scripts = tmp_path / "bin", tmp_path / "scripts"
    programs.mkdir()
    scripts.mkdir()
    fake = " ".join(command()[:-1])
    for name, text in (("qemu-system-x86_64", QEMU.format(scripts=scripts, fake=fake)), ("qemu-img", QEMU_IMG)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("VMTASKS_CACHE", str(tmp_path / "cache"))
    plan_of = lifecycle.plan_of

    def plan(*circumstances: Any, **files: Any) -> Plan:
        plan = plan_of(*circumstances, **files)
        slot = plan.slot._replace(directory=str(tmp_path / "queue"))
        return plan._replace(slot=slot, reach=plan.reach | Reach(FILES, (str(scripts),)))

    monkeypatch.setattr(lifecycle, "plan_of", plan)

    def plays(*played: Script) -> None:
        for number, script in enumerate(played):
            (scripts / str(number)).write_text(command(script)[-1])

    plays({})
    return plays


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(name="guest", disk=tmp_path / "baked" / "disk.qcow2", memory_mib=64)


@pytest.fixture
def launch(tmp_path: Path) -> LaunchConfig:
    baked = BakedImage(directory=tmp_path / "baked", manifest={"key": "0123"})
    baked.directory.mkdir()
    baked.disk.write_bytes(b"QFI\xfb")
    make_keys(baked.directory)
    return LaunchConfig(
        image="bookworm",
        baked=baked,
        access=baked.access,
        choice=Choice(accelerator="tcg", reason="a test"),
        settings=HostSettings(machines=1, memory_mib=1000, boot_timeout_s=LIMIT_S),
        purpose="a test",
        log_dir=tmp_path / "logs",
    )


@pytest.fixture
def heard() -> Iterator[list[events.Event]]:
    heard: list[events.Event] = []
    with events.listening(heard.append):
        yield heard


def notes(heard: list[events.Event]) -> list[str]:
    return [event.text for event in heard if isinstance(event, events.Note)]


def nothing_is_left(tmp_path: Path) -> bool:
    machines = tmp_path / "cache" / "machines"
    return not list(machines.iterdir()) and slots.tickets(str(tmp_path / "queue")) == ()


def watch_until_it_raises(guest: Guest) -> None:
    deadline = Deadline.after(LIMIT_S)
    while not deadline.passed:
        guest.watch(deadline.left_s)


# --- a life that goes well -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("host", "stand_in")
def test_a_life(
    machine: Machine, launch: LaunchConfig, heard: list[events.Event], tmp_path: Path, ended: Ended
) -> None:
    with running(machine, launch) as guest:
        qemu_pid = qemu_of()
        assert not ended(qemu_pid, timeout_s=0)
        assert lease()["ports"] == {"22": guest.address.port}
        assert (lease()["image"], lease()["caller_pid"]) == ("bookworm", os.getpid())
        guest.watch(0.0)
    assert ended(qemu_pid, timeout_s=0)
    assert nothing_is_left(tmp_path)
    assert guest.is_closed, "before the machine went"
    assert [event.phase for event in heard if isinstance(event, events.PhaseEnded)] == [
        "slot",
        "overlay",
        "start",
        "boot",
        "stop",
    ]
    (started,) = (event for event in heard if isinstance(event, events.MachineStarted))
    assert started.argv[0] == "qemu-system-x86_64"
    assert (started.image, started.image_key, started.attempt) == ("bookworm", "0123", 1)
    assert started.ssh.endswith("root@127.0.0.1")


@pytest.mark.usefixtures("stand_in")
def test_a_panic_is_over_with_a_reset_and_that_of_the_next_boot_is_told_again(
    machine: Machine, launch: LaunchConfig, host: Callable[..., None], tmp_path: Path
) -> None:
    panic = "Kernel panic - not syncing: no init\n"
    host({"human-monitor-command": [["say", panic]], "system_reset": [["after", "say", panic]]})
    with running(machine, launch) as guest:
        for _ in range(3):
            with pytest.raises(GuestLost, match="the kernel of guest panicked"):
                watch_until_it_raises(guest)
            cast("StandIn", guest).power.reset(Deadline.after(None))
    assert nothing_is_left(tmp_path)


@pytest.mark.usefixtures("host", "stand_in")
def test_error_in_the_block_ends_the_machine_and_is_not_tried_again(
    machine: Machine, launch: LaunchConfig, tmp_path: Path, heard: list[events.Event]
) -> None:
    with pytest.raises(BootError, match="mine"), running(machine, launch):
        raise BootError("mine")
    assert nothing_is_left(tmp_path)
    assert notes(heard) == []


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("ephemeral", [True, False])
def test_only_a_machine_whose_disk_is_kept_powers_itself_off(
    host: Callable[..., None], machine: Machine, launch: LaunchConfig, *, ephemeral: bool
) -> None:
    host({"quit": [["exit", 9]]})
    with running(replace(machine, ephemeral=ephemeral), launch) as guest:
        client = guest.client
    last = client.next(LIMIT_S)
    assert (last["event"], last["status"]) == ("exited", 9 if ephemeral else 0)
    assert guest.ran == ([] if ephemeral else [("systemctl", "--no-block", "poweroff")])


@pytest.mark.usefixtures("host", "stand_in")
def test_waiting_for_a_slot_says_behind_whom(
    machine: Machine, launch: LaunchConfig, heard: list[events.Event], tmp_path: Path
) -> None:
    limits = slots.Limits(machines=1, memory_mib=1000)
    with slots.Claim("the neighbours' build", 1, limits, directory=str(tmp_path / "queue")) as claim:

        def make_room(event: events.Event) -> None:
            if isinstance(event, events.Note):
                claim.release()

        with events.listening(make_room), running(machine, launch):
            assert f"pid {os.getpid()}" in notes(heard)[0]
    assert notes(heard)[0].startswith("waiting for a slot behind the neighbours' build of ")
    assert len(notes(heard)) == 1


@pytest.mark.usefixtures("host", "stand_in")
def test_waiting_for_a_slot_is_told_again_and_again_and_a_change_only_once(
    machine: Machine, launch: LaunchConfig, heard: list[events.Event], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "REMIND_S", 0.01)
    limits = slots.Limits(machines=1, memory_mib=1000)
    directory = str(tmp_path / "queue")
    with (
        slots.Claim("the neighbours' build", 1, limits, directory=directory) as first,
        slots.Claim("a second", 1, limits, directory=directory) as second,
    ):

        def make_room(event: events.Event) -> None:
            if isinstance(event, events.Progress):
                second.release()
                first.release()

        with events.listening(make_room), running(machine, launch):
            pass
    told = next(event for event in heard if isinstance(event, events.Progress))
    assert (told.phase, told.unit, told.detail) == ("slot", "seconds", notes(heard)[0])
    assert notes(heard)[0].endswith(", and 1 more")


def test_the_same_words_about_the_queue_are_told_once(heard: list[events.Event]) -> None:
    follows = watch.MachineWatch(None, "guest", Path())  # type: ignore[arg-type] - it hears nothing
    one, other, last = (
        slots.Ticket(1, "waiting", "alice", 0, 4711, purpose, 64, 0.0)._asdict() for purpose in ("a", "b", "c")
    )
    for ahead in ([one, other], [one, last], [one]):
        follows._handle({"event": "waiting", "ahead": ahead})
    begin = "waiting for a slot behind a of alice (pid 4711)"
    assert notes(heard) == [f"{begin}, and 1 more", begin]


@pytest.mark.usefixtures("host", "stand_in")
def test_a_host_that_takes_no_machines_is_waited_for_and_told_why(
    machine: Machine, launch: LaunchConfig, heard: list[events.Event], tmp_path: Path
) -> None:
    queue = str(tmp_path / "queue")
    declared.declare("none", reason="a new disk", directory=queue)

    def open_once_it_is_told() -> None:
        if notes(heard):
            declared.take_back(directory=queue)

    with running(machine, replace(launch, check=open_once_it_is_told)):
        assert [ticket.state for ticket in slots.tickets(queue)] == ["running"]
    assert notes(heard) == [f"waiting: the host takes no new machines (a new disk; {user_name()} has set that)"]


@pytest.mark.usefixtures("host", "stand_in")
def test_the_settings_of_the_host_are_the_rules_of_its_queue(
    machine: Machine, launch: LaunchConfig, heard: list[events.Event], tmp_path: Path
) -> None:
    def open_once_it_is_told() -> None:
        if notes(heard):
            declared.declare("eager", directory=str(tmp_path / "queue"))

    settings = replace(launch.settings, availability="none")
    with running(machine, replace(launch, settings=settings, check=open_once_it_is_told)):
        pass
    assert notes(heard) == ["waiting: the host takes no new machines"]


# --- a boot with another kernel -----------------------------------------------------------------------------------


@pytest.fixture
def direct(machine: Machine, tmp_path: Path) -> Machine:
    """Return a machine that QEMU boots directly."""
    baked = tmp_path / "baked"
    kernel = DirectKernel(kernel=baked / "vmlinuz", initrd=baked / "initrd", command_line="root=/dev/vda")
    return replace(machine, boot=kernel)


def words_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]


def after(words: list[str], option: str) -> str:
    return words[words.index(option) + 1]


def reset_by_guest(guest: Guest, pid: int, ended: Ended) -> list[str]:
    """Have the guest reset its machine, and return the command line of the QEMU that runs then."""
    assert not ended(pid, timeout_s=0)
    cast("StandIn", guest).client.qmp("stop")
    assert ended(pid)
    deadline = Deadline.after(LIMIT_S)
    while qemu_of() == pid and not deadline.passed:
        guest.watch(0.05)
    return words_of(qemu_of())


@pytest.mark.usefixtures("stand_in")
def test_a_kernel_that_is_chosen_is_booted_by_another_qemu_on_the_same_disk_and_port(
    direct: Machine, launch: LaunchConfig, host: Callable[..., None], tmp_path: Path, ended: Ended
) -> None:
    host({"stop": [["reset"]]})
    with running(direct, launch) as guest:
        first = words_of(qemu_of())
        boots = cast("StandIn", guest).power.direct
        assert boots
        room = boots.rooms.new()
        assert room.parent.parent == tmp_path / "cache" / "machines"
        own = DirectKernel(kernel=room / "vmlinuz", initrd=room / "initrd", command_line="root=/dev/vda a=1")
        boots.choose(default=boots.image, release="", once=own)
        second = reset_by_guest(guest, qemu_of(), ended)
        named = [after(second, option) for option in ("-kernel", "-initrd", "-append")]
        assert named == [str(own.kernel), str(own.initrd), own.command_line]
        assert after(second, "-drive") == after(first, "-drive")
        assert f"hostfwd=tcp:127.0.0.1:{guest.address.port}-:22" in after(second, "-netdev")
        assert lease()["ports"] == {"22": guest.address.port}
        unused = boots.rooms.new()
        boots.choose(default=own, release="6.6.6")
        assert (room.is_dir(), unused.is_dir()) == (True, False)
        cast("StandIn", guest).client.qmp("stop")
        assert words_of(qemu_of()) == second, "it has what it is to boot with"
        assert (boots.default, boots.default_release) == (own, "6.6.6")
        guest.watch(0.0)
    assert nothing_is_left(tmp_path)


@pytest.mark.usefixtures("stand_in")
def test_a_reset_button_boots_what_is_chosen_and_ends_a_panic(
    direct: Machine, launch: LaunchConfig, host: Callable[..., None], tmp_path: Path
) -> None:
    panic = "Kernel panic - not syncing: no init\n"
    host({"human-monitor-command": [["say", panic]]}, {})
    with running(direct, launch) as guest:
        power = cast("StandIn", guest).power
        assert power.direct
        power.direct.choose(default=replace(power.direct.image, command_line="a=1"), release="")
        with pytest.raises(GuestLost, match="the kernel of guest panicked"):
            watch_until_it_raises(guest)
        power.reset(Deadline.after(None))  # type: ignore[misc] - it has one
        guest.watch(0.0)
        assert after(words_of(qemu_of()), "-append") == "a=1"
    assert nothing_is_left(tmp_path)


@pytest.mark.usefixtures("stand_in")
def test_a_kernel_that_qemu_does_not_take_is_the_guests_doing(
    direct: Machine, launch: LaunchConfig, host: Callable[..., None], tmp_path: Path
) -> None:
    host({"stop": [["reset"]]}, {"start": [["complain", "could not load kernel"], ["exit", 1]]})
    with running(direct, launch) as guest:
        boots = cast("StandIn", guest).power.direct
        assert boots
        boots.choose(default=replace(boots.image, command_line="a=1"), release="")
        with suppress(BootError):  # it may be gone before it answers
            cast("StandIn", guest).client.qmp("stop")
        with pytest.raises(GuestLost) as told:
            watch_until_it_raises(guest)
        assert str(told.value) == (
            "guest is gone: QEMU does not start with what was chosen for its boot: "
            "qemu-system-fake: could not load kernel"
        )
    assert nothing_is_left(tmp_path)


@pytest.mark.usefixtures("host", "stand_in")
def test_a_machine_that_boots_by_itself_has_no_kernel_to_be_chosen(machine: Machine, launch: LaunchConfig) -> None:
    with running(machine, launch) as guest:
        assert cast("StandIn", guest).power.direct is None


# --- a boot that does not go well ------------------------------------------------------------------------------


def test_panic_is_tried_again_as_often_as_allowed(
    host: Callable[..., None], machine: Machine, launch: LaunchConfig, heard: list[events.Event], tmp_path: Path
) -> None:
    host(PANIC)
    with (
        pytest.raises(BootError, match="the kernel of guest panicked: Kernel panic - not syncing: no init") as raised,
        running(machine, launch),
    ):
        pytest.fail("it booted")
    assert raised.value.details == ("Booting", "Kernel panic - not syncing: no init")
    assert [note.rpartition("; ")[2] for note in notes(heard)] == ["trying again (2 of 3)", "trying again (3 of 3)"]
    consoles = {f"guest-console{suffix}.log" for suffix in ("", "-2", "-3")}
    assert consoles <= {path.name for path in (tmp_path / "logs").iterdir()}
    assert all("no init" in (tmp_path / "logs" / name).read_text() for name in consoles)
    assert nothing_is_left(tmp_path)


@pytest.mark.usefixtures("host", "stand_in")
def test_second_attempt_may_do(
    machine: Machine, launch: LaunchConfig, heard: list[events.Event], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problems = [BootError("the guest did not answer")]

    def connect(*_: object, **__: object) -> None:
        if problems:
            raise problems.pop()

    monkeypatch.setattr(lifecycle, "connect", connect)
    with running(machine, launch):
        assert notes(heard) == ["the guest did not answer; trying again (2 of 3)"]
    (started,) = (event for event in heard if isinstance(event, events.MachineStarted))
    assert started.attempt == 2
    assert started.console == tmp_path / "logs" / "guest-console-2.log"
    assert nothing_is_left(tmp_path)


@pytest.mark.usefixtures("stand_in")
def test_qemu_that_refuses_is_not_asked_again(
    host: Callable[..., None], machine: Machine, launch: LaunchConfig, heard: list[events.Event]
) -> None:
    host({"start": [["complain", "no such device"], ["exit", 1]]}, {})
    with (
        pytest.raises(HostError, match="cannot start guest: qemu-system-fake: no such device") as raised,
        running(machine, launch),
    ):
        pytest.fail("it booted")
    assert "inv doctor" in raised.value.hint
    assert notes(heard) == []


@pytest.mark.usefixtures("host")
def test_guest_that_never_answers(machine: Machine, launch: LaunchConfig, tmp_path: Path) -> None:
    settings = replace(launch.settings, boot_timeout_s=0.5, attempts=1)
    with (
        pytest.raises(BootError, match=r"did not answer over ssh within 0\.5 s"),
        running(machine, replace(launch, settings=settings)),
    ):
        pytest.fail("it booted")
    assert nothing_is_left(tmp_path)


def test_full_disk_of_the_host_is_the_hosts_and_not_tried_again(
    host: Callable[..., None], machine: Machine, launch: LaunchConfig, heard: list[events.Event], tmp_path: Path
) -> None:
    host({"human-monitor-command": [["event", "BLOCK_IO_ERROR", {"reason": "No space left on device"}]]})
    with (
        pytest.raises(HostError, match="the disk of guest cannot be written: No space left on device") as raised,
        running(machine, launch),
    ):
        pytest.fail("it booted")
    assert "full" in raised.value.hint
    assert notes(heard) == []
    assert nothing_is_left(tmp_path)


def test_disk_that_cannot_be_read_is_the_hosts_as_well(
    host: Callable[..., None], machine: Machine, launch: LaunchConfig
) -> None:
    host(
        {"human-monitor-command": [["event", "BLOCK_IO_ERROR", {"operation": "read", "reason": "Input/output error"}]]}
    )
    with (
        pytest.raises(HostError, match="the disk of guest cannot be read: Input/output error"),
        running(machine, launch),
    ):
        pytest.fail("it booted")


def not_twice(event: events.Event) -> None:
    assert not isinstance(event, events.Note), "it is asked twice"


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize(
    ("program", "text", "message"),
    [
        ("qemu-system-x86_64", "", "cannot start guest: qemu-system-x86_64: No such file or directory"),
        ("qemu-img", "echo no room >&2; exit 1", "cannot start guest: qemu-img ended with status 1: no room"),
    ],
)
def test_host_that_cannot(
    machine: Machine, launch: LaunchConfig, tmp_path: Path, *, program: str, text: str, message: str
) -> None:
    path = tmp_path / "bin" / program
    path.write_text(f"#!/bin/sh\n{text}")
    if not text:
        path.unlink()
    with pytest.raises(HostError) as raised, events.listening(not_twice), running(machine, launch):
        pytest.fail("it booted")
    assert str(raised.value) == message
    assert nothing_is_left(tmp_path)


@pytest.mark.usefixtures("host")
def test_logs_that_cannot_be_written(machine: Machine, launch: LaunchConfig, tmp_path: Path) -> None:
    (tmp_path / "logs").touch()
    with (
        pytest.raises(HostError, match=f"cannot write to {tmp_path}/logs"),
        running(machine, launch),
    ):
        pytest.fail("it booted")


# --- a life that is cut short ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("host", "stand_in")
@pytest.mark.parametrize(
    ("of", "message"),
    [
        ("qemu_pid", "guest is gone: QEMU was killed by SIGKILL"),
        ("supervisor_pid", "guest is gone: its supervisor ended without a word"),
    ],
)
def test_machine_that_is_killed_while_it_serves_is_a_lost_connection(
    machine: Machine, launch: LaunchConfig, of: str, message: str
) -> None:
    with running(machine, launch) as guest:
        os.kill(lease()[of], signal.SIGKILL)
        with pytest.raises(ConnectionLost) as raised:
            watch_until_it_raises(guest)
    assert str(raised.value).startswith(message)


@pytest.mark.usefixtures("host", "stand_in")
def test_machine_whose_memory_finds_no_room_on_the_disk_is_the_hosts(machine: Machine, launch: LaunchConfig) -> None:
    with running(machine, launch) as guest:
        os.kill(lease()["qemu_pid"], signal.SIGBUS)
        with pytest.raises(HostError, match="guest is gone: there was no room for its memory on the disk"):
            watch_until_it_raises(guest)


@pytest.mark.usefixtures("stand_in")
def test_process_that_is_killed_for_want_of_memory_is_told_and_the_machine_goes_on(
    host: Callable[..., None], machine: Machine, launch: LaunchConfig, heard: list[events.Event]
) -> None:
    host({"cont": [["say", "[   21.0] Out of memory: Killed process 271 (cc1) total-vm:900760kB\n"]]})
    with running(machine, launch) as guest:
        guest.client.qmp("cont")
        deadline = Deadline.after(LIMIT_S)
        while not notes(heard) and not deadline.passed:
            guest.watch(deadline.within(0.1))
    text = "the kernel of guest says: Out of memory: Killed process 271 (cc1)"
    assert notes(heard) == [f"{text}; --memory-mib gives it more"]


@pytest.mark.usefixtures("stand_in")
def test_console_is_read_and_typed_on_and_shown_to_its_user(
    host: Callable[..., None], machine: Machine, launch: LaunchConfig, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    host({"cont": [["say", "\x1b[1mBooting\x1b[0m\r\n10%\r20%\r\ndebian login: "]]})
    with running(machine, launch) as guest:
        guest.client.qmp("cont")
        assert guest.console.expect("login: ", timeout_s=LIMIT_S)
        guest.console.send("root")
        qemu_pid = qemu_of()

        def end(_: float) -> None:
            with suppress(ProcessLookupError):
                os.kill(qemu_pid, signal.SIGTERM)

        monkeypatch.setattr(vm.time, "sleep", end)  # it ends once somebody looks on
        vm.console(Context(), "guest")
        assert not [found for found in leases() if found.alive]
    assert capsys.readouterr().out == "Booting\n10%\n20%\ndebian login: "


def test_console_of_a_machine_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMTASKS_CACHE", str(tmp_path))
    with pytest.raises(UsageError, match="no machine 'guest' of yours runs on this host"):
        vm.console(Context(), "guest")


def alarms(heard: list[events.Event]) -> list[str]:
    return [event.type for event in heard if isinstance(event, events.ConsoleAlarm)]


@pytest.mark.usefixtures("stand_in")
def test_kernel_that_reports_an_oops_is_told_while_the_machine_goes_on(
    host: Callable[..., None], machine: Machine, launch: LaunchConfig, heard: list[events.Event]
) -> None:
    host({"cont": [["say", OOPS]]})
    with running(machine, launch) as guest:
        guest.client.qmp("cont")
        deadline = Deadline.after(LIMIT_S)
        while not alarms(heard) and not deadline.passed:
            guest.watch(deadline.within(0.1))
        assert [alarm.type for alarm in guest.alarms] == ["oops"]
    assert alarms(heard) == ["oops"]


def oops_while_it_serves(policy: AlarmPolicy, machine: Machine, launch: LaunchConfig) -> None:
    """Have a machine's kernel report an oops, and look no more before its end."""
    request = MachineRequest(image="bookworm", options=BootOptions(alarms=policy))
    with started(request, machine, launch, BootSource()) as guest:
        assert isinstance(guest, StandIn)
        guest.client.qmp("cont")


@pytest.mark.parametrize(("policy", "told"), [("warn", ["oops"]), ("off", [])])
@pytest.mark.usefixtures("stand_in")
def test_oops_leaves_a_run_that_passes_passed(
    policy: AlarmPolicy, told: list[str], host: Callable[..., None], machine: Machine, launch: LaunchConfig
) -> None:
    host({"cont": [["say", OOPS]]})
    heard: list[events.Event] = []
    with events.listening(heard.append):
        oops_while_it_serves(policy, machine, launch)
    assert alarms(heard) == told


@pytest.mark.usefixtures("stand_in")
def test_oops_fails_a_run_where_that_is_asked_for(
    host: Callable[..., None], machine: Machine, launch: LaunchConfig, heard: list[events.Event]
) -> None:
    host({"cont": [["say", OOPS]]})
    with pytest.raises(TestFailed, match=r"the kernel of guest reports an error \(oops\)") as failed:
        oops_while_it_serves("fail", machine, launch)
    assert len(failed.value.details) == 3
    assert alarms(heard) == ["oops"]


@pytest.mark.usefixtures("stand_in")
def test_panic_while_it_serves_is_the_guests_own(
    host: Callable[..., None], machine: Machine, launch: LaunchConfig
) -> None:
    host({"cont": [["say", "Kernel panic - not syncing: Fatal exception\n"]]})
    with running(machine, launch) as guest:
        guest.client.qmp("cont")
        with pytest.raises(GuestLost, match="the kernel of guest panicked"):
            watch_until_it_raises(guest)


@pytest.mark.usefixtures("stand_in")
def test_machine_that_has_panicked_is_not_asked_to_power_off(
    host: Callable[..., None], machine: Machine, launch: LaunchConfig
) -> None:
    host({"cont": [["say", "Kernel panic - not syncing: Fatal exception\n"]]})
    stack = ExitStack()
    guest = stack.enter_context(running(replace(machine, ephemeral=False), launch))
    guest.client.qmp("cont")
    with pytest.raises(GuestLost):
        watch_until_it_raises(guest)
    with pytest.raises(ShutdownTimedOut, match="did not power itself off any more"):
        stack.close()
    assert guest.ran == []


# --- what it starts from is damaged ------------------------------------------------------------------------------

REFUSES: Script = {"start": [["complain", "Image is not in qcow2 format"], ["exit", 1]]}


@pytest.fixture
def template(tmp_path: Path, launch: LaunchConfig) -> BootSource:
    """Return a template that is what it was made to a look at its files, and a disk to boot from instead."""
    assert launch.baked
    launch.baked.in_use.touch()
    directory = tmp_path / "cache" / "snapshots" / "0123-1"
    directory.mkdir(parents=True)
    for name in (*snapshot.FILES, "in-use"):
        (directory / name).write_bytes(name.encode())
    metadata = {"kind": "template", "name": "bookworm", "key": "0123", "made_s": 1.0, "files": file_stamps(directory)}
    saved = Snapshot(directory=directory, metadata={**metadata, "stands_on": [str(launch.baked.in_use)]})
    assert saved.intact
    return BootSource(snapshot=saved, reason="of a template", fallback=BootSource())


@pytest.mark.usefixtures("stand_in")
def test_a_template_that_qemu_refuses_costs_a_cold_boot_and_goes(
    host: Callable[..., None], machine: Machine, launch: LaunchConfig, template: BootSource, heard: list[events.Event]
) -> None:
    host(REFUSES, {})
    assert template.snapshot
    with running(machine, launch, template) as guest:
        assert guest.source.kind == "cold"
        assert "the template did not serve" in guest.source.reason
        assert "Image is not in qcow2 format" in guest.source.reason
    assert any("Image is not in qcow2 format; trying again" in text for text in notes(heard))
    assert not template.snapshot.directory.exists()


@pytest.mark.usefixtures("stand_in")
def test_a_template_is_not_to_blame_for_a_supervisor_that_is_killed_while_it_waits_for_its_slot(
    host: Callable[..., None], machine: Machine, launch: LaunchConfig, template: BootSource, tmp_path: Path
) -> None:
    host({})
    queue = str(tmp_path / "queue")
    once = replace(launch, settings=replace(launch.settings, attempts=1))

    def kill(event: events.Event) -> None:
        if isinstance(event, events.Note):
            (waiting,) = (ticket for ticket in slots.tickets(queue) if ticket.state == slots.WAITING)
            os.kill(waiting.pid, signal.SIGTERM)

    with (
        slots.Claim("the neighbours' build", 1, slots.Limits(machines=1, memory_mib=1000), directory=queue),
        events.listening(kill),
        pytest.raises((BootError, HostError)),
        running(machine, once, template),
    ):
        pytest.fail("nobody gave it a slot")
    assert template.snapshot
    assert template.snapshot.intact


@pytest.mark.usefixtures("stand_in")
def test_a_template_stays_where_the_disk_does_not_serve_either(
    host: Callable[..., None], machine: Machine, launch: LaunchConfig, template: BootSource
) -> None:
    host(REFUSES)
    assert template.snapshot
    with pytest.raises(HostError, match="Image is not in qcow2 format") as caught, running(machine, launch, template):
        pass
    assert "inv images.check" in caught.value.hint
    assert template.snapshot.intact
    assert launch.baked
    assert launch.baked.disk.exists(), "nothing is known against it"


@pytest.mark.usefixtures("stand_in")
def test_an_image_that_does_not_start_is_read_and_goes_if_it_is_damaged(
    host: Callable[..., None], machine: Machine, launch: LaunchConfig
) -> None:
    host(REFUSES)
    assert launch.baked
    launch.baked.disk.write_bytes(b"none")
    says = "the image bookworm was damaged, and has been removed: disk"
    with pytest.raises(HostError, match=says) as caught, running(machine, launch):
        pass
    assert caught.value.hint == "run it again: the image is baked anew"
    assert not launch.baked.directory.exists()


@pytest.mark.parametrize("name", ["id_ed25519", "known_hosts"])
@pytest.mark.parametrize("text", [None, "", "nonsense\n", "vmtasks ssh-ed25519 AAAA\n", "vmtasks no-such-kind AAAA\n"])
def test_a_key_that_is_none_is_noticed_before_anything_is_waited_for(
    host: Callable[..., None], machine: Machine, launch: LaunchConfig, name: str, text: str | None
) -> None:
    host({})
    assert launch.baked
    path = launch.baked.directory / name
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(HostError, match=r"cannot log in to the guest|was damaged") as caught, running(machine, launch):
        pass
    assert name in str(caught.value)
    assert caught.value.hint
