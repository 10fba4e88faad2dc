"""A shell opens where the project's tests would run, with all that they need; elsewhere it is root's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from invoke.context import Context
from invoke.exceptions import Exit

from tests.process.workshop import PROVIDER, workshop_of_ones_own
from vmtasks import Guest, UsageError, use_provider
from vmtasks.cli import shell
from vmtasks.run import debug
from vmtasks.ssh.command import CommandSpec
from vmtasks.testing import FakeProvider

STATUS = 7


class Shell:
    """Takes the place of the shell, and remembers where it was opened."""

    def __init__(self) -> None:
        self.at: CommandSpec | None = None
        self.image = ""
        self.files: list[str] = []

    def __call__(self, guest: Guest, *, at: CommandSpec | None = None) -> int:
        self.at, self.image = at, guest.name
        self.files = sorted(path.name for path in Path(at.cwd).iterdir()) if at else []
        return STATUS


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Shell]:
    one = Shell()
    monkeypatch.setattr(debug, "open_shell", one)
    monkeypatch.setattr(shell, "expect_terminal", lambda: None)
    monkeypatch.chdir(tmp_path)
    provider = FakeProvider(instead={**PROVIDER.instead, "chown *": ":"})
    with workshop_of_ones_own(), use_provider(provider):
        yield one


def call(**options: object) -> None:
    with pytest.raises(Exit) as ended:
        shell.shell(Context(), **options)
    assert ended.value.code == STATUS


@pytest.mark.parametrize(
    ("image", "booted"), [("", "bookworm-build"), ("trixie", "trixie-build"), ("kvm-host", "kvm-host")]
)
def test_in_a_project_it_is_where_its_tests_would_run(opened: Shell, tmp_path: Path, image: str, booted: str) -> None:
    settings = "[commands]\ntest = 'make check'\nprepare = 'echo >made'\npackages = ['hello']\nenv = {A = 'b'}\n"
    (tmp_path / "vmtasks.toml").write_text(f"name = 'app'\n{settings}")
    call(image=image)
    assert opened.image == booted
    assert opened.at
    assert (opened.at.command, opened.at.user, opened.at.env["A"]) == ("make check", "builder", "b")
    assert Path(opened.at.cwd).name == "app"
    assert {"made", "vmtasks.toml"} <= {*opened.files}


def test_a_project_without_tests_has_a_shell_all_the_same(opened: Shell, tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text("module app\n")
    call()
    assert opened.at
    assert (tmp_path / "vmtasks.toml").exists() is False
    assert opened.files == ["go.mod"]


def test_elsewhere_and_bare_it_is_roots(opened: Shell, tmp_path: Path) -> None:
    call(image="bookworm")
    assert (opened.image, opened.at) == ("bookworm", None)
    (tmp_path / "go.mod").write_text("module app\n")
    call(image="bookworm", bare=True)
    assert (opened.image, opened.at) == ("bookworm", None)


@pytest.mark.usefixtures("opened")
def test_without_a_project_an_image_must_be_named() -> None:
    with pytest.raises(UsageError, match="there is no project in "):
        shell.shell(Context())
