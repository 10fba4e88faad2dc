"""What is said where nothing tells how a project is tested."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmtasks.errors import UsageError
from vmtasks.project import Project
from vmtasks.run.own_tests import test_command as command_of


def test_a_part_of_a_project_is_asked_about(tmp_path: Path) -> None:
    part = tmp_path / "pro ject/src/part"
    part.mkdir(parents=True)
    with pytest.raises(UsageError) as alone:
        command_of(Project.load(part, {}))
    assert alone.value.hint == 'say one in vmtasks.toml: [commands] test = "make check"'
    (tmp_path / "pro ject/.git").mkdir()
    with pytest.raises(UsageError) as inside:
        command_of(Project.load(part, {}))
    assert inside.value.hint.endswith(f"; or is the project {tmp_path}/pro ject? `--source '{tmp_path}/pro ject'`")


def test_why_there_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text("module a\n")
    (tmp_path / "a.go").write_text("package a\n")
    with pytest.raises(UsageError, match=r"no file of it is called \*_test.go: `go test` would test nothing"):
        command_of(Project.load(tmp_path, {}))
