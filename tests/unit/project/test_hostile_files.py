"""Files of a stranger's project that this host itself reads: refused in a sentence, at once, and never followed out."""

from __future__ import annotations

import gzip
import io
import os
import re
import subprocess
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from vmtasks.config.bounded import LIMIT_BYTES, read_file
from vmtasks.errors import TestFailed, UsageError
from vmtasks.guest.unpack import HEADER_LIMIT_BYTES, first_file, opened
from vmtasks.project import Project, tree_files
from vmtasks.project.source import Source
from vmtasks.project.text import text_of

NAMES = ("vmtasks.toml", "pyproject.toml", "configure.ac", "Makefile", "debian/changelog")
AT_ONCE_S = 2.0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "project" / "debian").mkdir(parents=True)
    return tmp_path / "project"


def refusal(root: Path) -> str:
    began_s = time.monotonic()
    with pytest.raises(UsageError) as refused:
        _ = Project.load(root).source_package
    assert time.monotonic() - began_s < AT_ONCE_S
    return str(refused.value)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_is_none_is_refused(root: Path, name: str) -> None:
    os.mkfifo(root / name)
    assert "it is not a regular file" in refusal(root)


@pytest.mark.parametrize("name", NAMES)
def test_a_link_that_leads_out_is_not_followed(root: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("machine example.org login bot password S3CRET\n")
    (root / name).symlink_to(tmp_path / "secret")
    message = refusal(root)
    assert "it is a link that leads out of" in message
    assert "S3CRET" not in message


@pytest.mark.parametrize("name", NAMES)
def test_a_file_without_end_is_refused(root: Path, name: str) -> None:
    with (root / name).open("wb") as file:
        file.truncate(LIMIT_BYTES + 1)
    assert f"it has more than {LIMIT_BYTES >> 20} MiB" in refusal(root)


def test_a_device_is_no_file(root: Path) -> None:
    with pytest.raises(UsageError, match="not a regular file"):
        read_file(Path("/dev/zero"))


def test_a_link_inside_the_project_is_followed(root: Path) -> None:
    (root / "debian" / "real").write_text("a text\n")
    (root / "debian" / "changelog").symlink_to("real")
    assert text_of(root, "debian/changelog") == "a text\n"
    assert text_of(root, "debian/nothing") is None


@pytest.mark.parametrize("name", ["vmtasks.toml", "pyproject.toml"])
def test_nesting_without_end_is_refused(root: Path, name: str) -> None:
    (root / name).write_text(f"a = {'[' * 100_000}")
    assert "nested too deep" in refusal(root)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("configure.ac", f"AC_INIT({' ' * 300_000}"),
        ("configure.ac", f"AC_INIT([{'a ' * 100_000}"),
        ("configure.ac", f"AC_INIT([a]{' ' * 100_000},{' ' * 100_000}"),
        ("Makefile", " " * 300_000),
        ("Makefile", "a " * 150_000),
    ],
)
def test_patterns_take_no_longer_than_the_file_is_long(root: Path, name: str, text: str) -> None:
    (root / name).write_text(text)
    if name == "configure.ac":
        (root / "Makefile.am").touch()
    began_s = time.monotonic()
    Project.load(root)
    assert time.monotonic() - began_s < AT_ONCE_S


@pytest.mark.parametrize(
    ("text", "identity"),
    [
        ("AC_INIT([GNU hello], [2.10], [bug@example.org])", ("hello", "2.10")),
        ("AC_INIT(tiny,1.0)", ("tiny", "1.0")),
        ("AC_INIT( [tiny] ,\n  [1.0~rc1] )", ("tiny", "1.0~rc1")),
    ],
)
def test_what_autoconf_is_told_is_found_all_the_same(root: Path, text: str, identity: tuple[str, str]) -> None:
    (root / "configure.ac").write_text(text)
    project = Project.load(root)
    assert (project.name, project.version) == identity


def archive(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as made:
        for member, content in members:
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
    return data.getvalue()


def source_of(path: Path, data: bytes) -> Any:
    path.write_bytes(gzip.compress(data, compresslevel=1))
    return Source.of(path)


def long_name(size_bytes: int) -> bytes:
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, size_bytes
    return header.tobuf(tarfile.GNU_FORMAT) + bytes(size_bytes)


def test_a_tarball_takes_no_more_memory_than_a_header_needs(tmp_path: Path) -> None:
    bomb = tmp_path / "tiny-1.0.tar.gz"
    bomb.write_bytes(gzip.compress(long_name(HEADER_LIMIT_BYTES * 64), compresslevel=1))
    with opened(bomb) as stream, pytest.raises(TestFailed, match="a header is more than"):
        first_file(stream, re.compile("x"), limit_bytes=10)
    assert source_of(tmp_path / "other-1.0.tar.gz", long_name(HEADER_LIMIT_BYTES * 64)).build_needs() is not None


def test_headers_within_headers_are_no_defect_of_ours(tmp_path: Path) -> None:
    nested = b"".join(long_name(512) for _ in range(5000))
    assert source_of(tmp_path / "tiny-1.0.tar.gz", nested).build_needs() is not None


@pytest.mark.parametrize("compress", [gzip.compress, bytes])
def test_a_control_file_is_found_in_a_tarball(tmp_path: Path, compress: Any) -> None:
    data = archive(
        (tarfile.TarInfo("tiny-1.0/README"), b"x" * 100_000),
        (tarfile.TarInfo("tiny-1.0/debian/control"), b"Source: tiny\nBuild-Depends: debhelper\n"),
    )
    path = tmp_path / "tiny-1.0.tar"
    path.write_bytes(compress(data))
    with opened(path) as stream:
        found = first_file(stream, re.compile(r"[^/]+/debian/control"), limit_bytes=1000)
    assert found.startswith(b"Source: tiny\n")


def test_an_entry_of_gits_index_behind_a_link_does_not_travel(root: Path) -> None:
    (root / "vmtasks.toml").write_text('[commands]\ntest = "cat leak/hostname"\n')

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", root, *words], check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet")
    blob = git("hash-object", "-w", "vmtasks.toml")
    git("update-index", "--add", "--cacheinfo", f"100644,{blob},leak/hostname")
    (root / "leak").symlink_to("/etc")
    (root / ".git/info/exclude").write_text("/leak\n")
    assert tree_files(root) == (Path("vmtasks.toml"),)


@pytest.mark.parametrize("name", [b"../secret", b"/etc/hostname", b"a/../../secret"])
def test_an_entry_of_gits_index_that_leads_out_is_refused(
    root: Path, name: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root.parent / "secret").touch()
    monkeypatch.setattr("vmtasks.project.files.git", lambda *_: name + b"\0")
    with pytest.raises(UsageError, match="which git's index names: it is outside of"):
        tree_files(root)
