"""Packages under test beside those that apt knows already."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vmtasks import events
from vmtasks.debian import packages
from vmtasks.debian.debfile import Package
from vmtasks.errors import TestFailed


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


class Choosy:
    """A guest whose apt-get installs no two packages together that exclude each other."""

    name = "choosy"

    def __init__(self, *excluding: set[str], archive: str = "") -> None:
        self.excluding = excluding
        self.archive = archive
        self.installed: list[list[str]] = []

    def run(self, command: list[str], **_: object) -> Any:
        names = {Path(word).stem for word in command}
        is_ok = not any(pair <= names for pair in self.excluding)
        if "--simulate" not in command:
            words = [word for word in command if not word.startswith("-") and "=" not in word]
            self.installed.append(words[2:])  # without "apt-get install"
        return SimpleNamespace(ok=is_ok)

    def query(self, command: str) -> str:
        return "".join(f"{name} | 1 | archive\n" for name in self.archive.split() if name in command.split())

    def put(self, source: Path, target: str) -> None:
        del source, target


class Outdated(Choosy):
    """... and whose package lists do not have what one needs, until it has to be fetched."""

    needs = "b"

    def run(self, command: list[str], **_: object) -> Any:
        if "--simulate" in command and self.needs in command:
            return SimpleNamespace(ok=False)
        self.needs = ""
        assert "--simulate" in command or "--download-only" in command
        return super().run(command)


def some(*names: str) -> Mapping[str, Package]:
    return {name: Package(path=Path(f"/debs/{name}.deb"), name=name, version="1", architecture="all") for name in names}


@pytest.fixture(autouse=True)
def notes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(events, "emit", lambda event: found.append(event.text))
    return found


def test_lists_that_are_out_of_date_do_not_have_packages_installed_before_their_time() -> None:
    sets = packages.sets_of(Outdated(), dict(some("b", "a")))  # type: ignore[arg-type]
    assert [list(one) for one in sets] == [["b", "a"]]


def test_lists_that_are_out_of_date_do_not_have_packages_exclude_each_other(notes: list[str]) -> None:
    sets = packages.sets_of(Outdated(), dict(some("a", "b", "c")))  # type: ignore[arg-type]
    assert [list(one) for one in sets] == [["a", "b", "c"]]
    assert not notes
    sets = packages.sets_of(Outdated({"a", "b"}), dict(some("a", "b", "c")))  # type: ignore[arg-type]
    assert [list(one) for one in sets] == [["a", "c"], ["b", "c"]]


def test_older_packages_of_the_archive_that_exclude_each_other_are_in_sets(notes: list[str]) -> None:
    guest: Any = Choosy({"tcp", "tcp-ipv6"}, archive="tcp tcp-ipv6 doc")
    sets = packages.older_sets(guest, {}, ["tcp", "tcp-ipv6", "new", "doc"])
    assert sets == [["tcp", "doc", "new"], ["tcp-ipv6", "doc"]]
    assert notes == ["the older packages exclude each other, and are tried in 2 sets: tcp, doc; tcp-ipv6, doc"]
    for one in sets:
        packages.install_older(guest, {}, one)
    assert guest.installed == [["tcp", "doc"], ["tcp-ipv6", "doc"]]


def test_older_packages_of_this_host_that_exclude_each_other_are_in_sets() -> None:
    guest: Any = Choosy({"tcp", "tcp-ipv6"})
    old = dict(some("tcp", "tcp-ipv6"))
    sets = packages.older_sets(guest, old, ["tcp", "tcp-ipv6"])
    assert sets == [["tcp"], ["tcp-ipv6"]]
    packages.install_older(guest, old, sets[1])
    assert guest.installed == [[f"{packages.OLDER}/tcp-ipv6.deb"]]


def test_what_the_archive_has_not_is_one_set_and_so_is_what_goes_together() -> None:
    assert packages.older_sets(Choosy(), {}, ["a", "b"]) == [["a", "b"]]  # type: ignore[arg-type]
    assert packages.older_sets(Choosy(archive="b a"), {}, ["a", "b"]) == [["a", "b"]]  # type: ignore[arg-type]
    assert list(packages.sets_of(Choosy(), dict(some("a", "b")))[0]) == ["a", "b"]  # type: ignore[arg-type]


def test_files_that_are_not_as_unpacked_are_named() -> None:
    rows = [f"changed: /etc/tiny{number}" for number in range(5)]
    with pytest.raises(TestFailed, match=r"changed: /etc/tiny0, .*, changed: /etc/tiny2 and 2 more") as failure:
        packages.expect_unaltered(rows)
    assert len(failure.value.details) == 5
    packages.expect_unaltered([])


def test_below_var_is_where_services_write() -> None:
    rows = ["changed: /var/lib/x: /etc", "missing: /var/x", "changed: /etc/a: /var/x", "changed: /variable"]
    assert packages.below_var(rows) == rows[:2]
