"""What every provider promises, as tests: the fake passes them always, the real ones where there are machines."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vmtasks import (
    BootOptions,
    CommandFailed,
    Guest,
    GuestLost,
    Provider,
    TestFailed,
    TimedOut,
    UsageError,
    events,
    parallel,
)
from vmtasks.errors import InfrastructureError, Interrupted
from vmtasks.process.signals import interrupt_on_signals
from vmtasks.providers.base import MachineRequest

LIMIT_S = 60.0
BOOT_LIMIT_S = 300.0


class ProviderContract:
    """The tests; a subclass has fixtures for *provider* and, where another one is meant, *image*."""

    is_clean = True
    """Whether each machine is as if there had been no other."""
    boots = True
    """Whether a machine can boot anew."""

    @pytest.fixture
    def image(self) -> str:
        return "bookworm"

    @pytest.fixture
    def guest(self, provider: Provider, image: str, tmp_path: Path) -> Iterator[Guest]:
        with provider.machine(
            MachineRequest(image=image, options=BootOptions(name="m"), purpose="a test", log_dir=tmp_path)
        ) as guest:
            guest.timeout_s = LIMIT_S
            yield guest

    def test_a_command_has_what_it_was_given_and_leaves_its_output_status_and_log(self, guest: Guest) -> None:
        assert guest.succeed(["printf", "%s|", "it's", "a  b", "$HOME", "*"]) == "it's|a  b|$HOME|*|"
        line = 'pwd; cat; echo "$KEY"; echo oh >&2; exit 3'
        result = guest.run(line, cwd="/usr", env={"KEY": "a value"}, stdin=b"input\n", warn=True)
        assert (result.stdout, result.stderr, result.exited) == ("/usr\ninput\na value\n", "oh\n", 3)
        assert result.log is not None
        assert sorted(result.log.read_text().splitlines()) == ["/usr", "a value", "input", "oh"]
        assert guest.run("kill -TERM $$", warn=True).signal == 15
        with pytest.raises(CommandFailed, match=r"`false` on m ended with status 1"):
            guest.succeed(["false"])

    def test_a_tap_hears_standard_output_first_and_says_what_is_shown(self, guest: Guest) -> None:
        heard = bytearray()

        def tap(data: bytes, show: Callable[[bytes], None]) -> None:
            heard.extend(data)
            show(data.replace(b"hidden", b""))
            if b"enough" in data:
                raise CommandFailed("enough")

        result = guest.run("echo one; echo oh >&2; echo hidden", tap=tap)
        assert (bytes(heard), result.stdout, result.stderr) == (b"one\nhidden\n", "one\n\n", "oh\n")
        assert result.log is not None
        assert "hidden" not in result.log.read_text()
        with pytest.raises(CommandFailed, match=r"^enough$"):
            guest.run("echo enough; sleep 600", tap=tap)
        assert guest.succeed(["echo", "more"]) == "more\n"

    def test_a_tree_goes_in_and_comes_out_as_it_was(self, guest: Guest, tmp_path: Path) -> None:
        (tmp_path / "in" / "d").mkdir(parents=True)
        (tmp_path / "in" / "d" / "program").write_text("#!/bin/sh\necho it runs\n")
        (tmp_path / "in" / "d" / "program").chmod(0o755)
        (tmp_path / "in" / "large").write_bytes(bytes(range(256)) * 20_000)
        (tmp_path / "in" / "link").symlink_to("d/program")
        with guest.tmp_dir() as room:
            guest.put(tmp_path / "in", f"{room}/there")
            assert guest.succeed([f"{room}/there/link"]) == "it runs\n"
            assert guest.glob(f"{room}/there/l*") == [f"{room}/there/large", f"{room}/there/link"]
            assert guest.glob(f"{room}/there/*k", f"{room}/there/l[^a]*") == [f"{room}/there/link"]
            assert guest.glob() == []
            guest.get(f"{room}/there", tmp_path / "out")
        assert (tmp_path / "out" / "large").read_bytes() == (tmp_path / "in" / "large").read_bytes()
        assert (tmp_path / "out" / "d" / "program").stat().st_mode & 0o777 == 0o755
        assert (tmp_path / "out" / "link").readlink() == Path("d/program")

    def test_a_command_and_its_children_end_at_their_limit(self, guest: Guest) -> None:
        with guest.tmp_dir() as room:
            guest.query(["chmod", "1777", room])
            with pytest.raises(TimedOut, match=r"did not end within 1 s"):
                guest.run(f"sleep 600 & echo $! >{room}/child; wait", timeout_s=1, warn=True)
            guest.fail(f"kill -0 $(cat {room}/child)")

    def test_a_branch_that_is_to_end_ends_its_command_and_the_machine_goes_on(self, guest: Guest) -> None:
        def fail() -> None:
            guest.wait_for_file(f"{room}/child")
            raise ZeroDivisionError

        with guest.tmp_dir() as room:
            guest.query(["chmod", "1777", room])
            with pytest.raises(ZeroDivisionError):
                parallel(fail, lambda: guest.run(f"sleep 600 & echo $! >{room}/child; wait"), fail_fast=True)
            guest.fail(f"kill -0 $(cat {room}/child)")

    def test_an_interrupt_is_heard_in_threads_too(self, guest: Guest) -> None:
        heard = threading.Event()

        def wait() -> None:
            with pytest.raises(Interrupted):
                guest.run(["sleep", "600"], warn=True)
            heard.set()

        def interrupt() -> None:
            assert guest.run(["true"], warn=True).ok
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

        with interrupt_on_signals(), pytest.raises(Interrupted):
            parallel(wait, interrupt)
        assert heard.is_set()

    def test_a_machine_tells_that_it_is_there(self, provider: Provider, image: str) -> None:
        heard: list[events.Event] = []
        with (
            events.listening(heard.append),
            provider.machine(MachineRequest(image=image, options=BootOptions(name="m"))),
        ):
            (one,) = [event for event in heard if isinstance(event, events.MachineStarted)]
        assert (one.machine, one.image, one.start in {"cold", "clone"}) == ("m", image, True)
        begun = [event.phase for event in heard if isinstance(event, events.PhaseStarted)]
        assert sorted(begun) == sorted(event.phase for event in heard if isinstance(event, events.PhaseEnded))

    def test_a_block_that_is_left_by_an_exception_gives_its_machine_back(self, provider: Provider, image: str) -> None:
        with (
            pytest.raises(ZeroDivisionError),
            provider.machine(MachineRequest(image=image, options=BootOptions(name="m"))) as guest,
        ):
            raise ZeroDivisionError
        with pytest.raises(InfrastructureError):
            guest.run(["true"], warn=True)
        with provider.machine(MachineRequest(image=image, options=BootOptions(name="m"))) as another:
            assert another.run(["true"], warn=True).ok

    def test_what_one_machine_was_given_the_next_one_does_not_have(self, provider: Provider, image: str) -> None:
        if not self.is_clean:
            pytest.skip("it is the same machine")
        with provider.machine(MachineRequest(image=image, options=BootOptions())) as first:
            first.succeed(["touch", "state"])
        with provider.machine(MachineRequest(image=image, options=BootOptions())) as second:
            second.fail(["test", "-e", "state"])

    def test_a_checkpoint_has_what_was_there_when_it_was_made_or_is_refused(
        self, provider: Provider, image: str
    ) -> None:
        with provider.machine(MachineRequest(image=image, options=BootOptions(forkable=True))) as guest:
            guest.succeed(["touch", "before"])
            if not guest.can_fork:
                with pytest.raises(UsageError, match="cannot checkpoint"):
                    guest.checkpoint("a moment")
                return
            checkpoint = guest.checkpoint("a moment")
            guest.succeed(["touch", "after"])
        with provider.machine(MachineRequest(image=checkpoint, options=BootOptions())) as fork:
            assert fork.succeed(["ls"]) == "before\n"
        assert checkpoint.drop()
        with (
            provider.machine(MachineRequest(image=image, options=BootOptions())) as guest,
            pytest.raises(UsageError, match="cannot checkpoint"),
        ):
            guest.checkpoint("without having said so")

    def test_a_reset_and_a_power_cycle_are_another_boot_of_the_same_disk_or_refused(self, guest: Guest) -> None:
        guest.succeed("echo kept >mark; sync")
        for anew in (guest.hard_reset, guest.power_cycle):
            before = guest.boot_id()
            try:
                anew(timeout_s=BOOT_LIMIT_S)
                is_another = True
            except UsageError:
                is_another = False
            assert (guest.boot_id() != before) is is_another
            assert guest.succeed(["cat", "mark"]) == "kept\n"

    def test_a_command_goes_on_through_the_reboots_that_it_asks_for(self, guest: Guest) -> None:
        line = 'echo "$TMT_REBOOT_COUNT,$AUTOPKGTEST_REBOOT_MARK" >>counts; [ $VMTASKS_REBOOT_COUNT = 1 ] || reboot'
        if not self.boots:
            pytest.skip("it has no boots")
        assert guest.run_through_reboots(line, timeout_s=2 * BOOT_LIMIT_S).ok
        assert guest.succeed(["cat", "counts"]) == "0,\n1,1\n"
        with pytest.raises(TestFailed, match=r"`reboot` has rebooted m more than 0 times"):
            guest.run_through_reboots(["reboot"], timeout_s=2 * BOOT_LIMIT_S, reboots_at_most=0)

    def test_a_machine_that_is_halted_is_down_for_every_verb_or_is_not_halted(
        self, provider: Provider, image: str
    ) -> None:
        if not self.boots:
            pytest.skip("it cannot end by itself")
        with provider.machine(MachineRequest(image=image, options=BootOptions(name="m"))) as guest:
            try:
                guest.halt(timeout_s=BOOT_LIMIT_S)
            except UsageError:
                assert guest.is_up()
                return
            assert not guest.is_up()
            for verb in (guest.boot_id, guest.reboot, guest.hard_reset, guest.wait_up, guest.halt, guest.cpu_count):
                with pytest.raises(GuestLost, match=r"^m is down: halt\(\) has switched it off$"):
                    verb()
        with provider.machine(MachineRequest(image=image, options=BootOptions(name="m"))) as another:
            assert another.is_up()

    def test_an_image_that_does_not_exist_is_told_and_so_is_the_nearest(self, provider: Provider) -> None:
        with (
            pytest.raises(UsageError, match=r"there is no image 'bookwurm'; did you mean 'bookworm'"),
            provider.machine(MachineRequest(image="bookwurm", options=BootOptions())),
        ):
            pytest.fail("there is no such machine")

    def test_a_checkpoint_of_somebody_elses_is_refused(self, provider: Provider) -> None:
        class Foreign:
            name, on = "a moment", "elsewhere"

            def drop(self) -> bool:
                return True

        with (
            pytest.raises(UsageError, match="cannot start from a moment"),
            provider.machine(MachineRequest(image=Foreign(), options=BootOptions())),
        ):
            pytest.fail("there is no such machine")
