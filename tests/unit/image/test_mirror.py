"""Which of the host's package sources are Debian's archives, and what is made of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from vmtasks.image.mirror import Mirrors, choose, completed, for_guests, parse, read_config, read_release
from vmtasks.image.mmdebstrap import lost_pocket
from vmtasks.image.pockets import Archive

ARCHIVE = "http://mirror.example/debian/"
SECURITY = "http://mirror.example/debian-security/"

BOOKWORM = f"""\
Debian\tDebian-Security\tbookworm-security\tbookworm-security\tmain\t{SECURITY}
Debian\tDebian-Security\tbookworm-security\tbookworm-security\tcontrib\t{SECURITY}
Debian\tDebian\tbookworm-updates\tbookworm-updates\tmain\t{ARCHIVE}
Debian\tDebian\tbookworm\tbookworm\tmain\t{ARCHIVE}
Debian\tDebian\tbookworm\tbookworm\tmain\t{ARCHIVE}
Debian\tDebian\tbookworm\tbookworm\tcontrib\t{ARCHIVE}
"""
BACKPORTS = f"Debian Backports\tDebian Backports\tbookworm-backports\tbookworm-backports\tmain\t{ARCHIVE}backports/\n"
DEBUG = "Debian\tDebian debug\tbookworm-debug\tbookworm-debug\tmain\thttp://debug.example/debian-debug/\n"
THIRD_PARTY = "Example Inc\tExample\tstable\tstable\tmain\thttps://packages.example/apt/\n"
UBUNTU = "Ubuntu\tUbuntu\tnoble\tnoble\tmain\thttp://mirror.example/ubuntu/\n"
FLAT = "$(ORIGIN)\t$(LABEL)\t$(CODENAME)\t./\t$(COMPONENT)\thttp://packages.example/flat/\n"


def never(one: Archive) -> Archive | str:
    raise AssertionError(f"nobody need ask whose {one.uri} is")


def chosen(listing: str, ask: Callable[[Archive], Archive | str] = never) -> Mirrors:
    """Return the mirrors of a host whose lists are all fetched."""
    return choose(parse(listing), parse(listing), ask)


def unfetched(listing: str) -> tuple[Archive, ...]:
    return tuple(replace(one, origin="", label="", codename="") for one in parse(listing))


def test_a_usual_debian_has_both_archives() -> None:
    assert chosen(BOOKWORM) == Mirrors(archive=ARCHIVE, security=SECURITY)


def test_others_and_backports_are_passed_over_wherever_they_stand() -> None:
    for others in (BACKPORTS, THIRD_PARTY, UBUNTU, DEBUG):
        assert chosen(others + BOOKWORM) == chosen(BOOKWORM + others) == chosen(BOOKWORM)


def test_the_first_mirror_is_the_one() -> None:
    second = BOOKWORM.replace("mirror.example", "second.mirror.example")
    assert chosen(second + BOOKWORM).archive == "http://second.mirror.example/debian/"


def test_security_may_be_known_by_its_codename_alone() -> None:
    listing = f"Debian\tDebian\ttrixie-security\tstable-security\tmain\t{SECURITY}\n"
    assert chosen(listing) == Mirrors(security=SECURITY)


@pytest.mark.parametrize("listing", ["", UBUNTU, THIRD_PARTY, BACKPORTS, FLAT, UBUNTU + THIRD_PARTY])
def test_a_host_without_debian_knows_none(listing: str) -> None:
    assert chosen(listing) == Mirrors()


@pytest.mark.parametrize(
    "uri", ["cdrom://[Debian 12]/", "file:/srv/debian/", "copy:/srv/debian/", "tor+http://d.example/"]
)
def test_what_only_this_host_can_reach_is_no_mirror(uri: str) -> None:
    listing = f"Debian\tDebian\tbookworm\tbookworm\tmain\t{uri}\n"
    assert chosen(listing) == Mirrors()
    assert chosen(listing + BOOKWORM).archive == ARCHIVE


def test_only_main_counts() -> None:
    assert chosen(f"Debian\tDebian\tbookworm\tbookworm\tnon-free-firmware\t{ARCHIVE}\n") == Mirrors()


def test_an_archive_is_listed_once_with_all_its_components() -> None:
    assert [(one.suite, one.components) for one in parse(BOOKWORM + FLAT)] == [
        ("bookworm-security", ("main", "contrib")), ("bookworm-updates", ("main",)), ("bookworm", ("main", "contrib")),
        ("./", ()),
    ]  # fmt: skip


# ---- what is configured, and not fetched


def test_whose_an_archive_is_that_was_never_fetched_is_asked() -> None:
    """Lists are stale: security was added after the last `apt-get update`."""
    asked = []

    def ask(one: Archive) -> Archive:
        asked.append(one.suite)
        return replace(one, origin="Debian", label="Debian-Security", codename="bookworm-security")

    fetched = parse(BOOKWORM.replace("Debian-Security", "nothing"))[1:]
    assert choose(unfetched(BOOKWORM), fetched, ask) == Mirrors(archive=ARCHIVE, security=SECURITY)
    assert asked == ["bookworm-security"]


def test_no_more_is_asked_than_is_needed() -> None:
    """A container image has no lists at all."""
    asked = []

    def ask(one: Archive) -> Archive:
        asked.append((one.uri, one.suite))
        is_security = "security" in one.suite
        return replace(one, origin="Debian", label="Debian-Security" if is_security else "Debian", codename=one.suite)

    assert choose(unfetched(BOOKWORM + THIRD_PARTY), (), ask) == Mirrors(archive=ARCHIVE, security=SECURITY)
    assert asked == [(SECURITY, "bookworm-security"), (ARCHIVE, "bookworm-updates")]


def test_another_archive_with_the_same_names_is_not_debian() -> None:
    listing = f"\t\t\tbookworm\tmain\thttps://packages.example/php/\n{BOOKWORM}"
    answer = {"https://packages.example/php/": "Example Inc", ARCHIVE: "Debian", SECURITY: "Debian"}
    found = choose(unfetched(listing), (), lambda one: replace(one, origin=answer[one.uri], label=answer[one.uri]))
    assert found == Mirrors(archive=ARCHIVE, security=SECURITY)


def test_what_cannot_be_asked_is_told_and_the_next_one_counts() -> None:
    listing = BOOKWORM.replace("mirror.example", "down.example") + BOOKWORM

    def ask(one: Archive) -> Archive | str:
        return "down" if "down" in one.uri else replace(one, origin="Debian", label="Debian", codename=one.suite)

    found = choose(unfetched(listing), (), ask)
    assert (found.archive, found.security) == (ARCHIVE, SECURITY)
    assert set(found.notes) == {"down"}


def test_a_chosen_archive_leaves_the_security_archive_to_the_host() -> None:
    chosen = Mirrors(archive="http://fast.example/debian")
    assert choose(parse(BOOKWORM), parse(BOOKWORM), never, chosen) == replace(chosen, security=SECURITY)


@pytest.mark.parametrize(
    ("archive", "beside"),
    [
        ("http://mirror.example/debian/", "http://mirror.example/debian-security/"),
        ("http://mirror.example/debian", "http://mirror.example/debian-security"),
        ("http://cache.example:3142/mirror.example/debian/", "http://cache.example:3142/mirror.example/debian-security/"),
        ("http://past.example/archive/debian/20260101T000000Z/", "http://past.example/archive/debian-security/20260101T000000Z/"),
    ],
)  # fmt: skip
def test_a_host_that_names_no_security_archive_tries_the_one_beside_and_says_so(archive: str, beside: str) -> None:
    found = completed(Mirrors(archive=archive))
    assert found.security == beside
    assert [beside in note for note in found.notes] == [True]


def test_where_there_is_none_beside_it_that_is_told() -> None:
    found = completed(Mirrors(archive="http://mirror.example/pub/os/"))
    assert (found.security, len(found.notes)) == ("", 1)
    assert "security archive" in found.notes[0]


@pytest.mark.parametrize("given", [Mirrors(), Mirrors(archive=ARCHIVE, security=SECURITY), Mirrors(security=SECURITY)])
def test_where_nothing_is_missing_nothing_is_said(given: Mirrors) -> None:
    assert completed(given) == given


# ---- what a guest reaches


@pytest.mark.parametrize("uri", [ARCHIVE, "https://mirror.example/debian/", "mirror+https://mirror.example/list/"])
def test_a_guest_reaches_what_apt_itself_fetches_over_the_network(uri: str) -> None:
    assert for_guests(uri) == uri


@pytest.mark.parametrize(
    "uri", ["mirror+file:/etc/apt/mirrors/debian.list/", "mirror+file:///etc/apt/mirrors/debian.list/"]
)
def test_a_list_of_mirrors_stands_for_its_first_that_guests_reach(uri: str) -> None:
    read: list[Path] = []

    def text(path: Path) -> str:
        read.append(path)
        return "# ours\n\nfile:/srv/debian\nhttps://first.example/debian\tpriority:1\nhttps://second.example/debian\n"

    assert for_guests(uri, text) == "https://first.example/debian/"
    assert read == [Path("/etc/apt/mirrors/debian.list")]


def test_a_list_of_mirrors_that_is_not_there_is_none() -> None:
    assert for_guests("mirror+file:/nowhere/debian.list/") == ""


# ---- Release files and apt's settings


INRELEASE = """\
-----BEGIN PGP SIGNED MESSAGE-----
Hash: SHA256

Origin: Debian
Label: Debian-Security
Suite: oldstable-security
Codename: bookworm-security
Description: Label: no such thing
SHA256:
 0f Origin: nobody
"""


@pytest.mark.parametrize("text", [INRELEASE, INRELEASE.replace("\n", "\r\n"), INRELEASE.split("\n\n", 1)[1]])
def test_a_release_file_says_whose_it_is(text: str) -> None:
    release = read_release(Archive(uri=SECURITY, suite="stable-security"), text)
    assert (release.origin, release.label, release.codename) == ("Debian", "Debian-Security", "bookworm-security")
    assert release.pocket == "security"


def test_a_page_of_a_portal_is_nobodys_archive() -> None:
    assert read_release(Archive(uri=ARCHIVE, suite="bookworm"), "<html>Please log in</html>").pocket == ""


def test_a_bake_checks_validity_as_the_hosts_apt_does_and_goes_through_its_proxy() -> None:
    found = read_config(
        'Acquire::Check-Valid-Until "false";\nAcquire::http "";\nAcquire::http::Proxy "http://cache.example:3142";\n'
        'Acquire::https::Proxy "DIRECT";\nAcquire::http::Proxy::one.example "DIRECT";\nAcquire::Retries "3";\n'
    )
    assert found.options == (("Acquire::Check-Valid-Until", "false"),)
    assert found.proxies == (("http_proxy", "http://cache.example:3142"),)


def test_a_proxys_password_stays_on_the_host() -> None:
    assert read_config('Acquire::http::Proxy "http://me:secret@cache.example:3142/";').proxies == ()


# ---- the lines of sources.list


def test_a_stable_suite_has_updates_and_security() -> None:
    assert chosen(BOOKWORM).sources("trixie") == (
        f"deb {ARCHIVE} trixie main",
        f"deb {ARCHIVE} trixie-updates main",
        f"deb {SECURITY} trixie-security main",
    )


def test_each_pocket_has_all_components() -> None:
    lines = chosen(BOOKWORM).sources("trixie", ("main", "contrib"))
    assert all(line.endswith(" main contrib") for line in lines)
    assert len(lines) == 3


@pytest.mark.parametrize("suite", ["sid", "unstable", "experimental"])
def test_an_unstable_suite_is_alone(suite: str) -> None:
    assert chosen(BOOKWORM).sources(suite) == (f"deb {ARCHIVE} {suite} main",)


def test_without_a_security_archive_there_is_no_line_for_it() -> None:
    lines = Mirrors(archive=ARCHIVE).sources("bookworm")
    assert lines == (f"deb {ARCHIVE} bookworm main", f"deb {ARCHIVE} bookworm-updates main")


def test_without_an_archive_nothing_is_named() -> None:
    assert Mirrors(security=SECURITY).sources("bookworm") == ()


# ---- a pocket that a mirror does not serve


MISSING = (
    "E: The repository 'http://mirror.example/debian-security bookworm-security Release' does not have a Release file."
)
OUT_OF_STEP = (
    "E: Failed to fetch http://mirror.example/debian/dists/bookworm-updates/main/binary-amd64/Packages.xz  "
    "File has unexpected size (25356 != 25464). Mirror sync in progress? [IP: 192.0.2.1 80]"
)


@pytest.mark.parametrize(
    ("log", "line", "says"),
    [
        (MISSING, 2, "bookworm-security: http://mirror.example/debian-security does not have it"),
        (OUT_OF_STEP, 1, "bookworm-updates: http://mirror.example/debian serves it out of step with itself"),
        (OUT_OF_STEP.replace("mirror.example", "led-to.example"), 1, "http://mirror.example/debian serves it out of"),
        (OUT_OF_STEP.replace("File has unexpected size", "Hash Sum mismatch"), 1, "out of step"),
    ],
)
def test_a_pocket_that_is_not_served_is_named_with_its_mirror(log: str, line: int, says: str) -> None:
    sources = chosen(BOOKWORM).sources("bookworm")
    lost = lost_pocket(f"I: running\n{log}\nE: mmdebstrap failed to run", sources)
    assert lost is not None
    assert lost[0] == sources[line]
    assert says in lost[1]


@pytest.mark.parametrize(
    "log",
    [
        "E: The repository 'http://mirror.example/debian bookworm Release' does not have a Release file.",
        "Err:1 http://mirror.example/debian bookworm-updates InRelease\n  Could not connect to mirror.example:80",
    ],
)
def test_a_bake_cannot_do_without_the_release_nor_without_a_network(log: str) -> None:
    assert lost_pocket(log, chosen(BOOKWORM).sources("bookworm")) is None


def test_two_that_are_lost_are_told_one_after_the_other() -> None:
    """The second try's log still has the first one's lines."""
    sources = list(chosen(BOOKWORM).sources("bookworm"))
    log = f"{MISSING}\n{OUT_OF_STEP}"
    while lost := lost_pocket(log, sources):
        sources.remove(lost[0])
    assert sources == [f"deb {ARCHIVE} bookworm main"]
