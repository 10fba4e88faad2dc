"""What a package leaves behind when it is purged: files that are new, changed or gone, and processes that go on.

The verdict is to be piuparts': whatever a machine writes by itself, or keeps of all packages together, does not count.
Source: Debian Policy 6.8 and 10.7.3.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from vmtasks.debian.shared_state import is_shared
from vmtasks.errors import TestFailed
from vmtasks.guest import Guest, answers

_INFO = "/var/lib/dpkg/info"
"""Where dpkg keeps what it has of each package, in files of its name."""
_SHOWN = 30
"""How many a report names."""
Kind = Literal["changed", "removed", "left"]

# Contents count where no package manager vouches for them; below /usr and /boot there are many files, and size and
# time tell; of what dpkg and apt keep, the size does. Names end in a zero byte, since they may have line feeds in them.
# Each copy of a machine has a host name of its own, which is no change as long as it is the kernel's, too.
_LIST = """# list all files
own=/proc
[ "$(cat /etc/hostname 2>/dev/null)" != "$(cat /proc/sys/kernel/hostname)" ] || own=/etc/hostname
find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /build \\
    -o -path /var/lib/apt/lists -o -path /home/builder \\) -prune \\
    -o -type f \\( -path '/usr/*' -o -path '/boot/*' \\) -printf 'f %m %U:%G %s %T@\\t%p\\0' \\
    -o -type f \\( -path '/var/lib/apt/*' -o -path '/var/cache/apt/*' -o -path '/var/lib/dpkg/*' \\) \\
    -printf 'f %m %U:%G %s\\t%p\\0' \\
    -o -type f -printf 'h %m %U:%G -\\t%p\\0' -o -type l -printf 'l %l\\t%p\\0' -o -printf '%y %m %U:%G\\t%p\\0'
find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /build -o -path /usr \\
    -o -path /boot -o -path /var/lib/apt -o -path /var/cache/apt -o -path /var/lib/dpkg -o -path /var/log/journal \\
    -o -path /home/builder -o -path $own \\) -prune -o -type f -print0 | xargs -0r md5sum -z |
    sed -z 's/^\\(\\S*\\)  /= \\1\\t/'
"""
_PACKAGES = "dpkg-query --show --showformat='${binary:Package}\\t${Version}\\t${db:Status-Status}\\n'"
# Of each package its files, by the names that they have with a merged /usr.
_OWNED = """# list the files of all packages
cd /var/lib/dpkg/info
for d in /bin /sbin /lib*; do [ ! -L $d ] || echo "$d"; done
echo --
awk '{ print substr(FILENAME, 1, length(FILENAME) - 5) "\\t" $0 }' *.list
"""
# Kernel threads have no command line, and what belongs to a login or to this question is not there for long.
_PROCESSES = "ps --ppid 2 -p 2 --deselect -o pid=,lstart=,args="
_PASSING = re.compile(r"^(?:\S+/)?(?:sshd|sshd-session|sh|bash|ps|sudo|env|\(sd-pam\)|systemd --user)\b|^\[")

# Three lines for each diversion. Of an alternative: its mode, its link, two lines for each of its slaves, an empty one;
# then its choices, each with its priority and a line for each slave, which may be empty; an empty one in the end.
_RECORDS = """# list what dpkg was told about files, whether they are there or not
cd /var/lib/dpkg || exit 0
awk 'NR % 3 == 1 { from = $0 } NR % 3 == 2 { to = $0 }
    NR % 3 == 0 { print "diversion of " from " to " to " by " ($0 == ":" ? "LOCAL" : $0) }' diversions 2>/dev/null
sed 's/^/statoverride /' statoverride 2>/dev/null
for file in alternatives/*; do [ -f "$file" ] || exit 0; done
awk 'FNR == 1 {
        name = substr(FILENAME, 14); lines = 0; part = "slaves"; count = 0
        if ($0 == "manual") print "alternative " name " is manual"
        next
    }
    FNR == 2 { next }
    part == "slaves" { if ($0 == "") { part = "choices" } else { lines += 1 }; next }
    part == "choices" && count % (2 + lines / 2) == 0 {
        if ($0 == "") { part = "" } else { print "alternative " name ": " $0 }
    }
    { count += 1 }' alternatives/*
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesystemState:
    """A machine at a moment."""

    files: dict[str, str]
    """By their names; the text tells one state of a file from another."""
    packages: dict[str, str]
    """Versions of installed packages, by their names."""
    owned: dict[str, frozenset[str]]
    """The files of each package that dpkg has something of."""
    processes: frozenset[str]
    """Their command lines."""
    records: frozenset[str] = frozenset()
    """dpkg's diversions and statoverrides, and the choices of alternatives, a line each; the last word is the package
    that diverts, or the file that is meant."""

    @property
    def known(self) -> frozenset[str]:
        """The names of all packages that dpkg had something of, those too that were removed and not purged."""
        return frozenset(self.packages.keys() | self.owned.keys())


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """A file that is not as it was, or a record about files: a diversion, a statoverride, an alternative."""

    path: str
    """Of a record, all of it."""
    kind: Kind

    def __str__(self) -> str:
        return f"{self.kind}: {self.path}"


def snapshot(guest: Guest) -> FilesystemState:
    """Look at a machine, so that it can be compared later."""
    files: dict[str, str] = {}
    for entry in guest.query(_LIST).split("\0"):
        state, tab, path = entry.partition("\t")
        if tab:
            files[path] = f"{files.get(path, '')} {state}".strip()
    rows = answers.rows_of(guest.query(_PACKAGES), 3, of="dpkg-query", separator="\t")
    processes = (line.split(None, 6)[-1].strip() for line in guest.query(_PROCESSES).splitlines() if line.strip())
    return FilesystemState(
        files=files,
        packages={name: version for name, version, status in rows if status == "installed"},
        owned=_owned(guest.query(_OWNED)),
        processes=frozenset(one for one in processes if not _PASSING.search(one)),
        records=frozenset(guest.query(_RECORDS).splitlines()),
    )


def compare(before: FilesystemState, after: FilesystemState, ours: Collection[str] = ()) -> list[Leftover]:
    """Return what is not as it was, by path; then the records.

    Files of packages that have come, gone or changed meanwhile do not count, they are what those packages are: what is
    purged has no files any more. The same holds for records.

    :param ours: the names of packages that may be others now though they have the version that was there.
    """
    names = before.packages.keys() | after.packages.keys()
    others = [
        name
        for name in names
        if before.packages.get(name) != after.packages.get(name) or name.partition(":")[0] in ours
    ]
    theirs = frozenset[str]().union(*(one.owned.get(name, ()) for name in others for one in (before, after)))
    plain = {name.partition(":")[0] for name in others}
    # dpkg takes what is not there, since it was told to leave it out, from a package's list at some later time.
    lists = {f"{_INFO}/{name}.list" for name in before.known}
    found: list[Leftover] = []
    for path in sorted(before.files.keys() | after.files.keys()):
        was, is_now = before.files.get(path), after.files.get(path)
        if was == is_now or path in theirs or is_shared(path, *filter(None, (was, is_now))):
            continue
        if _is_bytecode_of(path, before) or _package_of_record(path) in plain or path in lists:
            continue
        found.append(Leftover(path=path, kind="left" if was is None else "removed" if is_now is None else "changed"))
    excused = theirs | plain
    records = (one for one in sorted(before.records ^ after.records) if one.rpartition(" ")[2] not in excused)
    return found + [Leftover(path=one, kind="left" if one in after.records else "removed") for one in records]


def expect_none(left: Sequence[Leftover], listing: Path) -> None:
    """See that nothing is left.

    :param listing: the file that has all of it, for the hint.
    :raise TestFailed: something is.
    """
    counts = {kind: [one.path for one in left if one.kind == kind] for kind in get_args(Kind)}
    parts = [f"{len(paths)} {kind} ({paths[0]})" for kind, paths in counts.items() if paths]
    if parts:
        raise TestFailed(
            f"the purge does not leave the machine as it was: {', '.join(parts)}",
            details=tuple(map(str, sorted(left, key=lambda one: one.kind)[:_SHOWN])),
            hint=f'{listing} has all of them; [install] leftovers = "warn" in vmtasks.toml accepts them',
        )


def outlived(before: FilesystemState, after: FilesystemState) -> list[str]:
    """Return the command lines of processes that were not there before."""
    return sorted(after.processes - before.processes)


def _owned(listing: str) -> dict[str, frozenset[str]]:
    """Read what :data:`_OWNED` prints: directories that are links into /usr, and a package and a file a line."""
    links, _, rows = listing.partition("--\n")
    merged = frozenset(links.split())
    owned: dict[str, set[str]] = {}
    for row in rows.splitlines():
        package, tab, path = row.partition("\t")
        if tab:
            top = f"/{path[1:].partition('/')[0]}"
            owned.setdefault(package, set()).add(f"/usr{path}" if top in merged else path)
    return {package: frozenset(paths) for package, paths in owned.items()}


def _is_bytecode_of(path: str, before: FilesystemState) -> bool:
    """Tell whether a file is compiled Python of a module that was there before: any import by root writes it."""
    directory, found, _ = path.rpartition("/__pycache__")
    return bool(found) and directory in before.files


def _package_of_record(path: str) -> str:
    """Return the package that a file of dpkg's belongs to, by its name; empty if it is none."""
    directory, _, name = path.rpartition("/")
    return name.rpartition(".")[0].partition(":")[0] if directory == _INFO else ""
