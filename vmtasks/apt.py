"""Debian packages in a guest: what apt has to do, and nothing that it need not do.

An image keeps the package lists that it was baked with, so the first try does without `apt-get update`; only
where the archive has moved on since does the second try begin with it.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from vmtasks.guest import Guest, Result, sh

_USUAL = ("--yes", "--quiet", "-o", "Dpkg::Use-Pty=0", "-o", "APT::Install-Recommends=false")
ENV = {"DEBIAN_FRONTEND": "noninteractive"}
LOCAL_REPOSITORY = "/srv/vmtasks-repository"
_LOCAL_LIST = "/etc/apt/sources.list.d/vmtasks.list"
_ONLY_LOCAL = (
    *("-o", f"Dir::Etc::SourceList={_LOCAL_LIST}", "-o", "Dir::Etc::SourceParts=-"),
    *("-o", "Dir::Cache::PkgCache=", "-o", "Dir::Cache::SrcPkgCache="),
)
"""Look at the local repository alone, and leave the cache of all others as it is."""


def _apt_get(*words: str, only_local: bool = False) -> list[str]:
    """Return a command line of apt-get; what it is to do comes first, for those who read along."""
    return ["apt-get", *words, *_USUAL, *(_ONLY_LOCAL if only_local else ())]


def update(guest: Guest) -> None:
    """Fetch the package lists.

    :raise CommandFailed: no mirror answered.
    """
    guest.succeed(_apt_get("update"), env=ENV)


def apt(guest: Guest, *arguments: str, timeout_s: float | None = None) -> Result:
    """Run apt-get; where it fails, once more with fresh package lists.

    :raise CommandFailed: it failed with those, too.
    """
    command = _apt_get(*arguments)
    first = guest.run(command, env=ENV, timeout_s=timeout_s)
    if first.ok:
        return first
    update(guest)
    return guest.run(command, env=ENV, timeout_s=timeout_s, check=True)


def install(guest: Guest, packages: Sequence[str], *, timeout_s: float | None = None) -> None:
    """Install packages, if there are any to install.

    :raise CommandFailed: apt cannot.
    """
    if packages:
        apt(guest, "install", *packages, timeout_s=timeout_s)


def build_dep(guest: Guest, tree: str, *, timeout_s: float | None = None) -> bool:
    """Install what debian/control of the source *tree* asks for, and return whether something was missing.

    :raise CommandFailed: apt cannot.
    """
    if guest.run(["dpkg-checkbuilddeps"], cwd=tree).ok:
        return False
    apt(guest, "build-dep", tree, timeout_s=timeout_s)
    return True


def build_dep_of(guest: Guest, control: str, *, timeout_s: float | None = None) -> bool:
    """Install what the text of a debian/control asks for, and return whether something was missing.

    :raise CommandFailed: apt cannot.
    """
    with guest.tmp_dir() as room:
        guest.query(sh(f"mkdir {room}/debian && cat >{room}/debian/control"), stdin=control.encode())
        return build_dep(guest, room, timeout_s=timeout_s)


def add_repository(guest: Guest, directory: str) -> None:
    """Make an apt repository of a guest directory of .deb files, and have apt know it.

    :raise CommandFailed: it cannot be made; needs apt-ftparchive, from apt-utils.
    """
    where = shlex.quote(directory)
    guest.query(sh(f"cd {where} && apt-ftparchive packages . >Packages && apt-ftparchive release . >Release"))
    guest.query(["tee", _LOCAL_LIST], stdin=f"deb [trusted=yes] file:{directory} ./\n".encode())
    guest.succeed(_apt_get("update", "-o", "APT::Get::List-Cleanup=0", only_local=True), env=ENV)


def remove_repository(guest: Guest) -> None:
    """Have apt forget the repository again."""
    guest.query(["rm", "-f", _LOCAL_LIST])


def install_local(guest: Guest, packages: Sequence[str]) -> None:
    """Install packages of the repository that was added, and what they depend on.

    Where all that they depend on is there, apt needs to know no other archive, and has far less to read.

    :raise CommandFailed: apt cannot, with the whole archive, either.
    """
    if not guest.run(_apt_get("install", *packages, only_local=True), env=ENV).ok:
        install(guest, packages)


def purge(guest: Guest, packages: Sequence[str]) -> None:
    """Purge packages; what they depended on stays.

    :raise CommandFailed: apt cannot.
    """
    guest.succeed(_apt_get("purge", *packages, only_local=True), env=ENV)
