"""Test definitions of LAVA: reading one, running it in a guest, and what became of its cases."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmtasks.lava.job import load, run_definitions

__all__ = ["load", "run_definitions"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'vmtasks.lava' has no attribute {name!r}")
    from vmtasks.lava import job  # only who runs one waits for what that needs

    return getattr(job, name)
