"""Recipes as their users meet them: on the command line, with an exit status, and with result.json afterwards."""

from __future__ import annotations

import errno
import inspect
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vmtasks import HostError, Run, UsageError, events
from vmtasks.files import durable
from vmtasks.project import Commands, MachineSettings, Project
from vmtasks.providers.base import BootOptions, MachineRequest
from vmtasks.run import record
from vmtasks.run.options import RecipeOptions, network, own_numbers

ROOT = Path(__file__).resolve().parents[3]

TASKS = '''
import builtins
import os
import signal
import sys
from pathlib import Path

from vmtasks import (
    BootError, CommandFailed, ConnectionLost, HostError, Interrupted, Run, TestFailed, TimedOut, UsageError,
    VmtasksError, recipe
)



class Here:
    """As much of a guest as a failed case needs: a machine that somebody interrupts while it is kept."""

    name = "here"
    ssh_command = ("ssh", "here")

    def watch(self, wait_s: float) -> None:
        raise Interrupted("interrupted")


HINTED = HostError("cannot go on: the disk is full", hint="make room", details=("one", "two"))


@recipe
def greet(run: Run, image: str = "bookworm", loud_voice: bool = False, times: int = 1) -> Path:
    """Say hello.

    Politely, and from
    a clean machine.

    :param image: the image to boot,
        or another one.
    :param times: how often.
    """
    print("chatter", file=sys.stderr)
    return run.artifact(Path(f"{image}-{loud_voice}-{times}.txt"))


@recipe(iterable=("debs",))
def many(run: Run, debs: list[str]) -> None:
    """Take many."""
    for name in debs:
        run.artifact(Path(name))


@recipe
def ends(run: Run, how: str = "") -> None:
    """End in some way.

    :param how: the name of an exception or of a signal.
    """
    if how.startswith("SIG"):
        try:
            os.kill(os.getpid(), signal.Signals[how.removesuffix("-and-gone")])
        finally:
            if how.endswith("-and-gone"):
                raise ConnectionLost("the machine has not ended in order")
    elif how == "FULL":
        raise OSError(28, "No space left on device", "some/file")
    elif how == "HINTED":
        raise HINTED
    elif how:
        raise (getattr(builtins, how, None) or globals()[how])("so it is")


@recipe
def cases(run: Run, fatal: bool = False) -> None:
    """Have some test cases."""
    with run.case("good"):
        pass
    with run.case("bad", continue_on_error=not fatal, guest=Here()):
        raise TestFailed("it is bad", details=("line",))
    run.skip("other", "nobody needs it")
    with run.case("worse", continue_on_error=True, guest=Here()):
        raise TestFailed("it is worse")
    run.artifact(Path("all-the-same.txt"))


@recipe
def broken_case(run: Run) -> None:
    """Break down inside a case that need not pass."""
    with run.case("case", continue_on_error=True, guest=Here()):
        raise ConnectionLost("it no longer answers")


@recipe
def outer(run: Run) -> None:
    """Call another one."""
    made = greet(run, image="inner", times=2)
    run.artifact(made.with_suffix(".outer"))


@recipe
def writes(run: Run, out: str = "") -> None:
    """Write something."""
    path = run.output_dir(out) / "file"
    path.write_text("x")
    run.artifact(path)
'''


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What came of an ``inv``."""

    status: int
    stdout: str
    stderr: str
    latest: Path
    result: dict[str, Any] = field(default_factory=dict)


Inv = Callable[..., Done]


@pytest.fixture
def inv(tmp_path: Path) -> Inv:
    """Run Invoke in a directory with a tasks file."""
    (tmp_path / "tasks.py").write_text(TASKS, encoding="utf-8")

    def run(*words: str) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "invoke", *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        runs = [path for path in (tmp_path / "build" / "vmtasks").glob("*-*-*") if path.is_dir()]
        latest = max(runs, key=lambda path: (path / "result.json").stat().st_mtime_ns, default=tmp_path / "nowhere")
        document = latest / "result.json"
        result = json.loads(document.read_text(encoding="utf-8")) if document.exists() else {}
        return Done(status=done.returncode, stdout=done.stdout, stderr=done.stderr, latest=latest, result=result)

    return run


# ---- the command line


def test_options_and_help_come_from_the_function(inv: Inv) -> None:
    done = inv("--help", "greet")
    assert done.status == 0, done.stderr
    shown = " ".join(done.stdout.split())
    assert "Say hello. Politely, and from a clean machine." in shown
    assert "--image=STRING the image to boot, or another one; with several (bookworm,trixie), a run for each" in shown
    assert "--times=STRING how often." in shown
    assert "--loud-voice" in shown
    assert ":param" not in shown, "the options are told once"


def test_every_recipe_has_the_common_options(inv: Inv) -> None:
    shown = " ".join(inv("--help", "many").stdout.split())
    for option in (
        "--accel=STRING accelerator: auto",
        "--memory-mib=STRING memory",
        "--shell on failure",
        "--dry-run print",
    ):
        assert option in shown


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--memory-mib", "0x10"),
        ("--attempts", "-1"),
        ("--cpus", "0"),
        ("--keep-s", "long"),
        ("--memory-mib", "9" * 5000),
    ],
)
def test_a_number_that_is_none_is_a_usage(inv: Inv, option: str, message: str) -> None:
    done = inv("greet", f"{option}={message}")
    assert done.status == 64
    assert f"{option} must be a number" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("text", ["x", "1.5", "0x10", "1_0", "9" * 5000])
def test_a_number_of_the_recipes_own_that_is_none_is_a_usage(inv: Inv, text: str) -> None:
    done = inv("greet", f"--times={text}")
    assert done.status == 64
    assert f"--times must be a whole number, and not '{text[:50]}'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


def test_numbers_of_the_recipes_own_come_as_numbers_of_their_kind() -> None:
    def body(run: Run, times: int = 2, pause_s: float = 0.5, loud: bool = False, name: str = "") -> None:
        pytest.fail("it is not called")

    own = inspect.signature(body)
    given = {"times": " -3", "pause_s": "1e3", "loud": True, "name": "7", "another": "8"}
    assert own_numbers(own, given) == {"times": -3, "pause_s": 1000.0, "loud": True, "name": "7", "another": "8"}
    assert own_numbers(own, {"times": "", "pause_s": 4}) == {"times": 2, "pause_s": 4.0}
    for text in ("x", "nan", "inf", ".", "1e999"):
        with pytest.raises(UsageError, match=r"--pause-s must be a number, and not"):
            own_numbers(own, {"pause_s": text})


def test_the_list_has_the_first_sentence(inv: Inv) -> None:
    listed = [line.split(None, 1) for line in inv("--list").stdout.splitlines()]
    assert ["greet", "Say hello."] in listed
    assert ["broken-case", "Break down inside a case that need not pass."] in listed


def test_options_reach_the_function(inv: Inv) -> None:
    assert inv("greet", "--image", "trixie", "--loud-voice", "--times", "3").stdout == "trixie-True-3.txt\n"


def test_an_option_may_come_more_than_once(inv: Inv) -> None:
    assert inv("many", "--debs", "a.deb", "--debs", "b.deb").stdout == "a.deb\nb.deb\n"
    assert inv("many").stdout == ""


def test_a_recipe_calls_another_within_its_own_run(inv: Inv) -> None:
    done = inv("outer")
    assert done.status == 0, done.stderr
    assert done.stdout == "inner-False-2.txt\ninner-False-2.outer\n"
    assert done.result["recipe"] == "outer"
    assert len(list(done.latest.parent.glob("*-*-*"))) == 1


def test_two_recipes_can_follow_each_other(inv: Inv) -> None:
    done = inv("greet", "outer")
    assert done.status == 0, done.stderr
    assert done.result["recipe"] == "outer"
    assert len(list(done.latest.parent.glob("*-*-*"))) == 2
    assert (done.latest.parent / "latest").samefile(done.latest), "what a call did is told by its last run"


def test_a_recipe_can_be_called_twice_with_other_options(inv: Inv) -> None:
    done = inv("greet", "--times", "1", "greet", "--times", "2")
    assert done.status == 0, done.stderr
    assert done.stdout == "bookworm-False-1.txt\nbookworm-False-2.txt\n"


# ---- how it ends


@pytest.mark.parametrize(
    ("how", "status", "outcome"),
    [
        ("", 0, "passed"),
        ("TestFailed", 1, "test-failed"),
        ("CommandFailed", 1, "test-failed"),
        ("UsageError", 64, "usage"),
        ("HostError", 69, "host"),
        ("BootError", 69, "boot"),
        ("ConnectionLost", 69, "connection-lost"),
        ("ValueError", 70, "internal-error"),
        ("OSError", 70, "internal-error"),
        ("TimedOut", 124, "timeout"),
        ("KeyboardInterrupt", 130, "interrupted"),
        ("SIGINT", 130, "interrupted"),
        ("SIGTERM", 130, "interrupted"),
        ("SIGHUP", 130, "interrupted"),
        ("SIGINT-and-gone", 130, "interrupted"),
    ],
)
def test_every_end_has_its_status_and_its_word(inv: Inv, how: str, status: int, outcome: str) -> None:
    done = inv("ends", "--how", how) if how else inv("ends")
    assert (done.status, done.result["outcome"], done.result["exit_code"]) == (status, outcome, status), done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.count("so it is") >= how.endswith(("Error", "Failed", "Limit", "Lost"))
    assert (done.latest / "junit.xml").exists()


def test_a_signal_is_named(inv: Inv) -> None:
    assert inv("ends", "--how", "SIGTERM").result["message"] == "interrupted by SIGTERM"


def test_sentence_evidence_and_hint_are_written_down_and_shown(inv: Inv) -> None:
    done = inv("ends", "--how", "HINTED")
    result = done.result
    assert (result["message"], result["details"]) == ("cannot go on: the disk is full", ["one", "two"])
    assert result["hint"] == "make room"
    for shown in ("cannot go on: the disk is full", "one", "two", "make room"):
        assert shown in done.stderr


def test_a_defect_leaves_its_traceback_in_a_file(inv: Inv) -> None:
    done = inv("ends", "--how", "ValueError")
    assert "so it is" in (done.latest / "traceback.txt").read_text(encoding="utf-8")
    assert done.result["message"] == "ValueError: so it is"
    assert "traceback.txt" in done.result["hint"]


def test_a_run_that_failed_on_purpose_has_no_traceback(inv: Inv) -> None:
    assert not (inv("ends", "--how", "TestFailed").latest / "traceback.txt").exists()


def test_a_run_says_how_it_is_repeated(inv: Inv) -> None:
    assert inv("ends", "--how", "TestFailed").result["rerun"].endswith(" ends --how TestFailed")


@pytest.mark.parametrize(("on_path", "called"), [(True, "vmtasks"), (False, "bin/vmtasks")])
def test_a_program_that_is_found_by_its_name_is_called_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_path: bool, called: str
) -> None:
    program = tmp_path / "bin/vmtasks"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(program.parent) if on_path else os.defpath)
    monkeypatch.setattr(sys, "argv", [str(program), "test"])
    assert record.program() == called


def test_a_failed_recipe_ends_the_line_of_recipes(inv: Inv) -> None:
    done = inv("ends", "--how", "TestFailed", "greet")
    assert (done.status, done.stdout) == (1, "")


# ---- what comes out


def test_standard_output_has_the_products_and_nothing_else(inv: Inv) -> None:
    done = inv("greet")
    assert done.stdout == "bookworm-False-1.txt\n"
    assert "chatter" in done.stderr
    assert [Path(path).name for path in done.result["artifacts"]] == ["bookworm-False-1.txt"]


def test_latest_leads_to_the_last_run_that_asked_for_a_machine(inv: Inv, tmp_path: Path) -> None:
    link = tmp_path / "build/vmtasks/latest"
    # Where there is none yet, even a call that was wrong: a CI looks there.
    assert link.samefile(inv("ends", "--how", "UsageError").latest)
    asks = "from vmtasks import events, recipe\n@recipe\ndef asks(run):\n    with events.phase('slot'):\n        pass\n"
    (tmp_path / "tasks.py").write_text(asks)
    first = inv("asks")
    assert link.samefile(first.latest)
    assert not link.readlink().is_absolute(), "the tree can be moved"
    (tmp_path / "tasks.py").write_text(TASKS)
    wrong = inv("ends", "--how", "UsageError")
    assert (wrong.status, wrong.result["outcome"]) == (64, "usage")
    assert link.samefile(first.latest)
    (tmp_path / "tasks.py").write_text(asks)
    assert link.samefile(inv("asks").latest)
    assert not link.samefile(first.latest)


def test_old_results_go_when_a_run_begins(inv: Inv, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMTASKS_RESULTS_RUNS", "2")
    failed = inv("ends", "--how", "TestFailed")
    passed = inv("greet")
    assert failed.latest.exists()
    third = inv("outer")
    assert not failed.latest.exists()
    assert f"old results are removed: build/vmtasks/{failed.latest.name}" in third.stderr
    assert passed.latest.exists()


def test_neither_git_nor_backups_look_at_results(inv: Inv, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    home = inv("greet").latest.parent
    status = ["git", "-C", str(tmp_path), "status", "--porcelain", "--untracked-files=all", "build"]
    assert subprocess.run(status, check=True, capture_output=True, text=True).stdout == ""
    assert (home / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55\n")


def test_results_in_a_directory_that_is_there_add_nothing_else_to_it(
    inv: Inv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMTASKS_RESULTS", str(tmp_path / "mine"))
    (tmp_path / "mine").mkdir()
    assert inv("greet").status == 0
    assert sorted(path.name.partition("-")[0] for path in (tmp_path / "mine").iterdir()) == ["greet", "latest"]


def test_results_go_where_they_are_wanted(inv: Inv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMTASKS_RESULTS", "else where")
    assert inv("greet").status == 0
    assert list((tmp_path / "else where").glob("greet-*/result.json"))
    assert not (tmp_path / "build").exists()


def test_results_that_cannot_be_written_are_the_hosts_fault(inv: Inv, tmp_path: Path) -> None:
    (tmp_path / "build").write_text("a file where a directory belongs")
    done = inv("greet")
    assert done.status == 69
    assert done.stdout == ""
    assert "cannot write results to " in done.stderr
    assert "Traceback" not in done.stderr


def test_products_go_where_they_are_wanted(inv: Inv, tmp_path: Path) -> None:
    assert inv("writes", "--out", "a b/c").stdout == "a b/c/file\n"
    assert (tmp_path / "a b" / "c" / "file").read_text() == "x"


def test_products_go_to_the_run_where_nobody_wants_them_elsewhere(inv: Inv, tmp_path: Path) -> None:
    done = inv("writes")
    assert (tmp_path / done.stdout.strip()).samefile(done.latest / "artifacts" / "file")


def test_a_directory_for_products_that_cannot_be_is_a_usage_error(inv: Inv, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = inv("writes", "--out", "file/below")
    assert (done.status, done.result["outcome"]) == (64, "usage")
    assert done.result["message"] == "cannot write artifacts to file/below: Not a directory"


def test_a_result_lists_artifacts_up_to_a_number(inv: Inv, tmp_path: Path) -> None:
    many = "from pathlib import Path\nfrom vmtasks import recipe\n@recipe\ndef lists(run):\n"
    (tmp_path / "tasks.py").write_text(many + "    [run.artifact(Path(str(number))) for number in range(10_050)]\n")
    done = inv("lists")
    assert done.status == 0
    assert len(done.result["artifacts"]) == len(done.stdout.splitlines()) == 10_000
    (note,) = done.result["notes"]
    assert note["text"] == "there are more than 10000 artifacts: the others are there, and not listed"


@pytest.mark.parametrize("option", ["--source", "--out", "--image"])
def test_a_name_of_5000_letters_is_a_usage_error(inv: Inv, tmp_path: Path, option: str) -> None:
    index = "from vmtasks import recipe\nfrom recipes.test_in_vm import test_in_vm\n"
    (tmp_path / "tasks.py").write_text(f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{index}")
    options = {"--source": str(ROOT / "examples/hello")} | {option: "a" * 5000}
    done = inv("test-in-vm", *(f"{name}={value}" for name, value in options.items()))
    assert done.status == 64
    assert "File name too long" in done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_is_written_through_a_link_of_the_projects(inv: Inv, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").symlink_to("elsewhere")
    done = inv("writes", "--out", "out/below")
    assert (done.status, done.result["outcome"]) == (64, "usage")
    assert "out is a link in the project" in done.result["message"]
    shutil.rmtree(tmp_path / "build")
    (tmp_path / "build").symlink_to("elsewhere")
    done = inv("writes")
    assert done.status == 64
    assert "build is a link in the project, to elsewhere" in done.stderr
    assert "VMTASKS_RESULTS" in done.stderr
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_an_unknown_accelerator_is_a_usage_error_before_anything_starts(inv: Inv, tmp_path: Path) -> None:
    boots = 'from vmtasks import recipe\n@recipe\ndef boots(run):\n    with run.boot("bookworm"):\n        pass\n'
    (tmp_path / "tasks.py").write_text(boots)
    done = inv("boots", "--accel", "xen")
    assert done.status == 64
    assert done.result["message"] == "there is no accelerator 'xen'; known are 'auto', 'kvm' and 'tcg'"


# ---- test cases


def test_a_case_that_need_not_pass_fails_the_run_at_its_end(inv: Inv) -> None:
    done = inv("cases")
    assert done.status == 1
    assert done.stdout == "all-the-same.txt\n", "the run went on"
    rows = {case["case"]: (case["outcome"], case["message"]) for case in done.result["cases"]}
    assert rows == {
        "good": ("passed", ""),
        "bad": ("test-failed", "it is bad"),
        "other": ("skipped", "nobody needs it"),
        "worse": ("test-failed", "it is worse"),
    }
    assert done.result["message"] == "2 of the test cases failed: bad, worse"
    assert [note["text"] for note in done.result["notes"]] == ["bad: it is bad", "worse: it is worse"]


def test_a_full_disk_is_the_hosts_trouble_wherever_it_is_met(inv: Inv) -> None:
    done = inv("ends", "--how", "FULL")
    assert (done.status, done.result["outcome"]) == (69, "host")
    assert done.result["message"] == "cannot go on: [Errno 28] No space left on device: 'some/file'"
    assert "defect" not in done.stderr


def test_a_machine_is_kept_at_the_point_of_failure_also_where_the_run_goes_on(inv: Inv) -> None:
    done = inv("cases", "--keep")
    notes = [note["text"] for note in done.result["notes"]]
    kept = "kept for 1800 s, or until Ctrl-C; get in with: ssh here"
    assert notes == ["bad: it is bad", kept, "not kept any longer", "worse: it is worse", kept, "not kept any longer"]


def test_a_fatal_case_ends_the_run_there(inv: Inv) -> None:
    done = inv("cases", "--fatal")
    assert (done.status, done.stdout) == (1, "")
    assert [case["case"] for case in done.result["cases"]] == ["good", "bad"]
    assert done.result["message"] == "it is bad"


def test_trouble_with_the_machine_ends_the_run_also_in_a_case_that_need_not_pass(inv: Inv) -> None:
    done = inv("broken-case")
    assert (done.status, done.result["outcome"]) == (69, "connection-lost")
    assert done.result["cases"][0]["outcome"] == "connection-lost"


# ---- a dry run


def test_an_unknown_network_is_a_usage_error() -> None:
    assert [network(value) for value in ("", "none")] == [None, "none"]
    with pytest.raises(UsageError, match="there is no network 'off'; known are 'user', 'restricted' and 'none'"):
        network("off")


def test_a_dry_run_writes_nothing_down(inv: Inv, tmp_path: Path) -> None:
    assert inv("greet", "--dry-run").status == 0
    assert not (tmp_path / "build").exists()


def test_a_name_that_shows_as_another_is_told_and_is_no_artifact(tmp_path: Path) -> None:
    run = Run(recipe="many", directory=tmp_path)
    heard: list[events.Event] = []
    with events.listening(heard.append):
        for name in ("plain.deb", "gnp.\u202ebed", "zero\u200bwidth.deb", "two\nlines", "tag\U000e0041.deb"):
            run.artifact(tmp_path / name)
    assert run.artifacts == [tmp_path / "plain.deb"]
    notes = [event.text for event in heard if isinstance(event, events.Note)]
    assert len(notes) == 4
    assert all(text.isprintable() for text in notes)


def test_two_machines_of_one_run_have_two_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []

    @contextmanager
    def machine(request: MachineRequest) -> Iterator[Any]:
        started.append(request.name)
        yield SimpleNamespace(
            console_log=tmp_path / "console.log", timeout_s=None, mask=lambda _: None, share=lambda _: None
        )

    monkeypatch.setattr("vmtasks.providers.boot.machine", machine)
    run = Run(recipe="many", directory=tmp_path)
    with run.boot("bookworm"), run.boot("bookworm"), run.boot("bookworm", name="other"):
        pass
    with run.boot("bookworm"):
        pass
    assert started == ["bookworm", "bookworm-2", "other", "bookworm-3"]


def test_a_machine_is_as_its_project_wants_it_and_shows_none_of_its_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[BootOptions] = []
    masked: list[bytes] = []

    @contextmanager
    def machine(request: MachineRequest) -> Iterator[Any]:
        started.append(request.options)
        yield SimpleNamespace(
            console_log=tmp_path / "console.log", timeout_s=None, mask=masked.extend, share=lambda _: None
        )

    monkeypatch.setattr("vmtasks.providers.boot.machine", machine)
    monkeypatch.setenv("TOKEN", "hush")
    project = Project(
        root=tmp_path, name="p", machine=MachineSettings(network="none", cpus=3), commands=Commands(env_from=("TOKEN",))
    )
    for flags in (RecipeOptions(), RecipeOptions(network="user", cpus=1)):
        with Run(recipe="r", flags=flags, directory=tmp_path).boot("bookworm", project=project):
            pass
    assert [(options.network, options.cpus) for options in started] == [("none", 3), ("user", 1)]
    assert masked == [b"hush", b"hush"]
    monkeypatch.delenv("TOKEN")
    with (
        pytest.raises(UsageError, match="the variable TOKEN: it is not set"),
        Run(recipe="r", directory=tmp_path).boot("bookworm", project=project),
    ):
        pass
    assert len(started) == 2, "before anything boots"


@pytest.mark.parametrize(("value", "alarms"), [("", "warn"), ("fail", "fail"), ("off", "off")])
def test_the_environment_says_what_alarms_do_to_a_machine_of_no_project(
    value: str, alarms: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMTASKS_ALARMS", value)
    monkeypatch.setenv("VMTASKS_CPUS", "a project's")
    run = Run(recipe="r", directory=tmp_path)
    assert run._request("bookworm", "", None, None, forkable=False).options.alarms == alarms
    project = Project(root=tmp_path, name="p", machine=MachineSettings(alarms="off"))
    assert run._request("bookworm", "", project, None, forkable=False).options.alarms == "off"
    monkeypatch.setenv("VMTASKS_ALARMS", "maybe")
    with pytest.raises(UsageError, match="VMTASKS_ALARMS"):
        run._request("bookworm", "", None, None, forkable=False)


def test_an_artifact_is_on_the_disk_before_it_is_announced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tmp_path / "made.deb"
    made.write_text("a package")
    order: list[str] = []

    def hear(event: events.Event) -> None:
        if isinstance(event, events.Artifact):
            order.append(f"announced {event.path.name}")

    monkeypatch.setattr(durable, "sync", lambda path: order.append(f"synced {path.name}"))
    with events.listening(hear):
        Run(recipe="many", flags=RecipeOptions(), directory=tmp_path).artifact(made)
    assert order == ["synced made.deb", "announced made.deb"]


def test_an_artifact_that_the_disk_does_not_take_is_the_hosts_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(durable, "sync", full)
    with pytest.raises(HostError, match=r"cannot write .*made\.deb: No space left on device"):
        Run(recipe="many", flags=RecipeOptions(), directory=tmp_path).artifact(tmp_path / "made.deb")
