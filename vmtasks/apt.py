"""Debian packages in a guest: what apt has to do, and nothing that it need not do.

An image keeps the package lists that it was baked with, so the first try does without `apt-get update`; only
where the archive has moved on since does the second try begin with it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

from vmtasks.errors import CommandFailed, HostError
from vmtasks.guest import Guest, Result, sh

_USUAL = ("--yes", "--quiet", "-o", "Dpkg::Use-Pty=0", "-o", "APT::Install-Recommends=false")
ENV = {"DEBIAN_FRONTEND": "noninteractive"}
LOCAL_REPOSITORY = "/srv/vmtasks-repository"
LOCAL_LIST = "/etc/apt/sources.list.d/vmtasks.list"
_OUT_OF_REACH = re.compile(r"Failed to fetch|Temporary failure resolving|Could not (connect|resolve)|Unable to connect")
_DPKG_FAILED = re.compile(r"^E: Sub-process .*dpkg", re.MULTILINE)
_ONLY_LOCAL = (
    *("-o", f"Dir::Etc::SourceList={LOCAL_LIST}", "-o", "Dir::Etc::SourceParts=-"),
    *("-o", "Dir::Cache::PkgCache=", "-o", "Dir::Cache::SrcPkgCache="),
)
"""Look at the local repository alone, and leave the cache of all others as it is."""


def _apt_get(*words: str, only_local: bool = False) -> list[str]:
    """Return a command line of apt-get; what it is to do comes first, for those who read along."""
    return ["apt-get", *words, *_USUAL, *(_ONLY_LOCAL if only_local else ())]


def update(guest: Guest) -> None:
    """Fetch the package lists.

    :raise HostError: no mirror answered.
    """
    _expect_archive(guest, guest.run(_apt_get("update"), env=ENV, check=True))  # which takes no answer for a success


def apt(guest: Guest, *arguments: str) -> Result:
    """Run apt-get; where it finds or fetches something not, once more with fresh package lists.

    :raise CommandFailed: it failed with those, too, or dpkg did.
    :raise HostError: no mirror answers, which is no fault of what is being tested.
    """
    result = attempt(guest, *arguments)
    if not result.ok:
        raise CommandFailed(f"apt-get cannot {arguments[0]} on {guest.name}", evidence=result.last_lines())
    return result


def attempt(guest: Guest, *arguments: str, env: Mapping[str, str] | None = None) -> Result:
    """Run apt-get as :func:`apt` does, and return what came of it, whatever its exit status.

    :raise HostError: no mirror answers.
    """
    command, env = _apt_get(*arguments), {**(env or {}), **ENV}
    result = guest.run(command, env=env)
    if not (result.ok or met_dpkg(result)):
        update(guest)
        result = guest.run(command, env=env)
        if not (result.ok or met_dpkg(result)):
            _expect_archive(guest, result)
    return result


def met_dpkg(result: Result) -> bool:
    """Tell whether a failed apt-get had found and fetched all that it needed, and dpkg failed then.

    That is the packages' own doing: it must not be tried again, and fresh lists would not mend it.
    """
    return _DPKG_FAILED.search(result.stdout + "\n" + result.stderr) is not None


def _expect_archive(guest: Guest, result: Result) -> None:
    if out_of_reach := [line for line in result.last_lines(50) if _OUT_OF_REACH.search(line)]:
        raise HostError(
            f"{guest.name} cannot reach Debian's archive: {out_of_reach[0].strip()}",
            evidence=tuple(out_of_reach[-5:]),
            hint="see that the host's network and the mirror work, and that the image does not forbid the guest's",
        )


def install(guest: Guest, packages: Sequence[str]) -> None:
    """Install packages, if there are any to install.

    :raise CommandFailed: apt cannot.
    """
    if packages:
        apt(guest, "install", *packages)


def add_repository(guest: Guest, directory: str) -> None:
    """Make an apt repository of a guest directory of .deb files, and have apt know it.

    :raise CommandFailed: it cannot be made; needs apt-ftparchive, from apt-utils.
    """
    where = shlex.quote(directory)
    guest.query(sh(f"cd {where} && apt-ftparchive packages . >Packages && apt-ftparchive release . >Release"))
    guest.query(["tee", LOCAL_LIST], stdin=f"deb [trusted=yes] file:{directory} ./\n".encode())
    guest.succeed(_apt_get("update", "-o", "APT::Get::List-Cleanup=0", only_local=True), env=ENV)


def remove_repository(guest: Guest) -> None:
    """Have apt forget the repository again."""
    guest.query(["rm", "-f", LOCAL_LIST])


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
