"""The command line that repeats a run, or what did not pass of it."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from vmtasks.config.here import PACKAGE
from vmtasks.errors import UsageError
from vmtasks.run.frozen import read_run
from vmtasks.run.own_results import expect_ours
from vmtasks.run.rerun import words_of, words_of_failed


@pytest.fixture(autouse=True)
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be the program `inv`."""
    inv = tmp_path / ".venv/bin/inv"
    inv.parent.mkdir(parents=True)
    inv.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [str(inv), "rerun"])
    return inv


def run_of(line: str, **outcomes: str) -> dict[str, Any]:
    runs = [{"combination": name.replace("_", "-"), "outcome": one} for name, one in outcomes.items()]
    return {"recipe": "test-in-vm", "rerun": line, "runs": runs}


def test_a_run_is_repeated_as_it_was_called() -> None:
    line = ".venv/bin/inv test-in-vm --source '../my parrot' --cold -e"
    assert words_of(run_of(line)) == [".venv/bin/inv", "test-in-vm", "--source", "../my parrot", "--cold", "-e"]


def test_the_search_root_of_a_makefile_is_that_of_this_checkout_or_of_this_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = os.path.relpath(PACKAGE.parent)
    for at, name in enumerate(("my tasks", "other")):
        (tmp_path / name).mkdir()
        line = shlex.join(["inv", "-r", name, "t"])
        with pytest.raises(UsageError, match="may have Python load code"):
            words_of(run_of(line))
        if not at:
            monkeypatch.setattr("sys.argv", [str(tmp_path / ".venv/bin/inv"), "-r", "my tasks", "rerun"])
            assert words_of(run_of(line))[2] == "my tasks"
    assert words_of(run_of(f"inv -r {home} t"))[1:3] == ["-r", home]
    with pytest.raises(UsageError, match="may have Python load code"):
        words_of(run_of(f"inv t -r {home} -r other"))


@pytest.mark.parametrize(
    "words",
    [
        *("-f evil.py", "-fevil.py", "-f=evil.py", "-ef evil.py", "-efevil.py", "-e-f evil.py"),
        *("--config evil.py", "--config=evil.py", "-c evil", "-cevil", "--collection evil", "--collection=evil"),
        *("-r evil", "-revil", "-r=evil", "--search-root evil", "--search-root=evil", "-wr evil", "-r gone"),
    ],
)
def test_no_code_is_loaded_whatever_is_written_down(words: str) -> None:
    Path("evil").mkdir()
    for line in (f"inv {words} --list", f"inv t {words}", f"inv t --cold {words} -- x"):
        with pytest.raises(UsageError, match="may have Python load code") as caught:
            words_of(run_of(line))
        assert caught.value.hint == "if the line is yours, call it yourself"


def test_what_invoke_does_not_read_and_other_options_pass() -> None:
    for line in ("inv t -- -f x", "inv t --append=-cf --configure=x --out -"):
        assert shlex.join(words_of(run_of(line))) == line


@pytest.mark.parametrize(
    "line",
    [
        "",
        "rm -rf /",
        "sh -c 'inv x'",
        "inv 'x",
        "./inv x",
        "bin/inv x",
        "gone/inv x",
        "vmtasks x",
        "'\0/inv' x",
        "'' x",
    ],
)
def test_another_program_is_not_run_whatever_is_written_down(line: str) -> None:
    for path in ("inv", "bin/inv"):  # as a project may bring them
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).write_text("#!/bin/sh\n")
    with pytest.raises(UsageError, match="cannot repeat the last run"):
        words_of(run_of(line))


@pytest.mark.parametrize("word", ["inv", ".venv/bin/inv", "link/inv"])
def test_this_program_has_several_names(program: Path, word: str) -> None:
    Path("link").symlink_to(program.parent)
    assert words_of(run_of(f"{word} x")) == [word, "x"]


@pytest.mark.parametrize(
    ("line", "outcomes", "wanted"),
    [
        ("inv t --image a,b,c --cold", {"a": "passed", "b": "boot", "c": "test-failed"}, "inv t --image b,c --cold"),
        ("inv t --image=a,b --cold", {"a": "interrupted", "b": "passed"}, "inv t --image=a --cold"),
        ("inv t --on local,x --image a", {"local": "passed", "x": "host"}, "inv t --on x --image a"),
        (
            "inv t --on x,y --image a,b",
            {"a_on_x": "passed", "a_on_y": "timeout", "b_on_x": "passed", "b_on_y": "timeout"},
            "inv t --on y --image a,b",
        ),
        (
            "inv t --on ssh://a,ssh://b,ssh://c,ssh://d --pairs",
            {"ssh_a_and_ssh_b": "passed", "ssh_c_and_ssh_d": "host"},
            "inv t --on ssh://c,ssh://d --pairs",
        ),
        (
            "inv t --on x,y --image a,b",
            {"a_on_x": "timeout", "a_on_y": "passed", "b_on_x": "passed", "b_on_y": "timeout"},
            "inv t --on x,y --image a,b",
        ),
    ],
)
def test_of_a_matrix_those_names_are_repeated_that_did_not_pass(
    line: str, outcomes: dict[str, str], wanted: str
) -> None:
    assert shlex.join(words_of_failed(run_of(line, **outcomes))) == wanted


def test_a_run_without_names_for_its_parts_is_repeated_as_a_whole_or_not_at_all() -> None:
    with pytest.raises(UsageError, match="test-in-vm has no option that names test cases"):
        words_of_failed(run_of("inv test-in-vm"))


def test_where_nothing_failed_there_is_nothing_to_repeat() -> None:
    with pytest.raises(UsageError, match="all runs passed"):
        words_of_failed(run_of("inv t --image a,b", a="passed", b="passed"))


def test_a_line_that_names_other_runs_is_not_believed() -> None:
    with pytest.raises(UsageError, match="cannot tell which runs failed"):
        words_of_failed(run_of("inv t --image x,y", a="passed", b="host"))


# --- results that came with the project

DOCUMENT = '{"schema": 2, "recipe": "r", "outcome": "passed", "duration_s": 1, "phases": [], "commands": []}'


@pytest.fixture
def results() -> Path:
    """Return the directory of the last run, as a run leaves it."""
    run = Path("build/vmtasks/r-1")
    (run / "trixie").mkdir(parents=True)
    for path in (run, run / "trixie"):
        (path / "result.json").write_text(DOCUMENT)
    (run.parent / "latest").symlink_to(run.name)
    return run


def test_what_a_run_has_left_here_is_ours(results: Path, tmp_path: Path) -> None:
    latest = results.parent / "latest"
    for path in (results, latest, latest / "trixie", tmp_path / latest, Path("../x/..") / tmp_path / results):
        assert read_run(path)["recipe"] == "r"
    expect_ours(Path("nowhere"))


@pytest.mark.parametrize("link", ["build", "build/vmtasks", "build/vmtasks/r-1", "build/vmtasks/r-1/result.json"])
def test_what_a_link_of_the_project_leads_to_is_not(results: Path, link: str) -> None:
    path, there = Path(link), Path("elsewhere")
    path.rename(there)
    path.symlink_to(there.absolute())
    for one in (results, results.parent / "latest"):
        with pytest.raises(UsageError, match=r"cannot go by the results in .*is a link, so they may have come with"):
            read_run(one)


@pytest.mark.parametrize("target", ["..", ".", "../vmtasks/r-1", "/"])
def test_latest_leads_to_one_beside_it_alone(results: Path, target: str) -> None:
    latest = results.parent / "latest"
    latest.unlink()
    latest.symlink_to(target)
    with pytest.raises(UsageError, match="is a link"):
        read_run(latest)


def test_what_another_user_has_written_is_not_ours(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: os.getuid() + 1)
    with pytest.raises(UsageError, match=r"result\.json is another user's"):
        read_run(results)


def test_what_git_knows_is_not_ours(results: Path) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", *words], check=True, capture_output=True)

    git("init", "--quiet")
    assert read_run(results), "it is beside what git knows"
    git("add", "--force", "build")
    with pytest.raises(UsageError, match=r"git knows .*result\.json"):
        read_run(results.parent / "latest")
