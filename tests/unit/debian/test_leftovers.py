"""What counts as left behind, changed or removed."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from vmtasks.debian.leftovers import FilesystemState, compare, outlived

BASE = {
    "/etc": "d 755 0:0",
    "/etc/adduser.conf": "h 644 0:0 - = aa",
    "/usr/bin/tool": "f 755 0:0 100 1.0",
    "/usr/lib/python3/dist-packages/thing": "d 755 0:0",
    "/usr/lib/libold.so": "f 644 0:0 9 1.0",
    "/var/log": "d 755 0:0",
}
PACKAGES = {"tool": "1", "libold": "1"}
OWNED = {"tool": frozenset({"/usr/bin/tool"}), "libold": frozenset({"/usr/lib/libold.so"})}


def snapshot(
    *,
    also: Mapping[str, str] = {},
    without: str = "",
    packages: Mapping[str, str] = PACKAGES,
    owned: Mapping[str, frozenset[str]] = OWNED,
    processes: frozenset[str] = frozenset(),
) -> FilesystemState:
    files = {path: state for path, state in {**BASE, **also}.items() if path != without}
    return FilesystemState(files=files, packages=dict(packages), owned=dict(owned), processes=processes)


def told(before: FilesystemState, after: FilesystemState) -> list[str]:
    return list(map(str, compare(before, after)))


def test_a_machine_that_is_as_it_was_has_nothing_to_tell() -> None:
    assert told(snapshot(), snapshot()) == []


@pytest.mark.parametrize(
    "path",
    [
        "/var/log/thing", "/var/cache/thing/x", "/srv/thing", "/home/thing/left", "/" + "root/thing", "/opt/x",
        "/boot/x",
        "/etc/thing.conf", "/var/lib/thing", "/var/tmp/thing", "/usr/share/thing", "/usr/bin/dangling",
        "/var/lib/systemd/thing", "/var/log/apt-thing", "/etc/passwd.thing", "/var/log/dpkg.log.thing",
    ],
)  # fmt: skip
def test_files_are_left_wherever_they_are(path: str) -> None:
    assert told(snapshot(), snapshot(also={path: "h 644 0:0 - = bb"})) == [f"left: {path}"]


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd", "/etc/passwd-", "/etc/shadow", "/etc/subuid", "/etc/ld.so.cache", "/var/log/dpkg.log",
        "/var/log/apt/term.log", "/var/log/journal/0/system.journal", "/var/cache/debconf/config.dat",
        "/var/cache/ldconfig/aux-cache", "/var/lib/systemd/timers/stamp-x", "/var/log/wtmp",
        "/usr/share/mime/mime.cache",
        "/srv/vmtasks-repository/Packages", "/etc/apt/preferences.d/vmtasks-repository", "/var/lib/ucf/hashfile",
        "/usr/lib/x86_64-linux-gnu/gtk-3.0/3.0.0/immodules.cache",
    ],
)  # fmt: skip
def test_what_a_machine_writes_by_itself_or_keeps_of_all_packages_does_not_count(path: str) -> None:
    assert told(snapshot(), snapshot(also={path: "h 644 0:0 - = bb"})) == []
    assert told(snapshot(also={path: "h 644 0:0 - = aa"}), snapshot(also={path: "h 644 0:0 - = bb"})) == []


@pytest.mark.parametrize(
    ("path", "state"),
    [
        ("/etc/adduser.conf", "h 644 0:0 - = bb"),
        ("/etc/adduser.conf", "h 666 0:0 - = aa"),
        ("/usr/bin/tool", "f 755 0:0 100 2.0"),
        ("/usr/bin/tool", "l ../elsewhere"),
        ("/etc", "d 755 0:7"),
    ],
)
def test_what_changed_counts_and_so_does_its_mode(path: str, state: str) -> None:
    assert told(snapshot(), snapshot(also={path: state})) == [f"changed: {path}"]


def test_what_is_gone_counts() -> None:
    assert told(snapshot(), snapshot(without="/usr/bin/tool")) == ["removed: /usr/bin/tool"]


def test_a_package_that_came_went_or_changed_has_its_files() -> None:
    gone = snapshot(without="/usr/lib/libold.so", packages={"tool": "1"}, owned={"tool": OWNED["tool"]})
    assert told(snapshot(), gone) == []
    newer = snapshot(also={"/usr/bin/tool": "f 755 0:0 120 9.0"}, packages={**PACKAGES, "tool": "2"})
    assert told(snapshot(), newer) == []
    came = snapshot(
        also={"/usr/bin/new": "f 755 0:0 1 1.0", "/usr/bin/other": "f 755 0:0 1 1.0"},
        packages={**PACKAGES, "new": "1"},
        owned={**OWNED, "new": frozenset({"/usr/bin/new"})},
    )
    assert told(snapshot(), came) == ["left: /usr/bin/other"]


def test_a_file_of_a_package_that_stayed_is_not_excused_by_one_that_went() -> None:
    after = snapshot(also={"/usr/bin/tool": "f 755 0:0 1 9.0"}, without="/usr/lib/libold.so", packages={"tool": "1"})
    assert told(snapshot(), after) == ["changed: /usr/bin/tool"]


def test_compiled_python_is_left_by_who_brought_the_module_and_not_by_who_imports_it() -> None:
    cache = "__pycache__/x.cpython-311.pyc"
    known, new = "/usr/lib/python3/dist-packages/thing", "/usr/lib/python3/dist-packages/other"
    after = snapshot(also={f"{known}/{cache}": "f 644 0:0 1 1.0", f"{new}/{cache}": "f 644 0:0 1 1.0"})
    assert told(snapshot(), after) == [f"left: {new}/{cache}"]


def test_processes_that_go_on_are_told() -> None:
    before, after = (
        snapshot(processes=frozenset({"/sbin/init"})),
        snapshot(processes=frozenset({"/sbin/init", "sleep 9"})),
    )
    assert outlived(before, after) == ["sleep 9"]
