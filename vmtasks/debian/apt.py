"""Debian packages in a guest: what apt has to do, and nothing that it need not do.

An image keeps the package lists that it was baked with, so the first try does without `apt-get update`; only
where the archive has moved on since does the second try begin with it. What is tried again is resolving and fetching;
dpkg and the packages' own scripts have one try, as with everybody who installs a package.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

from vmtasks.errors import CommandFailed, HostError, TestFailed
from vmtasks.guest import Guest, Result, answers, units

_USUAL = ("--yes", "--quiet", "-o", "Dpkg::Use-Pty=0", "-o", "APT::Install-Recommends=false")
ENV = {"DEBIAN_FRONTEND": "noninteractive"}
LOCAL_REPOSITORY = "/srv/vmtasks-repository"
LOCAL_FILES = ("/etc/apt/apt.conf.d/99vmtasks-repository", "/etc/apt/preferences.d/vmtasks-repository")
"""What makes apt know the local repository."""
_OUT_OF_REACH = re.compile(r"Failed to fetch|Temporary failure resolving|Could not (connect|resolve)|Unable to connect")
_DPKG_FAILED = re.compile(r"^(?:E|Error): Sub-process .*dpkg", re.MULTILINE)
_URL = re.compile(r"https?://[^\s'\"]+")
_REACH_LIMIT_S = 10.0
_SCRIPT_FAILED = re.compile(
    r"\S package [\w-]++ (?:maintainer )?script subprocess (?:returned error|failed|was killed)"
)
"""As dpkg 1.21 has it, and 1.23."""
_REASON = re.compile(
    r"E: (?!Sub-process|Unmet dependencies|Failed to fetch).|^(?>.*?.(?:Depends|Conflicts|Breaks): ).+ but ."
)
_ONLY_LOCAL = (
    *("-o", "Dir::Etc::SourceList=/dev/null", "-o", "Dir::Etc::SourceParts=/dev/null"),
    *("-o", "Dir::Cache::PkgCache=", "-o", "Dir::Cache::SrcPkgCache="),
)
"""Look at the local repository alone, and leave the cache of all others as it is."""
# With a list of its own among all others, apt would read those anew, which takes seconds without KVM; beside them
# (apt-get's --with-source) it goes on with what it has read when the image was made.
_ADD_REPOSITORY = f"""# make an apt repository
set -eu
cd {LOCAL_REPOSITORY}
apt-ftparchive packages . >Packages
for twin; do
    sed -i "/^Package: $twin\\$/,/^\\$/s/^Installed-Size: /&1/" Packages
done
set -- {" ".join(LOCAL_FILES)}
mkdir -p /etc/apt/apt.conf.d /etc/apt/preferences.d
echo 'APT::Sources::With {{ "{LOCAL_REPOSITORY}/Packages"; }};' >"$1"
printf 'Package: *\nPin: release a=volatile-packages-file\nPin-Priority: 1001\n' >"$2"
"""


def _apt_get(*words: str, only_local: bool = False, root: str = "") -> list[str]:
    """Return a command line of apt-get; what it is to do comes first, for those who read along."""
    chroot = ("chroot", root) if root else ()
    return [*chroot, "apt-get", *words, *_USUAL, *(_ONLY_LOCAL if only_local else ())]


def update(guest: Guest) -> None:
    """Fetch the package lists.

    :raise HostError: no mirror answered, this host either.
    :raise TestFailed: no mirror answered the guest any more.
    """
    _expect_archive(guest, guest.run(_apt_get("update"), env=ENV))  # which takes no answer for a success


def apt(guest: Guest, *arguments: str, local_first: bool = False, root: str = "") -> Result:
    """Run apt-get; where it finds or fetches something not, once more with fresh package lists.

    :param local_first: try with the local repository alone at first: where it has all, apt has far less to read.
    :param root: the guest's directory that it takes for /; its own by default.
    :raise CommandFailed: it failed with those, too, or dpkg did; packages' scripts and units report why themselves.
    :raise HostError: no mirror answers, which is no fault of what is being tested.
    """
    result = guest.run(_apt_get(*arguments, only_local=True, root=root), env=ENV, warn=True) if local_first else None
    if result is None or not (result.ok or met_dpkg(result)):
        result = attempt(guest, *arguments, root=root)
    if not result.ok:
        lines = result.last_lines(50)
        failed = units.failed(guest.query) if met_dpkg(result) else ()
        script = next((line.strip() for line in lines if _SCRIPT_FAILED.search(line)), "")
        causes = [script or _reason_of(lines), *(f"{unit.name}: {unit.last}" for unit in failed if unit.last)]
        raise CommandFailed(
            f"apt-get cannot {_what(arguments)} on {guest.name}: {'; '.join(filter(None, causes))}".removesuffix(": "),
            details=(*result.last_lines(), *(f"{unit.name}: {line}" for unit in failed for line in unit.journal)),
            result=result,
        )
    return result


def attempt(guest: Guest, *arguments: str, env: Mapping[str, str] | None = None, root: str = "") -> Result:
    """Run apt-get as :func:`apt` does, and return what came of it, whatever its exit status.

    :raise HostError: no mirror answers.
    :raise TestFailed: no mirror answers the guest any more, though they answer this host.
    """
    command, env = _apt_get(*arguments, root=root), {**(env or {}), **ENV}
    result = guest.run(command, env=env, warn=True)
    if not (result.ok or met_dpkg(result)):
        update(guest)
        result = guest.run(command, env=env, warn=True)
        if not (result.ok or met_dpkg(result)):
            _expect_archive(guest, result)
    return result


def met_dpkg(result: Result) -> bool:
    """Tell whether a failed apt-get had found and fetched all that it needed, and dpkg failed then.

    That is the packages' own doing: it must not be tried again, and fresh lists would not mend it.
    """
    return _DPKG_FAILED.search(result.stdout + "\n" + result.stderr) is not None


def can(guest: Guest, *arguments: str) -> bool:
    """Tell whether apt-get finds a way to do something, with the package lists that there are."""
    return guest.run(_apt_get(*arguments, "--simulate"), env=ENV, warn=True).ok


def _what(arguments: Sequence[str]) -> str:
    """Return what apt-get was to do, cut to a length that fits into a sentence."""
    verb, *words = (word for word in arguments if not word.startswith("-"))
    names = " ".join(words)
    return f"{verb} {names}" if len(names) <= 80 else f"{verb} {names[:77]}..."  # noqa: PLR2004


def _reason_of(lines: Sequence[str]) -> str:
    """Return what apt itself gives as the reason."""
    found = [" ".join(line.removeprefix("E: ").split()) for line in lines if _REASON.search(line)]
    unmet = [line for line in found if " but " in line]
    return (unmet or found or [""])[0]


def _expect_archive(guest: Guest, result: Result) -> None:
    lines = [line for line in result.last_lines(50) if _OUT_OF_REACH.search(line)]
    if not lines:
        return
    url = next((match[0] for line in lines if (match := _URL.search(line))), "")
    message = f"{guest.name} cannot reach Debian's archive: {lines[0].strip()}"
    if url and guest.is_local and _is_reachable(url):
        name_service = guest.query("ls -l /etc/resolv.conf; grep -v ^# /etc/resolv.conf || :")
        raise TestFailed(
            f"{message}; this host can, so something in the machine is in the way",
            details=(*lines[-5:], *name_service.splitlines()),
            hint="what was installed there may have taken name service or the network over: /etc/resolv.conf",
        )
    raise HostError(
        message,
        details=tuple(lines[-5:]),
        hint="see that the host's network and the mirror work, and that the image does not forbid the guest's",
    )


def _is_reachable(url: str) -> bool:
    """Tell whether a server answers this host, whatever it answers."""
    import urllib.error
    import urllib.request

    request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - the pattern lets http and https through alone
    try:
        urllib.request.urlopen(request, timeout=_REACH_LIMIT_S).close()  # noqa: S310
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def install(guest: Guest, packages: Sequence[str]) -> None:
    """Install packages, if there are any to install.

    :raise CommandFailed: apt cannot.
    """
    if packages:
        apt(guest, "install", *packages)


def add_repository(guest: Guest, twins: Sequence[str] = ()) -> None:
    """Have apt know the .deb files in :data:`LOCAL_REPOSITORY`, and prefer them to all others, older ones too.

    :param twins: packages that apt would take for the archive's own, of which it would then fetch the archive's.
    :raise CommandFailed: it cannot be made; needs apt-ftparchive, from apt-utils.
    """
    guest.query(f"set -- {shlex.join(twins)}\n{_ADD_REPOSITORY}")


def remove_repository(guest: Guest) -> None:
    """Have apt forget the repository again."""
    guest.query(["rm", "-rf", *LOCAL_FILES, LOCAL_REPOSITORY])


def would_remove(guest: Guest, packages: Sequence[str]) -> list[str]:
    """Return all packages that go if *packages* are purged: those that depend on them go too."""
    # Otherwise it refuses to tell of those that it refuses to remove.
    plan = guest.query(_apt_get("purge", *packages, "--simulate", "--allow-remove-essential", only_local=True))
    going = [line.split() for line in plan.splitlines() if line.startswith(("Purg ", "Remv "))]
    return [answers.at_least(words, 2, of="apt-get")[1] for words in going]


def purge(guest: Guest, packages: Sequence[str], *, root: str = "") -> None:
    """Purge packages; what they depended on stays.

    :raise CommandFailed: apt cannot.
    """
    if packages:
        apt(guest, "purge", *packages, local_first=True, root=root)
