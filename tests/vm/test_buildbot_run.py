"""A build by Buildbot and what a developer calls: the same command, the same machines, the same artifacts."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.buildbot.farm import Farm, until
from tests.same_build import undated
from vmtasks.project import tree_files

ROOT = Path(__file__).resolve().parents[2]
HELLO = ROOT / "examples/hello"
BUILDER = "test-in-vm-bookworm"
LIMIT_S = 900.0


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Farm]:
    """Yield a Buildbot whose project is the example, and whose runs have machines."""
    farm = Farm(home=tmp_path)
    farm.create()
    project = tmp_path / "project"
    for path in tree_files(HELLO):
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(HELLO / path, project / path)
    git = ("git", "-C", project, "-c", "user.name=Me", "-c", "user.email=me@example.org")
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "--quiet", "--message=greet"], check=True)
    (tmp_path / "vmtasks/Makefile").write_text(
        f"test-in-vm:\n\t@VMTASKS_LINTIAN=off $(MAKE) --no-print-directory -C '{ROOT}' $@\n"
    )
    with farm.running():
        yield farm


def test_buildbot_and_a_developer_make_the_same_artifacts_of_a_commit(farm: Farm) -> None:
    request = farm.force(BUILDER)
    checkout, developers = farm.home / "checkout", farm.home / "developer's"
    subprocess.run(["git", "clone", "--quiet", farm.home / "project", checkout], check=True)
    call = ["make", "test-in-vm", f"PROJECT={checkout}", f"OUT={developers}"]
    environ = {**os.environ, "VMTASKS_LINTIAN": "off"}
    subprocess.run(call, cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, check=True, timeout=LIMIT_S)
    until("end of the build", lambda: farm.get(f"buildrequests/{request}")[0]["complete"], LIMIT_S)
    assert [result for result, _ in farm.ended(request)] == ["success"]

    built, made = contents(farm.home / f"master/artifacts/{BUILDER}/1"), contents(developers)
    assert "greeting_1.2.0_amd64.deb" in made
    assert built.keys() == made.keys()
    assert [name for name in made if undated(built[name]) != undated(made[name])] == []


def contents(directory: Path) -> dict[str, Path]:
    return {path.name: path for path in directory.iterdir()}
