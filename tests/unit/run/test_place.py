"""Where a run writes: what the user says, and nowhere that a link of the project's leads."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmtasks import UsageError
from vmtasks.run.place import make_directory, write_file


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    (tmp_path / "elsewhere").mkdir()
    return root


@pytest.mark.parametrize("link", ["build", "build/vmtasks"])
@pytest.mark.parametrize("to", ["../elsewhere", "../../elsewhere", "inside", "nowhere", "build"])
def test_no_link_of_the_projects_is_followed(project: Path, link: str, to: str) -> None:
    (project / link).parent.mkdir(exist_ok=True)
    (project / link).symlink_to(to)
    with pytest.raises(UsageError, match="is a link in the project") as refusal:
        make_directory(project / "build/vmtasks/artifacts", project=project)
    assert "name that directory itself" in refusal.value.hint
    assert list((project.parent / "elsewhere").iterdir()) == []


def test_the_project_is_known_by_any_of_its_names(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "build").symlink_to("../elsewhere")
    (project.parent / "other-name").symlink_to("project")
    monkeypatch.chdir(project.parent / "elsewhere")
    for out in (project.parent / "other-name/build/x", Path("../project/build/x"), project / "sub/../build/x"):
        with pytest.raises(UsageError, match="is a link in the project"):
            make_directory(out, project=Path("../project"))
    monkeypatch.chdir(project)
    with pytest.raises(UsageError, match="is a link in the project"):
        make_directory(Path("build/x"), project=Path())


def test_links_of_the_users_are_followed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project.parent / "mine").symlink_to("elsewhere")
    assert make_directory(project.parent / "mine/out", project=project).is_dir()
    monkeypatch.chdir(project)
    made = make_directory(Path("../mine/more"), project=Path())
    assert made.samefile(project.parent / "elsewhere/more")
    assert make_directory(Path("a b/c"), project=Path()) == Path("a b/c")
    assert Path("a b/c").is_dir()


def test_what_stands_in_the_way_is_an_error_as_usual(project: Path) -> None:
    (project / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        make_directory(project / "file/below", project=project)


def test_a_file_is_not_written_through_a_link(project: Path) -> None:
    kept = project.parent / "elsewhere/kept"
    kept.write_text("kept")
    (project / "sum").symlink_to(kept)
    (project / "other").hardlink_to(kept)
    for name in ("sum", "other", "new"):
        write_file(project / name, "ours")
        assert (project / name).read_text() == "ours"
    assert kept.read_text() == "kept"
