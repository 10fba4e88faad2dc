"""Which of the host's package sources are Debian's archives."""

from __future__ import annotations

import pytest

from vmtasks.image.mirror import Mirrors, parse

ARCHIVE = "http://mirror.example/debian/"
SECURITY = "http://mirror.example/debian-security/"

BOOKWORM = f"""\
Debian|Debian-Security|{SECURITY}|bookworm-security|main
Debian|Debian-Security|{SECURITY}|bookworm-security|contrib
Debian|Debian|{ARCHIVE}|bookworm-updates|main
Debian|Debian|{ARCHIVE}|bookworm|main
Debian|Debian|{ARCHIVE}|bookworm|main
Debian|Debian|{ARCHIVE}|bookworm|contrib
"""
BACKPORTS = f"Debian|Debian Backports|{ARCHIVE}backports/|bookworm-backports|main\n"
THIRD_PARTY = "Example Inc|Example|https://packages.example/apt/|stable|main\n"
UBUNTU = "Ubuntu|Ubuntu|http://mirror.example/ubuntu/|noble|main\n"


def test_a_usual_debian_has_both_archives() -> None:
    assert parse(BOOKWORM) == Mirrors(archive=ARCHIVE, security=SECURITY)


def test_others_and_backports_are_passed_over_wherever_they_stand() -> None:
    for others in (BACKPORTS, THIRD_PARTY, UBUNTU):
        assert parse(others + BOOKWORM) == parse(BOOKWORM + others) == parse(BOOKWORM)


def test_the_first_mirror_is_the_one() -> None:
    second = BOOKWORM.replace("mirror.example", "second.mirror.example")
    assert parse(second + BOOKWORM).archive == "http://second.mirror.example/debian/"


def test_security_may_be_known_by_its_codename_alone() -> None:
    assert parse(f"Debian|Debian|{SECURITY}|trixie-security|main\n") == Mirrors(security=SECURITY)


@pytest.mark.parametrize("listing", ["", UBUNTU, THIRD_PARTY, BACKPORTS, UBUNTU + THIRD_PARTY])
def test_a_host_without_debian_knows_none(listing: str) -> None:
    assert parse(listing) == Mirrors()


@pytest.mark.parametrize(
    "uri",
    ["cdrom://[Debian 12]/", "file:/srv/debian/", "copy:/srv/debian/", "mirror+file:/etc/apt/mirrors/debian.list/"],
)
def test_what_only_this_host_can_reach_is_no_mirror(uri: str) -> None:
    assert parse(f"Debian|Debian|{uri}|bookworm|main\n") == Mirrors()
    assert parse(f"Debian|Debian|{uri}|bookworm|main\n" + BOOKWORM).archive == ARCHIVE


def test_only_main_counts() -> None:
    assert parse(f"Debian|Debian|{ARCHIVE}|bookworm|non-free-firmware\n") == Mirrors()


def test_a_label_with_a_bar_harms_nobody() -> None:
    assert parse("Example|Tools | nightly|https://packages.example/|stable|main\n" + BOOKWORM) == parse(BOOKWORM)


def test_a_stable_suite_has_updates_and_security() -> None:
    assert parse(BOOKWORM).sources("trixie") == (
        f"deb {ARCHIVE} trixie main",
        f"deb {ARCHIVE} trixie-updates main",
        f"deb {SECURITY} trixie-security main",
    )


@pytest.mark.parametrize("suite", ["sid", "unstable", "experimental"])
def test_an_unstable_suite_is_alone(suite: str) -> None:
    assert parse(BOOKWORM).sources(suite) == (f"deb {ARCHIVE} {suite} main",)


def test_without_a_security_archive_there_is_no_line_for_it() -> None:
    lines = Mirrors(archive=ARCHIVE).sources("bookworm")
    assert lines == (f"deb {ARCHIVE} bookworm main", f"deb {ARCHIVE} bookworm-updates main")


def test_without_an_archive_nothing_is_named() -> None:
    assert Mirrors(security=SECURITY).sources("bookworm") == ()
