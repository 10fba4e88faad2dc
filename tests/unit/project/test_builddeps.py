"""Build dependencies that cannot be installed: what is said of them, and how often it is tried."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from vmtasks import CommandFailed, Result
from vmtasks.project import builddeps

MISSING = """\
Reading package lists...
The following packages have unmet dependencies:
 builddeps:/var/tmp/tmp.x : Depends: no-such-package-for-tests but it is not installable
                            Depends: ed (>= 99) but 1.19-1 is to be installed
                            Depends: ed (>= 99) but 1.19-1 is to be installed
"""
HELD = "E: Unable to correct problems, you have held broken packages.\n"
BROKEN = """\
Setting up ed (1.19-1) ...
ed is broken today
dpkg: error processing package ed (--configure):
 installed ed package post-installation script subprocess returned error exit status 1
Errors were encountered while processing:
 ed
"""
SUBPROCESS = "E: Sub-process /usr/bin/dpkg returned an error code (1)\n"


class Stub:
    """A guest in which something is missing, and whose apt-get answers as it is told to."""

    name = "build"

    def __init__(self, status: int, stdout: str, stderr: str) -> None:
        self.answer = status, stdout, stderr
        self.ran: list[str] = []

    @contextmanager
    def tmp_dir(self) -> Iterator[str]:
        yield "/tmp/x"

    def query(self, *_: Any, **__: Any) -> str:
        return ""

    def run(self, command: Sequence[str], **_: Any) -> Result:
        status, stdout, stderr = (
            self.answer if "build-dep" in command else (1 if "apt-get" not in command else 0, "", "")
        )
        self.ran.append(" ".join(command[:2]))
        return Result(machine="build", command="", exited=status, stdout=stdout, stderr=stderr, duration_s=0.0)


def ended(stdout: str, stderr: str) -> Result:
    return Result(machine="build", command="", exited=100, stdout=stdout, stderr=stderr, duration_s=0.0)


def test_what_is_missing_is_named_once_lists_are_fresh() -> None:
    guest = Stub(100, MISSING, HELD)
    with pytest.raises(CommandFailed) as failure:
        builddeps.install(guest, "Source: x\n")  # type: ignore[arg-type]
    assert str(failure.value) == (
        "cannot install the build dependencies on build: "
        "it needs no-such-package-for-tests, but it is not installable; "
        "it needs ed (>= 99), but 1.19-1 is to be installed"
    )
    assert guest.ran == ["dpkg-checkbuilddeps", "apt-get build-dep", "apt-get update", "apt-get build-dep"]


def test_a_package_that_cannot_be_configured_is_not_tried_again() -> None:
    guest = Stub(100, BROKEN, SUBPROCESS)
    with pytest.raises(CommandFailed, match="dpkg cannot install ed") as failure:
        builddeps.install(guest, "Source: x\n")  # type: ignore[arg-type]
    assert "ed is broken today" in failure.value.details
    assert guest.ran == ["dpkg-checkbuilddeps", "apt-get build-dep"]


def test_what_stands_in_the_way_is_said_of_the_package_that_minds() -> None:
    output = (
        "The following packages have unmet dependencies:\n base-files : PreDepends: awk\n"
        " builddeps:/x : Depends: mawk but it is not installable\n"
        "                Conflicts: base-files but 13.8 is to be installed\n"
    )
    assert builddeps.cause(ended(output, HELD)) == (
        "base-files needs awk; it needs mawk, but it is not installable; "
        "it must be without base-files, but 13.8 is to be installed"
    )


def test_what_apt_says_otherwise_is_said() -> None:
    assert builddeps.cause(ended("", HELD)) == "Unable to correct problems, you have held broken packages."
    assert builddeps.cause(ended("", "")) == "apt does not say why"
    assert builddeps.cause(ended("Setting up ed\n", SUBPROCESS)) == "dpkg failed"
