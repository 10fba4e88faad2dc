"""The tasks that come with vmtasks, where they decide something themselves; machines and bakes are played."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from invoke.context import Context

from vmtasks.cache import snapshots
from vmtasks.cli import checks, collect, images, vm
from vmtasks.errors import HostError, Interrupted, UsageError
from vmtasks.host import slots
from vmtasks.image import baked as cache
from vmtasks.providers import boot
from vmtasks.providers.qemu import provider


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


def test_a_shell_without_a_terminal_boots_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    monkeypatch.setattr(boot, "boot", lambda *_, **__: pytest.fail("it boots"))
    with pytest.raises(UsageError, match="cannot open a shell") as caught:
        vm.shell(Context(), "bookworm")
    assert caught.value.code == 64


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
