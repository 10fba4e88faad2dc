"""What is done with Debian packages in a guest: they are served, installed, proven to be the ones, replaced, purged."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence

from vmtasks import events
from vmtasks.debian import apt
from vmtasks.debian.debfile import Package, Packages, find
from vmtasks.errors import TestFailed, TestSkipped, UsageError
from vmtasks.files.checksum import sha256_of
from vmtasks.guest import Guest, answers, units

__all__ = ["AT_REST", "Package", "Packages", "find", "install", "install_older", "prove", "purge", "serve", "sets_of"]

OLDER = "/srv/vmtasks-old"
_INSTALL = ("install", "--allow-downgrades", "--reinstall")
"""The very version that is served, whether an older, a newer or an equal one is there already."""
_ACCESS = frozenset({"openssh-server", "systemd", "systemd-sysv", "init", "libc6", "dpkg", "apt", "udev"})
"""Without these there is no machine to look at."""

# Of each .deb: the maintainer scripts that dpkg has of the package of that name, and the checksums of its files. Those
# the .deb may bring itself; otherwise dpkg makes them as it unpacks, of all files that it does not leave out.
_PROVE = """# compare what is installed with the files that were to be
set -eu
cd @REPOSITORY@
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
sums() { LC_ALL=C sort -u; }
for deb; do
    rm -rf "$work/deb"
    name=$(dpkg-deb --field "$deb" Package):$(dpkg-deb --field "$deb" Architecture)
    name=${name%:all}
    dpkg-deb --control "$deb" "$work/deb"
    for file in "$work/deb"/*; do
        case ${file##*/} in control|conffiles) continue ;; esac
        dpkg-query --control-show "$name" "${file##*/}" 2>/dev/null | cmp -s - "$file" ||
            echo "$deb ${file##*/}"
    done
    [ ! -e "$work/deb/md5sums" ] || continue
    rm -rf "$work/deb"; dpkg-deb --extract "$deb" "$work/deb"
    (cd "$work/deb"; find . -type f -printf '%P\\0' | xargs -0r md5sum) | sums >"$work/made"
    dpkg-query --control-show "$name" md5sums 2>/dev/null | sums >"$work/installed" || :
    if [ -s "$work/made" ] && [ ! -s "$work/installed" ]; then echo "$deb md5sums"; fi
    LC_ALL=C comm -13 "$work/made" "$work/installed" | sed "s|^[^ ]*  |$deb |"
done
"""


_SERVE = """dpkg --print-architecture; dpkg --print-foreign-architectures; echo --
apt-cache show @PACKAGES@ 2>/dev/null | grep -E '^(Package|Size|SHA256): '
:"""


AT_REST = "/run/vmtasks-root"
"""A root directory in which no service starts, once :func:`rest` has made it: as in piuparts' chroot."""
_POLICY = "/usr/sbin/policy-rc.d"
_REST = f"""# make a root directory in which no service starts
set -eu
mkdir -p {AT_REST}
mount --bind / {AT_REST}
for d in proc sys dev dev/pts; do mount --bind /$d {AT_REST}/$d; done
for d in run tmp; do mount -t tmpfs tmpfs {AT_REST}/$d; done
printf '#!/bin/sh\nexit 101\n' >{_POLICY}
chmod 755 {_POLICY}
"""


def serve(guest: Guest, packages: Packages) -> None:
    """Have apt know the packages and prefer them; those that the machine has already are replaced by them at once.

    :raise UsageError: one is for another architecture.
    """
    shown = " ".join(shlex.quote(f"{package.name}={package.version}") for package in packages.values())
    architectures, _, theirs = guest.query(_SERVE.replace("@PACKAGES@", shown)).partition("--\n")
    ours = answers.at_least(architectures.split(), 1, of="dpkg --print-architecture")
    for package in packages.values():
        if package.architecture not in ("all", *ours):
            raise UsageError(
                f"cannot install {package.path}: it is for {package.architecture}, and the machine is {ours[0]}"
            )
        guest.put(package.path.resolve(), f"{apt.LOCAL_REPOSITORY}/{package.path.name}")
    apt.add_repository(guest, _twins(packages, theirs))


def _twins(packages: Packages, theirs: str) -> list[str]:
    """Return which packages the archive has in the same version and size, with other content: apt sees no difference.

    :param theirs: what apt-cache shows of the archive's packages of these names and versions, without the rest.
    """
    theirs_of: dict[tuple[str, int], set[str]] = {}
    for stanza in theirs.split("Package: ")[1:]:
        name, *fields = answers.at_least(stanza.splitlines(), 1, of="apt-cache")
        values = {key: value for key, _, value in (field.partition(": ") for field in fields)}
        if not values.keys() >= {"Size", "SHA256"}:  # what is installed, and in no archive
            continue
        size_bytes = int(answers.number_of(values["Size"], of="apt-cache"))
        theirs_of.setdefault((name, size_bytes), set()).add(values["SHA256"])
    return [
        name
        for name, package in packages.items()
        if (digests := theirs_of.get((name, package.path.stat().st_size))) and digests != {sha256_of(package.path)}
    ]


def replace_installed(guest: Guest, packages: Packages) -> None:
    """Install those of the packages that the machine has in another version, or in another build."""
    installed = _installed(guest, packages)
    if there := [name for name in packages if name in installed]:
        install(guest, {name: packages[name] for name in there})


def install(guest: Guest, packages: Packages, *, root: str = "") -> None:
    """Install packages that are served, and see that it is they.

    :param root: the guest's directory that apt takes for /; its own by default.
    :raise TestFailed: apt cannot, or has installed something else.
    """
    apt.apt(guest, *_INSTALL, *packages, local_first=True, root=root)
    prove(guest, packages)


def prove(guest: Guest, packages: Packages) -> None:
    """See that what is installed is what was served: by version, and by the content that dpkg has unpacked.

    :raise TestFailed: it is something else.
    """
    installed = _installed(guest, packages)
    for name, package in packages.items():
        if installed.get(name) != package.version:
            there = f"{name} {installed[name]}" if name in installed else "nothing of that name"
            raise TestFailed(f"{name} {package.version} was to be tested, and what is installed is {there}")
    files = shlex.join(package.path.name for package in packages.values())
    script = _PROVE.replace("@REPOSITORY@", apt.LOCAL_REPOSITORY)
    if others := guest.query(f"set -- {files}\n{script}").splitlines():
        file, name = answers.at_least(others[0].split(maxsplit=1), 2, of="dpkg-query")
        raise TestFailed(
            f"what is installed was not made from {file}: another package of the same name and version "
            f"took its place ({name} differs)",
            details=tuple(others),
        )


def _installed(guest: Guest, names: Collection[str]) -> dict[str, str]:
    """Return the versions of those of the packages that are installed."""
    show = "dpkg-query --show --showformat='${Package} ${Version} ${db:Status-Status}\\n'"
    rows = answers.rows_of(guest.query(f"{show} {shlex.join(names)} 2>/dev/null || :"), 3, of="dpkg-query")
    return {name: version for name, version, status in rows if status == "installed"}


def sets_of(guest: Guest, packages: Packages) -> list[Packages]:
    """Part packages that are served into sets that can be installed: one if all of them can, as is usual.

    Where some exclude each other, each set has as many as go together, and each package is in one.

    :raise TestFailed: one cannot be installed by itself.
    """
    if len(packages) == 1 or apt.can(guest, *_INSTALL, *packages):
        return [packages]
    left, sets = list(packages), []
    while left:
        chosen = [left[0]]
        if not apt.can(guest, *_INSTALL, *chosen):
            apt.apt(guest, *_INSTALL, *chosen)  # which reports why
        others = [name for name in (*left[1:], *packages) if name not in chosen]
        for name in dict.fromkeys(others):
            if apt.can(guest, *_INSTALL, *chosen, name):
                chosen.append(name)
        sets.append({name: package for name, package in packages.items() if name in chosen})
        left = [name for name in left if name not in chosen]
    if len(sets) > 1:
        parts = "; ".join(", ".join(one) for one in sets)
        text = f"these packages exclude each other, and are tried in {len(sets)} sets: {parts}"
        events.emit(events.Note(machine=guest.name, text=text))
    return sets


def known_to_archive(guest: Guest, names: Sequence[str]) -> list[str]:
    """Return those of the packages that the archive has, as far as the guest's package lists tell."""
    show = guest.query(f"apt-cache madison {shlex.join(names)} 2>/dev/null || :")
    there = {line.split("|")[0].strip() for line in show.splitlines()}
    return [name for name in names if name in there]


def install_older(guest: Guest, old: Packages, names: Sequence[str], *, root: str = "") -> None:
    """Install the packages *old*, or where there are none the archive's of these *names*.

    :param root: the guest's directory that apt takes for /; its own by default.
    :raise TestSkipped: the archive has none of them.
    """
    if old:
        for package in old.values():
            guest.put(package.path.resolve(), f"{OLDER}/{package.path.name}")
        apt.apt(guest, *_INSTALL, *(f"{OLDER}/{package.path.name}" for package in old.values()), root=root)
        return
    if not (known := known_to_archive(guest, names)):
        raise TestSkipped(f"the archive has none of {', '.join(names)} to upgrade from")
    if new := [name for name in names if name not in known]:
        text = f"not in the archive yet, and so first installed by the upgrade: {', '.join(new)}"
        events.emit(events.Note(machine=guest.name, text=text))
    apt.apt(guest, "install", *known, root=root)


def purge(guest: Guest, packages: Packages, before: Collection[str]) -> None:
    """Purge packages, then what they brought along, and see that dpkg knows none of it any more.

    :param before: the names of the packages that were installed before.
    :raise TestFailed: apt cannot, or dpkg still knows one.
    :raise TestSkipped: they are to stay: the system needs them, or the way into the machine does.
    """
    if staying := [name for name, package in packages.items() if package.must_stay]:
        text = (
            f"not purged, since no system that runs can be without what is Essential or Protected: {', '.join(staying)}"
        )
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
    apt.purge(guest, list(packages))
    brought = [name for name in installed_names(guest) if name not in before and name not in staying]
    apt.purge(guest, brought)
    show = "dpkg-query --show --showformat='${Package} ${db:Status-Status}\\n'"
    left = guest.query(f"{show} {shlex.join([*packages, *brought])} 2>/dev/null || :")
    if still := [line for line in left.splitlines() if not line.endswith("not-installed")]:
        raise TestFailed(f"after a purge dpkg still knows {', '.join(still)}")


def rest(guest: Guest) -> None:
    """Make the directory :data:`AT_REST`, in a machine that goes afterwards: what is mounted stays."""
    guest.query(_REST)


def purge_at_rest(guest: Guest, packages: Packages, before: Collection[str]) -> None:
    """Purge packages that were installed in :data:`AT_REST`, and what they brought.

    :param before: the names of the packages that were installed before.
    :raise CommandFailed: apt cannot.
    """
    apt.purge(guest, [name for name, package in packages.items() if not package.must_stay], root=AT_REST)
    brought = [name for name in installed_names(guest) if name not in before and name not in packages]
    apt.purge(guest, brought, root=AT_REST)
    guest.query(["rm", _POLICY])


def installed_names(guest: Guest) -> list[str]:
    """Return the names of all packages that dpkg has something of, with their architecture where it needs that."""
    show = ["dpkg-query", "--show", "--showformat=${binary:Package} ${db:Status-Status}\\n"]
    rows = answers.rows_of(guest.query(show), 2, of="dpkg-query")
    return [name for name, status in rows if status != "not-installed"]


def _essential(guest: Guest, names: Sequence[str]) -> list[str]:
    if not names:
        return []
    show = ["dpkg-query", "--show", "--showformat=${Package} ${Essential} ${Protected}\\n", *names]
    rows = answers.rows_of(guest.query(show), 3, of="dpkg-query")
    return [name for name, *is_needed in rows if "yes" in is_needed]


def failed_units(guest: Guest) -> tuple[units.FailedUnit, ...]:
    """Return the units of the machine that have failed, whichever package they belong to."""
    return units.failed(guest.query)


def forget(guest: Guest) -> None:
    """Have apt know the packages no more, and be rid of what was made to serve them."""
    apt.remove_repository(guest)
    guest.query(["rm", "-rf", OLDER])
