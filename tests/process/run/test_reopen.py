"""A run that fails, `reopen` and `rerun`, as their user types them: processes of inv, in machines that are none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

INV = Path(sys.executable).with_name("inv")
LIMIT_S = 60.0
TASKS = '''
import os
from contextlib import contextmanager
from dataclasses import replace

from vmtasks import Run, recipe, use_provider
from vmtasks.cache import snapshots
from vmtasks.cache.snapshot import FILES, Snapshot
from vmtasks.cli.collect import collect
from vmtasks.guest.failure import failure_as_data
from vmtasks.testing import FakeProvider


def frozen(failed):
    """Save a machine that is none."""
    more = {"failure": failure_as_data(failed)}
    with snapshots.create("0123456789abcdef", "failure", "test", lock_files=(), **more) as (into, final):
        for name in FILES:
            (into / name).touch()
    return snapshots.read(final)


class Provider(FakeProvider):
    @contextmanager
    def machine(self, request):
        if isinstance(request.image, Snapshot):
            request = replace(request, image="bookworm")
        with super().machine(request) as guest:
            guest.ssh_command = ("sh", "-c", 'exec sh -c "$1"', "ssh")
            if request.options.forkable and "CANNOT" not in os.environ:
                guest._freeze = frozen
            yield guest


INSTEAD = use_provider(Provider())
INSTEAD.__enter__()


@recipe
def check(run: Run, image: str = "bookworm") -> None:
    """Fail, unless told otherwise."""
    with run.boot(image, name="test") as guest, run.case("test"):
        guest.succeed("test -n \\"$PASSES\\"", cwd="/usr/share", env={"PASSES": os.environ.get("PASSES", ""), "V": "7"})


namespace = collect(__name__)
'''

Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def call(tmp_path: Path) -> Call:
    """Return what calls inv beside the tasks."""
    (tmp_path / "tasks.py").write_text(TASKS)

    def call(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        own = {**os.environ, "VMTASKS_CACHE": str(tmp_path / "cache"), "NO_COLOR": "1", **environ}
        return subprocess.run(
            [INV, *words], cwd=tmp_path, env=own, text=True, capture_output=True, timeout=LIMIT_S, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    return call


def result_of(home: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((home / "build/vmtasks/latest/result.json").read_text())
    return found


def test_a_failed_run_is_opened_where_its_command_failed_as_often_as_one_likes(call: Call, tmp_path: Path) -> None:
    failed = call("check", "--freeze")
    assert failed.returncode == 1
    assert "frozen as it failed; a copy of it opens with `inv reopen`\n" in failed.stderr
    (row,) = result_of(tmp_path)["frozen"]
    assert (row["machine"], row["host"], row["reason"]) == ("test", "local", "")
    for _ in range(2):
        done = call("reopen", "--run", 'pwd; echo "$V"; exit 3')
        assert (done.returncode, done.stdout) == (3, "/usr/share\n7\n"), done.stderr
    assert call("reopen").returncode == 64, "there is no terminal"


def test_a_moment_that_is_gone_or_damaged_is_a_sentence(call: Call, tmp_path: Path) -> None:
    call("check", "--freeze")
    (saved,) = (tmp_path / "cache/snapshots").glob("0123456789abcdef-*")
    (saved / "ram").write_text("spoilt")
    done = call("reopen", "--run", "true")
    assert (done.returncode, done.stdout) == (69, "")
    assert "the frozen machine is damaged, and has been removed" in done.stderr
    done = call("reopen", "--run", "true")
    assert done.returncode == 69
    assert "the frozen machine is gone" in done.stderr


def test_a_run_without_the_option_freezes_nothing_and_reopen_says_so(call: Call, tmp_path: Path) -> None:
    failed = call("check")
    assert (failed.returncode, result_of(tmp_path)["frozen"]) == (1, [])
    assert "frozen" not in failed.stderr
    done = call("reopen", "--run", "true")
    assert done.returncode == 64
    assert "no machine of it was frozen" in done.stderr


def test_a_machine_that_cannot_be_frozen_says_why_and_so_does_reopen(call: Call) -> None:
    failed = call("check", VMTASKS_FREEZE="1", CANNOT="1")
    why = "cannot freeze test: machines of its kind cannot be saved as they run"
    assert failed.returncode == 1
    assert why in failed.stderr
    done = call("reopen", "--run", "true")
    assert done.returncode == 64
    assert why in done.stderr


def test_a_run_that_passes_freezes_nothing(call: Call, tmp_path: Path) -> None:
    assert call("check", "--freeze", PASSES="1").returncode == 0
    assert not (tmp_path / "cache/snapshots").exists()
    done = call("reopen", "--run", "true")
    assert done.returncode == 64
    assert "it passed" in done.stderr


def test_rerun_repeats_the_last_call_and_its_status_is_that_ones(call: Call, tmp_path: Path) -> None:
    assert call("check", "--attempts", "2").returncode == 1
    first = result_of(tmp_path)
    again = call("rerun", PASSES="1")
    assert again.returncode == 0, again.stderr
    assert again.stderr.startswith(f"{first['rerun']}\n")
    second = result_of(tmp_path)
    assert (second["outcome"], second["rerun"]) == ("passed", first["rerun"])
    assert second["directory"] != first["directory"]
    assert call("rerun", "--results", first["directory"]).returncode == 1
    only_failed = call("rerun", "--failed")
    assert only_failed.returncode == 64
    assert "check has no option that names test cases" in only_failed.stderr


def test_rerun_repeats_those_of_several_images_that_failed(call: Call, tmp_path: Path) -> None:
    assert call("check", "--image", "bookworm,trixie", "--freeze").returncode == 1
    lines = call("reopen", "--run", "true")
    assert lines.returncode == 64
    assert lines.stderr.count("`inv reopen --results build/vmtasks/check-") == 2
    path = tmp_path / "build/vmtasks/latest/result.json"
    path.write_text(path.read_text().replace('"outcome": "test-failed"', '"outcome": "passed"', 2))
    document = result_of(tmp_path)
    assert [row["outcome"] for row in document["runs"]] == ["passed", "test-failed"], "the first is the run's own"
    done = call("rerun", "--failed", PASSES="1")
    assert done.returncode == 0, done.stderr
    assert done.stderr.partition("\n")[0].endswith("check --image trixie --freeze")


def test_rerun_calls_this_program_whatever_is_written_down(call: Call, tmp_path: Path) -> None:
    assert call("check", PASSES="1").returncode == 0
    stranger = tmp_path / "inv"
    stranger.write_text("#!/bin/sh\ntouch was-called\n")
    stranger.chmod(0o755)
    path = tmp_path / "build/vmtasks/latest/result.json"
    document = result_of(tmp_path)
    for line, status in (("./inv check", 64), ("inv check", 0)):
        path.write_text(json.dumps({**document, "rerun": line}))
        done = call("rerun", PASSES="1", PATH=f"{tmp_path}:{os.environ['PATH']}")
        assert done.returncode == status, done.stderr
        path = tmp_path / "build/vmtasks/latest/result.json"
    assert not (tmp_path / "was-called").exists()
    assert result_of(tmp_path)["directory"] != document["directory"]


def test_there_is_no_last_run_where_there_was_none(call: Call) -> None:
    for words in (("rerun",), ("reopen", "--run", "true")):
        done = call(*words)
        assert done.returncode == 64
        assert "there is no run in build/vmtasks/latest" in done.stderr
