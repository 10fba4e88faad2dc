"""What this host's own apt makes of the sources of all kinds of hosts; what is asked over HTTP is a server of ours."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from vmtasks.image import mirror
from vmtasks.image.mirror import Mirrors

pytestmark = pytest.mark.skipif(shutil.which("apt-get") is None, reason="this host has no apt")

Host = Callable[..., Mirrors]


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and says nothing of it."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """Serve two archives of Debian's and one of somebody else's; yield where."""
    served = tmp_path / "web"
    for where, origin, label in (
        ("debian/dists/bookworm", "Debian", "Debian"),
        ("debian/dists/stable", "Debian", "Debian"),
        ("debian-security/dists/bookworm-security", "Debian", "Debian-Security"),
        ("debian-security/dists/stable-security", "Debian", "Debian-Security"),
        ("php/dists/bookworm", "Example Inc", "main"),
        ("ubuntu/dists/noble", "Ubuntu", "Ubuntu"),
        ("ubuntu/dists/noble-security", "Ubuntu", "Ubuntu"),
    ):
        (served / where).mkdir(parents=True)
        name = "Release" if where.endswith("/bookworm") else "InRelease"
        (served / where / name).write_text(f"Origin: {origin}\nLabel: {label}\nCodename: {where.rsplit('/', 1)[1]}\n")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(served))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def host(tmp_path: Path, web: str, monkeypatch: pytest.MonkeyPatch) -> Host:
    """Return what finds the mirrors of a host with such sources, which has fetched no lists."""
    etc = tmp_path / "etc"
    (etc / "sources.list.d").mkdir(parents=True)
    (etc / "debian.list").write_text(f"{web}/debian\tpriority:1\nhttps://far.example/debian\tpriority:2\n")
    (etc / "debian-security.list").write_text(f"{web}/debian-security\n")
    (tmp_path / "lists" / "partial").mkdir(parents=True)
    (tmp_path / "apt.conf").write_text(
        f'Dir::Etc::SourceList "{etc}/sources.list";\nDir::Etc::SourceParts "{etc}/sources.list.d";\n'
        f'Dir::State::Lists "{tmp_path}/lists";\nDir::Cache "{tmp_path}";\nAcquire::http::Proxy "DIRECT";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))

    def find(one_line: str = "", deb822: str = "", chosen: str = "") -> Mirrors:
        for name, text in (("sources.list", one_line), ("sources.list.d/debian.sources", deb822)):
            (etc / name).write_text(text.replace("WEB", web).replace("ETC", str(etc)))
        return mirror.find(chosen)

    return find


@pytest.fixture
def both(web: str) -> Mirrors:
    return Mirrors(archive=f"{web}/debian/", security=f"{web}/debian-security/")


KEY = """\
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mDMEAAAAABYJKwYBBAHaRw8BAQdAexampleexampleexampleexampleexampleexample
 -----END PGP PUBLIC KEY BLOCK-----
"""
CONTAINER = """\
Types: deb
# http://past.example/archive/debian/20260101T000000Z
URIs: WEB/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: WEB/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""
CLOUD = """\
Types: deb deb-src
URIs: mirror+file://ETC/debian.list
Suites: bookworm bookworm-updates bookworm-backports
Components: main

Types: deb deb-src
URIs: mirror+file:ETC/debian-security.list
Suites: bookworm-security
Components: main
"""
INSTALLER = """\
#deb cdrom:[Debian GNU/Linux 12.5.0 _Bookworm_ - Official amd64 NETINST with firmware 20240210-11:27]/ bookworm main
deb cdrom:[Debian GNU/Linux 12.5.0 _Bookworm_ - Official amd64 DVD Binary-1 with firmware 20240210-11:28]/ bookworm main

deb WEB/debian/ bookworm main non-free-firmware
deb-src WEB/debian/ bookworm main non-free-firmware

deb WEB/debian-security bookworm-security main non-free-firmware
deb-src WEB/debian-security bookworm-security main non-free-firmware

# bookworm-updates, to get updates before a point release is made
deb WEB/debian/ bookworm-updates main non-free-firmware
"""
OPTIONS = """\
deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg check-valid-until=no] WEB/debian stable main
deb [ trusted=yes ] WEB/debian-security/ stable-security main contrib # ours
"""
THIRD_PARTIES = """\
deb [signed-by=/etc/apt/keyrings/php.gpg] WEB/php bookworm main
deb [arch=amd64 signed-by=/etc/apt/keyrings/docker.asc] https://download.example/linux/debian bookworm stable
deb http://packages.example/flat ./
"""
DISABLED = """\
Enabled: no
Types: deb
URIs: http://old.example/debian
Suites: bookworm bookworm-security
Components: main

"""


@pytest.mark.parametrize(
    "sources",
    [
        {"deb822": CONTAINER},
        {"deb822": CLOUD},
        {"one_line": INSTALLER},
        {"one_line": OPTIONS},
        {"one_line": THIRD_PARTIES, "deb822": CONTAINER},
        {"deb822": DISABLED + CONTAINER},
        {"deb822": f"Types: deb\nURIs: WEB/php\nSuites: bookworm\nComponents: main\n{KEY}\n{CONTAINER}"},
        {"deb822": CONTAINER.replace("WEB/debian\n", "WEB/debian https://second.example/debian\n")},
    ],
    ids=["container", "cloud", "installer", "options", "third parties", "disabled", "key in the file", "two mirrors"],
)
def test_what_is_configured_counts_though_nothing_of_it_is_fetched(
    host: Host, both: Mirrors, sources: dict[str, str]
) -> None:
    assert host(**sources) == both


def test_an_ubuntu_has_no_archive_of_debians(host: Host) -> None:
    ubuntu = "Types: deb\nURIs: WEB/ubuntu/\nSuites: noble noble-updates noble-security\nComponents: main universe\n"
    found = host(deb822=ubuntu)
    assert (found.archive, found.security) == ("", "")


def test_a_host_without_sources_names_none(host: Host) -> None:
    assert host() == Mirrors()


def test_a_host_that_names_the_release_alone_gets_security_from_beside_it(host: Host, both: Mirrors) -> None:
    found = host("deb WEB/debian bookworm main\n")
    assert (found.archive, found.security) == (both.archive, both.security)
    assert "no source of this host's names Debian's security archive" in found.notes[0]


def test_a_security_archive_that_has_nothing_for_the_host_is_told(host: Host, web: str) -> None:
    found = host("deb WEB/debian bookworm main\ndeb WEB/debian-security buster/updates main\n")
    assert f"{web}/debian-security/ buster/updates" in found.notes[0]
    assert "404" in found.notes[0]


def test_sources_that_apt_cannot_read_are_told(host: Host) -> None:
    found = host("deb http://mirror.example [x\n")
    assert found.archive == ""
    assert "Malformed entry 1 in list file" in found.notes[0]


def test_a_chosen_mirror_goes_with_the_hosts_security_archive(host: Host, both: Mirrors) -> None:
    found = host(deb822=CONTAINER, chosen="http://fast.example/debian")
    assert found == Mirrors(archive="http://fast.example/debian", security=both.security)


def test_an_archive_out_of_reach_is_a_sentence(host: Host) -> None:
    found = host("deb http://127.0.0.1:9/debian bookworm main\n")
    assert found.archive == ""
    assert "http://127.0.0.1:9/debian/ bookworm" in found.notes[0]
    assert "Could not connect" in found.notes[0]
