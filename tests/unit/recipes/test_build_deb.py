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

SUMS = {
    field: f" {hashlib.new(kind, b'x').hexdigest()} 1 x.tar.gz\n"
    for field, kind in (("Checksums-Sha256", "sha256"), ("Files", "md5"))
}
DSC = "Format: 1.0\nSource: thing\nVersion: 1\n" + "".join(f"{field}:\n{line}" for field, line in SUMS.items())
SOURCE = {
    "x.dsc": DSC.encode(),
    "x.tar.gz": b"x",
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
        self.home = ""
        self.put_here: list[str] = []
        self.checked: list[str] = []
        self.is_built = False

    def run(self, command: Any, *, offline: bool = False, env: Any = None, **_: Any) -> Result:
        if command[0] == "dpkg-buildpackage":
            self.is_built, self.offline, self.home = True, offline, env.get("HOME", "")
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

    def put(self, _: Any, target: str, files: Any = (), **__: Any) -> None:
        if target.endswith(".lintian"):
            self.put_here += [str(name) for name in files]

    @contextmanager
    def tmp_dir(self) -> Iterator[str]:
        yield "/var/tmp/x"

    def glob(self, pattern: str) -> list[str]:
        if pattern.endswith(".changes"):
            return [f"/build/{self.changes}"] if self.is_built else []
        return [pattern.replace("*", "x")]

    def get(self, source: str, target: Path | str) -> list[Path]:
        if (path := Path(target, Path(source).name)).name in SOURCE:
            path.write_bytes(SOURCE[path.name])
            return [path]
        for name, data in self.files.items():
            Path(target, name).write_bytes(data)
        return []


class Packing(Obliging):
    """A guest in which dpkg-source makes a source package, or fails."""

    def __init__(self, trouble: CommandFailed | None = None) -> None:
        super().__init__()
        self.trouble = trouble
        self.is_packed = False

    def succeed(self, command: Any, **_: Any) -> str:
        if "--build" in command:
            self.is_packed = True
            if self.trouble:
                raise self.trouble
        return ""

    def get(self, source: str, target: Path | str) -> list[Path]:
        name = "x.dsc" if source.endswith(".dsc") else Path(source).name
        path = Path(target, Path(source).name)
        path.write_bytes(SOURCE[name])
        return [path]


class OneSlot(Run):
    """A run on a host that has room for one machine."""

    free = threading.Semaphore(1)
    guest: Any = None
    others: dict[str, Any] = {}  # noqa: RUF012 - each test has its own
    booted: list[str] = []  # noqa: RUF012

    @contextmanager
    def boot(self, image: Any, *, name: str = "", **_: Any) -> Iterator[Any]:
        assert self.free.acquire(timeout=LIMIT_S), f"{name} waits for a slot that its own run holds"
        self.booted.append(name)
        try:
            yield self.others.get(name, self.guest)
        finally:
            self.free.release()


@pytest.fixture
def guest() -> Obliging:
    return Obliging()


@pytest.fixture
def run(source: Path, guest: Obliging) -> OneSlot:
    run = OneSlot(recipe="build-deb", directory=source)
    run.guest, run.others, run.booted = guest, {}, []
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
    assert guest.checked[-2:] == ["/build/.lintian/thing_1_amd64.changes", "/build/.lintian/x.dsc"]
    assert guest.put_here == [*MADE, guest.changes, *SOURCE]


def test_lintian_is_told_once_of_a_source_that_changes_names(run: OneSlot, source: Path, guest: Obliging) -> None:
    guest.files = {**MADE, **SOURCE}
    guest.files[guest.changes] = changes_of({**MADE, **SOURCE}).encode()
    build_deb(run, source=str(source), with_source=True)
    assert guest.checked[-2:] == ["--fail-on=error", "/build/.lintian/thing_1_amd64.changes"]
    assert guest.put_here == [*MADE, *SOURCE, guest.changes]


def test_lintian_has_a_machine_of_the_image_where_it_is_not_declared(run: OneSlot, source: Path) -> None:
    run.guest.lintian, run.others["lintian"] = "", Obliging()
    seen: list[str] = []

    def try_them(_: list[Path]) -> None:
        with run.boot("bookworm", name="install"):
            seen.extend(run.booted)

    build_deb(run, source=str(source), meanwhile=try_them)
    assert run.booted[0] == "build"
    assert {*run.booted[1:]} == {"install", "lintian"}
    assert run.guest.checked == []
    assert run.others["lintian"].put_here == [*MADE, run.guest.changes, *SOURCE]


@pytest.mark.parametrize(("toml", "home"), [("", "/nonexistent"), ('[commands.env]\nHOME = "/build"\n', "/build")])
def test_a_build_has_no_home_unless_the_project_says_which(run: OneSlot, source: Path, toml: str, home: str) -> None:
    (source / "vmtasks.toml").write_text(toml)
    build_deb(run, source=str(source))
    assert run.guest.home == home


@pytest.mark.parametrize(
    ("kind", "orig", "asked", "machines"),
    [
        (("3.0 (quilt)", "1-1"), True, "", ["source", "build"]),
        (("1.0", "1-1"), True, "", ["source", "build"]),
        (("3.0 (quilt)", "1-1"), False, "source = true", ["source", "build"]),
        (("3.0 (quilt)", "1-1"), False, "", ["build"]),
        (("3.0 (native)", "1"), True, "source = true", ["build"]),
        # dpkg-source refuses these, and says why.
        (("3.0 (native)", "1-1"), False, "", ["source", "build"]),
        (("3.0 (quilt)", "1"), True, "", ["source", "build"]),
    ],
)
def test_a_tree_with_upstreams_tarball_becomes_a_source_package_first(
    run: OneSlot, kind: tuple[str, str], orig: bool, asked: str, machines: list[str]
) -> None:
    form, version = kind
    tree = run.directory / "tree"
    (tree / "debian/source").mkdir(parents=True)
    (tree / "debian/control").touch()
    (tree / "debian/source/format").write_text(f"{form}\n")
    (tree / "debian/changelog").write_text(
        f"thing ({version}) unstable; urgency=low\n\n -- N <n@example.org>  Thu, 01 Jan 2026 00:00:00 +0000\n"
    )
    (tree / "vmtasks.toml").write_text(f'[commands]\nlintian = "off"\n[build]\n{asked}\n')
    if orig:
        (run.directory / "thing_1.orig.tar.gz").touch()
    run.others["source"] = packing = Packing()
    build_deb(run, source=str(tree))
    assert run.booted == machines
    assert packing.is_packed is ("source" in machines)


def test_what_no_patch_has_is_the_failure(run: OneSlot, source: Path) -> None:
    (source / "debian/changelog").write_text(
        "thing (1-1) unstable; urgency=low\n\n -- N <n@example.org>  Thu, 01 Jan 2026 00:00:00 +0000\n"
    )
    tarball = source.parent / "thing_1.orig.tar.gz"
    tarball.touch()
    run.others["source"] = Packing(CommandFailed("`dpkg-source` on source ended with status 2"))
    try:
        with pytest.raises(CommandFailed, match=r"dpkg-source.*; upstream's tarball thing_1\.orig\.tar\.\* is "):
            build_deb(run, source=str(source))
    finally:
        tarball.unlink()
    assert run.booted == ["source"]


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
