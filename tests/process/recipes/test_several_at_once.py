"""Examples of the documents on what runs at once, as they stand there, in machines that are none."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.process.asked import AskedProvider
from tests.process.documented import documented
from vmtasks import Run, use_provider
from vmtasks.run.options import RecipeOptions
from vmtasks.run.task import Recipe
from vmtasks.testing import FakeProvider

DOCS = Path(__file__).resolve().parents[3] / "docs"


def example(name: str, page: str = "recipes.md") -> Recipe:
    text = (DOCS / page).read_text()
    (block,) = re.findall(rf"^```python\n([^`]*^def {name}\(.*?)^```", text, re.MULTILINE | re.DOTALL)
    space: dict[str, Any] = {"__name__": "example"}
    exec(compile(block, page, "exec"), space)  # noqa: S102 - our own page
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


@pytest.mark.parametrize(
    ("on", "places"), [("", ["", ""]), ("ssh://a,ssh://b", ["ssh://b", "ssh://a"])], ids=["clean machines", "a pair"]
)
def test_a_client_reaches_its_server(on: str, places: list[str], tmp_path: Path) -> None:
    def call(run: Run) -> None:
        run.flags = RecipeOptions(on=on)
        example("knock", "groups.md")(run)

    provider = AskedProvider(instead={"timeout 10 bash -c '</dev/tcp/198.18.0.1/22'": "true"})
    with use_provider(provider):
        assert documented("knock", tmp_path / "run", call).problem is None
    assert [options.on for _, options in sorted(provider.asked.items(), key=lambda one: one[0])] == places
