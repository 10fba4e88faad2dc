"""debian/control as dpkg's library reads it: what is left of it on this architecture, with these profiles."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from vmtasks import BootOptions, CommandFailed, Guest
from vmtasks.project import builddeps
from vmtasks.providers.base import MachineRequest
from vmtasks.testing import FakeProvider

CONTROL = """\
Source: thing
Build-Depends: debhelper-compat (= 13), no-such | ed, other [m68k] | bc,
# a comment
 libx (<< 2) | libx (>= 3) | liby, tests <!nocheck>, docs <stage1>, gcc:native, python3:any (>= 3.11)
Build-Depends-Arch: only-linux [linux-any], only-hurd [hurd-any]
Build-Depends-Indep: man-db,
Build-Conflicts: autoconf2.13, old [m68k]
Build-Conflicts-Indep: tests <!nocheck>

Package: thing
Architecture: any
Description: any

Package: thing-hurd
Architecture: hurd-any m68k
Description: elsewhere

Package: thing-doc
Architecture: all
Build-Profiles: <!nodoc>
Description: documents

Package: thing-stage1
Architecture: linux-any
Build-Profiles: <stage1>
Description: for those who bootstrap
"""


@pytest.fixture(scope="module")
def guest() -> Iterator[Guest]:
    if subprocess.run(["perl", "-MDpkg::Control::Info", "-e1"], stderr=subprocess.DEVNULL, check=False).returncode:
        pytest.skip("this host has no libdpkg-perl; tests/vm/test_build_deb.py asks a machine that has")
    with FakeProvider().machine(MachineRequest(image="bookworm-build", options=BootOptions())) as guest:
        yield guest


def left(guest: Guest, control: str, profiles: str = "") -> tuple[dict[str, str], list[str]]:
    """Return the fields that are left, and the packages."""
    source, *packages = builddeps.reduced(guest, control, {"DEB_BUILD_PROFILES": profiles}).split("\n\n")
    fields = dict(line.split(": ", 1) for line in source.splitlines())
    return fields, [package.splitlines()[0].removeprefix("Package: ") for package in packages]


def test_what_counts_here_is_left_and_of_alternatives_the_first(guest: Guest) -> None:
    fields, packages = left(guest, CONTROL)
    assert fields == {
        "Source": "thing",
        "Build-Depends": "debhelper-compat (= 13), no-such, bc, libx (<< 2) | libx (>= 3), tests, gcc:native, "
        "python3:any (>= 3.11)",
        "Build-Depends-Arch": "only-linux",
        "Build-Depends-Indep": "man-db",
        "Build-Conflicts": "autoconf2.13",
        "Build-Conflicts-Indep": "tests",
    }
    assert packages == ["thing", "thing-doc"]


def test_profiles_take_away_and_add(guest: Guest) -> None:
    fields, packages = left(guest, CONTROL, "nocheck nodoc stage1")
    assert "tests" not in fields["Build-Depends"]
    assert "docs" in fields["Build-Depends"]
    assert "Build-Conflicts-Indep" not in fields
    assert packages == ["thing", "thing-stage1"]


def test_a_dsc_says_no_packages_and_one_without_dependencies_is_whole(guest: Guest) -> None:
    assert left(guest, "Source: thing\nBuild-Depends: ed\n") == ({"Source": "thing", "Build-Depends": "ed"}, [])
    assert left(guest, "Source: thing\n\nPackage: x\nArchitecture: m68k\n") == ({"Source": "thing"}, [])


@pytest.mark.parametrize("control", ["", "no control\n", "Source: thing\nBuild-Depends: ed >> 1\n"])
def test_what_dpkg_cannot_read_is_one_sentence(guest: Guest, control: str) -> None:
    with pytest.raises(CommandFailed, match=r"^cannot read debian/control: ") as failure:
        builddeps.reduced(guest, control, {})
    assert "perl -e" not in str(failure.value)
