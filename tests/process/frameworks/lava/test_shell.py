"""lava-test-shell with real shells, perl and git, in machines that are none."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml

from recipes.lava_test_shell import lava_test_shell
from tests.process.documented import documented
from vmtasks import NothingTested, TestFailed, TimedOut, UsageError, VmtasksError, events, use_provider
from vmtasks.frameworks.lava import patterns, shell
from vmtasks.process import landlock
from vmtasks.run.run import Run
from vmtasks.testing.fake_provider import FakeProvider


@pytest.fixture(autouse=True)
def _home() -> Iterator[None]:
    with tempfile.TemporaryDirectory(prefix="lava-") as name, pytest.MonkeyPatch.context() as patch:
        Path(name).chmod(0o777)
        patch.setattr(shell, "HOME", f"{name}/lava")
        with use_provider(FakeProvider()):
            yield


@dataclass
class Ran:
    """What came of a call."""

    problem: VmtasksError | None
    directory: Path
    heard: list[events.Event]
    out: Path
    artifacts: list[Path] = field(default_factory=list)

    @property
    def cases(self) -> list[tuple[str, str, str]]:
        """The suite, the name and the result of each case, in LAVA's file."""
        return [(row["suite"], row["name"], row["result"]) for row in self.yaml]

    @property
    def tests(self) -> list[tuple[str, str]]:
        return [(name, result) for suite, name, result in self.cases if suite != "lava"]

    @property
    def yaml(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = yaml.safe_load((self.out / "lava-results.yaml").read_text(encoding="utf-8"))
        return rows

    @property
    def result(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads((self.directory / "result.json").read_text())["cases"]
        return rows

    @property
    def printed(self) -> str:
        return "".join(event.text for event in self.heard if isinstance(event, events.Output))


@dataclass(frozen=True)
class Lab:
    path: Path

    def definition(self, text: str, name: str = "smoke") -> str:
        path = self.path / f"{name}.yaml"
        path.write_text(f"metadata:\n  name: {name}\n{text}")
        return str(path)

    def steps(self, *steps: str, name: str = "smoke") -> str:
        return self.definition(yaml.safe_dump({"run": {"steps": list(steps)}}), name)

    def run(self, *definitions: str, **options: Any) -> Ran:
        out = self.path / "out"

        def call(run: Run) -> None:
            lava_test_shell(run, definition=list(definitions), out=str(out), **options)

        done = documented("lava-test-shell", self.path / "run", call)
        return Ran(problem=done.problem, directory=done.directory, heard=done.heard, out=out, artifacts=done.artifacts)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def test_one_step(lab: Lab) -> None:
    ran = lab.run(lab.steps("lava-test-case always --shell true"))
    assert ran.problem is None
    assert ran.cases == [("0_smoke", "always", "pass"), ("lava", "0_smoke", "pass"), ("lava", "job", "pass")]
    assert [(row["definition"], row["case"], row["outcome"]) for row in ran.result] == [
        ("lava", "0_smoke", "passed"),
        ("0_smoke", "always", "passed"),
    ]
    assert "complete, and passed: of 1 cases 1 passed" in [
        one.text for one in ran.heard if isinstance(one, events.Note)
    ]


def test_steps_share_one_shell_which_ends_with_the_first_that_fails(lab: Lab) -> None:
    steps = (
        "cd /",
        "X=1",
        "f() { lava-test-case $X-$PWD --result pass; }",
        "false || true",
        "f",
        "(exit 3)",
        "echo no",
    )
    ran = lab.run(lab.steps(*steps), lab.steps("lava-test-case here --result pass", name="next"))
    assert isinstance(ran.problem, TestFailed)
    why = "0_smoke: its steps ended with status 3, before their end; the last command was `"
    assert str(ran.problem).startswith(f"complete, and not passed ({why}")
    assert str(ran.problem).endswith("`): of 2 cases 2 passed")
    assert ran.cases == [
        ("0_smoke", "1-/", "pass"),
        ("lava", "0_smoke", "fail"),
        ("1_next", "here", "pass"),
        ("lava", "1_next", "pass"),
        ("lava", "job", "pass"),
    ]
    assert "no\n" not in ran.printed


@pytest.mark.parametrize(
    "steps",
    [
        ["test -f /nonexistent && echo x"],
        ["for x in 1 2; do [ $x = 3 ] && echo $x; done"],
        ["set +e", "false"],
        ["(exit 1) || true", "! true"],
        ["true \\"],
        ["trap 'echo bye' EXIT", "set -u"],
        ["cd /; PATH=/nowhere"],
    ],
)
def test_the_last_line_of_the_steps_is_their_end_whatever_its_status(lab: Lab, steps: list[str]) -> None:
    ran = lab.run(lab.steps("lava-test-case a --result pass", *steps))
    assert ran.problem is None
    assert ran.cases[1:] == [("lava", "0_smoke", "pass"), ("lava", "job", "pass")]


@pytest.mark.parametrize(
    ("step", "why"),
    [
        ("if true; then exit 0; fi", "its steps ended with status 0, before their end; the last command was `exit 0`"),
        ("f() { grep x /dev/null; }; f", "with status 1, before their end; the last command was `grep x /dev/null`"),
        ("exec true", "its steps ended with status 0, before their end)"),
        ("kill -9 $$", "its steps ended with status 137, before their end)"),
        ("if", "its steps ended with status 2, before their end"),
    ],
)
def test_steps_that_do_not_come_to_their_end_fail_whatever_their_status(lab: Lab, step: str, why: str) -> None:
    ran = lab.run(lab.steps("lava-test-case a --result pass", step, "lava-test-case never --result fail"))
    assert why in str(ran.problem)
    assert ran.cases[-2:] == [("lava", "0_smoke", "fail"), ("lava", "job", "pass")]
    assert ("never", "fail") not in ran.tests


def test_complete_is_not_passed(lab: Lab) -> None:
    ran = lab.run(lab.steps("lava-test-case good --shell true", "lava-test-case bad --shell 'echo why; false'"))
    assert str(ran.problem) == "complete, and not passed: of 2 cases 1 passed, 1 failed (0_smoke/bad)"
    assert ran.problem is not None
    assert ran.problem.details == ("0_smoke/bad: why",)
    assert ran.cases[-1] == ("lava", "job", "pass")


def test_a_job_in_which_no_case_has_a_verdict_has_tested_nothing(lab: Lab) -> None:
    ran = lab.run(lab.steps("lava-test-case a --result skip", "lava-test-case b --result unknown"))
    assert isinstance(ran.problem, NothingTested)
    assert ran.tests == [("a", "skip"), ("b", "unknown")]


CALLS: list[tuple[str, int, str | None]] = [
    ("lava-test-case {x} --shell true", 0, "pass"),
    ("lava-test-case {x} --shell false", 0, "fail"),
    ("lava-test-case {x} --shell exit 4", 0, "fail"),
    ("lava-test-case {x} --shell '[[ ab =~ ^a ]] && a=(1 2) && [ ${{#a[@]}} = 2 ] && source /dev/null'", 0, "pass"),
    ("lava-test-case {x} --shell source /dev/null", 0, "pass"),
    ("lava-test-case {x} --result ''", 0, "unknown"),
    ('lava-test-case {x} --result "$NOWHERE"', 0, "unknown"),
    ("lava-test-case {x} --result $NOWHERE", 0, "unknown"),
    ("lava-test-case {x} --shell 'true; false | true'", 0, "pass"),
    ("lava-test-case {x} --shell test '' = ''", 0, "pass"),
    ("lava-test-case {x} --shell test 'a  b' = 'a  b'", 0, "pass"),
    ("lava-test-case {x} --shell \"echo 1 2 | awk '{{exit $2 != 2}}'\"", 0, "pass"),
    ("lava-test-case {x} --shell awk 'BEGIN {{$1 = 7; exit $1 != 7}}'", 0, "pass"),
    ("lava-test-case {x} --result fail", 0, "fail"),
    ("lava-test-case {x} --units s --result pass", 0, "pass"),
    ("lava-test-case {x} --result PASS", 0, "pass"),
    ("lava-test-case {x} --result passed", 0, "unknown"),
    ("lava-test-case {x}", 1, None),
    ("lava-test-case", 1, None),
    ("lava-test-case ''", 1, None),
    ("lava-test-case {x} --units s --result", 0, "unknown"),
    ("lava-test-case {x} --units", 1, None),
    ("lava-test-case {x} --shell", 1, None),
    ("lava-test-case {x} --reslut pass", 1, None),
    ("lava-test-reference {x} --result pass --reference http://x/y", 0, "pass"),
    ("lava-test-reference {x} --result pass", 1, None),
    ("lava-test-reference {x} --result pass --reference", 1, None),
    ("lava-test-reference", 1, None),
    ("lava-test-set start", 1, None),
    ("lava-test-set begin a", 1, None),
    ("lava-test-set start ''", 1, None),
    ("lava-test-set start a b", 0, None),
    ("lava-test-set stop a", 0, None),
    ("lava-test-set stop ''", 0, None),
    ("lava-test-set stop", 0, None),
    ("lava-test-event 'something happened'", 0, None),
    ("lava-test-feedback --namespace one", 0, None),
    ("lava-test-feedback", 1, None),
    ("lava-test-case-attach {x} /nowhere", 1, None),
    ("lava-test-case-attach {x}", 1, None),
    ("lava-test-run-attach /nowhere", 1, None),
    ("lava-test-run-attach", 1, None),
    ("lava-test-case-metadata kernel --shell uname -r", 0, None),
    ("lava-test-case-metadata kernel", 1, None),
    ("lava-background-process-start {x}", 1, None),
    ("lava-background-process-stop {x}", 0, None),
    ("lava-echo-ipv4", 0, None),
    ("lava-echo-ipv4 nowhere0", 0, None),
    ("lava-target-storage", 0, None),
    ("lava-target-storage sata", 1, None),
    ("lava-target-ip", 0, None),
    ("lava-probe-channel", 0, None),
    ("lava-os-build", 0, None),
    ("lava-installed-packages", 0, None),
    ("lava-install-packages", 0, None),
]
"""Lines that call a helper, with the exit status and the result of the case, if one is to come of it."""


def test_the_helpers_end_as_lavas_do(lab: Lab) -> None:
    lines = [line.format(x=f"x{number}") for number, (line, _, _) in enumerate(CALLS)]
    steps = [f"if {line}; then echo [{n}]=0; else echo [{n}]=$?; fi" for n, line in enumerate(lines)]
    ran = lab.run(lab.steps(*steps))
    found = dict(ran.tests)
    statuses = dict(re.findall(r"^\[(\d+)\]=(\d+)$", ran.printed, re.MULTILINE))
    came = [(line, int(statuses[str(n)]), found.get(f"x{n}")) for n, (line, _, _) in enumerate(CALLS)]
    assert came == CALLS
    assert ("lava", "0_smoke", "pass") in ran.cases


def test_what_the_helpers_print(lab: Lab) -> None:
    ran = lab.run(lab.steps("lava-os-build", "lava-echo-ipv4 lo", "lava-installed-packages | grep ' dpkg '"))
    system, address, package, *_ = ran.printed.splitlines()
    assert "ebian" in system
    assert address == "127.0.0.1"
    assert package.startswith("package: dpkg : 1.")


def test_measurements_keep_their_units_and_their_digits(lab: Lab) -> None:
    ran = lab.run(
        lab.steps(
            "lava-test-case speed --result pass --measurement 12.50 --units MiB/s",
            "lava-test-case odd --result pass --measurement '>9 000' --units 'requests per s'",
            "lava-test-case none --result pass --units s",
            "echo '<LAVA_SIGNAL_TESTCASE TEST_CASE_ID=by hand RESULT=pass UNITS=per s MEASUREMENT=3>'",
        )
    )
    expected = [("12.50", "MiB/s"), (">9 000", "requests per s"), ("", "s"), ("3", "per s")]
    assert [(row["measurement"], row["units"]) for row in ran.result[1:]] == expected
    assert [row["measurement"] for row in ran.yaml[:4]] == ["12.50", ">9 000", "None", "3"]
    found = ET.parse(ran.directory / "junit.xml").find(".//testcase[@name='speed']")  # noqa: S314 - our own
    assert found is not None
    assert found.get("classname") == "lava-test-shell.lava.0_smoke"
    values = [one.get("value") for one in found.iter("property")]
    assert values == ["12.50", "MiB/s"]


def test_names_with_blanks_and_names_that_are_equal_lose_nothing(lab: Lab) -> None:
    ran = lab.run(
        lab.steps(
            "for i in 1 2 3; do lava-test-case same --result pass; done",
            "lava-test-case 'two  words' --shell true",
            "lava-test-case 'a/b=c>d \"e\"' --result fail",
            "lava-test-case \"$(printf 'two\\nlines')\" --result pass",
            "printf 'no line feed'; lava-test-case last --result fail",
            "echo '<LAVA_SIGNAL_TESTCASE TEST_CASE_ID=by hand, too RESULT=fail>'",
        )
    )
    assert ran.tests == [
        *[("same", "pass")] * 3,
        ("two  words", "pass"),
        ('a/b=c>d "e"', "fail"),
        ("two\nlines", "pass"),
        ("last", "fail"),
        ("by hand, too", "fail"),
    ]
    assert len([row for row in ran.result if row["definition"] == "0_smoke"]) == 8
    assert "of 8 cases 5 passed, 3 failed" in str(ran.problem)


def test_signals_of_many_processes_beside_noise_lose_nothing(lab: Lab) -> None:
    noise = "(while :; do printf '[ 12.3] random: <LAVA_SIG'; done) & noise=$!"
    many = (
        'for p in 1 2 3 4; do (for i in 1 2 3 4 5; do lava-test-case $p-$i --result pass; done) & all="$all $!"; done'
    )
    ran = lab.run(lab.steps(noise, many, "wait $all", "kill $noise", "lava-test-case last --result pass"))
    assert ran.problem is None
    assert len(ran.tests) == 21
    assert ran.tests[-1] == ("last", "pass")


def test_what_prints_without_end_holds_up_neither_signals_nor_the_end(lab: Lab) -> None:
    ran = lab.run(lab.steps("yes & all=$!", "lava-test-case a --result pass", "(sleep 1; kill $all) &"), timeout_s=60)
    assert ran.problem is None
    assert ran.tests == [("a", "pass")]


def test_a_helper_that_is_killed_ends_nothing_else(lab: Lab) -> None:
    stopped = "lava-test-case slow --shell 'kill -STOP $PPID' & sleep 0; lava-test-case b --result pass"
    hasty = 'for i in 1 2 3 4 5 6 7 8; do timeout -s KILL 0.0$i "$(command -v lava-signal)" TESTEVENT x || :; done'
    ran = lab.run(lab.steps(hasty, stopped, "kill -KILL $!"))
    assert ran.problem is None
    assert ("b", "pass") in ran.tests


def test_bare_lines_are_where_they_were_among_signals(lab: Lab) -> None:
    line = "echo '<LAVA_SIGNAL_TESTCASE TEST_CASE_ID={} RESULT=pass>'"
    ran = lab.run(
        lab.steps(
            line.format("before"),
            "lava-test-set start one",
            line.format("in-one"),
            "lava-test-set start two",
            "lava-test-case in-two --shell true",
            "lava-test-set stop",
            line.format("after"),
            "set -x; " + line.format("traced") + "; set +x",
            "echo '<LAVA_SIGNAL_STARTTC log>'; echo inside; echo '<LAVA_SIGNAL_ENDTC log>'",
            line.replace("pass", "fail").format("log"),
        )
    )
    assert [(row["name"], row["metadata"].get("set", "")) for row in ran.yaml if row["suite"] == "0_smoke"] == [
        ("before", ""),
        ("in-one", "one"),
        ("in-two", "two"),
        ("after", ""),
        ("traced", ""),
        ("log", ""),
    ]
    assert [row["case"] for row in ran.result if row["definition"] == "0_smoke"][1:3] == ["one/in-one", "two/in-two"]
    assert ran.problem is not None
    assert ran.problem.details == ("0_smoke/log: inside",)


def test_a_definition_calls_results_so_in_signals_too(lab: Lab) -> None:
    steps = ["lava-test-case a --result ERROR", "lava-test-case b --result SUCCESS", "lava-test-case c --shell true"]
    bare = "echo '<LAVA_SIGNAL_TESTCASE test_case_id=d result=ERROR>'"
    parse = {"pattern": "(?P<test_case_id>x) (?P<result>y)", "fixupdict": {"SUCCESS": "pass", "ERROR": "fail"}}
    ran = lab.run(lab.definition(yaml.safe_dump({"parse": parse, "run": {"steps": [*steps, bare]}})))
    assert ran.tests == [("a", "fail"), ("b", "pass"), ("c", "pass"), ("d", "fail")]
    (warned,) = (one for one in ran.heard if isinstance(one, events.Note) and one.level == "warning")
    assert warned.text == "0_smoke: its pattern was found in nothing that it printed"


def test_the_pattern_of_a_definition_finds_cases_in_its_output(lab: Lab) -> None:
    ran = lab.run(
        lab.definition(
            r"""
parse:
  pattern: '^(?P<test_case_id>\S+) \.\.\. (?P<result>\w+)( (?P<measurement>[\d.]+) (?P<units>\S+))?$'
  fixupdict: {ok: pass, broken: fail}
run:
  steps:
  - 'echo "one ... ok"; echo "two ... broken 1.5 ms"; echo "three ... PASS"; echo "four ... odd"; echo other'
  - printf 'five ... ok'
"""
        )
    )
    assert ran.tests == [("one", "pass"), ("two", "fail"), ("three", "pass"), ("four", "unknown"), ("five", "pass")]
    assert not [one for one in ran.heard if isinstance(one, events.Note) and "its pattern" in one.text]
    assert (ran.yaml[1]["measurement"], ran.yaml[1]["unit"]) == ("1.5", "ms")


def test_a_pattern_that_takes_for_ever_is_given_up_and_its_definition_fails(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patterns, "LIMIT_S", 0.2)
    evil = r"""
parse: {pattern: '^(?P<test_case_id>\w+) (?P<result>(pass|fail)|(a+)+$)'}
run: {steps: [echo one pass; sleep 0.5, 'echo "x aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!"', echo two pass]}
"""
    good = r"""
parse: {pattern: '^(?P<test_case_id>\w+) (?P<result>\w+)$'}
run: {steps: [echo three pass]}
"""
    ran = lab.run(lab.definition(evil), lab.definition(good, name="next"), lab.definition(evil, name="again"))
    why = "its pattern is given up: a processor has worked on a few lines for more than 0.2 s; cases may be missing"
    assert isinstance(ran.problem, TestFailed)
    assert str(ran.problem).startswith(
        f"complete, and not passed (0_smoke: {why}; 2_again: {why}): of 2 cases 2 passed"
    )
    assert ran.tests == [("one", "pass"), ("three", "pass")]
    warnings = [one.text for one in ran.heard if isinstance(one, events.Note) and one.level == "warning"]
    assert [one for one in warnings if "pattern is given up" in one and "complete" not in one] == [f"0_smoke: {why}"]


def test_parameters_are_variables_whatever_they_hold(lab: Lab) -> None:
    text = """
params: {WORD: "it's $HOME", FLAG: no, OCTAL: 0755, EMPTY: }
parameters: {OTHER: default}
run:
  steps:
  - lava-test-case "$WORD|$FLAG|$OCTAL|$EMPTY|$OTHER|$NEW" --shell test -z "$(env | grep ^WORD=)"
"""
    ran = lab.run(lab.definition(text), param=["OTHER=a=b", "NEW=two words"])
    warnings = [one.text for one in ran.heard if isinstance(one, events.Note) and one.level == "warning"]
    assert warnings == ["no definition has a parameter 'NEW'"]
    assert ran.tests == [("it's $HOME|False|493||a=b|two words", "pass")]


def test_install_comes_first_and_ends_only_its_own_definition(lab: Lab) -> None:
    broken = "install: {steps: [echo installing, 'false', echo more]}\nrun: {steps: [echo running]}\n"
    ran = lab.run(lab.definition(broken), lab.steps("lava-test-case x --result pass", name="next"))
    assert "not complete (0_smoke: what it needs could not be installed: status 1): of 1 cases 1 passed" in str(
        ran.problem
    )
    assert ran.printed == "installing\n"


def test_install_can_be_skipped(lab: Lab) -> None:
    text = "install: {steps: [exit 1], deps: [no-such-package]}\nrun: {steps: [echo running]}\n"
    ran = lab.run(lab.definition(text), skip_install=["steps", "deps"])
    assert ran.problem is None
    assert ran.printed == "running\n"


def committed(root: Path, **files: str) -> Path:
    root.mkdir(parents=True)
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    for argv in (["init", "-q", "-b", "main"], ["add", "."], [*who, "commit", "-q", "-m", "x"]):
        subprocess.run(
            ["git", "-C", str(root), *argv], check=True, env={**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null"}
        )
    return root


def test_the_checkout_around_a_definition_and_its_repositories_go_along(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = committed(lab.path / "other.git", tool="echo from the tool\n")
    monkeypatch.chdir(lab.path)
    (lab.path / "lava.toml").write_text(f'[paths]\n"{other}" = "other.git"\n"../other.git" = "other.git"\n')
    text = f"""metadata: {{name: deep}}
install: {{git-repos: [{other}, {{url: ../other.git, destination: deps/again, branch: main}}]}}
run: {{steps: [sh ./script.sh, sh other/tool, sh deps/again/tool]}}
"""
    root = committed(lab.path / "checkout", **{"script.sh": "echo from the top\n", "tests__deep.yaml": text})
    ran = lab.run(str(root / "tests" / "deep.yaml"))
    assert ran.problem is None
    assert ran.printed == "from the top\nfrom the tool\nfrom the tool\n"


def test_a_repository_beneath_the_files_is_cloned_and_one_elsewhere_is_not(lab: Lab) -> None:
    root = committed(lab.path / "checkout", x="")
    committed(root / "tools", tool="echo from the tool\n")
    committed(lab.path / "private", hidden="x")
    text = "install: {git-repos: [{url: tools, destination: t}]}\nrun: {steps: [sh t/tool]}\n"
    ran = lab.run(lab.definition(text), files=str(root))
    assert ran.problem is None
    assert ran.printed == "from the tool\n"
    (lab.path / "run").rename(lab.path / "first")
    refused = lab.run(lab.definition(text.replace("url: tools", "url: ../private")), files=str(root))
    assert isinstance(refused.problem, UsageError)
    assert f"cannot clone ../private: it is outside of {root}, and the line" in str(refused.problem)


@pytest.mark.skipif(not landlock.abi(), reason="this kernel has no Landlock")
@pytest.mark.parametrize("way", ["gitdir", "commondir", "objects"])
def test_a_repository_that_leads_elsewhere_by_its_own_files_is_not_followed(lab: Lab, way: str) -> None:
    root = lab.path / "checkout"
    private = committed(lab.path / "private", hidden="x")
    fake = committed(root / "fake", y="y")
    if way == "commondir":
        (fake / ".git" / "commondir").write_text(f"{private}/.git\n")
    else:
        (fake / ".git").rename(lab.path / "was")
    if way == "gitdir":
        (fake / ".git").write_text(f"gitdir: {private}/.git\n")
    elif way == "objects":
        (fake / ".git").mkdir()
        for path in (private / ".git").iterdir():
            (fake / ".git" / path.name).symlink_to(path)
    ran = lab.run(lab.definition("install: {git-repos: [fake]}\nrun: {steps: [ls fake]}\n"), files=str(root))
    assert isinstance(ran.problem, UsageError)
    assert "cannot clone" in str(ran.problem)


def test_a_repository_that_is_not_there_is_named(lab: Lab) -> None:
    text = "install: {git-repos: [./nowhere]}\nrun: {steps: [echo running]}\n"
    ran = lab.run(lab.definition(text))
    assert isinstance(ran.problem, UsageError)
    assert re.search(r"cannot clone .*nowhere: git says", str(ran.problem))


def test_an_address_runs_no_program_on_the_host(lab: Lab) -> None:
    text = f"install: {{git-repos: ['ext::touch {lab.path}/touched']}}\nrun: {{steps: [echo running]}}\n"
    assert isinstance(lab.run(lab.definition(text)).problem, UsageError)
    assert not (lab.path / "touched").exists()


def test_a_definition_alone_takes_nothing_along_but_what_it_is_told_to(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "tool").write_text("echo tool\n")
    assert lab.run(lab.steps("ls"), files=str(tmp_path / "tools")).printed == "tool\n"


def test_attachments_come_home(lab: Lab) -> None:
    ran = lab.run(
        lab.steps(
            "echo one >log.txt; lava-test-case-attach 'a case' log.txt text/plain; echo two >log.txt",
            "lava-test-case-attach 'a case' log.txt; lava-test-run-attach './log.txt'",
            "touch 'od*d name'; lava-test-run-attach 'od*d name' text/plain",
        )
    )
    found = {str(path.relative_to(ran.out)): path.read_text() for path in ran.artifacts if path.suffix != ".yaml"}
    assert found == {
        "attachments/0_smoke/1-a-case/log.txt": "one\n",
        "attachments/0_smoke/2-a-case/log.txt": "two\n",
        "attachments/0_smoke/3-run/log.txt": "two\n",
        "attachments/0_smoke/4-run/od*d name": "",
    }


def test_what_a_definition_tells_of_itself_is_in_the_row_about_it(lab: Lab) -> None:
    attach = "echo >log.txt; lava-test-case-attach a log.txt; mv log.txt data; lava-test-run-attach data x/y"
    ran = lab.run(lab.steps("lava-test-case-metadata kernel --shell echo 6 1", attach))
    metadata = ran.yaml[0]["metadata"]
    assert metadata["told"] == {"kernel": "6 1"}
    assert metadata["attachments"] == [
        {"case": "a", "pathname": "attachments/0_smoke/1-a/log.txt", "mime_type": "text/plain"},
        {"case": "", "pathname": "attachments/0_smoke/2-run/data", "mime_type": "x/y"},
    ]
    assert all((ran.out / one["pathname"]).is_file() for one in metadata["attachments"])


def test_a_helper_cannot_end_a_definition(lab: Lab) -> None:
    ran = lab.run(lab.steps('"$(dirname "$(command -v lava-test-case)")"/lava-signal ENDRUN 0_smoke 0; exit 1'))
    assert ("lava", "0_smoke", "fail") in ran.cases


def test_raise_ends_all_tests(lab: Lab) -> None:
    first = lab.steps("lava-test-case a --result pass", "lava-test-raise no 'such  board' || true", "echo no")
    ran = lab.run(first, lab.steps("echo no", name="next"))
    reasons = "0_smoke: lava-test-raise: no such  board; 1_next: it was not run"
    assert str(ran.problem) == f"not complete ({reasons}): of 1 cases 1 passed"
    assert ("lava", "1_next", "fail") in ran.cases


def test_a_raise_that_a_program_prints_ends_what_runs(lab: Lab) -> None:
    ran = lab.run(lab.steps("echo '<LAVA_SIGNAL_TESTRAISE no board>'", "sleep 600"))
    assert str(ran.problem) == "not complete (0_smoke: lava-test-raise: no board): no cases"


def test_what_is_expected_and_does_not_come_is_a_failure(lab: Lab) -> None:
    text = "expected: [a, b]\nrun: {steps: [lava-test-case a --result pass, lava-test-case c --result pass]}\n"
    ran = lab.run(lab.definition(text))
    assert ran.tests == [("a", "pass"), ("c", "fail"), ("b", "fail")]


def test_the_output_of_a_case_can_be_a_file(lab: Lab) -> None:
    ran = lab.run(lab.steps("echo why >log", "lava-test-case a --result fail --output log", "echo after"))
    assert ran.problem is not None
    assert ran.problem.details == ("0_smoke/a: why",)
    assert (ran.yaml[0]["log_start_line"], ran.yaml[0]["log_end_line"]) == ("1", "1")


def test_a_case_that_never_ends_is_told(lab: Lab) -> None:
    ran = lab.run(lab.steps("echo '<LAVA_SIGNAL_STARTTC endless>'", "lava-test-case b --result pass", "exit 1"))
    assert ran.tests == [("b", "pass"), ("endless", "unknown")]


def test_at_the_limit_of_time_nothing_is_lost(lab: Lab) -> None:
    steps = ("lava-test-case a --result pass", "touch x; lava-test-run-attach x", "lava-test-case b --shell sleep 600")
    ran = lab.run(lab.steps(*steps), lab.steps("echo no", name="next"), timeout_s=4)
    assert isinstance(ran.problem, TimedOut)
    assert ran.tests == [("a", "pass"), ("b", "unknown")]
    assert [name for suite, name, result in ran.cases if suite == "lava" and result == "fail"] == [
        "0_smoke",
        "1_next",
        "job",
    ]
    assert len(ran.artifacts) == 2
    told = [one.text for one in ran.heard if isinstance(one, events.Note)]
    assert told == ["not complete (0_smoke: it was cut short; 1_next: it was not run): of 2 cases 1 passed, 1 unknown"]


def test_a_background_process_runs_until_it_is_stopped(lab: Lab) -> None:
    ran = lab.run(
        lab.steps(
            "mkfifo ticks; lava-background-process-start sampler --cmd 'echo tick >ticks'",
            # Open all the while: a reader that comes before the first writer has closed it would read that one's end.
            "exec 3<>ticks; read first <&3; read second <&3",
            "lava-test-case ticks --shell test $first-$second = tick-tick",
            "lava-background-process-stop sampler --attach /etc/hostname text/plain",
        )
    )
    assert ran.problem is None
    assert ran.artifacts[0].name == "hostname"


def test_what_a_definition_leaves_running_can_print_while_the_next_one_runs(lab: Lab) -> None:
    first = lab.steps("mkfifo ../fifo; (read line <../fifo; echo heard $line; echo >../fifo) &")
    second = lab.steps("echo you >../fifo; read answer <../fifo", name="next")
    ran = lab.run(first, second, timeout_s=60)
    assert ran.problem is None
    assert ran.printed == "heard you\n"


def test_helpers_work_without_the_path_and_by_hand(lab: Lab) -> None:
    ran = lab.run(lab.steps('env -i "$(command -v lava-test-case)" x --shell /bin/true'))
    assert ran.tests == [("x", "pass")]
    helper = Path(shell._PROGRAMS) / "bin" / "lava-test-case"
    done = subprocess.run([helper, "x", "--result", "pass", "--units", "s"], capture_output=True, text=True, check=True)
    assert done.stdout == "<LAVA_SIGNAL_TESTCASE TEST_CASE_ID=x RESULT=pass UNITS=s>\n"
