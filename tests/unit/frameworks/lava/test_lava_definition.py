from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from vmtasks.errors import UsageError
from vmtasks.frameworks.lava import yaml11
from vmtasks.frameworks.lava.definition import TestDefinition, definition_of, load
from vmtasks.frameworks.lava.scripts import install_script, protected, run_script
from vmtasks.frameworks.lava.shell import suites

LEAST = "metadata: {name: least}\nrun: {steps: [echo]}\n"


def read(text: str) -> TestDefinition:
    return definition_of(yaml11.parse(text.encode(), where="a.yaml"), Path("a.yaml"))


def test_all_that_a_definition_can_say() -> None:
    found = read(
        """
metadata:
  format: Lava-Test Test Definition 1.0
  name: network smoke
  description: what a network is there for
  maintainer: [one@example.org, two@example.org]
  os: [debian]
  version: 1.0
params: {IFACE: eth0, COUNT: 3}
parameters: {COUNT: 4}
install:
  keys: [team.asc]
  sources: ["deb http://mirror.example trixie main"]
  deps: [iputils-ping]
  deps-debian: [iperf3]
  deps-ubuntu: [iperf]
  git-repos:
  - https://git.example/tools.git
  - {url: /srv/more, branch: next, destination: lib/more, skip_by_default: true}
  steps: [make -C tools]
run:
  steps: [ip addr, null, 'lava-test-case ping --shell ping -c $COUNT localhost']
parse:
  pattern: '(?P<test_case_id>\\S+): (?P<result>\\w+)'
  fixupdict: {good: pass}
expected: [ping]
"""
    )
    assert found.name == "network smoke"
    assert found.metadata["maintainer"] == "one@example.org, two@example.org"
    assert found.params == {"IFACE": "eth0", "COUNT": "4"}
    assert found.install.deps_of == {"debian": ("iperf3",), "ubuntu": ("iperf",)}
    assert [(one.directory, one.branch) for one in found.install.git_repos] == [("tools", ""), ("lib/more", "next")]
    assert found.steps == ("ip addr", "lava-test-case ping --shell ping -c $COUNT localhost")
    assert found.parse is not None
    assert found.parse.fixupdict == {
        "PASS": "pass",
        "FAIL": "fail",
        "SKIP": "skip",
        "UNKNOWN": "unknown",
        "good": "pass",
    }
    assert found.expected == ("ping",)
    assert list(suites([found, found])) == ["0_network-smoke", "1_network-smoke"]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("false", "False"),
        ("yes", "True"),
        ("off", "False"),
        ("1.0", "1.0"),
        ("0755", "493"),
        ("10:30", "630"),
        ("2026-01-31", "2026-01-31"),
        ("", ""),
        ("~", ""),
        ("'false'", "false"),
        ("text", "text"),
    ],
)
def test_parameters_are_yaml_1_1(written: str, value: str) -> None:
    assert read(f"{LEAST}params: {{P: {written}}}").params == {"P": value}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "it is no mapping"),
        ("[a]", "it is no mapping"),
        ("a: [", "line 1: "),
        ("a: 1\na: 2", "line 2: key 'a' is given twice"),
        ("a: !!python/object/apply:os.system [x]", "line 1: could not determine a constructor"),
        ("a: \x00", "it is not valid YAML"),
        ("&a [*a]", "it is no mapping"),
        ("metadata: {name: x}\nrun: &r {steps: [*r]}", "contains itself"),
        ("run: {steps: [a]}", "has no name"),
        ("metdata: {name: x}", "has no name; key 'metdata': did you mean 'metadata'?"),
        ("metadata: {name: }\nrun: {steps: [a]}", "has no name"),
        ("metadata: {name: x}", "key 'run' is missing"),
        ("metadata: {name: x}\nrun: {steps: []}", "there is nothing to run"),
        ("metadata: {name: x}\nrun: {step: [a]}", "unknown key 'step' in [run]; did you mean 'steps'?"),
        ("metadata: {name: x}\nrun: {steps: a}", 'must be a list of texts (lines of shell), not the text "a"'),
        ("metadata: {name: x}\nrun: {steps: [true]}", "a list that holds true"),
        (f"{LEAST}instal: {{}}", "unknown key 'instal'; did you mean 'install'?"),
        (f"{LEAST}install: [a]", "key 'install' must be a mapping"),
        (f"{LEAST}install: {{dep: [a]}}", "did you mean 'deps'?"),
        (f"{LEAST}install: {{deps: perl}}", "key 'deps' in [install] must be a list of texts"),
        (f"{LEAST}install: {{deps-debian: perl}}", "a.yaml: deps-debian: key 'deps' must be a list of texts"),
        (f"{LEAST}install: {{bzr-repos: [lp:x]}}", "key 'bzr-repos' is LAVA's, and not supported: bazaar is gone"),
        (f"{LEAST}install: {{git-repos: [{{url: x, branc: y}}]}}", "did you mean 'branch'?"),
        (f"{LEAST}install: {{git-repos: [{{url: x, destination: ../y}}]}}", "must be below the definition's files"),
        (f"{LEAST}install: {{git-repos: [/]}}", "must be below the definition's files"),
        (f"{LEAST}handler: {{}}", "key 'handler' is LAVA's, and not supported"),
        (f"{LEAST}test-case-deps: []", "name the other definitions on the command line"),
        (f"{LEAST}parse: {{fixupdict: {{a: pass}}}}", "key 'pattern' in [parse] is missing"),
        (f"{LEAST}parse: {{pattern: '('}}", "is no regular expression of Python's"),
        (f"{LEAST}parse: {{pattern: '(?P<result>x)'}}", "has no group test_case_id"),
        (f"{LEAST}parse: {{pattern: '{'x' * 4097}'}}", "has more than 4096 characters"),
        (f"{LEAST}parse: {{pattern: x}}", "has no group test_case_id and none result"),
        (
            f"{LEAST}parse: {{pattern: '(?P<test_case_id>x)(?P<result>y)', fixupdict: {{y: passed}}}}",
            "key 'fixupdict' in [parse] has 'passed'; did you mean 'pass'?",
        ),
        (f"{LEAST}params: [a]", "key 'params' must map names to values"),
        (f"{LEAST}params: {{a-b: c}}", "the parameter 'a-b' cannot be a variable of the shell"),
        (f"{LEAST}params: {{'a;reboot': c}}", "cannot be a variable of the shell"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(text: str, complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(text)
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('a: !!bool "x"', "a value is not what its tag says"),
        ('a: !!timestamp "x"', "a value is not what its tag says"),
        ('a: "\\UFFFFFFFF"', "it is not valid YAML: "),  # and Python 3.13 says it in other words
        ("a: !!int ''", "a value is not what its tag says"),
        ("a: !!map [1]", "line 1: expected a mapping node"),
        ("? [1]\n: 2", "line 1: a list or a mapping cannot be a key"),
        ("a: 0b" + "1" * 20_000, "a number of more than 1024 bits"),
        ("? 0x" + "f" * 5_000 + "\n: 1", "a number of more than 1024 bits"),
        ("a: &a !!pairs [x: *a]", "one of its collections contains itself"),
        (
            "a: &a !!pairs [x: 1]\n"
            + "".join(f"{to}: &{to} !!pairs [x: [{', '.join([f'*{of}'] * 9)}]]\n" for of, to in pairwise("abcdefgh")),
            "more than 100000 values",
        ),
    ],
)
def test_yaml_that_can_be_no_value_is_a_sentence(text: str, complaint: str) -> None:
    with pytest.raises(UsageError) as refusal:
        yaml11.parse(text.encode(), where="a.yaml")
    assert str(refusal.value).startswith("cannot read a.yaml: ")
    assert complaint in str(refusal.value)


def test_pairs_are_lists_with_texts_for_keys() -> None:
    value = yaml11.parse(b"a: !!pairs [{b: {2001-01-01: 1, 2: ~}}]", where="a.yaml")
    assert yaml11.without_nulls(value) == {"a": [["b", {"2001-01-01": 1}]]}


def test_a_definition_that_is_not_here(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        load(tmp_path / "none.yaml")
    with pytest.raises(UsageError, match="it is not here"):
        load(Path("https://example.org/a.yaml"))


def test_the_scripts() -> None:
    found = read(
        """
metadata: {name: x}
params: {WHO: it's me}
install: {keys: [a.asc], sources: ['deb a b c'], deps: [p], deps-debian: [q], steps: [make]}
run: {steps: ["if true\\nthen echo $WHO\\nfi", 'echo done']}
"""
    )
    first, name, trap, *steps = run_script(found, suite="0_x").splitlines()
    assert (first, name) == ("export TESTRUN_ID=0_x", "WHO='it'\"'\"'s me'")
    assert trap.startswith('[ -z "$BASH_VERSION" ] || trap ')
    assert steps[:-3] == ["set -e", "if true", "then echo $WHO", "fi", "echo done"]
    assert steps[-3:] == ["", "_ended=yes", '"${0%/run/*}/bin/lava-signal" ENDSTEPS']
    lines = install_script(found, suite="0_x").splitlines()[3:]
    assert lines == [
        "lava-add-keys a.asc",
        "lava-add-sources 'deb a b c'",
        "set -- p",
        'case $(. /etc/os-release && echo "$ID") in',
        'debian) set -- "$@" q ;;',
        "esac",
        'lava-install-packages "$@"',
        "make",
    ]
    assert install_script(found.skipping(["all"]), suite="0_x") == ""
    assert install_script(found.skipping(["deps", "keys", "sources"]), suite="0_x").endswith("set -e\nmake\n")


def test_what_cannot_be_skipped() -> None:
    with pytest.raises(UsageError, match="cannot skip 'dep' of install; did you mean 'deps'"):
        read(LEAST).skipping(["dep"])


@pytest.mark.parametrize(
    ("step", "becomes"),
    [
        ("awk '{print $1}'", "awk '{print $1}'"),
        ("echo $1", "echo $1"),
        ("lava-test-case x --shell \"awk '{print $1}'\"", "lava-test-case x --shell \"awk '{print \\$1}'\""),
        ("lava-test-case x --shell awk '{print $1}'", "lava-test-case x --shell awk '{print $1}'"),
        ("lava-test-case x --shell echo $1 \\$2 $HOME", "lava-test-case x --shell echo \\$1 \\$2 $HOME"),
        ('lava-background-process-start x --cmd "cut $1"', 'lava-background-process-start x --cmd "cut \\$1"'),
        ("x --shell 'a' \"b\" '$1' \"$1\"", "x --shell 'a' \"b\" '$1' \"\\$1\""),
        ('x --shell "an \\" and \' $1"', 'x --shell "an \\" and \' \\$1"'),
        ("x --shell '\\' $1", "x --shell '\\' \\$1"),
    ],
)
def test_arguments_reach_the_command_behind_shell(step: str, becomes: str) -> None:
    assert protected(step) == becomes


def test_a_pattern_that_python_may_read_otherwise_some_day_is_taken_without_a_word() -> None:
    assert read(f"{LEAST}parse: {{pattern: '(?P<test_case_id>[[a]+) (?P<result>.)'}}").parse is not None
