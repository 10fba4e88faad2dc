"""lava-test-shell as its users call it: one machine, and a definition with everything that one can say."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import yaml

from tests.vm.test_recipes import INV, LIMIT_S

EVERYTHING = r"""
metadata:
  format: Lava-Test Test Definition 1.0
  name: all of it
  description: what a definition can say
  os: [debian]
  version: 1.0
params:
  WORD: default
  FLAG: false
install:
  keys: [debian-archive-keyring]
  sources: ["deb [trusted=yes] file:/lava-vmtasks/tests/0_all-of-it/repository ./"]
  deps: [bc]
  deps-debian: [netcat-openbsd]
  git-repos: [{url: TOOLS, destination: tools}]
  steps: [lava-test-case installed --shell "command -v bc && command -v nc"]
run:
  steps:
  - lava-test-case sources --shell "ls /var/lib/apt/lists | grep lava-vmtasks"
  - lava-test-case param --shell test "$WORD-$FLAG" = from-False
  - lava-test-case tool --shell sh tools/tool
  - cd /tmp
  # What the kernel says goes to the console, beside whatever is told meanwhile.
  - (while :; do echo 'a driver <LAVA_SIGNAL_TESTCASE TEST_CASE_ID=no RESULT=fail' >/dev/kmsg; done) & kernel=$!
  - for i in 1 2 3 4 5 6 7 8; do lava-test-case "many times" --result pass --measurement $i.50 --units "s per run"; done
  - kill $kernel
  - lava-test-set start sum
  - lava-test-case bc --shell "echo '1 + 2' | bc | grep '^3$'"
  - lava-test-set stop
  - echo '<LAVA_SIGNAL_TESTCASE TEST_CASE_ID=bare RESULT=skip>'
  - 'echo "by pattern: OK 12.5 ms"'
  - setpriv --reuid=nobody --clear-groups lava-test-case nobody --result pass
  - lava-background-process-start clock --cmd 'date >/tmp/date'
  - while ! [ -s /tmp/date ]; do :; done
  - lava-background-process-stop clock --attach /tmp/date text/plain
  - uname -a >uname; lava-test-case-attach sources uname
  - lava-test-case os --shell "lava-os-build | grep -i debian"
  - lava-test-case packages --shell "lava-installed-packages | grep 'package. bc :'"
  - lava-test-case address --shell "lava-echo-ipv4 lo | grep '^127.0.0.1$'"
  - lava-test-reference more --result pass --reference https://example.org/more
parse:
  pattern: '^(?P<test_case_id>by pattern): (?P<result>\w+) (?P<measurement>[\d.]+) (?P<units>\w+)$'
  fixupdict: {OK: pass}
"""
FAILING = """
metadata: {name: failing}
run:
  steps:
  - lava-test-case deliberate --shell "echo the reason; exit 3"
  - "false"
  - lava-test-case never --result pass
"""


def test_a_definition_with_everything(tmp_path: Path) -> None:
    tools = tmp_path / "tools.git"
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    for root, files in ((tools, {"tool": "exit 0\n"}), (tmp_path / "project", {"repository/Packages": ""})):
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True)
            (root / name).write_text(text)
        for argv in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "first"]):
            subprocess.run(["git", "-C", str(root), *argv], check=True)
    definitions = [tmp_path / "project" / "tests" / f"{name}.yaml" for name in ("all", "failing")]
    definitions[0].parent.mkdir()
    definitions[0].write_text(EVERYTHING.replace("TOOLS", str(tools)))
    definitions[1].write_text(FAILING)
    (tmp_path / "lava.toml").write_text(f'[paths]\n"{tools}" = "tools.git"\n')
    options = [word for path in definitions for word in ("--definition", str(path))]
    done = subprocess.run(
        [*INV, "lava-test-shell", *options, "--param", "WORD=from", "--out", str(tmp_path / "out")],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    directory = tmp_path / "build" / "vmtasks" / "latest"
    result = json.loads((directory / "result.json").read_text(encoding="utf-8"))
    why = "1_failing: its steps ended with status 1, before their end; the last command was `false`"
    assert f"complete, and not passed ({why}): of 21 cases" in result["message"]

    rows = yaml.safe_load((tmp_path / "out" / "lava-results.yaml").read_text(encoding="utf-8"))
    found = [(row["name"], row["result"]) for row in rows if row["suite"] == "0_all-of-it"]
    assert found == [
        ("installed", "pass"),
        ("sources", "pass"),
        ("param", "pass"),
        ("tool", "pass"),
        *[("many times", "pass")] * 8,
        ("bc", "pass"),
        ("bare", "skip"),
        ("by pattern", "pass"),
        ("nobody", "pass"),
        ("os", "pass"),
        ("packages", "pass"),
        ("address", "pass"),
        ("more", "pass"),
    ]
    assert [(row["name"], row["result"]) for row in rows if row["suite"] in {"1_failing", "lava"}] == [
        ("0_all-of-it", "pass"),
        ("deliberate", "fail"),
        ("1_failing", "fail"),
        ("job", "pass"),
    ]
    measured = [(case["measurement"], case["units"]) for case in result["cases"] if case["measurement"]]
    assert measured == [*((f"{number}.50", "s per run") for number in range(1, 9)), ("12.5", "ms")]
    junit = ET.parse(directory / "junit.xml")  # noqa: S314 - our own
    (failure,) = (case for case in junit.iter("testcase") if case.get("name") == "deliberate")
    assert failure.get("classname") == "lava-test-shell.lava.1_failing"
    assert failure.findtext("failure") == "the reason"
    assert {Path(line).name for line in done.stdout.splitlines()} == {"date", "uname", "lava-results.yaml"}
    assert all(Path(line).is_file() for line in done.stdout.splitlines())


def test_what_was_told_before_a_machine_goes_is_kept(tmp_path: Path) -> None:
    definition = tmp_path / "fatal.yaml"
    steps = ["lava-test-case before --result pass", "lava-test-case fatal --shell poweroff --force --force; sleep 600"]
    definition.write_text(yaml.safe_dump({"metadata": {"name": "fatal"}, "run": {"steps": steps}}))
    done = subprocess.run(
        [*INV, "lava-test-shell", "--definition", str(definition)],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    (results,) = done.stdout.splitlines()
    rows = yaml.safe_load((tmp_path / results).read_text(encoding="utf-8"))
    assert [(row["suite"], row["name"], row["result"]) for row in rows] == [
        ("0_fatal", "before", "pass"),
        ("lava", "0_fatal", "fail"),
        ("0_fatal", "fatal", "unknown"),
        ("lava", "job", "fail"),
    ]
    assert "not complete (0_fatal: it was cut short): of 2 cases 1 passed, 1 unknown" in done.stderr
