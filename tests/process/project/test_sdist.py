"""Whether a project's build backend is the one that is there, or one that is fetched."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vmtasks.project.kinds.python import SDIST

BUILD = """import sys
class ProjectBuilder:
    def __init__(self, source): pass
    def check_dependencies(self, distribution): return {unmet}
    def metadata_path(self, directory):
        {metadata}
if __name__ == "__main__":
    print(*sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("unmet", "metadata", "is_there"),
    [
        ("set()", "return directory", True),
        ("{('hatchling>=99',)}", "return directory", False),
        ("set()", "raise ValueError('Unknown classifier in field `project.classifiers`')", False),
        ("undefined", "return directory", False),
    ],
    ids=["there", "too old", "refuses the metadata", "another build"],
)
def test_the_backend_that_is_there_builds_what_it_can(
    tmp_path: Path, unmet: str, metadata: str, *, is_there: bool
) -> None:
    (tmp_path / "build.py").write_text(BUILD.format(unmet=unmet, metadata=metadata))
    (tmp_path / "python3").symlink_to(sys.executable)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(["sh", "-c", SDIST], capture_output=True, text=True, check=True, cwd=tmp_path, env=env)
    assert done.stdout.split() == ["--sdist", *(["--no-isolation"] if is_there else [])]
