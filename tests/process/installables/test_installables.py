"""What is fetched once and installed in many guests: real files, a real pip, and machines that are none."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import os
import sys
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmtasks import CommandFailed, Guest, HostError, UsageError, boot, installables, use_provider
from vmtasks.installables import wheels as wheels_module
from vmtasks.installables.fetched_file import FetchedFile
from vmtasks.installables.kept import installables_dir, prune
from vmtasks.installables.wheels import PinnedWheel, Wheels
from vmtasks.project import pip
from vmtasks.testing import FakeProvider


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMTASKS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def place() -> Iterator[str]:
    """Yield a directory that every user of this host may write to, which stands for one of the guest's."""
    with tempfile.TemporaryDirectory(prefix="vmtasks-test-") as name:
        Path(name).chmod(0o777)
        yield name


@pytest.fixture
def guest() -> Iterator[Guest]:
    with use_provider(FakeProvider()), boot("bookworm") as guest:
        yield guest


class CountingHandler(http.server.SimpleHTTPRequestHandler):
    """Counts what it was asked for."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str, list[str]]]:
    """Yield a directory, the address at which it is, and what was asked for there."""
    root = tmp_path / "served"
    root.mkdir()
    asked: list[str] = []
    handler = functools.partial(type("Handler", (CountingHandler,), {"asked": asked}), directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield root, f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


def tarball(path: Path, **files: str) -> str:
    """Write a tarball, and return its sum; in names, two underscores stand for a slash."""
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(name.replace("__", "/"))
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def wheel(directory: Path, name: str) -> PinnedWheel:
    """Write a wheel of one module, and return it pinned."""
    path = directory / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", "WORD = 'from the wheel'\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return PinnedWheel(requirement=f"{name}==1.0", sha256=hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory that pip takes for its index; what this Python has of pip is pinned as the installer."""
    found = [*Path(sys.base_prefix).glob("lib/python3*/ensurepip/_bundled/pip-*.whl")]
    found += Path("/usr/share/python-wheels").glob("pip-*.whl")
    if not found:
        pytest.skip("this Python came without a wheel of pip")
    directory = tmp_path / "index"
    directory.mkdir()
    content = found[0].read_bytes()
    (directory / found[0].name).write_bytes(content)
    version = found[0].name.split("-")[1]
    pinned = PinnedWheel(requirement=f"pip=={version}", sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(wheels_module, "PIP", pinned)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(directory))
    return directory


def test_wheels_are_fetched_once_and_installed_without_an_index(
    index: Path, guest: Guest, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = Wheels(name="tools", wheels=(wheel(index, "parrot_tool"),), target=f"{place}/env")
    key = tools.fetch()
    monkeypatch.setenv("PIP_FIND_LINKS", "")  # nothing can be fetched from here on
    assert tools.fetch() == key
    python = f"{tools.install(guest)}/bin/python3"
    assert guest.succeed([python, "-c", "import parrot_tool; print(parrot_tool.WORD)"]) == "from the wheel\n"
    assert tools.install(guest) == f"{place}/env"  # anew, where there is one


def test_wheels_that_are_damaged_in_the_cache_are_fetched_anew(index: Path) -> None:
    tools = Wheels(name="tools", wheels=(wheel(index, "parrot_tool"),), target="/x")
    directory = installables_dir() / tools.fetch()
    (kept,) = directory.glob("parrot_tool-*.whl")
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-1] + b"x")
    tools.fetch()
    assert kept.read_bytes() == whole


def test_another_wheel_than_was_pinned_is_refused(index: Path) -> None:
    pinned = PinnedWheel(requirement=wheel(index, "parrot_tool").requirement, sha256="0" * 64)
    with pytest.raises(HostError, match=r"cannot fetch the wheels of tools: .+") as refusal:
        Wheels(name="tools", wheels=(pinned,), target="/x").fetch()
    assert "0" * 64 in "\n".join(refusal.value.details)
    assert [path.name for path in installables_dir().iterdir() if path.is_dir()] == []


def test_a_wheel_that_the_index_does_not_have_is_the_hosts_trouble(index: Path) -> None:
    pinned = PinnedWheel(requirement="nothing-of-that-name==1.0", sha256="0" * 64)
    with pytest.raises(HostError, match="No matching distribution found for nothing-of-that-name") as trouble:
        Wheels(name="tools", wheels=(pinned,), target="/x").fetch()
    assert "pip config list" in trouble.value.hint


def test_a_tarball_from_elsewhere_is_fetched_once(
    served: tuple[Path, str, list[str]], guest: Guest, place: str
) -> None:
    root, address, asked = served
    digest = tarball(root / "suite.tar.gz", top__run="x", top__lib__a="y")
    one = installables.files_of(f"{address}/suite.tar.gz#sha256={digest}", f"{place}/tree")
    assert one.fetch() == one.fetch() == digest
    assert one.install(guest) == f"{place}/tree/top"
    assert guest.query(["cat", f"{place}/tree/top/lib/a"]) == "y"
    assert asked == ["/suite.tar.gz"]
    assert prune() == 0
    assert prune(everything=True) > 0
    one.fetch()
    assert len(asked) == 2


def test_what_comes_instead_of_a_tarball_is_refused(served: tuple[Path, str, list[str]]) -> None:
    root, address, _ = served
    (root / "suite.tar.gz").write_text("another")
    one = installables.files_of(f"{address}/suite.tar.gz#sha256={'0' * 64}", "/x")
    with pytest.raises(HostError, match=f"its sha256 is [0-9a-f]{{64}}, and {'0' * 64} was asked for"):
        one.fetch()


def test_a_tarball_of_several_things_has_no_top_directory(tmp_path: Path, guest: Guest, place: str) -> None:
    tarball(tmp_path / "suite.tar.gz", one__run="x", other="y")
    one = installables.files_of(str(tmp_path / "suite.tar.gz"), f"{place}/tree")
    assert one.install(guest) == f"{place}/tree"
    assert guest.query(f"ls {place}/tree").split() == ["one", "other"]


def test_a_tarball_that_is_cut_short_is_a_failure(tmp_path: Path, guest: Guest, place: str) -> None:
    path = tmp_path / "suite.tar.gz"
    tarball(path, one__run="x" * 100_000)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(CommandFailed, match="tar --extract"):
        installables.files_of(str(path), f"{place}/tree").install(guest)


def test_a_tree_and_a_file(tmp_path: Path, guest: Guest, place: str) -> None:
    tree = tmp_path / "suite"
    (tree / "lib").mkdir(parents=True)
    (tree / "run").write_text("1")
    (tree / "lib/a").write_text("2")
    whole, alone = installables.files_of(str(tree), f"{place}/a"), installables.files_of(f"{tree}/run", f"{place}/b")
    before = whole.fetch()
    assert guest.query(f"cat {whole.install(guest)}/run {place}/a/lib/a") == "12"
    assert guest.query(f"ls {alone.install(guest)}").split() == ["run"]
    (tree / "run").write_text("other")
    assert whole.fetch() != before


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("missing", "there is no file and no directory missing"),
        ("", "there is no file and no directory"),
        ("https://example.org/a.tar.gz", "nothing says what must come"),
        ("https://example.org/a.tar.gz#sha256=12", "nothing says what must come"),
    ],
)
def test_what_cannot_be_is_a_usage_error(name: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        installables.files_of(name, "/x")


def test_an_empty_directory_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"there is nothing in .*/empty"):
        installables.files_of(str(tmp_path / "empty"), "/x").fetch()


def test_a_machine_that_is_prepared_has_them_and_its_key_tells_their_content(
    tmp_path: Path, guest: Guest, place: str
) -> None:
    (tmp_path / "suite").mkdir()
    (tmp_path / "suite/run").write_text("x")
    tree = installables.files_of(str(tmp_path / "suite"), f"{place}/tree")
    preparation = installables.preparation_of(tree)
    assert preparation is not None
    assert tree.fetch() in preparation.key
    assert preparation.run(guest)
    assert guest.query(["cat", f"{place}/tree/run"]) == "x"
    assert installables.preparation_of() is None


def test_the_key_of_files_has_their_content_their_modes_and_where_links_lead(tmp_path: Path) -> None:
    root = tmp_path / "suite"
    root.mkdir()
    run, link = root / "run", root / "link"
    run.write_text("x")
    link.symlink_to("run")
    tree = installables.files_of(str(root), "/x")
    keys = [tree.fetch()]

    def changed() -> bool:
        keys.append(tree.fetch())
        return keys[-1] not in keys[:-1]

    run.chmod(0o755)
    assert changed()
    before = run.stat()
    run.write_text("y")
    os.utime(run, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert changed()
    link.unlink()
    link.symlink_to("nun")
    assert changed()
    os.utime(run, ns=(1, 1))
    assert not changed(), "times are nobody's content"


def test_a_file_that_cannot_be_read_is_a_usage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "run").write_text("x")
    monkeypatch.setattr("vmtasks.installables.files.sha256_of", refuse)
    with pytest.raises(UsageError, match=r"cannot read .*/run: Permission denied"):
        installables.files_of(str(tmp_path / "run"), "/x").fetch()


def test_what_is_prepared_tells_where_things_go(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("x")
    tarball(tmp_path / "a.tar.gz", run="x")
    for name in ("run", "a.tar.gz"):
        one, other = (installables.files_of(str(tmp_path / name), target) for target in ("/one", "/other"))
        prepared = [installables.preparation_of(part) for part in (one, other, one)]
        keys = [part.key for part in prepared if part]
        assert keys[0] == keys[2] != keys[1]


def test_what_a_link_leads_to_is_sent_under_the_links_name(tmp_path: Path, guest: Guest, place: str) -> None:
    (tmp_path / "run").write_text("x")
    tarball(tmp_path / "a.tar.gz", run="x")
    (tmp_path / "link").symlink_to("run")
    (tmp_path / "link.tar.gz").symlink_to("a.tar.gz")
    installables.files_of(str(tmp_path / "link"), f"{place}/one").install(guest)
    assert guest.query(f"cd {place}/one && ls && [ ! -L link ] && cat link") == "link\nx"
    installables.files_of(str(tmp_path / "link.tar.gz"), f"{place}/other").install(guest)
    assert guest.query(["cat", f"{place}/other/run"]) == "x"


def test_one_content_under_two_names_is_two_files(served: tuple[Path, str, list[str]]) -> None:
    root, address, asked = served
    digest = tarball(root / "a.tar.gz", run="x")
    (root / "b.tar.gz").write_bytes((root / "a.tar.gz").read_bytes())
    first, second = (FetchedFile.of(f"{address}/{name}.tar.gz#sha256={digest}") for name in "ab")
    with first.held() as one, second.held() as other:
        assert (one.name, other.name) == ("a.tar.gz", "b.tar.gz")
        assert one.read_bytes() == other.read_bytes()
    first.fetch()
    assert asked == ["/a.tar.gz", "/b.tar.gz"]


def test_what_is_read_is_not_removed(served: tuple[Path, str, list[str]]) -> None:
    root, address, _ = served
    digest = tarball(root / "a.tar.gz", run="x")
    one = FetchedFile.of(f"{address}/a.tar.gz#sha256={digest}")
    for _ in ("fetched just now", "there already"):
        with one.held() as path:
            assert prune(everything=True) == 0
            assert path.exists()
            with one.held() as too:
                assert too == path
    assert prune(everything=True) > 0
    assert not path.exists()


def test_a_module_pip_of_the_working_directory_is_not_what_is_run(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)
    Wheels(name="tools", wheels=(wheel(index, "parrot_tool"),), target="/x").fetch()
    listing = pip._config.__wrapped__()
    assert any(line.startswith(":env:.no-index=") for line in listing)


@pytest.mark.parametrize("is_own", [False, True])
def test_a_python_without_pip_is_told_with_what_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_own: bool
) -> None:
    python = tmp_path / "python3"
    python.write_text('#!/bin/sh\necho "$0: No module named pip" >&2\nexit 1\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(sys, "prefix", str(tmp_path) if is_own else sys.base_prefix)
    pinned = PinnedWheel(requirement="parrot_tool==1.0", sha256="0" * 64)
    with pytest.raises(HostError, match="the Python that runs vmtasks has no pip") as trouble:
        Wheels(name="tools", wheels=(pinned,), target="/x").fetch()
    assert ("-m ensurepip" if is_own else "apt-get install --no-install-recommends python3-pip") in trouble.value.hint


def test_deb_files_and_kernels_say_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no file .*/none\.deb"):
        installables.DebFiles.of([str(tmp_path / "none.deb")]).fetch()
    with pytest.raises(UsageError, match=r"no \.deb file is named"):
        installables.DebFiles.of([])
    with pytest.raises(UsageError, match=r"there is no file .*/none\.deb"):
        installables.BootedKernel(kernel=str(tmp_path / "none.deb")).fetch()
    with pytest.raises(UsageError, match="that takes a Debian package"):
        installables.BootedKernel(kernel="./bzImage.tar").fetch()
    named = installables.BootedKernel(kernel="linux-image-amd64")
    assert named.fetch() == installables.BootedKernel(kernel="linux-image-amd64").fetch()
    assert named.fetch() != installables.BootedKernel(kernel="linux-image-amd64", args=("quiet",)).fetch()


def test_the_file_name_of_an_address_leads_nowhere_else() -> None:
    digest = "0" * 64
    assert FetchedFile.of(f"https://example.org/a/..%2f..%2fb.deb?x=1#sha256={digest}").file_name == "b.deb"
    assert FetchedFile.of(f"https://example.org/#sha256={digest}").file_name == "file"
