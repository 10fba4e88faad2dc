"""What a .changes file names, and whether that is what came out."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from vmtasks import TestFailed
from vmtasks.debian import changes

HASHES = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("a_1_all.deb", "a_1_amd64.buildinfo")}
TEXT = f"""\
-----BEGIN PGP SIGNED MESSAGE-----

Format: 1.8
Checksums-Sha1:
 da39a3ee5e6b4b0d3255bfef95601890afd80709 11 a_1_all.deb
Checksums-Sha256:
 {HASHES["a_1_all.deb"]} 11 a_1_all.deb
 {HASHES["a_1_amd64.buildinfo"]} 19 a_1_amd64.buildinfo
Files:
 d41d8cd98f00b204e9800998ecf8427e 11 misc optional a_1_all.deb
"""


def first(text: str) -> changes.Made:
    return changes.read("a.changes", text)[0]


def test_all_that_is_named_is_read_in_order() -> None:
    made = changes.read("a.changes", TEXT)
    assert [(file.name, file.size_bytes, file.sha256) for file in made] == [
        ("a_1_all.deb", 11, HASHES["a_1_all.deb"]),
        ("a_1_amd64.buildinfo", 19, HASHES["a_1_amd64.buildinfo"]),
    ]


@pytest.mark.parametrize("name", ["../x.deb", "/etc/passwd", ".hidden", "-rf", "x y", "x\x1b[m"])
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(TestFailed, match=r"cannot read a\.changes: .* is no checksum, size and name"):
        first(TEXT.replace("a_1_all.deb", name))


@pytest.mark.parametrize("text", ["", "Format: 1.8\n", "Checksums-Sha256:\nFiles:\n x\n"])
def test_one_that_names_nothing_is_none(text: str) -> None:
    with pytest.raises(TestFailed, match=r"cannot read a\.changes: it names no files"):
        changes.read("a.changes", text)


def test_what_is_named_is_there(tmp_path: Path) -> None:
    (tmp_path / "a_1_all.deb").write_text("a_1_all.deb")
    assert changes.check(first(TEXT), tmp_path) == tmp_path / "a_1_all.deb"


@pytest.mark.parametrize("content", ["a_1_all.deB", "", "a_1_all.deb and more"])
def test_what_was_changed_since_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "a_1_all.deb").write_text(content)
    with pytest.raises(TestFailed, match=r"a_1_all\.deb is not the file that its \.changes names"):
        changes.check(first(TEXT), tmp_path)


def test_what_is_missing_is_told_and_so_is_what_is_no_file(tmp_path: Path) -> None:
    for make in (lambda path: None, Path.mkdir, lambda path: path.symlink_to("elsewhere")):
        path = tmp_path / "a_1_all.deb"
        make(path)
        with pytest.raises(TestFailed, match=r"the build made no file a_1_all\.deb"):
            changes.check(first(TEXT), tmp_path)
        if path.is_dir():
            path.rmdir()


def test_a_link_to_the_right_content_is_none_either(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("a_1_all.deb")
    (tmp_path / "a_1_all.deb").symlink_to("elsewhere")
    with pytest.raises(TestFailed, match="made no file"):
        changes.check(first(TEXT), tmp_path)


def test_a_size_that_no_file_has_is_a_sentence() -> None:
    text = f"Checksums-Sha256:\n {'0' * 64} {'9' * 5000} tiny_1.0_all.deb\n"
    with pytest.raises(TestFailed, match="is no checksum, size and name of a file"):
        changes.read("tiny.changes", text)
