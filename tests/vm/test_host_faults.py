"""Faults of the host under real machines: one sentence each, which blames the host and not the project."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmtasks import boot
from vmtasks.cache.snapshots import all_snapshots
from vmtasks.config.paths import cache_dir
from vmtasks.image.baked import BakedImage
from vmtasks.image.definition import find
from vmtasks.providers.qemu.provider import ensure_baked

LIMIT_S = 900.0
"""Waiting for a slot behind somebody else's machines is part of it."""
WORK = """
import json, sys
from pathlib import Path
from vmtasks import VmtasksError, boot
from vmtasks.errors import outcome_of

logs, options, work = sys.argv[1:]
try:
    with boot("bookworm", log_dir=Path(logs), **json.loads(options)) as guest:
        exec(work)
except VmtasksError as problem:
    print(json.dumps([problem.code, outcome_of(problem), str(problem), problem.hint]))
"""
MACHINES = '"$CACHE/machines"'


def printed_on_a_host_where(change: str, program: str, *arguments: str) -> str:
    """Return what a program prints, if shell has changed what is mounted: for this program and nobody else."""
    names = ["unshare", "--mount", "sh", "-ec", f'{change}; exec "$@"', "sh"]
    done = subprocess.run(
        [*names, sys.executable, "-c", program, *arguments],
        env={**os.environ, "CACHE": str(cache_dir())},
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    assert done.stdout, done.stderr
    return done.stdout


def on_a_host_where(change: str, work: str, log_dir: Path, **options: object) -> tuple[int, str, str, str]:
    """Return how *work* in a machine ends: exit status, outcome, sentence and hint."""
    code, outcome, sentence, hint = json.loads(
        printed_on_a_host_where(change, WORK, str(log_dir), json.dumps(options), work)
    )
    return code, outcome, sentence, hint


@pytest.fixture(scope="module", autouse=True)
def template() -> None:
    """Have one, so that the faults are those of the machines that most people have."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small disk")
    with boot("bookworm"):
        pass


@pytest.fixture
def copied_image(tmp_path: Path) -> Iterator[tuple[BakedImage, Path]]:
    """Yield the image, and a copy of its directory to be mounted over that."""
    baked = ensure_baked(find("bookworm"))
    copy = tmp_path / "copy"
    shutil.copytree(baked.directory, copy, symlinks=True)
    yield baked, copy
    shutil.rmtree(copy)


@pytest.mark.parametrize("cold", [False, True])
@pytest.mark.parametrize(
    "work",
    [
        'guest.run("dd if=/dev/urandom of=/var/file bs=1M count=300 conv=fsync", warn=True, timeout_s=200)',
        'guest.put("/dev/shm/vmtasks-test", "/var/file")',
    ],
    ids=["the guest writes", "we write"],
)
def test_a_disk_that_fills_under_a_running_machine(work: str, tmp_path: Path, *, cold: bool) -> None:
    change = f"mount -t tmpfs -o size=48m none {MACHINES}"
    large = "mount -t tmpfs none /dev/shm; head -c 200000000 /dev/urandom >/dev/shm/vmtasks-test"
    assert on_a_host_where(f"{change}; {large}", work, tmp_path, cold=cold) == (
        69,
        "host",
        "the disk of bookworm cannot be written: No space left on device",
        "is the host's disk full?",
    )


def test_memory_that_finds_no_room(tmp_path: Path) -> None:
    change = f"mount -t tmpfs -o size=64m none {MACHINES}"
    code, outcome, sentence, _ = on_a_host_where(change, "pass", tmp_path, cold=True, forkable=True)
    assert (code, outcome) == (69, "host")
    assert sentence == "bookworm is gone: there was no room for its memory on the disk"


def test_a_disk_that_is_full_before_a_machine_starts_costs_no_template(tmp_path: Path) -> None:
    before = {snapshot.directory for snapshot in all_snapshots()}
    full = f"mount -t tmpfs -o size=1m none {MACHINES}; head -c 1000000 /dev/zero >{MACHINES}/ballast"
    code, outcome, sentence, _ = on_a_host_where(full, "pass", tmp_path)
    assert (code, outcome) == (69, "host")
    assert sentence.startswith("cannot start bookworm: ")
    assert sentence.endswith("No space left on device")
    assert before <= {snapshot.directory for snapshot in all_snapshots()}


@pytest.mark.parametrize("place", [MACHINES, '"$CACHE"'])
def test_a_cache_that_is_read_only(place: str, tmp_path: Path) -> None:
    change = f"mkdir -p {MACHINES}; mount --bind {place} {place}; mount -o remount,ro,bind {place}"
    code, outcome, sentence, _ = on_a_host_where(change, "pass", tmp_path)
    assert (code, outcome) == (69, "host")
    assert "Read-only file system" in sentence
    assert str(cache_dir()) in sentence
    room = "from vmtasks.cli import checks; print(next(checks._room()).says)"
    assert re.search(r"the cache .* cannot be written", printed_on_a_host_where(change, room))


def test_an_image_that_another_qemu_writes_to(copied_image: tuple[BakedImage, Path], tmp_path: Path) -> None:
    baked, copy = copied_image
    with subprocess.Popen(
        ["qemu-io", str(copy / "disk.qcow2")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        writer.stdin.write(b"length\n")
        writer.stdin.flush()
        assert writer.stdout.readline()  # it has it open
        change = shlex.join(["mount", "--bind", str(copy), str(baked.directory)])
        code, outcome, sentence, _ = on_a_host_where(change, "pass", tmp_path, cold=True)
        writer.stdin.close()
    assert (code, outcome) == (69, "host")
    assert "Is another process using the image" in sentence
    assert str(baked.disk) in sentence


def test_an_image_that_was_written_to_since_its_template_was_made_has_another_template(
    copied_image: tuple[BakedImage, Path], tmp_path: Path
) -> None:
    baked, copy = copied_image
    os.utime(copy / "disk.qcow2")
    change = shlex.join(["mount", "--bind", str(copy), str(baked.directory)])
    work = "from vmtasks.errors import HostError; raise HostError(guest.source.reason)"
    before = {snapshot.directory for snapshot in all_snapshots()}
    *_, reason, _ = on_a_host_where(change, work, tmp_path)
    new = [one for one in all_snapshots() if one.directory not in before and one.name == "bookworm"]
    (made,) = (one for one in new if reason.endswith(one.made))  # tests beside this one may have made others
    assert made.drop()
