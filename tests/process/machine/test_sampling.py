"""guest.profiled() from end to end: a real supervisor with the fake QEMU, and a guest that is none."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.waiting import until
from vmtasks import events
from vmtasks.deadline import Deadline
from vmtasks.errors import CommandFailed
from vmtasks.guest import Guest
from vmtasks.machine.sampling import sampling
from vmtasks.profile.profile import Profile
from vmtasks.profile.qemu_stats import BLOCK_QUERY, NO_KVM
from vmtasks.profile.sample import Sample
from vmtasks.providers.base import BootOptions, MachineRequest
from vmtasks.supervisor.client import SupervisorClient, supervised
from vmtasks.supervisor.plan import Plan
from vmtasks.testing import FakeProvider

LIMIT_S = 30.0
DRIVE = {
    "device": "disk",
    "stats": {"rd_bytes": 512, "wr_bytes": 1024, "rd_operations": 1, "wr_operations": 2, "flush_operations": 3},
}
STILL = {"read_bytes": 0, "written_bytes": 0, "reads": 0, "writes": 0, "flushes": 0}


class Sampled:
    """A guest whose machine is sampled, the line to its supervisor, and what is told."""

    def __init__(self, guest: Guest, client: SupervisorClient, log_dir: Path) -> None:
        self.guest = guest
        self.client = client
        self.log_dir = log_dir
        self.heard: list[events.Event] = []
        self.qemu_pid: int = client.expect("started", Deadline.after(LIMIT_S))["qemu_pid"]

    @property
    def notes(self) -> list[str]:
        return [one.text for one in self.heard if isinstance(one, events.Note)]

    @property
    def told(self) -> events.Profiled:
        (told,) = (one for one in self.heard if isinstance(one, events.Profiled))
        return told


@contextmanager
def guest_in(log_dir: Path) -> Iterator[Guest]:
    request = MachineRequest(image="bookworm", options=BootOptions(name="guest"), log_dir=log_dir)
    with FakeProvider().machine(request) as guest:
        yield guest


@pytest.fixture
def sampled(plan: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sampled]:
    monkeypatch.setenv("PATH", "/nowhere")  # which has no perf
    script = {BLOCK_QUERY: [["answer", [DRIVE]]]}
    with supervised(plan(script), log=tmp_path / "supervisor.log") as client:
        monkeypatch.undo()
        with guest_in(tmp_path / "logs") as guest:
            guest._sampling = partial(sampling, client)
            one = Sampled(guest, client, tmp_path / "logs")
            with events.listening(one.heard.append):
                yield one


def samples_come(profile: Profile, number: int = 3) -> None:
    until("sample", lambda: len(profile.samples) >= number)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_profile_and_its_files(sampled: Sampled) -> None:
    with sampled.guest.profiled(interval_s=0.05) as profile:
        samples_come(profile)
        assert profile.usage
        assert profile.usage.not_supported["pss"] == "it is counted at the end, which has not come"
    names = [f"guest-profile.{ending}" for ending in ("jsonl", "txt", "svg")]
    assert profile.files == tuple(sampled.log_dir / name for name in names)
    usage = profile.usage
    assert usage
    assert usage.duration_s > 0
    assert usage.block == {"disk": STILL}, "0, because it was counted"
    assert usage.network is not None
    assert usage.memory["pss_bytes"]
    assert (usage.kvm, usage.perf) == (None, None)
    assert usage.not_supported["kvm"] == NO_KVM
    assert "not installed" in usage.not_supported["perf"]

    samples, text, picture = profile.files
    read = [Sample.from_data(line) for line in lines_of(samples)]
    assert tuple(read) == profile.samples
    assert text.read_text() == profile.table()
    assert f"not supported: {NO_KVM}" in profile.table()
    assert ET.fromstring(picture.read_text()).tag.endswith("svg")  # noqa: S314 - it is ours

    told = sampled.told
    assert (told.machine, told.files, told.not_supported) == ("guest", profile.files, usage.not_supported)
    assert (told.threads, told.cpu_s, told.kvm) == (usage.threads, usage.cpu_s, None)
    (note,) = sampled.notes
    assert note.startswith("profile: ")
    assert note.endswith("; all of it is in guest-profile.txt")


def test_profiles_overlap_and_have_files_of_their_own(sampled: Sampled) -> None:
    with sampled.guest.profiled(interval_s=0.05) as whole:
        samples_come(whole)
        with sampled.guest.profiled(interval_s=0.05) as part:
            samples_come(part)
    assert part.samples[0].monotonic_s > whole.samples[0].monotonic_s
    assert part.samples[-1].monotonic_s < whole.samples[-1].monotonic_s
    assert [path.name for path in part.files] == [f"guest-profile-2.{one}" for one in ("jsonl", "txt", "svg")]


def test_a_failure_in_the_block_is_what_it_raises(sampled: Sampled) -> None:
    with pytest.raises(CommandFailed), sampled.guest.profiled():
        sampled.guest.run("exit 3")
    assert sampled.told.network is not None, "the guest still answers"


def test_an_error_that_is_not_the_guests_asks_it_nothing(sampled: Sampled) -> None:
    with pytest.raises(ZeroDivisionError), sampled.guest.profiled():
        raise ZeroDivisionError
    assert sampled.told.network is None
    assert "not asked" in sampled.told.not_supported["network"]
    assert sampled.told.cpu_s is not None


def test_a_machine_that_goes_ends_its_profile_and_leaves_its_samples(sampled: Sampled) -> None:
    with sampled.guest.profiled(interval_s=0.05) as profile:
        samples_come(profile)
        os.kill(sampled.qemu_pid, signal.SIGKILL)
        until("end", lambda: sampled.client.next(0.1) and sampled.client.exited)
    assert len(lines_of(profile.files[0])) >= 3
    assert profile.usage
    assert "the machine went before its profile ended" in profile.usage.not_supported["perf"]


def test_a_machine_that_is_gone_before(sampled: Sampled) -> None:
    os.kill(sampled.qemu_pid, signal.SIGKILL)
    until("end", lambda: sampled.client.next(0.1) and sampled.client.exited)
    with sampled.guest.profiled() as profile:
        pass
    assert profile.usage is None
    assert sampled.notes[0].startswith("cannot profile guest: not supported: cannot have its supervisor do profile")


def test_a_file_that_cannot_be_written_costs_the_file_alone(sampled: Sampled) -> None:
    path = sampled.log_dir / "guest-profile.jsonl"
    path.mkdir(parents=True)
    with sampled.guest.profiled() as profile:
        pass
    assert sampled.notes[-1] == f"cannot write {path}: Is a directory"
    assert [one.suffix for one in profile.files] == [".txt", ".svg"]


def test_a_machine_without_a_qemu_of_ours(tmp_path: Path) -> None:
    heard: list[events.Event] = []
    with guest_in(tmp_path) as guest, events.listening(heard.append), guest.profiled() as profile:
        assert guest.succeed("echo done") == "done\n"
    assert (profile.usage, profile.samples, profile.files, profile.svg()) == (None, (), (), "")
    assert profile.table().startswith("not supported: this process runs no QEMU for it")
    (told,) = (one for one in heard if isinstance(one, events.Profiled))
    assert told.cpu_s is None
    assert told.not_supported == {"profile": profile.reason}
    assert list(tmp_path.glob("*profile*")) == []
