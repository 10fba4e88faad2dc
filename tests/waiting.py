"""How tests wait: for a condition, and never for ever."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from vmtasks.deadline import Deadline

Found = TypeVar("Found")

LIMIT_S = 60.0
AGAIN_S = 0.1


def until(subject: str, look: Callable[[], Found], timeout_s: float = LIMIT_S) -> Found:
    """Return what *look* finds, as soon as it finds something."""
    deadline = Deadline.after(timeout_s)
    while not (found := look()):
        assert not deadline.passed, f"within {timeout_s:g} s there was no {subject}"
        time.sleep(AGAIN_S)
    return found
