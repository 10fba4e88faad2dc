"""build-deb as the recipes that call it see it, with a machine that does whatever it is told."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from recipes.build_deb import build_deb
from vmtasks import CommandFailed, Result, Run, TestFailed, UsageError, events

LIMIT_S = 5.0
MADE = {
    name: name.encode() for name in ("thing_1_all.deb", "thing-udeb_1_all.udeb", "thing_1.tar.gz", "thing_1.buildinfo")
}


def changes_of(made: dict[str, bytes]) -> str:
    lines = (f" {hashlib.sha256(data).hexdigest()} {len(data)} {name}\n" for name, data in made.items())
    return "Format: 1.8\nChecksums-Sha256:\n" + "".join(lines)


class Obliging:
    """A guest in which every command succeeds, and a build makes what it says that it makes."""

    name = "build"
    changes = "thing_1_amd64.changes"

    def __init__(self) -> None:
        self.files = {self.changes: changes_of(MADE).encode(), **MADE}
        self.reduced = "Source: thing\n\nPackage: thing\nArchitecture: all\n"
        self.build = Result(machine="build", command="", exited=0, stdout="", stderr="", duration_s=0.0)
        self.lintian = "/usr/bin/lintian\n"
        self.found = Result(machine="build", command="", exited=0, stdout="", stderr="", duration_s=0.0)
        self.offline: bool | None = None
        self.checked: list[str] = []
        self.is_built = False

    def run(self, command: Any, *, offline: bool = False, **_: Any) -> Result:
        if command[0] == "dpkg-buildpackage":
            self.is_built, self.offline = True, offline
            return self.build
        if command[0] == "lintian":
            self.checked += command
            return self.found
        return Result(machine="build", command=str(command), exited=0, stdout="", stderr="", duration_s=0.0)

    def blame(self, result: Result) -> None:
        pass

    def succeed(self, command: Any, **_: Any) -> str:
        self.checked += command
        return ""

    def query(self, command: Any, **_: Any) -> str:
        line = str(command)
        if "Dpkg::Control::Info" in line:
            return self.reduced
        if "command -v lintian" in line:
            return self.lintian
        return self.files[self.changes].decode() if "cat /srv" in line else ""

    def put(self, *_: Any, **__: Any) -> None:
        pass

    @contextmanager
    def tmp_dir(self) -> Iterator[str]:
        yield "/var/tmp/x"

    def glob(self, pattern: str) -> list[str]:
        if pattern.endswith(".changes"):
            return [f"/build/{self.changes}"] if self.is_built else []
        return [pattern.replace("*", "x")]

    def get(self, _: str, target: Path) -> list[Path]:
        for name, data in self.files.items():
            (target / name).write_bytes(data)
        return []


class OneSlot(Run):
    """A run on a host that has room for one machine."""

    free = threading.Semaphore(1)
    guest: Any = None

    @contextmanager
    def boot(self, image: Any, *, name: str = "", **_: Any) -> Iterator[Any]:
        assert self.free.acquire(timeout=LIMIT_S), f"{name} waits for a slot that its own run holds"
        try:
            yield self.guest
        finally:
            self.free.release()


@pytest.fixture
def guest() -> Obliging:
    return Obliging()


@pytest.fixture
def run(source: Path, guest: Obliging) -> OneSlot:
    run = OneSlot(recipe="build-deb", directory=source)
    run.guest = guest
    return run


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "debian").mkdir()
    (tmp_path / "debian" / "control").touch()
    (tmp_path / "debian" / "changelog").write_text(
        "thing (1) unstable; urgency=low\n\n -- N <n@example.org>  Thu, 01 Jan 2026 00:00:00 +0000\n"
    )
    return tmp_path


def test_what_is_done_meanwhile_can_wait_for_the_machines_own_slot(run: Run, source: Path) -> None:
    seen: list[Path] = []

    def try_them(packages: list[Path]) -> None:
        with run.boot("bookworm", name="install"):
            seen.extend(packages)

    artifacts = build_deb(run, source=str(source), meanwhile=try_them)
    assert seen == artifacts


def test_all_that_changes_names_comes_out(run: Run, source: Path, guest: Obliging) -> None:
    artifacts = build_deb(run, source=str(source))
    assert [path.name for path in artifacts] == [*MADE, guest.changes]
    assert {path.name: path.read_bytes() for path in artifacts} == guest.files
    assert guest.offline is True
    assert guest.checked[-2:] == ["/srv/vmtasks-artifacts/thing_1_amd64.changes", "/build/x.dsc"]


def test_what_is_not_what_changes_names_is_a_failure(run: Run, source: Path, guest: Obliging) -> None:
    guest.files["thing_1_all.deb"] = b"another"
    with pytest.raises(TestFailed, match=r"thing_1_all\.deb is not the file that its \.changes names"):
        build_deb(run, source=str(source))
    del guest.files["thing_1_all.deb"]
    (run.directory / "artifacts" / "thing_1_all.deb").unlink()
    guest.is_built = False
    with pytest.raises(TestFailed, match=r"the build made no file thing_1_all\.deb"):
        build_deb(run, source=str(source))


def test_nothing_to_build_here_is_told_before_it_is_tried(run: Run, source: Path, guest: Obliging) -> None:
    guest.reduced = "Source: thing\nBuild-Depends: ed\n"
    with pytest.raises(UsageError, match=r"cannot build packages of .*: it has none for"):
        build_deb(run, source=str(source))
    assert not guest.is_built


@pytest.mark.parametrize(
    ("output", "toml", "is_told"),
    [
        ("curl: (6) Could not resolve host: example.org", "", True),
        ("OSError: [Errno 101] Network is unreachable", "", True),
        ("OSError: [Errno 101] Network is unreachable", '[build]\nnetwork = "user"\n', False),
        ("FAILED: 1 of 3 tests", "", False),
    ],
)
def test_a_build_that_wants_a_network_is_told_what_allows_it(
    run: OneSlot, source: Path, output: str, toml: str, is_told: bool
) -> None:
    guest = run.guest
    (source / "vmtasks.toml").write_text(toml)
    guest.build = Result(machine="build", command="", exited=2, stdout=output, stderr="make: ***", duration_s=0.0)
    with pytest.raises(CommandFailed, match="dpkg-buildpackage on build ended with status 2") as failure:
        build_deb(run, source=str(source))
    assert ('network = "user"' in failure.value.hint) is is_told
    assert guest.offline is (toml == "")
    assert failure.value.details == (output, "make: ***")


def test_lintian_is_not_always_there(run: Run, source: Path, guest: Obliging) -> None:
    guest.lintian = ""
    build_deb(run, source=str(source))
    assert guest.checked == []


# As lintian 2.116 printed it for a source with a component's tarball.
BROKEN = (
    "Warning in processable x.dsc: Can't locate object method\nwarning: cannot run origtar check on package source:x"
)


@pytest.mark.parametrize(
    ("level", "tags", "ends"),
    [
        ("none", f"E: tiny: no-copyright-file\n{BROKEN}", (1, "passed")),
        ("error", f"W: tiny: recommended-field\n{BROKEN}", (1, "passed")),
        ("error", f"{BROKEN}\nE: tiny: no-copyright-file", (1, "test-failed")),
        ("warning", f"{BROKEN}\nW: tiny: recommended-field", (1, "test-failed")),
        ("none", "lintian: cannot open x.changes", (1, "test-failed")),
        ("error", "E: tiny: no-copyright-file", (2, "test-failed")),
    ],
)
def test_a_bug_of_lintians_is_told_and_is_not_the_packages(
    run: OneSlot, source: Path, level: str, tags: str, ends: tuple[int, str]
) -> None:
    status, outcome = ends
    (source / "vmtasks.toml").write_text(f'[commands]\nlintian = "{level}"\n')
    run.guest.found = Result(machine="build", command="", exited=status, stdout=tags, stderr="", duration_s=0.0)
    heard: list[events.Event] = []
    with events.listening(heard.append):
        build_deb(run, source=str(source))
    assert {one.case: one.outcome for one in heard if isinstance(one, events.CaseEnded)}["lintian"] == outcome
    told = any("could not check origtar of source:x" in one.text for one in heard if isinstance(one, events.Note))
    assert told is (outcome == "passed")


def test_lintian_can_be_left_out(run: Run, source: Path, guest: Obliging) -> None:
    (source / "vmtasks.toml").write_text('[commands]\nlintian = "off"\n')
    build_deb(run, source=str(source))
    assert guest.checked == []
