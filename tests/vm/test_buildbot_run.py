"""A build by Buildbot and what a developer calls: the same command, the same machines, the same artifacts."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.buildbot.farm import Farm, until
from tests.same_build import undated
from tests.small_package import DEB, write_small_package

ROOT = Path(__file__).resolve().parents[2]
BUILDER = "test-in-vm-bookworm"
LIMIT_S = 900.0


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Farm]:
    """Yield a Buildbot whose project is a package, and whose runs have machines."""
    farm = Farm(home=tmp_path)
    farm.create()
    project = write_small_package(tmp_path / "project", with_tests=False)
    git = ("git", "-C", project, "-c", "user.name=Me", "-c", "user.email=me@example.org")
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "--quiet", "--message=greet"], check=True)
    (tmp_path / "vmtasks/Makefile").write_text(f"test-in-vm:\n\t@$(MAKE) --no-print-directory -C '{ROOT}' $@\n")
    with farm.running():
        yield farm


def test_buildbot_and_a_developer_make_the_same_artifacts_of_a_commit(farm: Farm) -> None:
    request = farm.force(BUILDER)
    checkout, developers = farm.home / "checkout", farm.home / "developer's"
    subprocess.run(["git", "clone", "--quiet", farm.home / "project", checkout], check=True)
    call = ["make", "test-in-vm", f"PROJECT={checkout}", f"OUT={developers}"]
    subprocess.run(call, cwd=ROOT, stdin=subprocess.DEVNULL, check=True, timeout=LIMIT_S)
    until("end of the build", lambda: farm.get(f"buildrequests/{request}")[0]["complete"], LIMIT_S)
    assert [result for result, _ in farm.ended(request)] == ["success"]

    built, made = contents(farm.home / f"master/artifacts/{BUILDER}/1"), contents(developers)
    assert DEB in made
    assert built.keys() == made.keys()
    assert [name for name in made if undated(built[name]) != undated(made[name])] == []


def contents(directory: Path) -> dict[str, Path]:
    return {path.name: path for path in directory.iterdir()}
