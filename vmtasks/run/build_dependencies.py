"""Build dependencies, installed once: the machine that has them is kept, and every recipe that builds starts there."""

from __future__ import annotations

import re

from vmtasks import builddeps
from vmtasks.guest import Guest
from vmtasks.project import Project
from vmtasks.project.profiles import PROFILES, build_env
from vmtasks.providers.preparation import Preparation

_OFTEN_NAMED = frozenset((
    "debhelper", "autoconf", "automake", "libtool", "autopoint", "gettext", "pkg-config", "pkgconf", "cmake", "meson",
    "ninja-build", "bison", "flex", "python3", "dh-python",
))  # fmt: skip
"""What many sources of Debian's have in their Build-Depends, of what an image for building may have."""
_SOURCE = re.compile(r"^Source[ \t]*:.*\n", re.MULTILINE | re.IGNORECASE)


def build_dependencies(project: Project, needs: str, *, alone: bool = False) -> Preparation:
    """Return that a machine has what a Debian build needs, and what every such build takes for granted.

    :param project: the one whose build profiles hold.
    :param needs: what :meth:`vmtasks.Source.build_needs` returns.
    :param alone: whether the machine is to have nothing else. Of the image that *project* is built in, the packages
        that its layers add to the one at the bottom go, unless *needs* names them. An existing host and a machine of
        EC2's keep theirs.
    """
    env = build_env(project)
    wanted_by_anybody = _SOURCE.sub("", needs)  # sources that need the same share the machine
    keep = ("git",) if alone and project.source.git else ()

    def run(guest: Guest) -> bool:
        is_new = builddeps.equip(guest)
        wanted = builddeps.reduced(guest, needs, env) if needs else ""
        if alone:
            _remove_tools(guest, project.images.build, wanted, keep)
        # what has been found out is worth as much as what has been done
        return (bool(wanted) and builddeps.install(guest, wanted)) or is_new or alone

    return Preparation(
        name="these build dependencies" + (" alone" if alone else ""),
        key=f"build dependencies: {wanted_by_anybody} for profiles: {env.get(PROFILES, '')}"
        + (f" alone, but for: {' '.join(keep)}" if alone else ""),
        run=run,
        before=_without_tools(project.images.build, needs, keep) if alone else None,
    )


def _without_tools(image: str, needs: str, keep: tuple[str, ...]) -> Preparation:
    """Return that a machine has none of an image's tools that *needs* do not name: sources often name the same ones.

    Those that hardly any source names go first, and are most of it: all other sources go on from there.
    """
    from vmtasks.project import undeclared

    tools = _tools_of(image)
    stay = {*undeclared.named(tools, needs), *keep}
    for_now = {*stay, *_OFTEN_NAMED.intersection(tools)}
    most = _tools_gone(image, for_now)
    return most if for_now == stay else _tools_gone(image, stay, before=most)


def _tools_gone(image: str, but: set[str], before: Preparation | None = None) -> Preparation:
    stay = tuple(sorted(but))

    def run(guest: Guest) -> bool:
        return _remove_tools(guest, image, "", stay)

    return Preparation(
        name="none of the image's tools" + (f" but {', '.join(stay)}" if stay else ""),
        key=f"none of the image's tools but: {' '.join(stay)}",
        run=run,
        before=before,
    )


def _remove_tools(guest: Guest, image: str, wanted: str, keep: tuple[str, ...]) -> bool:
    from vmtasks.machine.instance import QemuGuest
    from vmtasks.project import undeclared

    if not isinstance(guest, QemuGuest):  # nothing is removed where it may be somebody's, or from the host of a fake
        return False
    return undeclared.remove(guest, _tools_of(image), wanted, keep=keep)


def _tools_of(image: str) -> list[str]:
    """Return the packages that an image's layers add to the one at the bottom; none of what is no image of ours."""
    from vmtasks.image.definition import find, names

    if image not in names():  # its provider tells; an existing host takes any name
        return []
    bottom, *layers = find(image).lineage
    return [name for layer in layers for name in layer.packages if name not in bottom.packages]
