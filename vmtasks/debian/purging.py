"""How packages go: removed, then what they brought is purged, then they are, as piuparts does it.

So their scripts are called in every state that dpkg has for them, and without what they depended on (Debian Policy
7.2); what they have left for cron and logrotate is called while they are removed and not purged (Policy 9.5).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from vmtasks import events
from vmtasks.debian import apt
from vmtasks.debian.debfile import Packages
from vmtasks.debian.installed import known_names
from vmtasks.errors import TestFailed, TestSkipped
from vmtasks.guest import Guest, answers

_ACCESS = frozenset({"openssh-server", "systemd", "systemd-sysv", "init", "libc6", "dpkg", "apt", "udev"})
"""Without these there is no machine to look at."""
AT_REST = "/run/vmtasks-root"
"""A root directory in which no service starts, once :func:`rest` has made it: as in piuparts' chroot."""
_POLICY = "/usr/sbin/policy-rc.d"
# Another directory than / itself, or systemctl does not find that it is in a chroot, and looks for systemd.
_REST = f"""# make a root directory in which no service starts
set -eu
mkdir -p {AT_REST}
mount -t tmpfs -o mode=755 tmpfs {AT_REST}
for path in /* /.[!.]*; do
    if [ -L "$path" ] || [ -f "$path" ]; then
        cp -a "$path" {AT_REST}/
    elif [ -d "$path" ]; then
        mkdir "{AT_REST}$path"
        case $path in
            /run | /tmp) mount -t tmpfs tmpfs "{AT_REST}$path" ;;
            *) mount --bind "$path" "{AT_REST}$path" ;;
        esac
    fi
done
mount --bind /dev/pts {AT_REST}/dev/pts
printf '#!/bin/sh\nexit 101\n' >{_POLICY}
chmod 755 {_POLICY}
"""
_UNREST = f"""# have the root directory what is directly in that one, which is no part of it
set -eu
rm -f {_POLICY}
for path in /* /.[!.]*; do
    [ -d "$path" ] && [ ! -L "$path" ] || [ -e "{AT_REST}$path" ] || [ -L "{AT_REST}$path" ] || rm -f "$path"
done
cd {AT_REST}
for name in * .[!.]*; do
    if [ -L "$name" ] || [ -f "$name" ] || {{ [ -d "$name" ] && [ ! -d "/$name" ]; }}; then
        cp -a --remove-destination "$name" /
    fi
done
"""
_JOB_LIMIT_S = 300
_JOBS = f"""# run what removed packages have left for cron or logrotate
set -u
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
by=$1; shift
for package; do dpkg-query --listfiles "$package" 2>/dev/null; done | sort -u >"$work/files"
while IFS= read -r file; do
    [ -f "$file" ] || continue
    case $by$file in
        cron/etc/cron.hourly/*|cron/etc/cron.daily/*|cron/etc/cron.weekly/*|cron/etc/cron.monthly/*)
            [ -x "$file" ] || continue
            set -- "$file" ;;
        logrotate/etc/logrotate.d/*)
            command -v logrotate >/dev/null || continue
            set -- logrotate --state "$work/state" "$file" ;;
        *) continue ;;
    esac
    (cd / && env -i HOME=/root LOGNAME=root SHELL=/bin/sh PATH=/usr/sbin:/usr/bin:/sbin:/bin \\
        timeout {_JOB_LIMIT_S} "$@") </dev/null >"$work/output" 2>&1 || echo "exit status $?" >>"$work/output"
    FILE=$file awk '{{ print ENVIRON["FILE"] "\\t" $0 }}' "$work/output"
done <"$work/files"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """What a file for cron or logrotate printed while its package was removed, and not purged."""

    file: str
    lines: tuple[str, ...]


def expect_silence(complaints: Sequence[Complaint]) -> None:
    """See that what removed packages have left for cron and logrotate has nothing to say.

    :raise TestFailed: something has, in its own lines.
    """
    if complaints:
        first, *others = complaints
        more = f" ({', '.join(one.file for one in others)} too)" if others else ""
        raise TestFailed(
            f"{first.file} complains while its package is removed and not purged: {first.lines[0]}{more}",
            details=tuple(f"{one.file}: {line}" for one in complaints for line in one.lines),
            hint="what a package leaves for cron and logrotate must do nothing while the package is not there",
        )


def purge(guest: Guest, packages: Packages, before: Collection[str]) -> list[Complaint]:
    """Remove packages, purge what they brought along, then purge them, and see that dpkg knows none of it any more.

    :param before: the names of the packages that dpkg had something of before, which stays.
    :return: what their files for cron and logrotate printed meanwhile; see :func:`expect_silence`.
    :raise TestFailed: apt cannot, or dpkg still knows one.
    :raise TestSkipped: they are to stay: the system needs them, or the way into the machine does.
    """
    if staying := [name for name, package in packages.items() if package.must_stay]:
        names = ", ".join(staying)
        text = f"not purged, since no system can be without what is Essential, Protected or Important: {names}"
        packages = {name: package for name, package in packages.items() if name not in staying}
        if not packages:
            raise TestSkipped(text)
        events.emit(events.Note(machine=guest.name, text=text))
    going = apt.would_remove(guest, list(packages))
    if needed := sorted(_ACCESS.intersection(going) | set(_essential(guest, going))):
        raise TestSkipped(f"the purge would take along what the machine cannot do without: {', '.join(needed)}")
    if along := [name for name in going if name.partition(":")[0] in before and name not in packages]:
        text = f"the purge takes along what was there before, and depends on these packages: {', '.join(along)}"
        events.emit(events.Note(machine=guest.name, text=text, level="warning"))
    complaints = _take_away(guest, list(packages), before, staying)
    plain = [(name, name.partition(":")[0]) for name in known_names(guest)]
    if still := [name for name, one in plain if one in packages or (name not in before and one not in staying)]:
        raise TestFailed(f"after a purge dpkg still knows {', '.join(still)}")
    return complaints


def rest(guest: Guest) -> None:
    """Make the directory :data:`AT_REST`, in a machine that goes afterwards: what is mounted stays."""
    guest.query(_REST)


def purge_at_rest(guest: Guest, packages: Packages, before: Collection[str]) -> None:
    """Purge packages that were installed in :data:`AT_REST`, and what they brought, in the same steps.

    :param before: the names of the packages that dpkg had something of before, which stays.
    :raise CommandFailed: apt cannot.
    """
    names = [name for name, package in packages.items() if not package.must_stay]
    _take_away(guest, names, before, [name for name in packages if name not in names], root=AT_REST)
    guest.query(_UNREST)


def _take_away(
    guest: Guest, names: Sequence[str], before: Collection[str], staying: Collection[str], *, root: str = ""
) -> list[Complaint]:
    """Remove packages, purge what was not there *before* and is not to stay, then purge them.

    :param root: the guest's directory that apt takes for /; its own by default.
    """
    if names:
        apt.apt(guest, "remove", *names, local_first=True, root=root)
    # logrotate may be one of those that came along; a job of cron's has to do without those.
    complaints = _run_jobs(guest, "logrotate", names, root)
    ours = {*names, *staying}
    brought = [name for name in known_names(guest) if name not in before and name.partition(":")[0] not in ours]
    apt.purge(guest, brought, root=root)
    complaints += _run_jobs(guest, "cron", names, root)
    # A package without conffiles and without a postrm is gone by now, and may be known to no archive.
    known = {name.partition(":")[0] for name in known_names(guest)}
    apt.purge(guest, [name for name in names if name in known], root=root)
    return complaints


def _run_jobs(guest: Guest, by: str, names: Sequence[str], root: str) -> list[Complaint]:
    """Run what removed packages have left for cron or logrotate, as *by* says, and return what was printed."""
    chroot = ["chroot", root] if root else []
    lines: dict[str, list[str]] = {}
    for row in guest.query([*chroot, "/bin/sh", "-c", _JOBS, "sh", by, *names]).splitlines():
        file, _, line = row.partition("\t")
        lines.setdefault(file, []).append(line)
    return [Complaint(file=file, lines=tuple(printed)) for file, printed in lines.items()]


def _essential(guest: Guest, names: Sequence[str]) -> list[str]:
    if not names:
        return []
    show = ["dpkg-query", "--show", "--showformat=${Package} ${Essential} ${Protected} ${Important}\\n", *names]
    rows = answers.rows_of(guest.query(show), 4, of="dpkg-query")
    return [name for name, *is_needed in rows if "yes" in is_needed]
