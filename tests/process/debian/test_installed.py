"""Whether the files of packages are as they were unpacked: with real dpkg-query and dpkg-divert."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.process.debian.admin import Admin
from vmtasks.debian import installed
from vmtasks.debian.debfile import Package


@pytest.fixture
def admin(tmp_path: Path) -> Admin:
    admin = Admin(tmp_path)
    admin.add("tiny", {"/usr/bin/tiny": "1\n", "/usr/share/a name": "2\n"}, {"/etc/tiny.conf": "3\n"})
    admin.add("other", {"/usr/bin/other": "4\n"})
    return admin


def altered(admin: Admin, *names: str) -> list[str]:
    return admin.run(installed._ALTERED, *(names or ("tiny",)))


def test_files_that_are_as_they_were_unpacked_are_none(admin: Admin) -> None:
    assert altered(admin, "tiny", "other:amd64") == []


def test_a_changed_conffile_and_a_missing_file_are_named(admin: Admin) -> None:
    admin.write("/etc/tiny.conf", "3\n# tiny was here\n")
    admin.write("/usr/share/a name", "")
    (admin.root / "usr/bin/tiny").unlink()
    assert sorted(altered(admin)) == ["changed: /etc/tiny.conf", "changed: /usr/share/a name", "missing: /usr/bin/tiny"]


def test_a_conffile_that_the_package_has_no_more_does_not_count(admin: Admin) -> None:
    admin.add("third", {}, {"/etc/third.conf": "1\n"}, flags=" obsolete")
    admin.write("/etc/third.conf", "2\n")
    assert altered(admin, "third") == []


def test_a_file_that_another_package_took_over_is_not_the_packages(admin: Admin) -> None:
    listing = admin.admin / "info/tiny.list"
    listing.write_text(listing.read_text().replace(f"{admin.root}/usr/bin/tiny\n", ""))
    admin.add("another", {"/usr/bin/tiny": "of another\n"})
    assert altered(admin) == []


def test_a_file_that_the_sums_name_and_no_package_has_is_missing(admin: Admin) -> None:
    with (admin.admin / "info/tiny.md5sums").open("a") as file:
        file.write(f"{'0' * 32}  {str(admin.root)[1:]}/usr/share/doc/not-shipped\n")
    assert altered(admin) == ["missing: /usr/share/doc/not-shipped"]


def divert(admin: Admin, by: str) -> None:
    path = f"{admin.root}/usr/bin/tiny"
    (admin.admin / "diversions").write_text(f"{path}\n{path}.distrib\n{by}\n")


@pytest.mark.parametrize("by", ["other", ":"])
def test_a_file_that_another_has_diverted_lies_elsewhere(admin: Admin, by: str) -> None:
    divert(admin, by)
    (admin.root / "usr/bin/tiny").rename(admin.root / "usr/bin/tiny.distrib")
    admin.write("/usr/bin/tiny", "of another\n")
    assert altered(admin) == []
    admin.write("/usr/bin/tiny.distrib", "changed\n")
    assert altered(admin) == ["changed: /usr/bin/tiny.distrib"]


def test_who_diverts_has_the_name_itself(admin: Admin) -> None:
    divert(admin, "tiny")
    assert altered(admin) == []
    admin.write("/usr/bin/tiny", "changed\n")
    assert altered(admin) == ["changed: /usr/bin/tiny"]


def test_what_dpkg_was_told_to_leave_out_is_not_missed(admin: Admin) -> None:
    admin.write("/etc/dpkg/dpkg.cfg", "# defaults\nno-debsig\n")
    filters = f"path-exclude={admin.root}/usr/*\npath-include={admin.root}/usr/bin/*\n"
    admin.write("/etc/dpkg/dpkg.cfg.d/left-out", filters)
    for path in ("usr/share/a name", "usr/bin/tiny"):
        (admin.root / path).unlink()
    assert altered(admin) == ["missing: /usr/bin/tiny"]


class Answering:
    """A guest whose dpkg-query has been asked already, and which compares versions as any Debian does."""

    def __init__(self, **there: str) -> None:
        self.there = there

    def query(self, command: str) -> str:
        if "dpkg-query" in command:
            return "".join(f"{name} {version} installed\n" for name, version in self.there.items())
        return subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=True).stdout


def test_what_is_there_and_newer_is_named() -> None:
    names = ("older", "same", "newer", "epoch", "tilde", "absent")
    packages = {name: Package(path=Path(name), name=name, version="1.0-1", architecture="all") for name in names}
    guest: Any = Answering(older="0.9-9", same="1.0-1", newer="1.0-1+deb12u1", epoch="1:0.1", tilde="1.0-1~bpo12+1")
    assert installed.newer_ones(guest, packages) == {"newer": "1.0-1+deb12u1", "epoch": "1:0.1"}
    assert installed.newer_ones(Answering(same="1.0-1"), packages) == {}  # type: ignore[arg-type]
