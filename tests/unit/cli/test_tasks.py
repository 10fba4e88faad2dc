"""The tasks that come with vmtasks, where they decide something themselves; machines and bakes are played."""

from __future__ import annotations

import fcntl
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from invoke.context import Context
from invoke.exceptions import Exit

from tests.keys import make_keys
from vmtasks.cache import snapshots
from vmtasks.cache.snapshot import FILES
from vmtasks.cli import checks, collect, images, vm
from vmtasks.errors import HostError, Interrupted, UsageError
from vmtasks.host import slots
from vmtasks.host.flock import flock
from vmtasks.image import baked as cache
from vmtasks.image import damage
from vmtasks.providers import boot
from vmtasks.providers.qemu import provider

ROOT = Path(__file__).resolve().parents[3]
LISTING_IMPORTS = 86
"""How many modules of ours a list of the tasks may import."""


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMTASKS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def bad_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    path = tmp_path / "queue"
    path.symlink_to("elsewhere")
    monkeypatch.setattr(slots, "default_directory", lambda: str(path))
    return str(path)


@pytest.mark.parametrize(
    "call", [lambda: images.bake(Context(), "bookworm"), lambda: images.show(Context(), "bookworm", path=True)]
)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_interrupts_a_bake_and_all_that_is_to_be_cleared_away_is(
    monkeypatch: pytest.MonkeyPatch, call: Callable[[], None], number: signal.Signals
) -> None:
    cleared_away = False

    def baked(*_: object, **__: object) -> Any:
        nonlocal cleared_away
        try:
            os.kill(os.getpid(), number)
        finally:
            cleared_away = True

    # What kills without an exception would take the tests along.
    before = signal.signal(number, lambda *_: pytest.fail("nobody minds the signal"))
    try:
        monkeypatch.setattr(provider, "ensure_baked", baked)
        with pytest.raises(Interrupted) as caught:
            call()
    finally:
        signal.signal(number, before)
    assert caught.value.code == 130
    assert cleared_away


def test_prune_before_there_is_a_cache_frees_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    images.prune(Context())
    assert capsys.readouterr().out == "freed 0 MiB\n"


def test_ps_says_why_the_queue_cannot_be_read(bad_queue: str) -> None:
    with pytest.raises(HostError, match=f"cannot queue for a slot in {bad_queue}: "):
        vm.ps(Context())


def test_the_doctor_says_why_the_queue_cannot_be_read(bad_queue: str) -> None:
    (finding,) = checks._slots()
    assert finding.level == "bad"
    assert f"cannot queue for a slot in {bad_queue}: " in finding.says
    assert bad_queue in finding.remedy


def test_gc_says_what_it_has_swept(capsys: pytest.CaptureFixture[str]) -> None:
    vm.gc(Context())
    assert capsys.readouterr().out == "nothing to sweep\n"
    left = [cache.images_dir() / ".base_1.part", snapshots.snapshots_dir() / ".k1_1_1.part"]
    for path in left:
        path.mkdir(parents=True)
    vm.gc(Context())
    assert capsys.readouterr().out == "".join(f"swept {path}\n" for path in left)


def test_gc_sweeps_locks_that_nobody_has_and_dead_tickets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    queue = tmp_path / "queue"
    queue.mkdir()
    (queue / "000000000001").touch()
    monkeypatch.setattr(slots, "default_directory", lambda: str(queue))
    home = cache.images_dir().parent
    locks = [home / path for path in ("images/base.lock", "snapshots/base.lock", "runvm/0123.lock", "images/held.lock")]
    for path in locks:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (home / "images/.lock").touch()
    fd = flock(locks[-1], fcntl.LOCK_EX)
    try:
        vm.gc(Context())
    finally:
        os.close(fd)
    assert sorted(path.name for path in home.glob("*/*.lock") if path.name != ".lock") == ["held.lock"]
    assert list(queue.iterdir()) == []
    assert capsys.readouterr().out == f"swept {queue}/000000000001\n"


@pytest.fixture
def kept() -> dict[str, Path]:
    """Return the files of an image and of a template, by their kind."""
    directory = cache.images_dir() / f"base-{'0' * 16}-1"
    directory.mkdir(parents=True)
    (directory / "disk.qcow2").write_bytes(b"disk" * 1000)
    make_keys(directory)
    (directory / "in-use").touch()
    manifest = {"name": "base", "key": "0" * 16, "parent": None, "baked_s": 1.0, **damage.described(directory)}
    (directory / "manifest.json").write_text(json.dumps(manifest))
    with snapshots.create("0" * 16, "template", "base", lock_files=(directory / "in-use",)) as (into, final):
        for name in FILES:
            (into / name).write_bytes(b"x" * 1000)
    return {"image": directory / "disk.qcow2", "template": final / "state"}


def spoil(path: Path) -> None:
    was = path.stat()
    path.write_bytes(bytes(was.st_size))
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))


def test_a_check_of_what_is_whole(kept: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    images.check(Context())
    assert capsys.readouterr().out == f"image {kept['image'].parent.name}: whole\ntemplate base: whole\n"
    (finding,) = checks._damaged()
    assert finding.level == "good"
    assert "inv images.check" in finding.remedy


@pytest.mark.parametrize("kind", ["image", "template"])
def test_a_check_removes_what_is_damaged_and_the_doctor_sends_there(
    kept: dict[str, Path], kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(kept[kind])
    (finding,) = checks._damaged()
    assert finding.level == "limited"
    assert f"{kept[kind].name} has other bytes than when it was made" in finding.says
    assert "inv images.check" in finding.remedy
    images.check(Context())
    assert f"damaged: {kept[kind].name} has other bytes than when it was made; removed" in capsys.readouterr().out
    assert not kept[kind].exists()
    left = ["good"] if kind == "template" else []  # the template stood on the image
    assert [finding.level for finding in checks._damaged()] == left


def test_a_check_says_what_stays_because_it_is_in_use(
    kept: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(kept["image"])
    fd = flock(kept["image"].with_name("in-use"), fcntl.LOCK_SH)
    try:
        with pytest.raises(Exit) as caught:
            images.check(Context())
    finally:
        os.close(fd)
    assert caught.value.code == 69
    assert "it cannot be removed now" in capsys.readouterr().out


def test_a_shell_without_a_terminal_boots_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    monkeypatch.setattr(boot, "boot", lambda *_, **__: pytest.fail("it boots"))
    with pytest.raises(UsageError, match="cannot open a shell") as caught:
        vm.shell(Context(), "bookworm")
    assert caught.value.code == 64


def test_a_list_of_the_tasks_needs_nothing_that_talks_to_machines_or_shows_runs() -> None:
    probe = "import sys, tasks; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {"paramiko", "fabric", "rich", "boto3", "buildbot", "vmtasks.report"}.isdisjoint(loaded)
    heavy = {"configparser", "ctypes", "email", "http.client", "shutil", "tarfile", "tempfile", "tomllib"}
    assert heavy.isdisjoint(loaded), "import these where they are used"
    assert "vmtasks.guest.guest" in loaded, "the recipes are listed"
    ours = sorted(name for name in loaded if name.partition(".")[0] == "vmtasks")
    assert len(ours) <= LISTING_IMPORTS, f"import where it is used what recipes do not need to be listed: {ours}"


@pytest.mark.parametrize("forbidden", ["", "1"])
def test_what_python_compiles_of_us_is_kept_unless_the_environment_forbids_it(tmp_path: Path, forbidden: str) -> None:
    """And nothing of what the project has of its own."""
    (tmp_path / "tasks.py").write_text("from vmtasks import collect\nnamespace = collect('others')\n")
    (tmp_path / "others.py").write_text("")
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/mine.py").write_text(
        'from vmtasks import Run, recipe\n\n\n@recipe\ndef mine(run: Run) -> None:\n    """Do it."""\n'
    )
    kept = {"PYTHONPYCACHEPREFIX": str(tmp_path / "compiled"), "PYTHONDONTWRITEBYTECODE": forbidden}
    argv = [sys.executable, "-m", "invoke", "--list"]
    done = subprocess.run(argv, cwd=tmp_path, env=os.environ | kept, capture_output=True, text=True, check=True)
    assert {"build-deb", "mine"} <= set(done.stdout.split())
    assert not list((tmp_path / "compiled").joinpath(*tmp_path.parts[1:]).rglob("*.pyc"))
    assert len(list((tmp_path / "compiled").rglob("vmtasks/guest/guest.*.pyc"))) == (0 if forbidden else 1)


@pytest.mark.parametrize("call", [lambda: images.prune(Context()), lambda: vm.gc(Context())])
@pytest.mark.parametrize("part", ["images", "snapshots"])
def test_a_cache_that_cannot_be_written_is_told_of(tmp_path: Path, call: Callable[[], None], part: str) -> None:
    (tmp_path / "cache" / part / ".lock").mkdir(parents=True)  # also root cannot open that for writing
    with pytest.raises(HostError, match=f"cannot write to the cache .*/cache/{part}: ") as told:
        call()
    assert "VMTASKS_CACHE" in told.value.hint


def test_another_version_of_what_we_need_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fabric").mkdir()
    (tmp_path / "fabric/__init__.py").touch()
    for name in ("fabric", "fabric.main"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"/nowhere:{tmp_path}")
    with pytest.raises(UsageError, match="PYTHONPATH has another fabric than") as told:
        collect.collect()
    assert "unset PYTHONPATH" in told.value.hint
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    assert collect.collect().task_names
