"""group: several machines with roles, on a network of their own, as a file describes them."""

from __future__ import annotations

from vmtasks import Run, recipe, run_group_job


@recipe
def group(run: Run, job: str) -> None:
    """Start a group of machines, and run the tests of a file in them: docs/groups.md.

    :param job: the file (TOML) that says which machines there are and what is run in them.
    """
    run_group_job(run, job)
