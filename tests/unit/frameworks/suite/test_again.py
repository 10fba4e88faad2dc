"""What failed of a suite is run once more, by the names that its runner reports."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vmtasks.errors import Outcome, UsageError
from vmtasks.frameworks.suite import again
from vmtasks.frameworks.suite.again import words_of_failed_cases
from vmtasks.frameworks.suite.runners import runner_of
from vmtasks.frameworks.suite.xunit import parse_xunit

FAILED = Outcome.FAILED.value
TESTS = """import pytest

def test_good(): pass
def test_bad(): assert False
@pytest.mark.parametrize("a", ["1.5", "x y"])
def test_other(a): assert a == "1.5"
class TestClass:
    def test_in_it(self): assert False
    def test_good_in_it(self): pass
"""


@pytest.fixture(autouse=True)
def _program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["inv", "rerun"])


def run_of(line: str, **outcomes: str) -> dict[str, Any]:
    cases = [{"case": name, "definition": "checks", "outcome": one} for name, one in outcomes.items()]
    return {"recipe": "suite", "rerun": line, "cases": [{"case": "x", "definition": "", "outcome": FAILED}, *cases]}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("inv suite --source s", "inv suite --source s '--args=b a[[]1]'"),
        ("inv suite --source s --args 'a* b*' --cold", "inv suite --source s --args 'b a[[]1]' --cold"),
        ("inv suite s --runner=bats", "inv suite s --runner=bats \"--args=--filter '^(b|a\\[1\\])$'\""),
        ("inv suite s --runner pytest --args=-x", "inv suite s --runner pytest \"--args=-x -k 'b or a'\""),
    ],
)
def test_the_line_names_what_failed(given: str, expected: str) -> None:
    run = run_of(given, **{"b": FAILED, "good": "passed", "none": "skipped", "a[1]": FAILED})
    given_words, wanted = words_of_failed_cases(run), shlex.split(expected)
    assert [shlex.split(word) for word in given_words] == [shlex.split(word) for word in wanted]


def test_what_cannot_be_named_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no test of the suite failed"):
        words_of_failed_cases(run_of("inv suite s", a="passed"))
    with pytest.raises(UsageError, match="avocado cannot be told tests by the names that it reports"):
        words_of_failed_cases(run_of("inv suite s --runner avocado", a=FAILED))
    monkeypatch.setattr(again, "_LIMIT_BYTES", 4)
    with pytest.raises(UsageError, match="2 tests are too many"):
        words_of_failed_cases(run_of("inv suite s", abc=FAILED, d=FAILED))


def test_pytest_runs_what_failed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)

    def ran(*words: str) -> dict[str, str]:
        line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml=results.xml", *words, "."]
        subprocess.run(line, cwd=tmp_path, check=False, capture_output=True)
        return {case.name: case.verdict for case in parse_xunit((tmp_path / "results.xml").read_bytes()).cases}

    failed = [name for name, verdict in ran().items() if verdict == "failed"]
    assert len(failed) == 3
    rest = ran(*runner_of("pytest").only(failed))
    assert {name for name, verdict in rest.items() if verdict == "failed"} == {*failed}
    assert {name for name, verdict in rest.items() if verdict == "passed"} == {"test_it.test_other[1.5]"}
