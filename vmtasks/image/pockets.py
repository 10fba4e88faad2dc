"""The pockets of Debian's archive: a release, its updates, its security updates, its backports.

An image has those that were configured and served on the day of its bake, as it has that day's versions. They are no
part of its content key: an edit of this host's sources asks for no bake of every image, and hosts that share a cache
need not agree. So each bake records which it has, and where one is missing, its users are warned.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_BESIDE_SID = ("experimental", "rc-buggy")
_DEBIANS = (("Debian", "Debian"), ("Debian", "Debian-Security"), ("Debian Backports", "Debian Backports"))
"""Origin and label of what is a pocket of Debian's archive, and not one of debug symbols, or for other ports."""
_ROLLING = ("sid", "unstable", *_BESIDE_SID)
_SUFFIXES = ("-security", "-proposed-updates", "-updates", "-backports-sloppy", "-backports")


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """One suite of an archive, as apt is configured to use it."""

    uri: str
    suite: str
    """As sources.list has it."""
    components: tuple[str, ...] = ()
    origin: str = ""
    """This and the next two are from the Release file; they are empty where it has not been read."""
    label: str = ""
    codename: str = ""

    @property
    def pocket(self) -> str:
        """Which pocket of Debian's archive it is; empty for any other archive."""
        if (self.origin, self.label) not in _DEBIANS:
            return ""
        name = self.codename or self.suite
        if name in _BESIDE_SID:
            return "experimental"
        if self.label == "Debian-Security":
            return "security"
        return next((suffix[1:] for suffix in _SUFFIXES if name.endswith(suffix)), "release")


def expected(suite: str) -> tuple[str, ...]:
    """Return the pockets that belong to a suite of Debian: one that is never released has no others."""
    return ("release",) if suite in _ROLLING else ("release", "updates", "security")


def told(archives: Iterable[Archive]) -> dict[str, Any]:
    """Return what a manifest records of them: Debian's pockets by name, and the repositories of others."""
    archives = tuple(archives)
    pockets: dict[str, Any] = {}
    for one in archives:
        if one.pocket:
            pockets.setdefault(one.pocket, _told(one))
    return {
        "pockets": pockets,
        "repositories": [{"origin": one.origin, **_told(one)} for one in archives if not one.pocket],
    }


def missing(suite: str | None, manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the pockets of its suite that a bake does not have; none where that is not known."""
    if suite is None or "pockets" not in manifest:
        return ()
    return tuple(pocket for pocket in expected(suite) if pocket not in manifest["pockets"])


def tell(suite: str | None, manifest: Mapping[str, Any]) -> str:
    """Return which pockets a bake has, those that belong to every suite first, and which it has not."""
    if "pockets" not in manifest:
        return "not known"
    has = manifest["pockets"]
    usual = [pocket for pocket in expected("") if pocket in has]
    listed = ", ".join((*usual, *sorted(set(has) - set(usual)))) or "none of Debian's"
    lacking = " and no ".join(missing(suite, manifest))
    return f"{listed}, but no {lacking}" if lacking else listed


def _told(one: Archive) -> dict[str, Any]:
    return {"uri": one.uri, "suite": one.suite, "components": list(one.components)}
