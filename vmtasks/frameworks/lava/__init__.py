"""Test definitions of LAVA: reading one, running it in a guest, and what became of its cases."""

from vmtasks.frameworks.lava.group import is_lava_job, run_lava_group
from vmtasks.frameworks.lava.job import load, run_definitions

__all__ = ["is_lava_job", "load", "run_definitions", "run_lava_group"]
