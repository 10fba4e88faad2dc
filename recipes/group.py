"""group: several machines with roles, on a network of their own, as a file describes them."""

from __future__ import annotations

from pathlib import Path

from vmtasks import Run, UsageError, lava, recipe, run_group_job


@recipe
def group(run: Run, job: str, mapping: str = "", out: str = "") -> None:
    """Start a group of machines, and run the tests of a file in them.

    :param job: the file that says which machines there are and what is run in them: TOML, or a job of LAVA's.
    :param mapping: for a job of LAVA's: the file that says what stands here for its images and URLs; by default
        lava.toml beside it.
    :param out: for a job of LAVA's: where results go; the run's own directory by default.
    """
    if lava.is_lava_job(Path(job)):
        lava.run_lava_group(run, job, mapping=mapping, out=out)
        return
    if mapping or out:
        raise UsageError(f"cannot use --mapping and --out with {job}: they are for jobs of LAVA, JSON or YAML")
    run_group_job(run, job)
