"""What is done with Debian packages in a guest: they are served, installed, proven to be the ones, replaced, purged."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from vmtasks import events
from vmtasks.debian import apt
from vmtasks.debian.debfile import Package, Packages, find
from vmtasks.debian.installed import altered, newer_ones, versions
from vmtasks.debian.logs import logs_kept
from vmtasks.debian.purging import AT_REST, Complaint, expect_silence, purge, purge_at_rest, rest
from vmtasks.errors import TestFailed, TestSkipped, UsageError
from vmtasks.files.checksum import sha256_of
from vmtasks.guest import Guest, answers, units

__all__ = [
    "AT_REST", "Complaint", "Package", "Packages", "altered", "below_var", "expect_silence", "expect_unaltered",
    "failed_units", "find", "forget", "install", "install_older", "logs_kept", "older_sets", "prove", "purge",
    "purge_at_rest", "rest", "serve", "sets_of",
]  # fmt: skip

OLDER = "/srv/vmtasks-old"
_INSTALL = ("install", "--allow-downgrades", "--reinstall")
"""The very version that is served, whether an older, a newer or an equal one is there already."""

_NAMED = 3
"""How many files a sentence names."""

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
    there = versions(guest, packages)
    if replaced := {name: package for name, package in packages.items() if name in there}:
        install(guest, replaced)


def install(guest: Guest, packages: Packages, *, root: str = "") -> None:
    """Install packages that are served, and see that it is they; say if they are older than what is there.

    :param root: the guest's directory that apt takes for /; its own by default.
    :raise TestFailed: apt cannot, or has installed something else.
    """
    for name, newer in newer_ones(guest, packages).items():
        text = f"{name} {newer} is there, and {packages[name].version}, which is older, takes its place: a downgrade"
        events.emit(events.Note(machine=guest.name, text=text, level="warning"))
    apt.apt(guest, *_INSTALL, *packages, local_first=True, root=root)
    prove(guest, packages)


def prove(guest: Guest, packages: Packages) -> None:
    """See that what is installed is what was served: by version, and by the content that dpkg has unpacked.

    :raise TestFailed: it is something else.
    """
    there = versions(guest, packages)
    for name, package in packages.items():
        if there.get(name) != package.version:
            other = f"{name} {there[name]}" if name in there else "nothing of that name"
            raise TestFailed(f"{name} {package.version} was to be tested, and what is installed is {other}")
    files = shlex.join(package.path.name for package in packages.values())
    script = _PROVE.replace("@REPOSITORY@", apt.LOCAL_REPOSITORY)
    if others := guest.query(f"set -- {files}\n{script}").splitlines():
        file, name = answers.at_least(others[0].split(maxsplit=1), 2, of="dpkg-query")
        raise TestFailed(
            f"what is installed was not made from {file}: another package of the same name and version "
            f"took its place ({name} differs)",
            details=tuple(others),
        )


def below_var(altered: Sequence[str]) -> list[str]:
    """Return what :func:`altered` has found below /var, where services may write (FHS 5)."""
    return [line for line in altered if line.partition(": ")[2].startswith("/var/")]


def expect_unaltered(altered: Sequence[str]) -> None:
    """See that the files of packages that were just installed are as they were unpacked, conffiles too.

    :param altered: those that are not, as :func:`vmtasks.debian.installed.altered` returns them.
    :raise TestFailed: there are some: a script has changed or removed them.
    """
    if altered:
        more = f" and {len(altered) - _NAMED} more" if len(altered) > _NAMED else ""
        raise TestFailed(
            f"the packages' own files are not as dpkg has unpacked them: {', '.join(altered[:_NAMED])}{more}",
            details=tuple(altered),
            hint="no maintainer script may change what the package ships, conffiles above all (Debian Policy 10.7.3)",
        )


def sets_of(guest: Guest, packages: Packages) -> list[Packages]:
    """Part packages that are served into sets that can be installed: one if all of them can, as is usual.

    Where some exclude each other, each set has as many as go together, and each package is in one.

    :raise TestFailed: one cannot be installed by itself.
    """
    sets = _parted(guest, {name: name for name in packages}, "these packages")
    return [{name: package for name, package in packages.items() if name in one} for one in sets]


def older_sets(guest: Guest, old: Packages, names: Sequence[str]) -> list[list[str]]:
    """Part the packages *old*, or where there are none the archive's of these *names*, as :func:`sets_of` does.

    :return: of each set the names, as :func:`install_older` takes them; those that there are none of are in the first.
    :raise TestFailed: one cannot be installed by itself.
    """
    _put_older(guest, old)
    known = list(old) if old else known_to_archive(guest, names)
    if not known:
        return [list(names)]
    first, *others = _parted(guest, {name: _older(old, name) for name in known}, "the older packages")
    return [[*first, *(name for name in names if name not in known)], *others]


def _parted(guest: Guest, arguments: Mapping[str, str], shown: str) -> list[list[str]]:
    """Part packages into sets that can be installed.

    :param arguments: what apt-get is told of each, by their names.
    :param shown: what to call them all.
    """

    def can(names: Sequence[str]) -> bool:
        return apt.can(guest, *_INSTALL, *(arguments[name] for name in names))

    if len(arguments) == 1 or can([*arguments]):
        return [[*arguments]]
    if unable := [name for name in arguments if not can([name])]:
        for name in unable:
            # Which reports why; or it finds what the lists did not have, and nothing is to be installed for that yet.
            apt.apt(guest, *_INSTALL, "--download-only", arguments[name])
        if can([*arguments]):  # they did not exclude each other: the lists were out of date
            return [[*arguments]]
    left, sets = list(arguments), []
    while left:
        chosen = [left[0]]
        others = [name for name in (*left[1:], *arguments) if name not in chosen]
        for name in dict.fromkeys(others):
            if can([*chosen, name]):
                chosen.append(name)
        sets.append([name for name in arguments if name in chosen])
        left = [name for name in left if name not in chosen]
    if len(sets) > 1:
        parts = "; ".join(", ".join(one) for one in sets)
        text = f"{shown} exclude each other, and are tried in {len(sets)} sets: {parts}"
        events.emit(events.Note(machine=guest.name, text=text))
    return sets


def known_to_archive(guest: Guest, names: Sequence[str]) -> list[str]:
    """Return those of the packages that the archive has, as far as the guest's package lists tell."""
    show = guest.query(f"apt-cache madison {shlex.join(names)} 2>/dev/null || :")
    there = {line.split("|")[0].strip() for line in show.splitlines()}
    return [name for name in names if name in there]


def install_older(guest: Guest, old: Packages, names: Sequence[str], *, root: str = "") -> None:
    """Install those of the packages *old*, or where there are none of the archive's, that have these *names*.

    :param root: the guest's directory that apt takes for /; its own by default.
    :raise TestSkipped: the archive has none of them.
    """
    if chosen := {name: package for name, package in old.items() if name in names}:
        _put_older(guest, chosen)
        apt.apt(guest, *_INSTALL, *(_older(chosen, name) for name in chosen), root=root)
        return
    if not (known := known_to_archive(guest, names)):
        raise TestSkipped(f"the archive has none of {', '.join(names)} to upgrade from")
    if new := [name for name in names if name not in known]:
        text = f"not in the archive yet, and so first installed by the upgrade: {', '.join(new)}"
        events.emit(events.Note(machine=guest.name, text=text))
    apt.apt(guest, "install", *known, root=root)


def _put_older(guest: Guest, old: Packages) -> None:
    for package in old.values():
        guest.put(package.path.resolve(), f"{OLDER}/{package.path.name}")


def _older(old: Packages, name: str) -> str:
    """Return what apt-get is told of an older package."""
    return f"{OLDER}/{old[name].path.name}" if name in old else name


def failed_units(guest: Guest) -> tuple[units.FailedUnit, ...]:
    """Return the units of the machine that have failed, whichever package they belong to."""
    return units.failed(guest.query)


def forget(guest: Guest) -> None:
    """Have apt know the packages no more, and be rid of what was made to serve them."""
    apt.remove_repository(guest)
    guest.query(["rm", "-rf", OLDER])
