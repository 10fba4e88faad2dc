"""In which steps packages go, and what is said of it: no process, no machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vmtasks.debian import packages, purging
from vmtasks.debian.debfile import Package
from vmtasks.errors import TestFailed, TestSkipped

TINY = {"tiny": Package(path=Path("tiny.deb"), name="tiny", version="1.0", architecture="all")}
BASE = {"libc6:amd64": "1", "apt": "1"}


class FakeDpkg:
    """A guest that has dpkg's states alone."""

    name = "fake"

    def __init__(self, *, conffiles: Sequence[str] = ("tiny", "figlet"), stuck: str = "", jobs: str = "") -> None:
        self.states = dict.fromkeys([*BASE, "tiny", "figlet"], "installed")
        self.conffiles = conffiles
        self.stuck = stuck
        self.jobs = jobs
        self.important: dict[str, str] = {}
        self.done: list[str] = []

    def run(self, command: list[str], **_: object) -> Any:
        chroot = [command.pop(0), command.pop(0)][1] + ": " if command[0] == "chroot" else ""
        _, verb, *words = command
        names = [word for word in words if word in self.states]
        self.done.append(f"{chroot}{verb} {' '.join(names)}")
        for name in names:
            if verb == "remove" and name in self.conffiles:
                self.states[name] = "config-files"
            elif name != self.stuck:
                del self.states[name]
        return SimpleNamespace(ok=True)

    def query(self, command: str | list[str]) -> str:
        if "--simulate" in command:
            return "".join(f"Purg {name} [1]\n" for name in ("tiny",) if name in command)
        if any("Essential" in word for word in command):
            return "".join(f"{name} no no {self.important.get(name, '')}\n" for name in command if name in self.states)
        if "dpkg-query" in command:
            return "".join(f"{name} {state}\n" for name, state in self.states.items() if "--show" in command)
        if purging._JOBS in command:
            chroot = "" if command[0] == "/bin/sh" else f"{command[1]}: "
            self.done.append(f"{chroot}jobs of {command[command.index('sh') + 1]}")
            return self.jobs if "cron" in command else ""
        return ""


def fake(**options: Any) -> Any:
    return FakeDpkg(**options)


def test_what_packages_brought_goes_before_they_are_purged() -> None:
    guest = fake()
    assert packages.purge(guest, TINY, BASE) == []
    assert guest.done == ["remove tiny", "jobs of logrotate", "purge figlet", "jobs of cron", "purge tiny"]


def test_at_rest_the_steps_are_the_same() -> None:
    guest = fake()
    packages.purge_at_rest(guest, TINY, BASE)
    steps = ["remove tiny", "jobs of logrotate", "purge figlet", "jobs of cron", "purge tiny"]
    assert guest.done == [f"{packages.AT_REST}: {step}" for step in steps]


def test_a_package_of_which_nothing_stays_is_not_purged_once_more() -> None:
    guest = fake(conffiles=())
    packages.purge(guest, TINY, BASE)
    assert guest.done[-1] == "jobs of cron"
    assert guest.states == dict.fromkeys(BASE, "installed")


@pytest.mark.parametrize("stuck", ["tiny", "figlet"])
def test_what_dpkg_still_knows_is_told(stuck: str) -> None:
    with pytest.raises(TestFailed, match=f"after a purge dpkg still knows {stuck}"):
        packages.purge(fake(stuck=stuck), TINY, BASE)


def test_what_must_stay_stays() -> None:
    stays = {"apt": Package(path=Path("apt.deb"), name="apt", version="1", architecture="all", must_stay=True)}
    with pytest.raises(TestSkipped, match="Essential, Protected or Important: apt"):
        packages.purge(fake(), stays, BASE)
    guest = fake()
    packages.purge(guest, {**TINY, **stays}, {"libc6:amd64": "1"})
    assert "apt" in guest.states


def test_a_purge_that_would_take_along_what_apt_does_not_remove_is_skipped() -> None:
    guest = fake()
    guest.important = {"tiny": "yes"}
    with pytest.raises(TestSkipped, match="take along what the machine cannot do without: tiny"):
        packages.purge(guest, TINY, BASE)


def test_jobs_that_complain_are_told_in_their_own_lines() -> None:
    jobs = "/etc/cron.daily/tiny\tfiglet: not found\n/etc/cron.daily/tiny\texit status 127\n/etc/cron.weekly/t\tx\n"
    complaints = packages.purge(fake(jobs=jobs), TINY, BASE)
    with pytest.raises(TestFailed) as failure:
        packages.expect_silence(complaints)
    assert str(failure.value) == (
        "/etc/cron.daily/tiny complains while its package is removed and not purged: figlet: not found "
        "(/etc/cron.weekly/t too)"
    )
    assert failure.value.details[1] == "/etc/cron.daily/tiny: exit status 127"
    packages.expect_silence([])
