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


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"go.mod": "module a\n", "a.go": ""}, r"no file of it is called \*_test.go: `go test` would test nothing"),
        ({"Makefile": "test:\n\t@echo none\n"}, "the recipe of its target test only prints, and would test nothing"),
        ({"Makefile": "check:\n"}, "its target check has no recipe, and would test nothing"),
        ({"package.json": '{"name": "a", "scripts": {"test": "echo a"}}'}, "its script test only prints: echo a"),
        ({"Cargo.toml": "[package]\nname = 'a'\n", "src/main.rs": ""}, "`cargo test` would test nothing"),
    ],
)
def test_why_there_is_none_is_said(tmp_path: Path, files: dict[str, str], reason: str) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=reason):
        command_of(Project.load(tmp_path, {}))
