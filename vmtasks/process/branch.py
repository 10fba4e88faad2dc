"""Which of several things that run at once runs here."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Branch:
    """One of several things that run at once; no two are equal, whatever they are called."""

    name: str
    outer: Branch | None = None
    """The branch that it is a part of."""


CURRENT_BRANCH: ContextVar[Branch | None] = ContextVar("branch", default=None)
"""The innermost branch that runs here; None: what runs here is no branch of anything."""
