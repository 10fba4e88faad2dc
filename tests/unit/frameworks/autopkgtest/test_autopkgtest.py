"""autopkgtest's protocol, its words, and what must not reach it: no process, no machine."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from urllib.parse import quote, unquote

import pytest

from vmtasks.errors import TestFailed, UsageError
from vmtasks.frameworks.autopkgtest.run import Report, command_line
from vmtasks.frameworks.autopkgtest.safety import check_quotes
from vmtasks.frameworks.autopkgtest.server import serve
from vmtasks.frameworks.autopkgtest.summary import Row, Summary, parse

# --- the protocol


class FakeTestbed:
    """Notes what it is asked for."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.is_open = False
        self.execute_command = ("/bin/sh", "-c", 'a "b", c', "name")

    def capabilities(self) -> list[str]:
        return ["revert", "suggested-normal-user=builder"]

    def open(self) -> str:
        self.is_open = True
        self.done.append("open")
        return "/tmp/autopkgtest.a b"

    def revert(self) -> str:
        self.done.append("revert")
        return self.open()

    def close(self) -> None:
        self.is_open = False
        self.done.append("close")

    def reboot(self, *, by_itself: bool = False) -> None:
        self.done.append(f"reboot {by_itself}")

    def copy_up(self, source: str, target: str) -> None:
        self.done.append(f"up {source!r} {target!r}")

    def copy_down(self, source: str, target: str) -> None:
        self.done.append(f"down {source!r} {target!r}")

    def shell(self, directory: str, environment: Sequence[str]) -> bool:
        self.done.append(f"shell {directory} {environment}")
        return False


def talk(*requests: str) -> tuple[list[str], list[str]]:
    """Return the answers, and what was done."""
    testbed, answers = FakeTestbed(), list[str]()
    serve(testbed, [f"{request}\n" for request in requests], answers.append)  # type: ignore[arg-type]
    assert all(answer.endswith("\n") and answer.count("\n") == 1 for answer in answers)
    return [answer.rstrip("\n") for answer in answers], testbed.done


def test_a_session_as_autopkgtest_has_it() -> None:
    answers, done = talk(
        "capabilities", "open", "print-execute-command", "copydown /a%20b/ /tmp/x/", "copyup /tmp/o%09t /h", "revert",
        "reboot", "reboot prepare-only", "close", "quit",
    )  # fmt: skip
    assert answers[:3] == ["ok", "ok revert suggested-normal-user=builder", f"ok {quote('/tmp/autopkgtest.a b')}"]
    words = answers[3].removeprefix("ok ").split(",")
    assert [unquote(word) for word in words] == ["/bin/sh", "-c", 'a "b", c', "name"]
    assert answers[4:] == ["ok", "ok", f"ok {quote('/tmp/autopkgtest.a b')}", "ok", "ok", "ok", "ok"]
    assert done == [
        "open", "down '/a b/' '/tmp/x/'", "up '/tmp/o\\tt' '/h'", "revert", "open", "reboot False", "reboot True",
        "close", "close", "close",
    ]  # fmt: skip


def test_names_that_are_no_text_are_names() -> None:
    _, done = talk("open", "copyup /tmp/caf%E9 /h/caf%E9")
    assert done[1] == "up '/tmp/caf\\udce9' '/h/caf\\udce9'"


def test_the_testbed_goes_when_autopkgtest_does() -> None:
    answers, done = talk("open")
    assert (answers[0], done) == ("ok", ["open", "close"])


def test_a_shell_that_cannot_be_had_is_no_error() -> None:
    answers, done = talk("open", "shell /tmp A=1", "quit")
    assert answers[2:] == ["not supported by virt server", "ok"]
    assert done[1] == "shell /tmp ['A=1']"


@pytest.mark.parametrize(
    "requests",
    [("revert",), ("open", "open"), ("open", "copyup /a/ /b"), ("open", "copydown  /b"), ("fly",), ("reboot twice",)],
)
def test_what_cannot_be_done_ends_it(requests: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="autopkgtest asks for what cannot be done now"):
        talk(*requests)


# --- its words


def test_a_summary_is_read() -> None:
    text = (
        "autodep8-python3     PASS (superficial)\nsmoke                PASS\n"
        "other                FAIL non-zero exit status 1\n"
        "third                SKIP exit status 77 and marked as skippable\n"
        "a-name-that-is-longer-than-twenty FLAKY stderr: oh no\nfifth                FAIL badpkg\n"
        "blame: deb:tiny\nbadpkg: Test dependencies are unsatisfiable. A common reason is\n"
    )  # fmt: skip
    assert parse(text) == Summary(
        rows=(
            Row(test="autodep8-python3", verdict="PASS", reason="(superficial)"),
            Row(test="smoke", verdict="PASS"),
            Row(test="other", verdict="FAIL", reason="non-zero exit status 1"),
            Row(test="third", verdict="SKIP", reason="exit status 77 and marked as skippable"),
            Row(test="a-name-that-is-longer-than-twenty", verdict="FLAKY", reason="stderr: oh no"),
            Row(test="fifth", verdict="FAIL", reason="badpkg"),
        ),
        complaint="Test dependencies are unsatisfiable. A common reason is",
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("testbed failure: unexpected eof from the testbed\n", "unexpected eof from the testbed"),
        ("erroneous package: rules build failed with exit code 2\n", "rules build failed with exit code 2"),
        ("quitting: unexpected error, see log\n", "unexpected error, see log"),
        ("*                    SKIP no tests in this package\n", ""),
    ],
)
def test_why_there_is_no_verdict_is_read(text: str, complaint: str) -> None:
    assert parse(text).complaint == complaint


@pytest.mark.parametrize(
    ("status", "complaint", "tests", "error"),
    [
        (0, "", ["a"], ""),
        (4, "", ["a"], r"with the status of a failure, 4: it has reported no failure of a; its log is"),
        (6, "", ["a", "c"], r"with the status of a failure, 6"),
        (12, "Test dependencies are unsatisfiable", ["b"], r"with the status of a failure, 12: Test dependencies are"),
        (12, "rules build failed", ["a", "c"], ""),  # which c has to tell
        (2, "", ["a"], ""),
        (8, "", ["a"], ""),
        (16, "cannot send to testbed", ["a"], r"failed after a \(exit status 16\): cannot send to testbed"),
        (20, "", ["a", "b"], r"failed after a, b \(exit status 20\): the last line"),
        (16, "sent `auxverb'", ["a", "c"], ""),  # which c has to tell, and not a
        (20, "", ["a", "c"], r"failed before it has reported on a, c \(exit status 20\): the last line"),
        (137, "", ["c"], r"failed before it has reported on c \(exit status 137\): the last line"),  # killed
        (-9, "", ["c"], r"exit status -9"),
        (20, "", [], ""),
    ],
)
def test_a_pass_before_autopkgtest_fails_is_none(
    tmp_path: Path, status: int, complaint: str, tests: list[str], error: str
) -> None:
    (tmp_path / "log").write_text("first\nthe last line\n", encoding="utf-8")
    rows = tuple(Row(test=test, verdict="PASS") for test in ("a", "b"))
    report = Report(status=status, summary=Summary(rows=rows, complaint=complaint), directory=tmp_path)
    with pytest.raises(TestFailed, match=error) if error else nullcontext():
        report.expect_end(tests)


def test_a_failure_that_was_reported_is_no_news(tmp_path: Path) -> None:
    rows = (Row(test="a", verdict="PASS"), Row(test="b", verdict="FAIL"))
    Report(status=4, summary=Summary(rows=rows), directory=tmp_path).expect_end(["a", "b"])


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ("SKIP FAIL", "FAIL"), ("FAIL SKIP", "FAIL"), ("PASS FLAKY FAIL", "FAIL"), ("SKIP PASS", "PASS"),
        ("PASS FLAKY", "FLAKY"), ("SKIP SKIP", "SKIP"), ("PASS", "PASS"),
    ],
)  # fmt: skip
def test_of_several_tests_of_one_name_a_failure_decides(verdicts: str, expected: str) -> None:
    lines = [f"smoke                {verdict} because" for verdict in verdicts.split()]
    row = parse("\n".join(["other                FAIL", *lines, "last                 FAIL"])).row_of("smoke")
    assert row
    assert row.verdict == expected
    assert parse("\n".join(lines)).row_of("another") is None


def test_a_command_line() -> None:
    argv = command_line(
        Path("/run/source"), ["relay", "x"], directory=Path("/run/out"), tests=["@a", "b"], timeout_s=60
    )
    assert argv[0] == "autopkgtest"
    assert {"--no-built-binaries", "--no-auto-control", "--output-dir=/run/out", "--timeout-test=60"} < set(argv)
    assert [word for word in argv if "test-name" in word] == ["--test-name=@a", "--test-name=b"]  # no @ begins a word
    assert argv[argv.index("--") - 1 :] == ["/run/source", "--", "relay", "x"]


@pytest.mark.parametrize("timeout_s", [None, 0.0])
def test_no_limit_is_none_of_autopkgtests_either(timeout_s: float | None) -> None:
    argv = command_line(Path("/t"), [], directory=Path("/o"), timeout_s=timeout_s)
    (limit,) = (word for word in argv if word.startswith("--timeout-test="))
    assert int(limit.partition("=")[2]) > 10**6


# --- what must not reach it

USUAL = """\
Source: thing
Maintainer: Miles O'Brien <obrien@example.org>
Build-Depends: debhelper-compat (= 13), libfoo-dev (>= 1:2.0~rc1+dfsg-1~) [linux-any !hurd-i386] <!nocheck>,
 python3:any | python3-all (<< 4) # it's a comment of ours
# and don't mind this one
X-Notes: it's free
Original-Maintainer: Ida O'Hara <ida@example.org>
Comment: it's taken from elsewhere
Vcs-Git: https://example.org/it's

Package: thing
Architecture: any
Description: the thing's description
 It's free text, with a \\ too.
"""


def test_what_debian_packages_say_is_fine() -> None:
    check_quotes("debian/control", USUAL)
    check_quotes("debian/tests/control", "Test-Command: echo 'it works' \\\n  && true\nDepends: @, jq\n")
    check_quotes("debian/tests/control", "Tests: a\nDepends: foo, # we don't need bar\n # isn't, and \\\n baz#'\n")


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("Build-Depends: x'); system('touch /tmp/owned'); ('", "Build-Depends"),
        ("Build-Depends:\n x,\n y'); exit", "Build-Depends"),
        ("build-depends-indep: x\\", "build-depends-indep"),
        ("Recommends: a'", "Recommends"),
        ("Package: p'; 1", "Package"),
        ("Architecture: any']", "Architecture"),
        ("no field at all'", "such field"),
        ("Depends : a'", "Depends"),
        ("Depends: a, # a comment\n # and another\n b'", "Depends"),
        ("Depends: a\\#b", "Depends"),
    ],
)
def test_what_could_end_a_string_of_perls_is_refused(field: str, name: str) -> None:
    with pytest.raises(TestFailed, match=r"cannot run the tests: line \d+ of debian/control has a quote") as refusal:
        check_quotes("debian/control", f"Source: thing\n{field}\n")
    assert name.lower() in str(refusal.value).lower()
