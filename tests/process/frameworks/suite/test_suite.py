"""The recipe `suite` in machines that are none: real scripts, and programs that play the runners."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from recipes.suite import suite
from tests.process.documented import documented
from vmtasks import NothingTested, Suite, TestFailed, TimedOut, UsageError, VmtasksError, events, use_provider
from vmtasks.frameworks.suite import results, runners
from vmtasks.frameworks.suite import suite as suite_module
from vmtasks.run.run import Run
from vmtasks.testing import FakeProvider

XUNIT = '<testsuite tests="2"><testcase name="one"/><testcase name="two"><failure>why</failure></testcase></testsuite>'
PASSED = '<testsuite tests="1"><testcase name="one"/></testsuite>'


@dataclass
class Ran:
    """What came of a call."""

    problem: VmtasksError | None
    directory: Path
    out: Path
    heard: list[events.Event]

    @property
    def cases(self) -> list[tuple[str, str, str]]:
        rows = json.loads((self.directory / "result.json").read_text())["cases"]
        return [(row["definition"], row["case"], row["outcome"]) for row in rows]

    @property
    def notes(self) -> list[str]:
        return [event.text for event in self.heard if isinstance(event, events.Note)]

    @property
    def home(self) -> set[str]:
        return {str(path.relative_to(self.out)) for path in self.out.rglob("*") if path.is_file()}


class Bench:
    """A suite in a directory of this host, and what is the machine's directory of suites."""

    def __init__(self, path: Path, home: Path) -> None:
        self.path = path
        self.home = home
        self.tree = path / "smoke"
        self.tree.mkdir()
        (self.tree / "README").write_text("no test")

    def script(self, name: str, body: str, *, mode: int = 0o755) -> None:
        path = self.tree / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(mode)

    def plays(self, runner: str, body: str, program: str = "") -> None:
        """Have a script play a runner's program."""
        programs = self.home / ".runners" / runner / "bin"
        programs.mkdir(parents=True)
        path = programs / (program or runner)
        path.write_text(f"#!/bin/sh\n{body}\n")
        for one in (path, programs, *programs.parents[:2]):
            one.chmod(0o755)

    def run(self, source: str = "", **options: Any) -> Ran:
        out = self.path / "out"

        def call(run: Run) -> None:
            suite(run, source or str(self.tree), out=str(out), **options)

        done = documented("suite", self.path / "run", call)
        return Ran(problem=done.problem, directory=done.directory, heard=done.heard, out=out)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(Suite, "preparation", lambda _: None)
    with tempfile.TemporaryDirectory(prefix="vmtasks-test-") as name, use_provider(FakeProvider()):
        Path(name).chmod(0o777)
        monkeypatch.setattr(suite_module, "HOME", name)
        yield Bench(tmp_path, Path(name))


def test_scripts_are_cases_told_by_their_exit_status(bench: Bench) -> None:
    bench.script("a", "test -e README")
    bench.script("b", "echo why >&2; exit 3")
    bench.script("c", "echo not here; exit 77")
    bench.script("d", 'echo measured >"$VMTASKS_SUITE_RESULTS/figures"')
    bench.script("data", "exit 1", mode=0o644)
    bench.script("lib/e", "exit 1")
    ran = bench.run()
    assert isinstance(ran.problem, TestFailed)
    assert str(ran.problem) == "the suite smoke: of 4 cases 2 passed, 1 skipped, 1 failed (b)"
    assert "b: why" in ran.problem.details
    assert ran.cases == [
        ("smoke", "a", "passed"),
        ("smoke", "b", "test-failed"),
        ("smoke", "c", "skipped"),
        ("smoke", "d", "passed"),
    ]
    assert ran.home == {"smoke/figures"}
    assert 'classname="suite.suite.smoke" name="b"' in (ran.directory / "junit.xml").read_text()


def test_patterns_choose_scripts_and_a_tag_has_a_directory_of_its_own(bench: Bench) -> None:
    bench.script("a", "exit 1")
    bench.script("net/e", 'touch "$VMTASKS_SUITE_RESULTS/e"')
    ran = bench.run(args="'net/*'", tag="only-net")
    assert ran.problem is None
    assert ran.cases == [("only-net", "net/e", "passed")]
    assert ran.home == {"only-net/e"}
    assert "the suite only-net: of 1 cases 1 passed" in ran.notes


def test_one_file_is_a_suite(bench: Bench) -> None:
    bench.script("a", "exit 0")
    bench.script("b", "exit 1")
    ran = bench.run(str(bench.tree / "a"))
    assert ran.problem is None
    assert ran.cases == [("a", "a", "passed")]


def test_a_pattern_that_chooses_no_script_is_told_whatever_the_others_choose(bench: Bench) -> None:
    bench.script("a", "exit 0")
    bench.script("data", "exit 0", mode=0o644)
    ran = bench.run(args="a b.sh")
    assert isinstance(ran.problem, UsageError)
    assert str(ran.problem) == "cannot run 'b.sh' of the suite smoke: none of its files is called so"


def test_a_pattern_that_chooses_only_files_that_are_not_executable_is_told(bench: Bench) -> None:
    bench.script("a", "exit 0")
    bench.script("data", "exit 0", mode=0o644)
    ran = bench.run(args="a 'dat*'")
    assert str(ran.problem) == (
        "cannot run 'dat*' of the suite smoke: none of the files that are called so is executable"
    )
    assert not ran.cases


def test_a_name_is_no_pattern_where_one_file_is_the_suite(bench: Bench) -> None:
    bench.script("t[1].sh", "exit 0")
    ran = bench.run(str(bench.tree / "t[1].sh"))
    assert ran.problem is None
    assert [case for _, case, _ in ran.cases] == ["t[1].sh"]


def test_a_link_is_the_suite_that_it_leads_to(bench: Bench) -> None:
    bench.script("a", "exit 0")
    (bench.path / "one").symlink_to(bench.tree / "a")
    ran = bench.run(str(bench.path / "one"))
    assert ran.problem is None
    assert ran.cases == [("one", "one", "passed")]


def test_a_link_to_a_directory_is_that_suite(bench: Bench) -> None:
    bench.script("a", "exit 0")
    (bench.path / "all").symlink_to(bench.tree)
    ran = bench.run(str(bench.path / "all"))
    assert ran.problem is None
    assert ran.cases == [("all", "a", "passed")]


def test_bats_titles_are_no_directives(bench: Bench) -> None:
    document = "printf '1..2\\nok 1 does # skip lines in 3ms\\nok 2 b in 4ms # skip why\\n'"
    bench.plays("bats", 'case "$*" in *--timing*) ;; *) exit 9 ;; esac; ' + document)
    programs = bench.home / ".runners/bats/bin"
    wrapped = f"PATH={programs}:$PATH; "
    bats = runners.runner_of("bats")
    played = replace(bats, line=wrapped + bats.line)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runners, "runner_of", lambda _: played)
        ran = bench.run(runner="bats")
    assert ran.problem is None
    assert ran.cases == [("smoke", "does # skip lines", "passed"), ("smoke", "b", "skipped")]


def test_a_script_that_reboots_is_started_again_and_the_others_are_not(bench: Bench) -> None:
    bench.script("a", 'echo x >>"$VMTASKS_SUITE_RESULTS/a"')
    bench.script(
        "b", 'echo $VMTASKS_REBOOT_COUNT >>"$VMTASKS_SUITE_RESULTS/b"; [ $VMTASKS_REBOOT_COUNT = 1 ] || reboot'
    )
    ran = bench.run()
    assert ran.problem is None
    assert ran.cases == [("smoke", "a", "passed"), ("smoke", "b", "passed")]
    assert (ran.out / "smoke/a").read_text() == "x\n"
    assert (ran.out / "smoke/b").read_text() == "0\n1\n"


def test_the_limit_ends_scripts_and_what_they_left_comes_home(bench: Bench) -> None:
    bench.script("a", 'touch "$VMTASKS_SUITE_RESULTS/a"')
    bench.script("b", "sleep 1000")
    bench.script("c", "exit 0")
    began_s = time.monotonic()
    ran = bench.run(timeout_s=3)
    assert time.monotonic() - began_s < 60
    assert isinstance(ran.problem, TimedOut)
    assert "the suite smoke did not end within 3 s: " in str(ran.problem)
    assert ran.cases[0] == ("smoke", "a", "passed")
    assert ran.home == {"smoke/a"}
    assert 'name="b"' in (ran.directory / "junit.xml").read_text()


def test_no_executable_file_is_no_test(bench: Bench) -> None:
    bench.script("a", "exit 0", mode=0o644)
    ran = bench.run()
    assert isinstance(ran.problem, NothingTested)
    assert "none of its files is executable" in str(ran.problem)


def test_the_xunit_of_a_runner_is_cases(bench: Bench) -> None:
    body = (
        f"[ $1 = run ] || exit 9; mkdir $4/job-1; ln -s job-1 $4/latest; echo '{XUNIT}' >$4/job-1/results.xml; exit 1"
    )
    bench.plays("avocado", body)
    ran = bench.run(runner="avocado")
    assert isinstance(ran.problem, TestFailed)
    assert str(ran.problem) == "the suite smoke: of 2 cases 1 passed, 1 failed (two)"
    assert ran.cases == [("smoke", "one", "passed"), ("smoke", "two", "test-failed")]
    assert ran.home == {"smoke/start-0/job-1/results.xml"}


def test_arguments_and_the_file_reach_a_runner(bench: Bench) -> None:
    bench.script("test_a.py", "")
    bench.plays("pytest", f"echo \"$*\"; echo '{PASSED}' >$VMTASKS_SUITE_RESULTS/start-0/results.xml", "python3")
    ran = bench.run(str(bench.tree / "test_a.py"), runner="pytest", args="-k 'one or two'")
    assert ran.problem is None
    assert ran.cases == [("test_a.py", "one", "passed")]
    (log,) = ran.directory.glob("*.log")
    assert "results.xml -k one or two test_a.py" in log.read_text()


def test_after_a_reboot_the_last_start_counts_and_all_come_home(bench: Bench) -> None:
    body = f"""
    results=$VMTASKS_SUITE_RESULTS/start-$VMTASKS_REBOOT_COUNT
    if [ $VMTASKS_REBOOT_COUNT = 0 ]; then echo '{XUNIT}' >$results/results.xml; reboot; exit; fi
    echo '{PASSED}' >$results/results.xml
    """
    bench.plays("pytest", body, "python3")
    ran = bench.run(runner="pytest")
    assert ran.problem is None
    assert ran.cases == [("smoke", "one", "passed")]
    assert ran.home == {"smoke/start-0/results.xml", "smoke/start-1/results.xml"}


def test_tap_counts_where_xunit_is_not_whole(bench: Bench) -> None:
    bench.plays(
        "avocado", f"echo '{XUNIT[:40]}' >$4/results.xml; printf '1..2\\nok 1 a\\nnot ok 2 b' >$4/results.tap; exit 1"
    )
    ran = bench.run(runner="avocado")
    assert str(ran.problem) == "the suite smoke: of 2 cases 1 passed, 1 failed (b)"


def test_what_was_told_before_the_limit_counts(bench: Bench) -> None:
    bench.plays("avocado", "printf '1..2\\nok 1 a\\n' >$4/results.tap; sleep 1000")
    ran = bench.run(runner="avocado", timeout_s=3)
    assert isinstance(ran.problem, TimedOut)
    assert ran.cases == [("smoke", "a", "passed")]
    assert any("1 passed; results.tap: it is cut off: only 1 of 2 tests" in note for note in ran.notes)


def test_a_runner_that_is_not_there_has_no_results(bench: Bench) -> None:
    ran = bench.run(runner="avocado")
    assert isinstance(ran.problem, TestFailed)
    assert str(ran.problem) == "the suite smoke has no results: avocado ended with status 127"


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ("'<html/>'", "cannot read results.xml: it is XML of something else: <html>"),
        ("'<!DOCTYPE x><testsuite/>'", "cannot read results.xml: it has a document type, which no test results need"),
        (f"'{XUNIT[:30]}'", "cannot read results.xml: it is no XML, or cut off"),
        (f"'{XUNIT}{' ' * 600}'", "cannot read results.xml: it has more than 0 MiB"),
    ],
)
def test_results_that_cannot_be_read_are_a_failure(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, written: str, sentence: str
) -> None:
    monkeypatch.setattr(results, "MOST_BYTES", 500)
    bench.plays("avocado", f"echo {written} >$4/results.xml")
    ran = bench.run(runner="avocado")
    assert isinstance(ran.problem, TestFailed)
    assert sentence in str(ran.problem)


def test_results_in_the_place_of_a_file_that_waits_for_its_other_end(bench: Bench) -> None:
    bench.plays("avocado", "mkfifo $4/results.xml")
    ran = bench.run(runner="avocado")
    assert isinstance(ran.problem, TestFailed)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"source": "nowhere"}, "there is no file and no directory nowhere"),
        ({"runner": "avocdo"}, "there is no runner 'avocdo'"),
        ({"tag": "../x"}, "cannot call a suite '../x'"),
        ({"args": "'"}, 'cannot read the arguments "\'": No closing quotation'),
        ({"timeout_s": -1}, "a suite cannot take -1 s"),
    ],
)
def test_a_call_that_is_wrong_starts_no_machine(bench: Bench, options: dict[str, Any], sentence: str) -> None:
    ran = bench.run(**options)
    assert isinstance(ran.problem, UsageError)
    assert sentence in str(ran.problem)
    assert not any(isinstance(event, events.MachineStarted) for event in ran.heard)


def test_what_a_runner_needs_is_fetched_and_installed_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    needs = Suite.of(str(tmp_path), runner="bats", packages=("jq",)).preparation()
    assert needs is not None
    assert needs.key == "packages: bats jq"
    assert Suite.of(str(tmp_path)).preparation() is None


def test_what_only_its_owner_may_read_here_is_read_by_who_runs_it(bench: Bench) -> None:
    bench.script("a", 'test "$(stat -c %a .)" = 755')
    bench.tree.chmod(0o700)
    assert bench.run().problem is None
