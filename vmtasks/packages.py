"""Packages to be tested, and what is done with them in a guest: served, installed, replaced, purged."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from vmtasks import apt
from vmtasks.errors import TestFailed, UsageError
from vmtasks.guest import Guest, sh

Packages = dict[str, Path]
"""Names of Debian packages, and their files on the host."""

OLDER = "/srv/vmtasks-old"
# What a machine writes whatever is installed; everything else that is there after a purge, and was not before,
# is a leftover.
_LISTING = """
find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /build -o -path /srv \\
    -o -path /root -o -path /home -o -path /var/cache -o -path /var/log -o -path /var/tmp -o -path /var/lib/apt \\
    -o -path /var/lib/dpkg -o -path /var/lib/systemd \\) -prune -o -print
"""


def find(names: Sequence[str]) -> Packages:
    """Return the packages of .deb files, .changes files and directories of them.

    :raise UsageError: one is none of these, or not there, there are two of one package, or no packages at all.
    """
    found: list[Path] = []
    for name in names or ["."]:
        path = Path(name)
        if path.is_dir():
            found += sorted(path.glob("*.deb"))
        elif path.suffix == ".changes" and path.is_file():
            words = path.read_text(errors="replace").split()
            found += [path.with_name(Path(word).name) for word in words if word.endswith(".deb")]
        elif path.suffix == ".deb":
            found.append(path)
        else:
            raise UsageError(f"cannot install {name}: it is neither a .deb file, nor a .changes file, nor a directory")
    if missing := [str(path) for path in found if not path.is_file()]:
        raise UsageError(f"cannot install {missing[0]}: there is no such file")
    packages: Packages = {}
    for path in found:
        if "-dbgsym_" in path.name:
            continue
        first = packages.setdefault(path.name.split("_")[0], path)
        if first.resolve() != path.resolve():
            raise UsageError(
                f"cannot install {first} and {path}: they are one package",
                hint="name the file that is meant, or the .changes file of its build",
            )
    if not packages:
        raise UsageError(
            f"there are no packages in {', '.join(names) or 'this directory'}", hint="`inv build-deb` makes some"
        )
    return packages


def serve(guest: Guest, packages: Packages) -> None:
    """Have apt know the packages, on the guest's own disk."""
    for path in packages.values():
        guest.put(path, f"{apt.LOCAL_REPOSITORY}/")
    apt.add_repository(guest, apt.LOCAL_REPOSITORY)


def install(guest: Guest, packages: Packages) -> None:
    """Install packages that are served.

    :raise TestFailed: apt cannot, or has installed something else.
    """
    apt.install_local(guest, list(packages))
    _expect_installed(guest, packages)


def _expect_installed(guest: Guest, packages: Packages) -> None:
    """Make sure that what is installed is what was brought, and not what the archive has under that name."""
    show = "--showformat=${Package}_${Version} ${db:Status-Status}\\n"
    installed = dict(
        line.rsplit(" ", 1) for line in guest.query(["dpkg-query", "--show", show, *packages]).splitlines()
    )
    for name, path in packages.items():
        version = guest.query(["dpkg-deb", "--field", f"{apt.LOCAL_REPOSITORY}/{path.name}", "Version"]).strip()
        if installed.get(f"{name}_{version}") != "installed":
            raise TestFailed(f"{name} {version} was to be tested, and what there is now is {', '.join(installed)}")


def install_older(guest: Guest, old: Packages, packages: Packages) -> None:
    """Install the packages *old*, or where there are none the archive's that have the names of *packages*."""
    if not old:
        apt.install(guest, list(packages))
        return
    for path in old.values():
        guest.put(path, f"{OLDER}/")
    apt.apt(guest, "install", *(f"{OLDER}/{path.name}" for path in old.values()))


def files(guest: Guest) -> frozenset[str]:
    """Return every file of the guest's that an installation could leave behind."""
    return frozenset(guest.query(sh(_LISTING)).splitlines())


def leftovers(guest: Guest, before: frozenset[str]) -> list[str]:
    """Return the files that were not there before; those of dependencies, which stay installed, do not count."""
    apt.remove_repository(guest)
    owned = guest.query(sh("cat /var/lib/dpkg/info/*.list")).splitlines()
    real = {path.replace("/usr", "", 1) for path in owned} | set(owned)
    return sorted(files(guest) - before - real)


def purge(guest: Guest, packages: Packages) -> None:
    """Purge packages, and see that dpkg knows them no more.

    :raise TestFailed: it does, or apt cannot.
    """
    apt.purge(guest, list(packages))
    show = "dpkg-query --show --showformat='${Package} ${db:Status-Status}\\n'"
    left = guest.query(sh(f"{show} {shlex.join(packages)} 2>/dev/null || :"))
    if still := [line for line in left.splitlines() if not line.endswith("not-installed")]:
        raise TestFailed(f"after a purge dpkg still knows {', '.join(still)}")
