"""What a guest answers where tests have put another program in a program's place: never a traceback of ours."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from vmtasks.debian import apt, changes, installed, kernels, leftovers, packages, purging
from vmtasks.debian.debfile import Package
from vmtasks.errors import TestFailed
from vmtasks.guest import Guest
from vmtasks.guest.answers import at_least, number_of, rows_of
from vmtasks.guest.boot_loader import BootLoader
from vmtasks.guest.grub_config import entries_of
from vmtasks.guest.power import Boot
from vmtasks.providers.qemu.bake import _work

BAD = ("", "\n", "x", "x\n", "x y\n", "x y z a\n", "x\ty\n", "x y\n\nz\n", "-1", "nan", "1e999", "9" * 5000, "\x1c\x85")


def guest_of(answer: str) -> Guest:
    """Return a guest that answers every question in the same way."""
    answers = SimpleNamespace(name="m", query=lambda *_, **__: answer, put=lambda *_, **__: None)
    return cast("Guest", answers)


TINY = {"tiny": Package(path=Path(__file__), name="tiny", version="1.0", architecture="all")}
ASKED: dict[str, Callable[[Guest], object]] = {
    "installed": lambda guest: installed.versions(guest, ["tiny"]),
    "installed_names": installed.known_names,
    "essential": lambda guest: purging._essential(guest, ["tiny"]),
    "prove": lambda guest: packages.prove(guest, TINY),
    "twins": lambda guest: packages._twins(TINY, guest.query("")),
    "twins of a size": lambda guest: packages._twins(TINY, f"Package: tiny\nSize: {guest.query('')}\nSHA256: x\n"),
    "twins in stanzas": lambda guest: packages._twins(TINY, f"Package: {guest.query('')}Package: Package: "),
    "snapshot": leftovers.snapshot,
    "would_remove": lambda guest: apt.would_remove(guest_of(f"Purg {guest.query('')}"), ["tiny"]),
    "expect_running": lambda guest: kernels.expect_running(guest, "6.1"),
    "cpu_count": Guest.cpu_count,
    "boot": lambda guest: Boot("", 0.0).is_over(cast("Any", guest)),
    "work": lambda guest: _work(guest, cast("Any", SimpleNamespace(packages=()))),
    "changes": lambda guest: changes.read("x", f"Checksums-Sha256:\n {'a' * 64} {guest.query('')} x\n"),
    "grub.cfg": lambda guest: entries_of(f"menuentry {guest.query('')} {{\nlinux /x\n}}\n"),
}


@pytest.mark.parametrize("asked", [*ASKED])
def test_an_answer_that_is_none_is_the_projects_failure(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmtasks.providers.qemu.bake.apply_layer", lambda *_: None)
    for answer in BAD:
        with suppress(TestFailed):
            ASKED[asked](guest_of(answer))


def test_grub_settings_that_say_too_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BootLoader, "kind", "x")
    loader = BootLoader(guest_of("x\n"))
    with pytest.raises(TestFailed, match="/etc/default/grub"):
        loader._settings()


def test_good_answers_are_read() -> None:
    assert rows_of("a  not-installed\nb 1.0 installed\n", 3, of="x") == [
        ["a", "", "not-installed"],
        ["b", "1.0", "installed"],
    ]
    assert installed.versions(guest_of("a  not-installed\nb 1.0 installed\n"), ["a", "b"]) == {"b": "1.0"}
    assert purging._essential(guest_of("a yes  \nb   \nc  yes \nd no no \ne no no yes\n"), ["a"]) == ["a", "c", "e"]
    assert number_of("12.5\n", of="x") == 12.5
    assert at_least(["a", "b"], 1, of="x") == ["a", "b"]
