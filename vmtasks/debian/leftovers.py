"""What a package leaves behind when it is purged: files that are new, changed or gone, and processes that go on.

The verdict is to be piuparts': whatever a machine writes by itself, or keeps of all packages together, does not count.
Source: Debian Policy 6.8 and 10.7.3.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from vmtasks.debian import apt
from vmtasks.guest import Guest, answers

Kind = Literal["left", "changed", "removed"]

# Contents count where no package manager vouches for them; below /usr and /boot there are many files, and size and
# time tell. Names end in a zero byte, since they may have line feeds in them.
_LIST = """# list all files
find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /build \\
    -o -path /var/lib/apt -o -path /var/cache/apt -o -path /var/lib/dpkg -o -path /home/builder \\) -prune \\
    -o -type f \\( -path '/usr/*' -o -path '/boot/*' \\) -printf 'f %m %U:%G %s %T@\\t%p\\0' \\
    -o -type f -printf 'h %m %U:%G -\\t%p\\0' -o -type l -printf 'l %l\\t%p\\0' -o -printf '%y %m %U:%G\\t%p\\0'
find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /build -o -path /usr \\
    -o -path /boot -o -path /var/lib/apt -o -path /var/cache/apt -o -path /var/lib/dpkg -o -path /var/log/journal \\
    -o -path /home/builder \\) -prune -o -type f -print0 | xargs -0r md5sum -z | sed -z 's/^\\(\\S*\\)  /= \\1\\t/'
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

# What a machine writes by itself, and what is kept of all packages together: their databases, caches, logs, accounts.
# What ends in a slash stands for all that is in that directory, too.
_ROOTS_HOME = "/root"
_NOT_THE_PACKAGES = (
    "/etc/.pwd.lock", "/etc/adjtime", "/etc/group", "/etc/group-", "/etc/gshadow", "/etc/gshadow-", "/etc/hostname",
    "/etc/hosts", "/etc/ld.so.cache", "/etc/machine-id", "/etc/mtab", "/etc/passwd", "/etc/passwd-",
    "/etc/resolv.conf", "/etc/shadow", "/etc/shadow-", "/etc/ssl/certs/", "/etc/subgid", "/etc/subgid-",
    "/etc/subuid", "/etc/subuid-", *(f"{_ROOTS_HOME}/{name}" for name in (".bash_history", ".cache/", ".ssh/")),
    "/usr/lib/*/gdk-pixbuf-2.0/*/loaders.cache", "/usr/lib/*/gio/modules/giomodule.cache",
    "/usr/lib/*/gtk-*/immodules.cache", "/usr/lib/locale/locale-archive", "/usr/share/applications/*.cache",
    "/usr/share/glib-2.0/schemas/gschemas.compiled", "/usr/share/icons/*/icon-theme.cache", "/usr/share/info/dir",
    "/usr/share/info/dir.old", "/usr/share/mime/",
    "/var/backups/", "/var/cache/debconf/", "/var/cache/fontconfig/", "/var/cache/ldconfig/", "/var/cache/man/",
    "/var/lib/logrotate/", "/var/lib/pam/", "/var/lib/systemd/catalog/", "/var/lib/systemd/coredump/",
    "/var/lib/systemd/random-seed", "/var/lib/systemd/timers/", "/var/lib/systemd/timesync/", "/var/lib/ucf/",
    "/var/lib/xml-core/", "/var/log/alternatives.log", "/var/log/apt/", "/var/log/btmp", "/var/log/dpkg.log",
    "/var/log/faillog", "/var/log/fontconfig.log", "/var/log/journal/", "/var/log/lastlog", "/var/log/wtmp",
    "/var/tmp/systemd-private-*",  # noqa: S108
    *apt.LOCAL_FILES, f"{apt.LOCAL_REPOSITORY}/",
)  # fmt: skip


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """A file that is not as it was."""

    path: str
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
    )


def compare(before: FilesystemState, after: FilesystemState) -> list[Leftover]:
    """Return what is not as it was, by path.

    Files of packages that have come, gone or changed meanwhile do not count, they are what those packages are: what is
    purged has no files any more.
    """
    names = before.packages.keys() | after.packages.keys()
    others = [name for name in names if before.packages.get(name) != after.packages.get(name)]
    theirs = frozenset[str]().union(*(one.owned.get(name, ()) for name in others for one in (before, after)))
    found: list[Leftover] = []
    for path in sorted(before.files.keys() | after.files.keys()):
        was, is_now = before.files.get(path), after.files.get(path)
        if was == is_now or path in theirs or _is_the_systems(path) or _is_bytecode_of(path, before):
            continue
        found.append(Leftover(path=path, kind="left" if was is None else "removed" if is_now is None else "changed"))
    return found


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


def _is_the_systems(path: str) -> bool:
    """Tell whether a file is the machine's own, or kept of all packages together."""
    for pattern in _NOT_THE_PACKAGES:
        if (
            path.startswith(pattern) or path == pattern.rstrip("/")
            if pattern.endswith("/")
            else fnmatchcase(path, pattern)
        ):
            return True
    return False


def _is_bytecode_of(path: str, before: FilesystemState) -> bool:
    """Tell whether a file is compiled Python of a module that was there before: any import by root writes it."""
    directory, found, _ = path.rpartition("/__pycache__")
    return bool(found) and directory in before.files
