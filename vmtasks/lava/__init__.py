"""Test definitions of LAVA: reading one, running it in a guest, and what became of its cases."""

from vmtasks.lava.job import load, run_definitions

__all__ = ["load", "run_definitions"]
