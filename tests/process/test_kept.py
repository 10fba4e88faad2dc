"""What the cache keeps, while several processes make it, use it and sweep it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vmtasks import events, frozen, kept

PACKAGE_PARENT = Path(kept.__file__).resolve().parents[1]
MAKER = """
import sys
from pathlib import Path
from vmtasks import frozen

with frozen.making("0123456789abcdef", "checkpoint", "name", stands_on=(), keep=False) as (into, final):
    for name in ("ram", "state", "disk.qcow2", "overlay"):
        (into / name).touch()
    print(into, flush=True)
    sys.stdin.readline()
print(final, flush=True)
sys.stdin.readline()
"""
BAKER = """
import sys
from pathlib import Path
from vmtasks import kept

with kept.alone(Path(sys.argv[1]), other="nobody"):
    print("alone", flush=True)
    sys.stdin.readline()
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    monkeypatch.setenv("VMTASKS_CACHE", str(tmp_path / "cache"))
    processes: list[subprocess.Popen[str]] = []

    def started(program: str, *words: str) -> subprocess.Popen[str]:
        argv = [sys.executable, "-c", program, *words]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        processes.append(subprocess.Popen(argv, cwd=PACKAGE_PARENT, text=True, **pipes))
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


def test_a_half_made_one_is_swept_once_its_maker_is_gone(start: Start) -> None:
    maker = start(MAKER)
    part = Path(says(maker))
    assert frozen.sweep() == ()
    assert (part / "ram").exists()
    end(maker)
    assert frozen.sweep() == (part,)
    assert not part.exists()


def test_a_checkpoint_without_a_key_goes_after_its_maker(start: Start) -> None:
    maker = start(MAKER)
    says(maker)
    go_on(maker)
    made = Path(says(maker))
    assert frozen.sweep() == ()
    assert frozen.prune(0) == ()
    assert frozen.read(made).name == "name"
    end(maker)
    assert frozen.sweep() == (made,)
    assert frozen.all_frozen() == ()


def test_waiting_for_another_is_told(start: Start, tmp_path: Path) -> None:
    lock = tmp_path / "images" / "base.lock"
    baker = start(BAKER, str(lock))
    assert says(baker) == "alone"
    notes: list[events.Event] = []

    def hear(event: events.Event) -> None:
        notes.append(event)  # before the other one ends, for whom that is the sign
        go_on(baker)

    with events.listening(hear), kept.alone(lock, other="another bake of base") as waited:
        assert waited
    assert [note.text for note in notes if isinstance(note, events.Note)] == ["waiting for another bake of base"]
    with events.listening(hear), kept.alone(lock, other="another bake of base") as waited:
        assert not waited
    assert len(notes) == 1
