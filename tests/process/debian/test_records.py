"""What a snapshot says of a machine: with real shells, and alternatives that the real program has made."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.process.debian.admin import Admin
from vmtasks.debian import leftovers


@pytest.fixture
def admin(tmp_path: Path) -> Admin:
    return Admin(tmp_path)


def test_diversions_statoverrides_and_choices_of_alternatives_are_a_line_each(admin: Admin) -> None:
    directory = admin.admin / "alternatives"
    directory.mkdir()
    (admin.root / "etc/alternatives").mkdir(parents=True)
    tools = [admin.write(f"/usr/bin/{name}", "") for name in ("one", "two")]
    page = admin.write("/usr/share/man/one.1", "")
    program = ["update-alternatives", "--quiet", "--altdir", admin.root / "etc/alternatives", "--admindir", directory]
    program += ["--log", admin.root / "log"]
    for number, tool in enumerate(tools):
        slave = ["--slave", admin.root / "page", "page", page] if number == 0 else []
        subprocess.run([*program, "--install", admin.root / "tool", "tool", tool, str(number), *slave], check=True)
    subprocess.run([*program, "--install", admin.root / "set", "set", tools[0], "1"], check=True)
    subprocess.run([*program, "--set", "set", tools[0]], check=True)
    (admin.admin / "diversions").write_text("/usr/a\n/usr/a.x\ntiny\n/usr/b\n/usr/b.x\n:\n")
    (admin.admin / "statoverride").write_text("root ssl 710 /usr/c\n")
    assert admin.run(leftovers._RECORDS) == [
        "diversion of /usr/a to /usr/a.x by tiny",
        "diversion of /usr/b to /usr/b.x by LOCAL",
        "statoverride root ssl 710 /usr/c",
        "alternative set is manual",
        "alternative set: /usr/bin/one",
        "alternative tool: /usr/bin/one",
        "alternative tool: /usr/bin/two",
    ]


def test_where_dpkg_has_no_records_there_are_none(admin: Admin) -> None:
    assert admin.run(leftovers._RECORDS) == []


def states(admin: Admin) -> dict[str, str]:
    """Return what :data:`vmtasks.debian.leftovers._LIST` tells of the files below /etc."""
    script = leftovers._LIST.replace("find / -xdev", f"find {admin.root}/etc -xdev")
    script = script.replace("/proc/sys/kernel/hostname", f"{admin.root}/kernels")
    found: dict[str, str] = {}
    for entry in "\n".join(admin.run(script)).split("\0"):
        state, tab, path = entry.partition("\t")
        if tab:
            found[path] = f"{found.get(path, '')} {state}".strip()
    return found


def test_a_host_name_that_is_the_kernels_is_the_machines_own(admin: Admin) -> None:
    (admin.root / "kernels").write_text("install-1\n")
    admin.write("/etc/hostname", "install-1\n")
    admin.write("/etc/other", "x\n")
    before = states(admin)
    assert " = " in before["/etc/other"]
    (admin.root / "kernels").write_text("at-rest-2\n")
    admin.write("/etc/hostname", "at-rest-2\n")
    assert states(admin)["/etc/hostname"] == before["/etc/hostname"]
    admin.write("/etc/hostname", "taken-over\n")
    assert states(admin)["/etc/hostname"] != before["/etc/hostname"]
