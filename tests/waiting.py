"""How tests wait: for a condition, and never for ever."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from vmtasks.deadline import Deadline

Found = TypeVar("Found")

LIMIT_S = 60.0
AGAIN_S = 0.1


def until(what: str, look: Callable[[], Found], within_s: float = LIMIT_S) -> Found:
    """Return what *look* finds, as soon as it finds something."""
    deadline = Deadline.after(within_s)
    while not (found := look()):
        assert not deadline.passed, f"within {within_s:g} s there was no {what}"
        time.sleep(AGAIN_S)
    return found
