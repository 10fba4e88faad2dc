"""debian/changelog, as dpkg-parsechangelog takes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmtasks.errors import UsageError
from vmtasks.project.changelog import SourcePackage, date_of

BODY = "\n  * Say hello.\n\n"
TRAILER = " -- Ida Sample <ida@example.org>  Wed, 01 Jan 2025 01:00:00 +0100"
OLDER = f"\n\nhello (0.9) unstable; urgency=low\n{BODY} -- Ida <i@example.org>  Mon, 01 Jan 2024 00:00:00 +0000\n"


def written(root: Path, text: str) -> Path:
    (root / "debian").mkdir()
    (root / "debian" / "changelog").write_bytes(text.encode())
    return root


# What dpkg-parsechangelog 1.21 prints for each of these as Source and Version, warnings or not.
@pytest.mark.parametrize(
    ("heading", "name", "version"),
    [
        ("hello (1.0-1+b1) sid; urgency=low, binary-only=yes", "hello", "1.0-1+b1"),
        ("hello (1.0) unstable; urgency=low (HIGH for users of x)", "hello", "1.0"),
        ("hello (1.0) stable unstable; priority=high", "hello", "1.0"),
        ("hello (1.0) unstable;", "hello", "1.0"),
        ("Hello (1.0) unstable; urgency=low", "Hello", "1.0"),
        ("h (1.0)  u;urgency=low", "h", "1.0"),
        ("hello (1.0)\tu; urgency = low", "hello", "1.0"),
        ("hello (1.0~rc1+ds-1~bpo12+1) UNRELEASED; urgency=medium   ", "hello", "1.0~rc1+ds-1~bpo12+1"),
        ("hello (1:1.0:2-1) u; nonsense", "hello", "1:1.0:2-1"),
        ("hello (1.0) u; urgency=low\r", "hello", "1.0"),
        ("\n\nhello (1.0) u; urgency=low", "hello", "1.0"),
        ("# a comment\n/* another */\n$Id: x$\nhello (1.0) u; urgency=low", "hello", "1.0"),
        ("words in a line\nhello (1.0) u; urgency=low", "hello", "1.0"),
    ],
)
def test_headings_that_dpkg_takes(tmp_path: Path, heading: str, name: str, version: str) -> None:
    root = written(tmp_path, f"{heading}\n{BODY}{TRAILER}\n")
    assert SourcePackage.of(root) == SourcePackage(name=name, version=version)
    assert date_of(root) == 1735689600


@pytest.mark.parametrize(
    "heading",
    [
        "",
        "hello",
        "hello 1.0 unstable; urgency=low",
        "hello (1.0); urgency=low",
        "hello (1.0) unstable",
        "hello (1.0) unstable ; urgency=low",
        " hello (1.0) unstable; urgency=low",
        "hello_x (1.0) unstable; urgency=low",
        "\ufeffhello (1.0) unstable; urgency=low",
        "  * text\nhello (1.0) unstable; urgency=low",
    ],
)
def test_headings_that_it_does_not_take(tmp_path: Path, heading: str) -> None:
    root = written(tmp_path, f"{heading}\n{BODY}{TRAILER}\n")
    with pytest.raises(UsageError, match=r"cannot read .*/debian/changelog: its first line must be like") as caught:
        SourcePackage.of(root)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("version", ["one", "v1.0", "1.0_2", "1.0-", "-1", "x:1.0", "a1"])
def test_versions_that_are_none(tmp_path: Path, version: str) -> None:
    root = written(tmp_path, f"hello ({version}) unstable; urgency=low\n{BODY}{TRAILER}\n")
    with pytest.raises(UsageError, match=f"'{version}' is no version"):
        SourcePackage.of(root)


@pytest.mark.parametrize(
    ("trailer", "expected"),
    [
        (" -- Ida <i@example.org> Wed, 01 Jan 2025 01:00:00 +0100", 1735689600),
        (" -- Ida <i@example.org>  1 Jan 2025 01:00:00 +0100", 1735689600),
        (" -- Ida <>  Wed, 01 Jan 2025 01:00:00 +0100  \r", 1735689600),
        (" -- Ida <i@example.org>  Wed,1 Jan 2025  1:00:00  -0530", 1735713000),
        (" -- Ida <i@example.org>  Wed, 32 Jan 2025 01:00:00 +0100", None),
        (" --", None),
        ("", None),
    ],
)
def test_the_date_is_the_first_entrys_or_none(tmp_path: Path, trailer: str, expected: int | None) -> None:
    root = written(tmp_path, f"hello (1.0) unstable; urgency=low\n{BODY}{trailer}{OLDER}")
    assert date_of(root) == expected


@pytest.mark.parametrize(
    ("version", "upstream"), [("1.0", "1.0"), ("1.0-2-3", "1.0-2"), ("2:1.0~rc1+ds-1", "1.0~rc1+ds"), ("1:3", "3")]
)
def test_upstream_versions(version: str, upstream: str) -> None:
    assert SourcePackage(name="a", version=version).upstream_version == upstream


def test_no_changelog_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="it has no debian/changelog"):
        SourcePackage.of(tmp_path)
