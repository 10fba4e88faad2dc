"""Which of several tarballs is the release."""

from __future__ import annotations

import pytest

from vmtasks.project.release import choose, is_tarball, stem


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *(
            (f"a-1.0.{one}", "a-1.0")
            for one in ("tar.gz", "tgz", "tar.xz", "tar.bz2", "tar.zst", "tar.lz", "tar.lzma", "tar")
        ),
        ("dir/a b.tar.gz", "a b"),
        *((name, "") for name in ("a.zip", "a.tar.gz.asc", "tar.gz", "notes.txt", "a-1.0.whl", "")),
    ],
)
def test_tarballs_are_known_by_their_names(name: str, expected: str) -> None:
    assert stem(name) == expected
    assert is_tarball(name) == bool(expected)


@pytest.mark.parametrize(
    ("tops", "expected"),
    [
        ({"other.tar.gz": "else"}, "other.tar.gz"),
        ({"tiny-1.0-doc.tar.gz": "tiny-1.0-doc", "tiny-1.0.tar.gz": "tiny-1.0"}, "tiny-1.0.tar.gz"),
        ({"a.tar.gz": "tiny-1.0-doc", "b.tar.gz": "tiny-1.0"}, "b.tar.gz"),
        ({"/b/dist/Tiny_1.0.tar.gz": "", "/b/x-1.0.tar.gz": ""}, "/b/dist/Tiny_1.0.tar.gz"),
        ({"tiny-1.0.tar.gz": "tiny-1.0", "tiny-1.0.tar.xz": "tiny-1.0"}, "tiny-1.0.tar.gz"),
        ({"a.tar.gz": "tiny-1.0", "b.tar.gz": "tiny-1.0"}, None),
        ({"tiny-1.1.tar.gz": "tiny-1.1", "tiny-0.9.tar.gz": "tiny-0.9"}, None),
        ({}, None),
    ],
)
def test_the_release_is_the_one_that_is_called_so(tops: dict[str, str], expected: str | None) -> None:
    assert choose(tops, "tiny", "1.0") == expected


def test_without_a_version_the_name_alone_decides() -> None:
    assert choose({"tiny.tar.gz": "tiny", "doc.tar.gz": "doc"}, "tiny", "") == "tiny.tar.gz"
