"""JSON that is read back: whatever has become of a file, it is read, or it is as if it were not there."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vmtasks.cache import snapshots
from vmtasks.cli.table import table
from vmtasks.files import typed_json
from vmtasks.files.typed_json import NUMBER, SECONDS
from vmtasks.host import accelerator, lease, slots
from vmtasks.image import baked
from vmtasks.integrations.buildbot import results
from vmtasks.report import timings
from vmtasks.report.timings import Times


@pytest.mark.parametrize(
    ("shape", "good", "bad"),
    [
        (str, ["", "x", "\udcff"], [None, 1, True, [], {}, "\ud800"]),
        (int, [0, -1, 2**63 - 1], [None, True, 1.0, "1", 2**63]),
        (bool, [True, False], [0, 1, "true", None]),
        (NUMBER, [0, 1.5, -1e308, float("inf")], [None, True, "1", float("nan"), 2**63]),
        (SECONDS, [0, 1e9], [-1, 1e12, float("inf"), float("nan"), "now"]),
        ({"a", "b"}, ["a"], ["c", 1, None, []]),
        ((str, None), ["x", None], [1, []]),
        ([int], [[], [1, 2]], [[1, "2"], {}, "12", None]),
        (
            {"a": int, "b?": str},
            [{"a": 1}, {"a": 1, "b": "x", "c": None}],
            [{}, {"a": "1"}, {"a": 1, "b": 2}, [], None],
        ),
        ({"*": [int]}, [{}, {"x": [1]}], [{"x": 1}, {"x": ["1"]}, [], None]),
    ],
)
def test_a_shape_says_what_a_value_must_be(shape: Any, good: list[object], bad: list[object]) -> None:
    assert all(typed_json.fits(one, shape) for one in good)
    assert not any(typed_json.fits(one, shape) for one in bad)


def test_a_file_that_is_none_is_not_there(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "good").write_text('{"a": 1}')
    names = ("fifo", ".", "missing", "good/below", "x" * 300, "nul\0")
    assert [typed_json.read(tmp_path / name, {"a": int}) for name in names] == [None] * len(names)
    assert typed_json.read(Path("/dev/zero"), {"a": int}) is None
    assert typed_json.read(tmp_path / "good", {"a": int}) == {"a": 1}


Reader = tuple[Path, dict[str, Any], Callable[[], object]]
"""A file, what is in it when all is well, and all that reads it: it returns something if it found what is there."""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VMTASKS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(accelerator, "_circumstances", lambda: ["this boot"])
    monkeypatch.setattr(accelerator, "_try", lambda: (accelerator.Choice(accelerator="tcg", reason="tried"), 1.0))
    monkeypatch.setattr(accelerator, "expect_programs", lambda _: None)
    return tmp_path / "cache"


def shown(subject: object) -> None:
    """Write it as a command would."""
    str(subject).encode(errors="surrogateescape")


def _snapshot(cache: Path) -> Reader:
    directory = cache / "snapshots" / f"{'0' * 16}-1"
    directory.mkdir(parents=True)
    for name in ("ram", "state", "disk.qcow2", "overlay", "in-use"):
        (directory / name).touch()
    files = {name: [0, (directory / name).stat().st_mtime_ns] for name in ("ram", "state", "disk.qcow2", "overlay")}
    good = {"kind": "template", "name": "n", "key": "0" * 16, "made_s": time.time(), "stands_on": [], "files": files}

    def use() -> object:
        found = [(one.name, one.kind, one.made, one.age_s, one.intact) for one in snapshots.all_snapshots()]
        snapshots.find("0" * 16)
        shown(found)
        snapshots.sweep()
        snapshots.prune(10**12)
        return found

    return directory / "snapshot.json", good, use


def _image(cache: Path) -> Reader:
    directory = cache / "images" / f"bookworm-{'0' * 16}-1"
    directory.mkdir(parents=True)
    (directory / "disk.qcow2").write_bytes(b"x" * 10_000)
    (directory / "in-use").touch()
    good: dict[str, Any] = {"name": "bookworm", "key": "0" * 16, "parent": None, "baked_s": 1e9, "disk_bytes": 10_000}
    good["pockets"] = {"release": {"uri": "http://x"}}

    def use() -> object:
        found = [(one.key, one.age_s, one.kernel, one.manifest["name"]) for one in baked.all_baked()]
        shown(found)
        baked.prune()
        baked.sweep()
        return found

    return directory / "manifest.json", good, use


def _lease(cache: Path) -> Reader:
    (cache / "machines/m").mkdir(parents=True)
    good = {"name": "m", "supervisor_pid": 1, "qemu_pid": None, "ports": {"22": 5}, "since_s": 1.0}

    def use() -> object:
        found = [one.info.get("ports", {}).get("22") for one in lease.leases()]
        {one.info.get("supervisor_pid"): 1 for one in lease.leases()}
        lease.sweep()
        return [one for one in found if one]

    return cache / "machines/m/lease.json", good, use


def _accelerator(cache: Path) -> Reader:
    cache.mkdir()
    good = {"circumstances": ["this boot"], "until_s": 1e18, "accelerator": "kvm", "reason": "known"}

    def use() -> object:
        choice = accelerator.choose("auto")
        shown(table(("A", "B"), [(choice.accelerator, choice.reason)]))
        return choice.reason == "known"

    return cache / "accelerator.json", good, use


def _ticket(cache: Path) -> Reader:
    cache.mkdir(mode=0o1777)
    cache.chmod(0o1777)
    good = {"state": "running", "user": "u", "pid": 1, "what": "w", "memory_mib": 1}
    path = cache / "000000000001"

    def use() -> object:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            content, about = os.pread(fd, 4096, 0) if path.is_file() else b"", os.fstat(fd)
        finally:
            os.close(fd)
        slots.tickets(str(cache))
        return slots._parse(1, about, content)

    return path, good, use


_RUN = {
    "schema": 2, "recipe": "r", "outcome": "passed", "message": "m", "started": "2026-01-01", "duration_s": 1.0,
    "phases": [{"phase": "slot", "machine": "m", "duration_s": 1.0, "error": ""}],
    "commands": [{"machine": "m", "command": "c", "duration_s": None, "exit_code": None}], "artifacts": ["a"],
}  # fmt: skip


def _history(cache: Path) -> Reader:
    (cache / "r").mkdir(parents=True)

    def use() -> object:
        runs = timings.history(cache, "r", 5)
        shown([(run["started"][:19], run["outcome"], Times.of(run).text()) for run in runs])
        return runs

    return cache / "r/result.json", _RUN, use


def _buildbot(cache: Path) -> Reader:
    cache.mkdir()
    path = cache / "result.json"

    def use() -> object:
        document = results.read(path.read_text(errors="replace") if path.is_file() else "")
        for one in (document, results.cut_short(document)) if document else ():
            shown(results.build_result(one, retries=0, max_retries=1))
        return document

    return path, _RUN, use


READERS = [_snapshot, _image, _lease, _accelerator, _ticket, _history, _buildbot]
WRONG: list[Any] = [
    None, True, -1, 5, 1.5, 1e308, float("inf"), float("nan"), 10**30, 10**4000, "", "x", "\ud800", "\0", "../../x",
    [], {}, [5], [None], ["\0"], {"x": 5}, {"x": [5]}, {"22": "x"}, [[]], [{}],
]  # fmt: skip
DAMAGE = {
    "empty": b"", "zeros": bytes(5000), "binary": bytes(range(256)), "list": b"[]", "null": b"null", "text": b'"x"',
    "deep": b"[" * 200_000, "deep-object": b'{"a":' * 200_000, "huge": b"9" * 100_000, "cut": b'{"name": "m", "ke',
}  # fmt: skip


@pytest.fixture(params=READERS)
def reader(request: pytest.FixtureRequest, cache: Path) -> Reader:
    made: Reader = request.param(cache)
    return made


def test_what_is_whole_is_read(reader: Reader) -> None:
    path, good, use = reader
    path.write_text(json.dumps(good))
    assert use()


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_is_as_if_it_were_not_there(reader: Reader, damage: str) -> None:
    path, _, use = reader
    path.write_bytes(DAMAGE[damage])
    assert not use()


@pytest.mark.parametrize("kind", ["directory", "fifo", "link"])
def test_what_is_no_file_is_as_if_it_were_not_there(reader: Reader, kind: str) -> None:
    path, _, use = reader
    match kind:
        case "directory":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case _:
            path.symlink_to("/dev/null")
    assert not use()


def test_a_value_of_the_wrong_type_is_no_traceback(reader: Reader) -> None:
    path, good, use = reader
    beside = {one.name: one.read_bytes() for one in path.parent.iterdir() if one.is_file()}
    keys = (*good, "kind", "machine", "kernel", "keep")
    wrong = [{**good, key: value} for key in keys for value in WRONG]
    for document in [*wrong, *({name: good[name] for name in good if name != key} for key in keys)]:
        path.parent.mkdir(exist_ok=True)  # it may have been dropped
        for name, content in beside.items():
            (path.parent / name).write_bytes(content)
        path.write_text(json.dumps(document))
        use()
