"""The tests of a source, found in its tree whatever that is called: with real shells and tars, in no machine."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.process.workshop import PROVIDER, workshop_of_ones_own
from vmtasks import PackageTests, Project, Run, Source, use_provider


@pytest.mark.parametrize("top", ["tiny-1.0", "tiny[v2]-1.0", "tiny (copy)", "a*b?"])
def test_tests_are_found_whatever_the_directory_is_called(tmp_path: Path, top: str) -> None:
    (tmp_path / top / "debian/tests").mkdir(parents=True)
    (tmp_path / top / "debian/control").write_text("Source: tiny\n")
    (tmp_path / top / "debian/tests/control").write_text("Test-Command: true\nFeatures: test-name=speaks\n")
    packed = tmp_path / "tiny-1.0.tar.gz"
    subprocess.run(["tar", "-czf", packed, top], cwd=tmp_path, check=True)
    (tmp_path / "run").mkdir()
    run = Run(recipe="install-test", directory=tmp_path / "run")
    with workshop_of_ones_own(), use_provider(PROVIDER):
        tests = PackageTests.of(run, Source.of(packed), Project.of_file(packed), {})
    assert tests is not None
    assert [one.name for one in tests.listed] == ["speaks"]
    assert (tests.tree / "debian/tests/control").is_file()
