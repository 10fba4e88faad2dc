"""What the cache keeps, while several processes make it, use it and sweep it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vmtasks import events
from vmtasks.cache import entry, snapshots
from vmtasks.deadline import Deadline
from vmtasks.process import cleanup

PROMPT_S = 5.0
PACKAGE_PARENT = Path(entry.__file__).resolve().parents[2]
# A read misses the signal that comes right before it: Python looks whether there was one in between two turns alone.
MAKER = """
import select, sys
from pathlib import Path
from vmtasks.cache import snapshots
from vmtasks.process import cleanup

keep = sys.argv[1:] == ["keep"]
with snapshots.create("0123456789abcdef", "checkpoint", "name", lock_files=(), keep=keep) as (into, final):
    for name in ("ram", "state", "disk.qcow2", "overlay"):
        (into / name).touch()
    print(cleanup._remover().pid, flush=True)
    print(into, flush=True)
    while not select.select([sys.stdin], [], [], 0.05)[0]:
        pass
    sys.stdin.readline()
print(final, flush=True)
sys.stdin.readline()
"""
TWO = """
import sys
from vmtasks.cache import snapshots
from vmtasks.process import cleanup

held = ()
for key, keep in (("0123456789abcdef", False), ("fedcba9876543210", True)):
    with snapshots.create(key, "checkpoint", "name", lock_files=held, keep=keep) as (into, final):
        for name in ("ram", "state", "disk.qcow2", "overlay"):
            (into / name).touch()
    held = (final / "in-use",)
print(cleanup._remover().pid, flush=True)
sys.stdin.readline()
"""
BAKER = """
import sys
from pathlib import Path
from vmtasks.cache import entry

with entry.exclusive(Path(sys.argv[1]), other="nobody"):
    print("alone", flush=True)
    sys.stdin.readline()
"""

Start = Callable[..., "subprocess.Popen[str]"]
Ended = Callable[..., bool]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    monkeypatch.setenv("VMTASKS_CACHE", str(tmp_path / "cache"))
    processes: list[subprocess.Popen[str]] = []

    def started(program: str, *words: str) -> subprocess.Popen[str]:
        argv = [sys.executable, "-c", program, *words]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        processes.append(subprocess.Popen(argv, cwd=PACKAGE_PARENT, text=True, start_new_session=True, **pipes))
        return processes[-1]

    yield started
    for process in processes:
        with process:
            process.kill()


def says(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip()


def go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def kill(pid: int, ended: Ended) -> None:
    ended(pid, timeout_s=0)
    os.kill(pid, signal.SIGKILL)
    assert ended(pid)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
@pytest.mark.parametrize("whole_group", [True, False], ids=["group", "process"])
def test_a_half_made_one_goes_with_its_maker(
    start: Start, ended: Ended, number: signal.Signals, whole_group: bool
) -> None:
    maker = start(MAKER)
    remover_pid, part = int(says(maker)), Path(says(maker))
    assert not ended(remover_pid, timeout_s=0)
    assert (part / "ram").exists()
    (os.killpg if whole_group else os.kill)(maker.pid, number)
    assert ended(remover_pid, timeout_s=PROMPT_S)
    assert not part.exists()


def test_what_a_kept_one_stands_on_stays_with_it(start: Start, ended: Ended) -> None:
    maker = start(TWO)
    remover_pid = int(says(maker))
    assert not ended(remover_pid, timeout_s=0)
    maker.kill()
    assert ended(remover_pid, timeout_s=PROMPT_S)
    assert len(snapshots.all_snapshots()) == 2
    (unnamed,) = [one for one in snapshots.all_snapshots() if not one.metadata["keep"]]
    assert snapshots.sweep() == ()
    assert unnamed.directory.exists()


def test_a_complete_one_stays(start: Start, ended: Ended) -> None:
    maker = start(MAKER, "keep")
    remover_pid, _ = int(says(maker)), says(maker)
    assert not ended(remover_pid, timeout_s=0)
    go_on(maker)
    made = Path(says(maker))
    end(maker)
    assert ended(remover_pid, timeout_s=PROMPT_S)
    assert [one.directory for one in snapshots.all_snapshots()] == [made]


@pytest.mark.parametrize("is_killed", [True, False])
def test_a_checkpoint_without_a_key_goes_with_its_maker(start: Start, ended: Ended, is_killed: bool) -> None:
    maker = start(MAKER)
    remover_pid, _ = int(says(maker)), says(maker)
    assert not ended(remover_pid, timeout_s=0)
    go_on(maker)
    made = Path(says(maker))
    assert snapshots.read(made).name == "name"
    end(maker) if is_killed else go_on(maker)
    assert ended(remover_pid, timeout_s=PROMPT_S)
    assert not made.exists()


def test_a_remover_cannot_be_told_to_end(start: Start, ended: Ended) -> None:
    maker = start(MAKER)
    remover_pid, part = int(says(maker)), Path(says(maker))
    signals = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
    status = Path(f"/proc/{remover_pid}/status")
    deadline = Deadline.after(PROMPT_S)
    while not all(int(status.read_text().partition("SigIgn:")[2].split()[0], 16) >> (n - 1) & 1 for n in signals):
        assert not deadline.passed, "it listens"
    for number in signals:
        os.kill(remover_pid, number)
    assert not ended(remover_pid, timeout_s=0)
    end(maker)
    assert ended(remover_pid, timeout_s=PROMPT_S)
    assert not part.exists()


def test_whoever_reads_the_maker_waits_for_no_remover(start: Start) -> None:
    maker = start(MAKER)
    remover_pid, part = int(says(maker)), Path(says(maker))
    os.kill(remover_pid, signal.SIGSTOP)
    end(maker)
    assert says(maker) == ""
    assert part.exists()
    os.kill(remover_pid, signal.SIGKILL)


def test_a_path_that_would_be_read_as_two_is_nobodys_to_remove(monkeypatch: pytest.MonkeyPatch) -> None:
    heard, pipe = os.pipe()
    monkeypatch.setattr(cleanup, "_remover", lambda: cleanup._Remover(pid=0, pipe=pipe))
    for name in ("precious\nx", "a part"):
        cleanup.remove_at_exit(Path("/cache", name))
    os.close(pipe)
    with os.fdopen(heard, "rb") as lines:
        assert lines.read() == b"/cache/a part\n"


def test_a_half_made_one_whose_remover_was_killed_is_swept(start: Start, ended: Ended) -> None:
    maker = start(MAKER)
    remover_pid, part = int(says(maker)), Path(says(maker))
    kill(remover_pid, ended)
    assert snapshots.sweep() == ()
    assert (part / "ram").exists()
    end(maker)
    assert snapshots.sweep() == (part,)
    assert not part.exists()


def test_a_checkpoint_without_a_key_whose_makers_remover_was_killed_is_swept(start: Start, ended: Ended) -> None:
    maker = start(MAKER)
    kill(int(says(maker)), ended)
    says(maker)
    go_on(maker)
    made = Path(says(maker))
    assert snapshots.sweep() == ()
    assert snapshots.prune(0) == ()
    assert snapshots.read(made).name == "name"
    end(maker)
    assert snapshots.sweep() == (made,)
    assert snapshots.all_snapshots() == ()


def test_waiting_for_another_is_told(start: Start, tmp_path: Path) -> None:
    lock = tmp_path / "images" / "base.lock"
    baker = start(BAKER, str(lock))
    assert says(baker) == "alone"
    notes: list[events.Event] = []

    def hear(event: events.Event) -> None:
        notes.append(event)  # before the other one ends, for whom that is the sign
        go_on(baker)

    with events.listening(hear), entry.exclusive(lock, other="another bake of base") as waited:
        assert waited
    assert [note.text for note in notes if isinstance(note, events.Note)] == ["waiting for another bake of base"]
    with events.listening(hear), entry.exclusive(lock, other="another bake of base") as waited:
        assert not waited
    assert len(notes) == 1
