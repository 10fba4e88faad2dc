"""Which pockets of Debian's archive an image has, and which it should have."""

from __future__ import annotations

from typing import Any

import pytest

from vmtasks.image.pockets import Archive, expected, missing, tell, told

URI = "http://mirror.example/debian/"


def archive(label: str, codename: str, *, origin: str = "Debian", **more: Any) -> Archive:
    return Archive(uri=URI, suite=codename, origin=origin, label=label, codename=codename, **more)


@pytest.mark.parametrize(
    ("one", "pocket"),
    [
        (archive("Debian", "bookworm"), "release"),
        (archive("Debian", "sid"), "release"),
        (archive("Debian", "bookworm-updates"), "updates"),
        (archive("Debian", "bookworm-proposed-updates"), "proposed-updates"),
        (archive("Debian-Security", "bookworm-security"), "security"),
        (archive("Debian-Security", "buster"), "security"),
        (archive("Debian Backports", "bookworm-backports", origin="Debian Backports"), "backports"),
        (archive("Debian Backports", "bullseye-backports-sloppy", origin="Debian Backports"), "backports-sloppy"),
        (archive("Debian", "rc-buggy"), "experimental"),
        (archive("Debian debug", "bookworm-debug"), ""),
        (archive("Ubuntu", "noble-security", origin="Ubuntu"), ""),
        (archive("", "bookworm", origin=""), ""),
    ],
)
def test_a_pocket_is_known_by_what_its_release_file_says(one: Archive, pocket: str) -> None:
    assert one.pocket == pocket


@pytest.mark.parametrize("suite", ["bookworm", "stable", "testing", "forky"])
def test_a_suite_that_is_released_has_three(suite: str) -> None:
    assert expected(suite) == ("release", "updates", "security")


@pytest.mark.parametrize("suite", ["sid", "unstable"])
def test_one_that_is_never_released_misses_none(suite: str) -> None:
    manifest = told([archive("Debian", "sid")])
    assert missing(suite, manifest) == ()
    assert tell(suite, manifest) == "release"


def test_what_is_missing_is_named() -> None:
    backports = archive("Debian Backports", "bookworm-backports", origin="Debian Backports")
    manifest = told([archive("Debian", "bookworm"), backports])
    assert missing("bookworm", manifest) == ("updates", "security")
    assert tell("bookworm", manifest) == "release, backports, but no updates and no security"


def test_a_manifest_tells_where_each_pocket_is_from_and_whose_else_there_are() -> None:
    other = Archive(uri="https://packages.example/", suite="stable", components=("main",), origin="Example Inc")
    assert told([archive("Debian", "bookworm", components=("main", "contrib")), other]) == {
        "pockets": {"release": {"uri": URI, "suite": "bookworm", "components": ["main", "contrib"]}},
        "repositories": [
            {"origin": "Example Inc", "uri": "https://packages.example/", "suite": "stable", "components": ["main"]}
        ],
    }


@pytest.mark.parametrize(("suite", "manifest"), [("bookworm", {}), (None, {"pockets": {}}), (None, {})])
def test_of_an_image_of_somebody_elses_nothing_is_missed(suite: str | None, manifest: dict[str, Any]) -> None:
    assert missing(suite, manifest) == ()


def test_where_nothing_was_noted_that_is_said() -> None:
    assert tell("bookworm", {}) == "not known"
    assert tell(None, told([])) == "none of Debian's"
