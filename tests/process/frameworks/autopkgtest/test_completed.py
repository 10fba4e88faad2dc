"""When autodep8 is asked for tests, and what comes of that: with a real shell, and another autodep8."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vmtasks import events
from vmtasks.debian import apt
from vmtasks.frameworks.autopkgtest.completed import complete

FIELD = "Testsuite: autopkgtest-pkg-python\n"
LATER = "\nPackage: p\nDescription: autopkgtest-pkg-perl\n autopkgtest-pkg-perl\n"
AUTODEP8 = "#!/bin/sh\n[ ! -e debian/tests/control ] || cat debian/tests/control\necho 'Tests: made'\n"


class Shell:
    """A guest that is this host, with an autodep8 of its own once that is installed."""

    name = "source"

    def __init__(self, programs: Path, autodep8: str) -> None:
        self.programs, self.autodep8 = programs, autodep8
        programs.mkdir()

    def query(self, script: str) -> str:
        env = {"PATH": f"{self.programs}:/usr/sbin:/usr/bin:/sbin:/bin"}
        return subprocess.run(["/bin/sh", "-c", script], env=env, check=True, capture_output=True, text=True).stdout

    def install(self, *_: Any) -> None:
        (self.programs / "autodep8").write_text(self.autodep8)
        (self.programs / "autodep8").chmod(0o755)


@pytest.fixture
def completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[str, list[str]]]:
    def call(control: str, tests: dict[str, str], autodep8: str = AUTODEP8) -> tuple[str, list[str]]:
        """Return debian/tests/control as it is then, and the notes."""
        tree = tmp_path / "a tree"
        (tree / "debian/tests").mkdir(parents=True)
        (tree / "debian/control").write_text(control)
        for name, text in tests.items():
            (tree / "debian/tests" / name).write_text(text)
        guest: Any = Shell(tmp_path / "bin", autodep8)
        monkeypatch.setattr(apt, "install", guest.install)
        heard: list[events.Event] = []
        with events.listening(heard.append):
            complete(guest, str(tree))
        result = tree / "debian/tests/control"
        assert not (tmp_path / "control.complete").exists()
        return result.read_text() if result.exists() else "", [n.text for n in heard if isinstance(n, events.Note)]

    return call


@pytest.mark.parametrize("tests", [{}, {"autopkgtest-pkg-python.conf": "import_name=x\n"}])
def test_without_a_control_file_it_is_asked_and_installed_for_that(
    completed: Callable[..., tuple[str, list[str]]], tests: dict[str, str]
) -> None:
    assert completed(f"Source: p\n{FIELD}{LATER}", tests) == ("Tests: made\n", [])


@pytest.mark.parametrize(
    ("control", "is_asked"),
    [
        (f"Source: p\n{FIELD}{LATER}", True),
        (f"# about\n\n# more\n\nSource: p\n{FIELD}{LATER}", True),
        (f"\r\nSource: p\r\n{FIELD}{LATER}", True),
        (f"Source: p\nTestsuite:\n autopkgtest,\n# why\n autopkgtest-pkg-python\n{LATER}", True),
        (f"Source: p\ntestsuite : autopkgtest-pkg-python\n{LATER}", True),
        (f"Source: p\n#{FIELD}{LATER}", False),
        (f"Source: p\nTestsuite: autopkgtest\nX-Comment: autopkgtest-pkg-perl\n{LATER}", False),
        (f"Source: p\n{LATER}{FIELD}", False),
    ],
)
def test_beside_a_control_file_it_is_asked_where_the_sources_own_field_says_so(
    completed: Callable[..., tuple[str, list[str]]], control: str, is_asked: bool
) -> None:
    made = "Tests: made\n" if is_asked else ""
    assert completed(control, {"control": "Tests: own\n\n"}) == (f"Tests: own\n\n{made}", [])


def test_a_kind_that_it_does_not_know_is_told(completed: Callable[..., tuple[str, list[str]]]) -> None:
    result, notes = completed("Source: p\nTestsuite: autopkgtest-pkg-new\n", {}, "#!/bin/sh\nexit 1\n")
    assert result == ""
    assert notes == ["the field Testsuite asks for autopkgtest-pkg-new, and autodep8 has no tests of that kind"]


def test_a_source_without_tests_that_asks_for_none_is_no_news(
    completed: Callable[..., tuple[str, list[str]]],
) -> None:
    assert completed("Source: p\n", {}, "#!/bin/sh\nexit 1\n") == ("", [])
