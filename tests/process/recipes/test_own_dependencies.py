"""What a project's tests need is fetched once, where there are only the files that decide it: with real shells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.process.workshop import PROVIDER, workshop_of_ones_own
from vmtasks import CommandFailed, Guest, Project, Run, boot, events, own_dependencies, run_own_tests, use_provider
from vmtasks.project import fetching
from vmtasks.testing import FakeProvider

SETTINGS = """
[commands]
test = "cat listing src.c"
prepare = "ls >listing; echo >>../fetched"
prepare_files = ["lock", "sub/*.lock"]
packages = ["hello"]
[artifacts]
test = ["listing"]
"""


@pytest.fixture
def workshop() -> Iterator[Path]:
    with workshop_of_ones_own() as directory, use_provider(FakeProvider(instead={**PROVIDER.instead, "chown *": ":"})):
        yield directory


@pytest.fixture(autouse=True)
def _trusts_what_all_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Have this host's administrator have added no authority, which would lie in the workshop."""
    monkeypatch.setattr(fetching, "_ADDED", tmp_path / "added")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    for name in ("run", "out", "again"):
        (tmp_path / name).mkdir()
    return Run(recipe="test-in-vm", directory=tmp_path / "run")


def tree(root: Path, **settings: str) -> Project:
    """Write a project, whose settings may be others than :data:`SETTINGS`."""
    text = SETTINGS
    for key, value in settings.items():
        text = "\n".join(line for line in text.splitlines() if not line.startswith(f"{key} ="))
        text = text.replace("[commands]", f"[commands]\n{key} = {value}")
    files = {"vmtasks.toml": text, "lock": "1\n", "sub/a.lock": "1\n", "src.c": "int main;\n"}
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return Project.load(root, {})


def fetch(project: Project, guest: Guest) -> bool:
    """Do what is kept, and return whether it would be."""
    preparation = own_dependencies(project)
    assert preparation
    return preparation.run(guest)


def fetched(workshop: Path) -> int:
    return len((workshop / "fetched").read_text().splitlines())


def test_it_is_fetched_where_only_the_files_that_decide_are_and_becomes_the_tree(
    workshop: Path, run: Run, tmp_path: Path
) -> None:
    project = tree(tmp_path / "app")
    with boot("bookworm") as guest:
        assert fetch(project, guest)
        run_own_tests(run, guest, project, tmp_path / "out")
    assert (tmp_path / "out" / "listing").read_text().split() == ["listing", "lock", "sub"]
    assert fetched(workshop) == 1


def test_a_machine_that_has_it_is_not_told_to_fetch_it_unless_what_decides_has_changed(
    workshop: Path, run: Run, tmp_path: Path
) -> None:
    project = tree(tmp_path / "app")
    with boot("bookworm") as guest:
        fetch(project, guest)
    (project.root / "src.c").write_text("int another;\n")
    with boot("bookworm") as guest:  # whose workshop is that of the first
        run_own_tests(run, guest, project, tmp_path / "out")
    assert fetched(workshop) == 1
    with boot("bookworm") as guest:
        fetch(project, guest)
        (project.root / "sub" / "a.lock").write_text("2\n")
        run_own_tests(run, guest, project, tmp_path / "again")
    assert fetched(workshop) == 3
    assert "src.c" in (tmp_path / "again" / "listing").read_text()


def test_what_needs_more_of_the_project_is_done_in_all_of_it_and_not_kept(
    workshop: Path, run: Run, tmp_path: Path
) -> None:
    project = tree(tmp_path / "app", prepare='"cat src.c >listing"')
    heard: list[events.Event] = []
    with events.listening(heard.append), boot("bookworm") as guest:
        assert not fetch(project, guest)
        assert not [*workshop.glob(".prepared-*")]
        run_own_tests(run, guest, project, tmp_path / "out")
    assert (tmp_path / "out" / "listing").read_text() == "int main;\n"
    (note,) = [one for one in heard if isinstance(one, events.Note) and one.level == "warning"]
    assert note.text.startswith("what the tests need is not kept: `cat src.c >listing` ended with status 1 where ")


def test_if_it_fails_there_too_the_project_has_failed(workshop: Path, run: Run, tmp_path: Path) -> None:
    project = tree(tmp_path / "app", prepare='"echo gone >listing; exit 3"')
    with boot("bookworm") as guest:
        assert not fetch(project, guest)
        with pytest.raises(CommandFailed, match="exit 3"):
            run_own_tests(run, guest, project, tmp_path / "out")
    assert (tmp_path / "out" / "listing").read_text() == "gone\n"
    assert not (workshop / "fetched").exists()


def test_a_guess_that_fails_is_told_and_the_test_command_alone_decides(
    workshop: Path, run: Run, tmp_path: Path
) -> None:
    line = "touch half ../half; exit 3"
    project = replace(tree(tmp_path / "app", prepare=f'"{line}"'), guesses_prepare=True)
    project = replace(project, commands=replace(project.commands, test="ls -A . .. >listing"))
    heard: list[events.Event] = []
    with events.listening(heard.append), boot("bookworm") as guest:
        assert not fetch(project, guest)
        assert not [*workshop.iterdir()]
        run_own_tests(run, guest, project, tmp_path / "out")
    assert "half" not in (tmp_path / "out" / "listing").read_text().split()
    notes = [one.text for one in heard if isinstance(one, events.Note) and one.level == "warning"]
    assert len(notes) == 2
    assert notes[1] == f"the guess `{line}` ended with status 3; the test command runs without it"


def test_a_guess_that_only_all_of_the_project_lets_pass_is_followed(workshop: Path, run: Run, tmp_path: Path) -> None:
    project = replace(tree(tmp_path / "app", prepare='"cp src.c listing && touch ../beside"'), guesses_prepare=True)
    with boot("bookworm") as guest:
        assert not fetch(project, guest)
        run_own_tests(run, guest, project, tmp_path / "out")
    assert (tmp_path / "out" / "listing").read_text() == "int main;\n"
    assert (workshop / "beside").exists()


@pytest.mark.usefixtures("workshop")
def test_what_is_done_with_a_secret_is_not_kept(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "S3CRET")
    tree(tmp_path / "app", prepare="'echo ${#TOKEN} >listing'")
    project = Project.load(tmp_path / "app", {"VMTASKS_ENV_FROM": "TOKEN"})
    preparation = own_dependencies(project)
    assert preparation
    assert preparation.key == "packages: hello"
    with boot("bookworm") as guest:
        run_own_tests(run, guest, project, tmp_path / "out")
    assert (tmp_path / "out" / "listing").read_text() == "6\n"


def test_it_is_kept_with_the_packages_and_without_them(tmp_path: Path) -> None:
    project = tree(tmp_path / "app", packages="[]")
    alone, both = own_dependencies(project), own_dependencies(tree(tmp_path / "app"))
    assert alone
    assert both
    assert [step.name for step in alone.steps] == ["what the tests of app need"]
    assert [step.name for step in both.steps] == ["the packages hello", "what the tests of app need"]
    assert both.whole_key != alone.whole_key
    assert own_dependencies(tree(tmp_path / "none", packages="[]", prepare='" "')) is None


def test_tests_that_need_root_run_as_root_with_what_was_fetched_for_the_user(
    workshop: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users: list[tuple[str, str]] = []
    succeed = Guest.succeed

    def seen(guest: Guest, command: str, **options: object) -> str:
        users.append((str(options.get("user", "")), str(dict(options.get("env") or {}).get("HOME", ""))))  # type: ignore[call-overload]
        return succeed(guest, command, **{**options, "env": {}})  # type: ignore[arg-type]

    monkeypatch.setattr(Guest, "succeed", seen)
    project = tree(tmp_path / "app", as_root="true")
    with boot("bookworm") as guest:
        assert not fetch(replace(project, commands=replace(project.commands, prepare="false")), guest)
        run_own_tests(run, guest, project, tmp_path / "out")
    assert users[-2:] == [("builder", ""), ("root", "/home/builder")]
