"""Packages under test beside those that apt knows already."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from vmtasks.debian import packages
from vmtasks.debian.debfile import Package


@pytest.fixture
def tiny(tmp_path: Path) -> Package:
    (tmp_path / "tiny.deb").write_bytes(b"ours")
    return Package(path=tmp_path / "tiny.deb", name="tiny", version="1.0", architecture="all")


def stanza(content: bytes, *, name: str = "tiny") -> str:
    return f"Package: {name}\nSize: {len(content)}\nSHA256: {hashlib.sha256(content).hexdigest()}\n"


@pytest.mark.parametrize(
    ("theirs", "is_twin"),
    [
        ("", False),
        (stanza(b"ours"), False),
        (stanza(b"THEY"), True),
        (stanza(b"ours") + stanza(b"THEY"), True),
        (stanza(b"larger"), False),
        (stanza(b"THEY", name="another"), False),
        ("Package: tiny\n", False),  # what is installed, as dpkg has it, in no archive
        ("Package: tiny\n" + stanza(b"THEY"), True),
    ],
)
def test_a_twin_has_the_same_size_and_other_content(tiny: Package, theirs: str, is_twin: bool) -> None:
    assert packages._twins({"tiny": tiny}, theirs) == (["tiny"] if is_twin else [])
