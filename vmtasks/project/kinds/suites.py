"""Which of our images has a tool that is new enough: Debian 12 unless only a newer one has."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from vmtasks.project.kinds.kind import numbers

USUAL = "bookworm"
VERSIONS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "cmake": {"bookworm": "3.25.1", "trixie": "3.31.6"},
        "go": {"bookworm": "1.19.8", "trixie": "1.24.4"},
        "meson": {"bookworm": "1.0.1", "trixie": "1.7.0"},
        "node": {"bookworm": "18.20.4", "trixie": "20.19.2"},
        "python3": {"bookworm": "3.11.2", "trixie": "3.13.5"},
        "rustc": {"bookworm": "1.63.0", "trixie": "1.85.0"},
    }
)
"""Tool -> suite -> the version that it has there; the oldest suite first."""


def suite_with(tool: str, oldest: str) -> tuple[str, str]:
    """Return the suite whose *tool* is at least *oldest*, and why, if it is not the usual one."""
    if not numbers(oldest):
        return USUAL, ""
    suites = VERSIONS[tool]
    newest = [*suites][-1]
    suite = next((name for name, version in suites.items() if numbers(version) >= numbers(oldest)), "")
    if suite == USUAL:
        return USUAL, ""
    wants = f"it wants {tool} {oldest} or newer"
    if suite:
        return suite, f"{wants}, and {USUAL} has {suites[USUAL]}"
    return newest, f"{wants}, and the newest of our images, {newest}, has {suites[newest]}"
