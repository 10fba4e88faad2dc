"""What a build starts from, and what it needs to be there."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from vmtasks import Source, UsageError

CONTROL = """\
Source: thing
Maintainer: N <n@example.org>
Build-Depends: debhelper-compat (= 13),
# a comment
 ed,
\tbc [amd64]
Build-Depends-Indep: man-db
Standards-Version: 4.6.2

Package: thing
Architecture: any
Depends: ${misc:Depends}
"""
NEEDS = """\
Source: thing
Build-Depends: debhelper-compat (= 13),
 ed,
\tbc [amd64]
Build-Depends-Indep: man-db
"""


def tarball(path: Path, **files: str) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


def test_a_tree_and_its_tarball_need_the_same(tmp_path: Path) -> None:
    (tmp_path / "debian").mkdir()
    (tmp_path / "debian" / "control").write_text(CONTROL)
    packed = tarball(tmp_path / "thing-1.tar.gz", **{"thing-1/README": "", "./thing-1/debian/control": CONTROL})
    assert Source.of(tmp_path).build_needs() == Source.of(packed).build_needs() == NEEDS


def test_a_release_without_debian_has_the_projects(tmp_path: Path) -> None:
    (tmp_path / "debian").mkdir()
    (tmp_path / "debian" / "control").write_text(CONTROL)
    packed = tarball(tmp_path / "thing-1.tar.gz", **{"thing-1/debian/deeper/debian/control": "Source: other\n"})
    assert Source.of(packed).build_needs() == ""
    assert Source.of(packed, debian=tmp_path / "debian").build_needs() == NEEDS


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x1f\x8b\x08broken"])
def test_what_cannot_be_read_needs_nothing_yet(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "thing.tar.gz"
    path.write_bytes(content)
    assert Source.of(path).build_needs() == ""


def test_what_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UsageError, match="neither a directory, nor a tarball"):
        Source.of(tmp_path / "notes.txt")
    with pytest.raises(UsageError, match="there is no source"):
        Source.of(tmp_path / "nowhere")
