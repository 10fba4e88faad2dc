"""What decides the result of what is done once for a project's tests, and what does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vmtasks.project import Project
from vmtasks.project.prepared import DoneOnce
from vmtasks.project.written import settings_file

SETTINGS = """
[commands]
test = "make check"
prepare = "fetch"
prepare_files = ["lock", "requirements/*.txt"]
"""


def project(root: Path, settings: str = SETTINGS) -> Project:
    (root / "requirements").mkdir(parents=True, exist_ok=True)
    (root / "vmtasks.toml").write_text(settings)
    for name in ("lock", "requirements/test.txt", "src.c"):
        if not (root / name).exists():
            (root / name).write_text("1\n")
    return Project.load(root, {})


def key(root: Path, settings: str = SETTINGS) -> str:
    once = DoneOnce.of(project(root, settings))
    assert once
    return once.key


def test_only_the_files_that_are_named_are_there(tmp_path: Path) -> None:
    once = DoneOnce.of(project(tmp_path))
    assert once
    assert once.files == (Path("lock"), Path("requirements/test.txt"))


def touch(name: str, text: str) -> Callable[[Path], object]:
    return lambda root: (root / name).write_text(text)


def replaced_by_link(root: Path) -> None:
    (root / "lock").unlink()
    (root / "lock").symlink_to("src.c")


@pytest.mark.parametrize(
    ("change", "is_another"),
    [
        (touch("src.c", "2\n"), False),
        (touch("lock", "1\n"), False),
        (touch("lock", "2\n"), True),
        (touch("requirements/test.txt", ""), True),
        (touch("requirements/more.txt", ""), True),
        (lambda root: (root / "lock").unlink(), True),
        (replaced_by_link, True),
    ],
    ids=["another file", "the same text", "a lock", "a list", "one more list", "no lock", "a link"],
)
def test_a_change_of_them_is_another_key(tmp_path: Path, change: Callable[[Path], object], is_another: bool) -> None:
    loaded = project(tmp_path)
    before = DoneOnce.of(loaded)
    change(tmp_path)
    after = DoneOnce.of(loaded)
    assert before
    assert after
    assert (before.key != after.key) is is_another


@pytest.mark.parametrize("more", ['packages = ["a"]', 'env = { A = "1" }', 'prepare = "fetch --all"'])
def test_so_is_a_change_of_how_it_is_done(tmp_path: Path, more: str) -> None:
    said = more.partition(" ")[0]
    settings = "\n".join(line for line in SETTINGS.splitlines() if not line.startswith(f"{said} ="))
    assert key(tmp_path) != key(tmp_path, f"{settings}\n{more}\n")


def test_what_another_command_tests_or_a_time_is_no_part_of_it(tmp_path: Path) -> None:
    assert key(tmp_path) == key(tmp_path, SETTINGS.replace("make check", "make test") + "timeout_s = 5\n")


def test_a_directory_of_that_name_is_no_file_of_it(tmp_path: Path) -> None:
    loaded = project(tmp_path)
    (tmp_path / "lock").unlink()
    (tmp_path / "lock").mkdir()
    once = DoneOnce.of(loaded)
    assert once
    assert once.files == (Path("requirements/test.txt"),)


def test_without_a_line_there_is_nothing(tmp_path: Path) -> None:
    assert DoneOnce.of(project(tmp_path, SETTINGS.replace('"fetch"', '""'))) is None


def test_a_guess_goes_with_the_test_command_that_it_is_for(tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text("module a\nrequire b v1\n")
    guessed = Project.load(tmp_path, {}).commands
    assert (guessed.prepare, guessed.prepare_files) == ("go mod download", ("go.mod", "go.sum"))
    another = Project.load(tmp_path, {"VMTASKS_TEST": "make check"}).commands
    assert (another.prepare, another.prepare_files) == ("", ())
    (tmp_path / "vmtasks.toml").write_text('[commands]\nprepare = ""\n')
    assert Project.load(tmp_path, {}).commands.prepare == ""
    own = Project.load(tmp_path, {"VMTASKS_TEST": "make check", "VMTASKS_PREPARE": "make get"}).commands
    assert (own.prepare, own.prepare_files) == ("make get", ())


def test_what_init_writes_changes_nothing_of_it(tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text("module a\nrequire b v1\n")
    guessed = Project.load(tmp_path, {})
    (tmp_path / "vmtasks.toml").write_text(settings_file(guessed))
    assert Project.load(tmp_path, {}).commands == guessed.commands


def test_a_line_is_a_guess_until_somebody_sets_one(tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text("module a\nrequire b v1\n")
    assert Project.load(tmp_path, {}).guesses_prepare
    assert Project.load(tmp_path, {"VMTASKS_TEST": "go test -race ./..."}).guesses_prepare
    assert not Project.load(tmp_path, {"VMTASKS_PREPARE": "go mod download"}).guesses_prepare
    (tmp_path / "vmtasks.toml").write_text('[commands]\nprepare = ""\n')
    assert not Project.load(tmp_path, {}).guesses_prepare


def test_what_init_wrote_and_is_no_longer_the_guess_is_told(tmp_path: Path) -> None:
    (tmp_path / "Cargo.toml").write_text("[package]\nname = 'a'\n[dependencies]\nb = '1'\n")
    (tmp_path / "vmtasks.toml").write_text(settings_file(Project.load(tmp_path, {})))
    assert Project.load(tmp_path, {}).commands.prepare
    (tmp_path / "Cargo.lock").write_text("version = 3\n")
    drifted = Project.load(tmp_path, {})
    assert not drifted.commands.prepare
    assert drifted.guess("test") == (
        "nothing that the tests need is kept: `cargo fetch` is done once for the detected test command, "
        "`cargo test --locked`, and another is set; [commands] prepare says what to do once for that, if anything",
    )
    with (tmp_path / "vmtasks.toml").open("a") as file:
        file.write('prepare = ""\n')
    assert Project.load(tmp_path, {}).guess("test") == ()


def test_the_guess_says_what_is_kept_and_until_when(tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text("module a\nrequire b v1\n")
    *_, last = Project.load(tmp_path, {}).guess("test")
    assert last == "installed once, then kept until this or go.mod or go.sum changes: go mod download"
    *_, last = Project.load(tmp_path, {"VMTASKS_ENV_FROM": "TOKEN"}).guess("test")
    assert last == "installed in each run, since it gets secrets (env_from): go mod download"
    assert len(Project.load(tmp_path, {"VMTASKS_PREPARE": "make get"}).guess("test")) == 2
