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
    records: frozenset[str] = frozenset(),
) -> FilesystemState:
    files = {path: state for path, state in {**BASE, **also}.items() if path != without}
    return FilesystemState(
        files=files, packages=dict(packages), owned=dict(owned), processes=processes, records=records
    )


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
        "/etc/ssl/certs/thing.pem", "/etc/ssl/certs/0123abcd.0", "/" + "root/.ssh/id_thing", "/" + "root/.cache/thing",
        "/boot/initrd-thing", "/boot/grub/thing.cfg", "/usr/lib/udev/hwdb.d/thing.hwdb",
        "/etc/hostname", "/etc/resolv.conf", "/usr/share/mime/packages/thing.xml", "/usr/share/mime/thing",
        "/etc/ssl/certs", "/etc/cron.d",  # a file of that name
        "/var/lib/systemd/thing", "/var/log/apt-thing", "/etc/passwd.thing", "/var/log/dpkg.log.thing",
        "/var/lib/apt/thing.db", "/var/cache/apt/thing/x", "/var/lib/dpkg/thing", "/var/lib/dpkg/info/thing.cache",
        "/var/lib/dpkg/info/thing",
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
        "/usr/share/mime/mime.cache", "/usr/share/mime/application/x-thing.xml", "/etc/ssl/certs/ca-certificates.crt",
        "/etc/aliases", "/etc/mailname", "/var/mail/root", "/var/spool/exim4/db/retry", "/var/log/exim4/mainlog",
        "/boot/initrd.img-6.1.0-40-cloud-amd64", "/boot/grub/grub.cfg", "/usr/lib/udev/hwdb.bin",
        "/var/log/syslog", "/etc/init.d/.depend.boot", "/var/lib/update-rc.d/thing", "/" + "root/.ssh/authorized_keys",
        "/srv/vmtasks-repository/Packages", "/etc/apt/preferences.d/vmtasks-repository", "/var/lib/ucf/hashfile",
        "/usr/lib/x86_64-linux-gnu/gtk-3.0/3.0.0/immodules.cache",
        "/var/lib/dpkg/status-old", "/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/triggers/File",
        "/var/lib/apt/extended_states", "/var/cache/apt/pkgcache.bin", "/var/cache/apt/archives/thing_1_all.deb",
        "/var/www/html/index.html", "/var/spool/squid/00/00", "/etc/network/interfaces",
    ],
)  # fmt: skip
def test_what_a_machine_writes_by_itself_or_keeps_of_all_packages_does_not_count(path: str) -> None:
    assert told(snapshot(), snapshot(also={path: "h 644 0:0 - = bb"})) == []
    assert told(snapshot(also={path: "h 644 0:0 - = aa"}), snapshot(also={path: "h 644 0:0 - = bb"})) == []


@pytest.mark.parametrize(
    ("path", "state", "counts"),
    [
        ("/etc/ssl/certs/Some_CA.pem", "l /usr/share/ca-certificates/mozilla/Some_CA.crt", False),
        ("/etc/ssl/certs/0123abcd.0", "l Some_CA.pem", False),
        ("/etc/ssl/certs/thing.pem", "l /usr/share/thing/thing.crt", True),
        ("/etc/ssl/certs/0123abcd.0", "l /opt/thing", True),
        ("/etc/ssl/certs/thing", "d 755 0:0", True),
        ("/etc/ssl/certs", "d 755 0:0", False),
        ("/usr/share/mime/application", "d 755 0:0", False),
        ("/usr/share/mime/packages", "d 755 0:0", True),
        ("/etc/cron.d", "d 755 0:0", False),
        ("/var/lib/apache2", "d 755 0:0", False),
        ("/etc/php/8.2/cli/conf.d", "d 755 0:0", False),
        ("/etc/cron.d/thing", "d 755 0:0", True),
    ],
)
def test_some_links_and_directories_are_kept_of_all_packages(path: str, state: str, *, counts: bool) -> None:
    assert told(snapshot(), snapshot(also={path: state})) == ([f"left: {path}"] if counts else [])


def test_a_shared_link_that_is_made_a_file_has_changed() -> None:
    path, link = "/etc/ssl/certs/Some_CA.pem", "l /usr/share/ca-certificates/mozilla/Some_CA.crt"
    assert told(snapshot(also={path: link}), snapshot(also={path: "h 644 0:0 - = bb"})) == [f"changed: {path}"]


RECORDS = frozenset({"diversion of /bin/sh to /bin/sh.distrib by dash", "alternative editor: /usr/bin/nano"})


def test_records_that_outlive_a_purge_are_left_and_lost_ones_are_removed() -> None:
    left = {"diversion of /usr/no-such to /usr/no-such.x by thing", "statoverride root root 700 /usr/no-such"}
    after = snapshot(records=frozenset({*left, "alternative editor: /usr/bin/nano"}))
    assert told(snapshot(records=RECORDS), after) == [
        "removed: diversion of /bin/sh to /bin/sh.distrib by dash",
        "left: diversion of /usr/no-such to /usr/no-such.x by thing",
        "left: statoverride root root 700 /usr/no-such",
    ]


def test_records_of_packages_that_came_or_went_are_theirs() -> None:
    before = snapshot(records=frozenset({"diversion of /a to /b by libold", "alternative x: /usr/lib/libold.so"}))
    gone = snapshot(without="/usr/lib/libold.so", packages={"tool": "1"}, owned={"tool": OWNED["tool"]})
    assert told(before, gone) == []


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


def test_packages_that_were_removed_and_not_purged_are_known() -> None:
    assert snapshot(owned={**OWNED, "removed": frozenset({"/etc/removed.conf"})}).known == {"tool", "libold", "removed"}


def test_what_dpkg_keeps_of_packages_that_have_come_or_changed_does_not_count() -> None:
    after = snapshot(
        packages={"tool": "2", "libold": "1", "python3.11:amd64": "1"},
        also={
            f"/var/lib/dpkg/info/{name}": "f 644 0:0 9"
            for name in ("tool.list", "python3.11:amd64.md5sums", "python3.11.postinst", "libold.list", "libold.cache")
        },
    )
    before = snapshot(also={"/var/lib/dpkg/info/libold.list": "f 644 0:0 10"})
    assert told(before, after) == ["left: /var/lib/dpkg/info/libold.cache"]


def test_what_stays_of_packages_under_test_may_be_another_build_of_the_same_version() -> None:
    after = snapshot(
        also={"/usr/bin/tool": "f 755 0:0 101 2.0", "/usr/lib/libold.so": "f 644 0:0 8 1.0", "/etc/x": "h 644 0:0 -"}
    )
    assert list(map(str, compare(snapshot(), after, {"tool"}))) == ["left: /etc/x", "changed: /usr/lib/libold.so"]


def test_processes_that_go_on_are_told() -> None:
    before, after = (
        snapshot(processes=frozenset({"/sbin/init"})),
        snapshot(processes=frozenset({"/sbin/init", "sleep 9"})),
    )
    assert outlived(before, after) == ["sleep 9"]
