"""A .dsc is believed only as far as the files beside it bear it out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from vmtasks import Source, UsageError
from vmtasks.project.dsc import Dsc

FILES = {
    "tiny_1.0.orig.tar.gz": b"upstream's",
    "tiny_1.0.orig-data.tar.gz": b"a component",
    "tiny_1.0.orig.tar.gz.asc": b"a signature",
    "tiny_1.0-1.debian.tar.xz": b"debian's",
}
LISTS = {"Checksums-Sha1": "sha1", "Checksums-Sha256": "sha256", "Files": "md5"}


def control(*lists: str) -> str:
    text = "Format: 3.0 (quilt)\nSource: tiny\nBinary: tiny\nVersion: 2:1.0-1\nBuild-Depends: ed,\n bc\n"
    for field in lists:
        text += f"{field}:\n"
        for name, data in FILES.items():
            text += f" {hashlib.new(LISTS[field], data).hexdigest()} {len(data)} {name}\n"
    return text


def signed(text: str) -> str:
    return (
        f"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n{text}\n"
        "-----BEGIN PGP SIGNATURE-----\n\niQIzBAEBCgAdFiEE\n=abcd\n-----END PGP SIGNATURE-----\n"
    )


def package(root: Path, text: str) -> Path:
    for name, data in FILES.items():
        (root / name).write_bytes(data)
    (root / "tiny_1.0-1.dsc").write_text(text)
    return root / "tiny_1.0-1.dsc"


@pytest.mark.parametrize("wrap", [str, signed, lambda text: text.replace("\n", "\r\n")])
@pytest.mark.parametrize("lists", [tuple(LISTS), ("Files",), ("Files", "Checksums-Sha1")])
def test_a_whole_one_is_taken(tmp_path: Path, wrap: Callable[[str], str], lists: tuple[str, ...]) -> None:
    dsc = Dsc.read(package(tmp_path, wrap(control(*lists))))
    dsc.check()
    assert {path.name for path in dsc.files} == {"tiny_1.0-1.dsc", *FILES}
    assert (dsc.source, dsc.version, dsc.tree) == ("tiny", "2:1.0-1", "tiny-1.0")
    assert Source.of(dsc.path).build_needs() == "Source: tiny\nBuild-Depends: ed,\n bc\n"


def test_blanks_in_front_of_a_colon_are_taken_as_dpkg_takes_them(tmp_path: Path) -> None:
    dsc = Dsc.read(package(tmp_path, control("Files").replace("Source:", "Source :").replace("Depends:", "Depends\t:")))
    assert dsc.source == "tiny"
    assert Source.of(dsc.path).build_needs() == "Source : tiny\nBuild-Depends\t: ed,\n bc\n"


@pytest.mark.parametrize("lists", [tuple(LISTS), ("Files",)])
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"upstream'S", "is not the file that it names: its (sha256|md5) is another"),
        (b"upstream", "is not the file that it names: it has 8 bytes, and should have 10"),
        (None, "is missing beside it"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, lists: tuple[str, ...], data: bytes | None, reason: str) -> None:
    dsc = package(tmp_path, control(*lists))
    orig = tmp_path / "tiny_1.0.orig.tar.gz"
    orig.unlink()
    if data is not None:
        orig.write_bytes(data)
    with pytest.raises(UsageError, match=rf"cannot build .*/tiny_1\.0-1\.dsc: tiny_1\.0\.orig\.tar\.gz {reason}"):
        Source.of(dsc)


@pytest.mark.parametrize("wrap", [str, signed])
def test_one_that_is_cut_short_is_refused_wherever_that_is(tmp_path: Path, wrap: Callable[[str], str]) -> None:
    whole = wrap(control(*LISTS))
    dsc = package(tmp_path, "")
    for length in range(len(whole) - 1):  # without the line break at its end it is whole
        dsc.write_text(whole[:length])
        with pytest.raises(UsageError) as caught:
            Dsc.read(dsc)
        assert str(dsc) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("tiny_1.0.orig.tar.gz\n", "../tiny_1.0.orig.tar.gz\n", r"it names '\.\./tiny"),
        ("tiny_1.0.orig.tar.gz\n", "/etc/passwd\n", r"it names '/etc/passwd'"),
        ("tiny_1.0.orig.tar.gz\n", "-rf\n", r"it names '-rf'"),
        ("tiny_1.0.orig.tar.gz\n", "tiny 1.0.tar.gz\n", "names no file: it is cut short"),
        ("Files:", "Fils:", "no field 'Files'"),
        ("Version: 2:1.0-1\n", "", "no field 'Version'"),
        ("Source: tiny", "Source tiny", "'Source tiny' is no field"),
        ("Binary: tiny", "Source: tiny", "'Source: tiny' is no field"),
        (" 10 tiny", " 11 tiny", "should have 11|two sizes"),
    ],
)
def test_what_cannot_be_true_is_told(tmp_path: Path, old: str, new: str, reason: str) -> None:
    text = control("Files")
    assert old in text
    with pytest.raises(UsageError, match=reason):
        Source.of(package(tmp_path, text.replace(old, new)))


def test_what_stands_outside_the_signature_counts_for_nothing(tmp_path: Path) -> None:
    text = "Build-Depends: evil\n\n" + signed(control(*LISTS)) + "\nBuild-Depends: evil\n"
    assert "evil" not in Source.of(package(tmp_path, text)).build_needs()


def test_no_dsc_is_that_large(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="more than 1 MiB"):
        Source.of(package(tmp_path, control("Files") + " " * (1 << 20)))


def test_a_signature_without_a_beginning_of_what_it_signs_is_a_sentence(tmp_path: Path) -> None:
    text = signed(control(*LISTS)).replace("\n\n", "\n")
    with pytest.raises(UsageError, match="its signature has no empty line in front of what was signed"):
        Dsc.read(package(tmp_path, text))


def test_a_size_that_no_file_has_is_a_sentence(tmp_path: Path) -> None:
    text = control("Files").replace(" 10 tiny", f" {'9' * 5000} tiny")
    with pytest.raises(UsageError, match="names no file"):
        Dsc.read(package(tmp_path, text))
