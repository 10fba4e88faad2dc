"""apt in a guest: what is the project's fault, and what is not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest

from vmtasks import CommandFailed, HostError, Result, TestFailed
from vmtasks.debian import apt

UNREACHABLE = "Err:1 http://mirror.invalid x\nW: Failed to fetch http://mirror.invalid/x  Could not connect\n"


class Stub:
    """A guest whose apt-get answers as it is told to, by the word that says what it is to do."""

    name = "m"
    is_local = False

    def __init__(self, **answers: tuple[int, str]) -> None:
        self.answers = answers
        self.ran: list[str] = []

    def query(self, command: Any) -> str:
        return "tiny.service loaded failed failed tiny\n" if "list-units" in str(command) else "bind: port is taken\n"

    def run(self, command: Sequence[str], **_: Any) -> Result:
        self.ran.append(command[1])
        status, text = self.answers.get(command[1], (0, ""))
        return Result(machine="m", command="", exited=status, stdout=text, stderr="", duration_s=0.0)


def apt_in(guest: Stub) -> None:
    apt.install(guest, ["thing"])  # type: ignore[arg-type]


def test_what_works_needs_no_lists() -> None:
    guest = Stub()
    apt_in(guest)
    assert guest.ran == ["install"]


def test_a_package_that_is_not_there_is_the_projects_fault() -> None:
    guest = Stub(install=(100, "E: Unable to locate package thing\n"))
    with pytest.raises(
        CommandFailed, match="apt-get cannot install thing on m: Unable to locate package thing"
    ) as failure:
        apt_in(guest)
    assert guest.ran == ["install", "update", "install"]
    assert failure.value.details == ("E: Unable to locate package thing",)


def test_a_mirror_out_of_reach_is_not_although_apt_calls_that_a_success() -> None:
    guest = Stub(install=(100, "E: Unable to locate package thing\n"), update=(0, UNREACHABLE))
    with pytest.raises(HostError, match="m cannot reach Debian's archive: W: Failed to fetch"):
        apt_in(guest)


def test_a_mirror_that_goes_away_meanwhile_is_not_either() -> None:
    guest = Stub(install=(100, UNREACHABLE))
    with pytest.raises(HostError, match="cannot reach Debian's archive"):
        apt_in(guest)


def test_what_dpkg_refuses_is_not_tried_again_and_no_fault_of_the_mirror() -> None:
    output = "Failed to fetch my breakfast, says a postinst\nE: Sub-process /usr/bin/dpkg returned an error code (1)\n"
    guest = Stub(install=(100, output))
    # ... and the unit that failed tells why.
    with pytest.raises(
        CommandFailed, match=r"apt-get cannot install thing on m: tiny\.service: bind: port is taken"
    ) as one:
        apt_in(guest)
    assert guest.ran == ["install"]
    assert one.value.details[-1] == "tiny.service: bind: port is taken"


@pytest.mark.parametrize(
    "sentence",
    [
        "installed tiny package post-installation script subprocess returned error exit status 1",
        "old tiny package postinst maintainer script subprocess failed with exit status 1",  # dpkg 1.23
        "new tiny package pre-installation script subprocess was killed by signal (Killed)",
    ],
)
@pytest.mark.parametrize("error", ["E", "Error"])
def test_what_a_maintainer_script_says_is_the_reason(sentence: str, error: str) -> None:
    output = (
        "Setting up tiny (1.0) ...\ntiny: /var/lib/tiny is missing\n"
        "dpkg: error processing package tiny (--configure):\n"
        f" {sentence}\n{error}: Sub-process /usr/bin/dpkg returned an error code (1)\n"
    )
    guest = Stub(install=(100, output))
    with pytest.raises(CommandFailed, match=re.escape(f"apt-get cannot install thing on m: {sentence}")) as failure:
        apt_in(guest)
    assert guest.ran == ["install"]
    assert "tiny: /var/lib/tiny is missing" in failure.value.details


def test_a_mirror_that_answers_this_host_is_out_of_the_guests_reach_by_its_own_doing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    guest = Stub(install=(100, UNREACHABLE))
    guest.is_local = True
    for answers, error in ((True, TestFailed), (False, HostError)):
        monkeypatch.setattr(apt, "_is_reachable", lambda _, answers=answers: answers)
        with pytest.raises(error, match="m cannot reach Debian's archive"):
            apt_in(guest)
