"""A look at a test's machine: where the test ran, and of those failures alone that count. No process, no machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vmtasks.debian.dep8 import Listed
from vmtasks.frameworks.autopkgtest.shell import begun_test, variables
from vmtasks.frameworks.autopkgtest.testbed import Testbed
from vmtasks.frameworks.autopkgtest.tests import PackageTests
from vmtasks.ssh.command import CommandSpec


def environment(name: str) -> list[str]:
    """Return what autopkgtest adds for the shell of a test."""
    room = "/tmp/autopkgtest.x y"
    return [f'AUTOPKGTEST_ARTIFACTS="{room}/{name}-artifacts"', f'AUTOPKGTEST_TMP="{room}/autopkgtest_tmp"']


def test_autopkgtests_quotes_are_a_shells() -> None:
    assert variables(environment("one")) == {
        "AUTOPKGTEST_ARTIFACTS": "/tmp/autopkgtest.x y/one-artifacts",
        "AUTOPKGTEST_TMP": "/tmp/autopkgtest.x y/autopkgtest_tmp",
    }
    assert variables(["A=b=c", "nothing", 'B="c', "C="]) == {"A": "b=c", "B": '"c', "C": ""}
    assert (begun_test(environment("one")), begun_test([]), begun_test(["A=b"])) == ("one", None, None)


def test_a_shell_is_where_the_test_ran() -> None:
    guest: Any = SimpleNamespace(failed_command=None)
    host: Any = None
    none: Iterator[Any] = iter(())
    testbed = Testbed(none, host, look=lambda *_: None)
    testbed._guest = guest
    assert testbed.shell("/tree", environment("one")[1:])
    env = {"AUTOPKGTEST_TMP": "/tmp/autopkgtest.x y/autopkgtest_tmp"}
    assert guest.failed_command == CommandSpec(command="", cwd="/tree", env=env)


LISTED = [
    Listed(name="plain"),
    Listed(name="flaky", is_flaky=True),
    Listed(name="lacking", may_lack_packages=True),
]


@pytest.mark.parametrize(
    ("called", "more", "is_looked_at"),
    [
        (["flaky"], environment("flaky"), False),
        (["flaky"], [], True),  # it has not begun: what it depends on cannot be installed, which counts
        (["plain"], environment("plain"), True),
        (["lacking"], [], False),
        (["lacking"], environment("lacking"), True),
        (["plain", "flaky"], environment("flaky"), False),
        (["plain", "flaky"], environment("plain"), True),
        (["plain", "lacking"], [], True),
        ([], [], True),
    ],
)
def test_what_does_not_count_is_not_looked_at(
    tmp_path: Path, called: list[str], more: list[str], *, is_looked_at: bool
) -> None:
    seen: list[object] = []
    run: Any = SimpleNamespace(debug=lambda *words: seen.append(words))
    project: Any = None
    guest: Any = None
    tests = PackageTests(run=run, project=project, tree=tmp_path, listed=LISTED)
    tests._look(called, guest, "/tree", more)
    assert bool(seen) == is_looked_at
