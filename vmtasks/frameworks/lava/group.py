"""A file that describes a group in LAVA's words, from its name to its results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vmtasks.config.bounded import read_file

if TYPE_CHECKING:
    from vmtasks.run.run import Run


def is_lava_job(path: Path) -> bool:
    """Tell whether a file is a job of LAVA's, JSON or YAML, and not one of ours, TOML.

    :raise UsageError: it cannot be read.
    """
    if path.suffix.lower() in (".json", ".yaml", ".yml"):
        return True
    return path.suffix.lower() != ".toml" and (read_file(path) or b"").lstrip().startswith(b"{")


def run_lava_group(run: Run, path: str | Path, *, mapping: str = "", out: str = "") -> None:
    """Start the machines of a job of LAVA's, and run its tests in them: docs/from-lava.md.

    :param mapping: the file that says what stands here for what the job names.
    :param out: the directory for results and for what tests attach; the run's own by default.
    :raise UsageError: the job cannot be read, or cannot be done here.
    :raise TestFailed: a case failed, or a definition did not run to its end.
    """
    from vmtasks.frameworks.lava.group_run import run_job
    from vmtasks.frameworks.lava.job_file import load_job

    run_job(run, load_job(Path(path), Path(mapping) if mapping else None), out=out)
