"""The examples of docs/recipes.md on what runs at once, as they stand there, in machines that are none."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.process.documented import documented
from vmtasks import use_provider
from vmtasks.run.task import Recipe
from vmtasks.testing import FakeProvider

PAGE = Path(__file__).resolve().parents[3] / "docs/recipes.md"


def example(name: str) -> Recipe:
    (block,) = re.findall(rf"^```python\n([^`]*^def {name}\(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    space: dict[str, Any] = {"__name__": "example"}
    exec(compile(block, str(PAGE), "exec"), space)  # noqa: S102 - our own page
    found: Recipe = space[name]
    return found


def test_each_branch_brings_the_same_file_to_a_directory_of_its_own(tmp_path: Path) -> None:
    with use_provider(FakeProvider()):
        done = documented("dpkg-status", tmp_path / "run", example("dpkg_status"))
    assert done.problem is None
    found = [tmp_path / f"run/branches/bring_status-{name}/status" for name in ("one", "other")]
    assert sorted(done.artifacts) == found
    assert all(path.read_bytes() == Path("/var/lib/dpkg/status").read_bytes() for path in found)


def test_two_machines_are_asked_at_once(tmp_path: Path) -> None:
    with use_provider(FakeProvider(instead={"uname --kernel-release": "echo 6.1"})):
        done = documented("same-kernel", tmp_path / "run", lambda run: example("same_kernel")(run, release="6.1"))
    assert done.problem is None
    assert not (tmp_path / "run/branches").exists()
