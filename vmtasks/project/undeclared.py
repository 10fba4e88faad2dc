"""What an image has for those who build by hand, taken away: a Debian build is to have what it declares, and no more.

An image with debhelper, git or autotools would let a package pass that names none of them in Build-Depends; sbuild's
chroot has build-essential and fakeroot, and so such a package fails there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from vmtasks.errors import CommandFailed, HostError
from vmtasks.guest import Guest

KEPT = ("build-essential", "dpkg-dev", "fakeroot")
"""What every build has, declared or not."""

_INSTALLED = r"${db:Status-Status}\t${Package}\t${Provides}\n"
_NEEDED = re.compile(r"^Build-Depends(?:-Arch|-Indep)?[ \t]*:(.*(?:\n[ \t].*)*)", re.MULTILINE | re.IGNORECASE)
_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_RELATION = re.compile(rf"(?:^|[,|])\s*({_NAME.pattern})")
# Nothing that the image had before its tools goes along: what nobody needs as it is now was somebody's wish. A package
# is not needed because another one recommends or suggests it: gcc suggests autoconf.
_REMOVE = """# remove packages, and what was there for them alone; the words of $1 are those that stay
set -eu
export DEBIAN_FRONTEND=noninteractive
autoremove() {
    apt-get autoremove --yes --quiet -o Dpkg::Use-Pty=0 \\
        -o APT::AutoRemove::RecommendsImportant=false -o APT::AutoRemove::SuggestsImportant=false "$@"
}
autoremove --simulate | sed -n 's/^Remv \\([^ ]*\\) .*/\\1/p' | xargs --no-run-if-empty apt-mark manual
apt-mark manual $1
shift
apt-mark auto "$@"
autoremove --purge
"""
"""Shell for the guest."""


def named(tools: Iterable[str], needs: str) -> tuple[str, ...]:
    """Return those of an image's tools that a source's fields name, as far as can be told without the image.

    debhelper-compat is debhelper's, and names of other packages begin so, too: it may be some more than are needed.
    """
    names = _names_in(needs)
    return tuple(tool for tool in _plain(tools) if any(name == tool or name.startswith(f"{tool}-") for name in names))


def remove(guest: Guest, tools: Iterable[str], needed: str, *, keep: Sequence[str] = ()) -> bool:
    """Remove an image's tools that a build does not declare, and return whether there were any.

    No network is needed for that. What stays is not removed and installed again: packages that Build-Depends name, by
    their own names or by one that they provide.

    :param tools: the names of packages, as an image's definition has them.
    :param needed: what :func:`vmtasks.builddeps.reduced` returned for the source.
    :param keep: names of packages that are to stay, too.
    :raise HostError: they cannot be removed, which is no fault of the source's.
    """
    listed = guest.query(["dpkg-query", "--show", f"--showformat={_INSTALLED}"]).splitlines()
    installed = [line.split("\t") for line in listed if line.startswith("installed\t")]
    names = _names_in(needed) | {*KEPT, *keep}
    names_of = {name: {name, *_RELATION.findall(provides)} for _, name, provides in installed}
    stay = {package for package, its_names in names_of.items() if names & its_names}
    # What provides a tool goes with it: it may have stayed for that tool until now, as pkgconf does for pkg-config.
    tools = {*_plain(tools)}
    going = [package for package, its_names in names_of.items() if tools & its_names and package not in stay]
    if not going:
        return False
    try:
        guest.succeed(["sh", "-c", _REMOVE, "sh", " ".join(sorted(stay)), *going])
    except CommandFailed as problem:
        raise HostError(
            f"cannot take away from {guest.name} what the build does not declare: {problem!s}",
            details=problem.details,
            hint="another image may serve: --image",
        ) from problem
    return True


def _names_in(fields: str) -> set[str]:
    """Return the names of all packages, alternatives too, that fields of a source ask for."""
    return {name for field in _NEEDED.findall(fields) for name in _RELATION.findall(field)}


def _plain(tools: Iterable[str]) -> Iterable[str]:
    """Return an image's tools without versions and releases, each once."""
    return dict.fromkeys(match[0] for tool in tools if (match := _NAME.match(tool)))
