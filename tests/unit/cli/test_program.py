"""The command: its help, and what it says of words that it does not know."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

import pytest
from invoke.parser import Parser

from vmtasks.cli.overview import ALIASES, EXAMPLES, overview
from vmtasks.cli.program import VmtasksProgram, main, program
from vmtasks.cli.task_help import VALUES
from vmtasks.errors import UsageError
from vmtasks.project.ci import CI
from vmtasks.run.options import accelerator, network


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_every_task_is_in_a_group_with_a_line_that_can_be_typed() -> None:
    namespace = program().namespace
    assert namespace is not None
    lines = [line for group in EXAMPLES.values() for line in group]
    shown = [line.partition(" ")[0] for line in lines]
    assert sorted([*shown, *ALIASES.values()]) == sorted(namespace.task_names)
    for line in lines:
        Parser(contexts=namespace.to_contexts()).parse_argv(line.partition(" -- ")[0].split())


def test_the_help_fits_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    namespace = program().namespace
    assert namespace is not None
    lines = list(overview(namespace, 100))
    assert max(len(line) for line in lines) <= 100
    assert "  vmtasks test --image trixie" in "\n".join(lines)
    assert "Of this directory:" not in lines


def test_a_narrow_terminal_has_what_a_task_does_below_it() -> None:
    namespace = program().namespace
    assert namespace is not None
    lines = list(overview(namespace, 40))
    at = lines.index("  vmtasks down web")
    assert lines[at + 1] == "      End a named machine"
    assert not any("…" in line for line in lines[1:])
    assert all(len(line) <= 40 for line in lines if line.startswith("      "))


NO_CI = "there is no CI 'gitlb' that vmtasks has a file for; known are github, gitlab, salsa, buildbot"


@pytest.mark.parametrize(("word", "meant"), [("tset", "test"), ("vmtask.toml", "vmtasks.toml"), ("recipe", "recipes")])
def test_help_asks_about_a_word_that_is_no_page(capsys: pytest.CaptureFixture[str], word: str, meant: str) -> None:
    with pytest.raises(SystemExit):
        program().run(["vmtasks", "help", word])
    message, hint = capsys.readouterr().err.strip().splitlines()
    assert message.startswith(f"there is no task and no page '{word}'; the pages are ")
    assert hint == f"did you mean '{meant}'?"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tset"], "there is no task 'tset'\ndid you mean 'test'?"),
        (["images.lst"], "there is no task 'images.lst'\ndid you mean 'images.list'?"),
        (["frobnicate"], "there is no task 'frobnicate'\n`vmtasks --help` lists them"),
        (["test", "--imgae", "x"], "'test' has no option --imgae\ndid you mean '--image'?"),
        (["lint", "--zzz=1"], "'lint' has no option --zzz\n`vmtasks help lint` lists them"),
        (["--verison"], "there is no option --verison\ndid you mean '--version'?"),
        (["--help", "doctr"], "there is no task 'doctr'\ndid you mean 'doctor'?"),
        (
            ["images.show"],
            "'images.show' did not receive required positional arguments: 'name'\n"
            "`vmtasks help images.show` shows what it takes",
        ),
        (["test", "--keep-for-s"], "--keep-for-s needs a value\n`vmtasks help test` shows what it takes"),
        (["init", "--ci", "gitlb"], f"{NO_CI}\ndid you mean 'gitlab'?"),
        (["init", "--ci", "zzz"], f"{NO_CI.replace('gitlb', 'zzz')}\nin any other, the line to call is `vmtasks test`"),
    ],
)
def test_what_is_not_known_is_asked_about(capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as ended:
        program().run(["vmtasks", *words])
    assert ended.value.code == 64
    assert capsys.readouterr().err.strip() == message


def test_help_shows_choices_and_has_the_common_options_apart(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        program().run(["vmtasks", "help", "test"])
    own, _, common = capsys.readouterr().out.partition("\nOptions of every recipe:\n")
    assert "--source=DIR" in own
    assert "--accel" not in own
    assert "--accel=auto|kvm|tcg" in common
    assert "--network=user|restricted|none" in common
    assert "--keep-s=" not in common
    assert "STRING" not in own + common


def test_the_choices_in_the_help_are_those_that_there_are() -> None:
    for name, of_option in (("accel", accelerator), ("network", network)):
        with pytest.raises(UsageError) as refused:
            of_option("x")
        assert all(f"'{choice}'" in str(refused.value) for choice in VALUES[name].split("|"))
    assert {*VALUES["ci"].split("|")} == {*CI}


def test_the_image_of_a_shell_is_named_without_an_option() -> None:
    called = program()
    called.normalize_argv(["vmtasks", "shell", "trixie", "--cpus", "2"])
    assert called.argv == ["vmtasks", "shell", "--image", "trixie", "--cpus", "2"]


def test_help_of_a_task_is_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        program().run(["vmtasks", "help", "test"])
    assert not ended.value.code
    assert "--memory-mib" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["help", "vm"], ["vm"], ["help", "host"]])
def test_a_group_of_tasks_tells_its_tasks(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        program().run(["vmtasks", *words])
    assert ended.value.code == 64
    told = capsys.readouterr().err
    assert f"'{words[-1]}' is a group of tasks, and no task\nits tasks are " in told
    assert f" {words[-1]}." in told


def test_the_page_about_images_is_there_though_there_are_tasks_of_that_name(capsys: pytest.CaptureFixture[str]) -> None:
    program().run(["vmtasks", "help", "images"], exit=False)
    assert capsys.readouterr().out.startswith("# ")


def test_settings_that_are_wrong_keep_nobody_from_finding_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "vmtasks.toml").write_text("[paths]\nrecipe = 'x'\n")
    with pytest.raises(SystemExit) as ended:
        program().run(["vmtasks", "lint"])
    assert ended.value.code == 64
    told = capsys.readouterr()
    assert "vmtasks.toml: unknown key 'recipe'" in told.out
    assert told.err.count("unknown key 'recipe'") == 1


def test_what_keeps_tasks_from_being_collected_is_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fabric.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "fabric", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 64
    assert capsys.readouterr().err.startswith("cannot go on: PYTHONPATH has another fabric than")


def test_a_home_that_is_somebody_elses_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/home/else/.invoke.yaml")

    monkeypatch.setattr(VmtasksProgram, "run", run)
    monkeypatch.setenv("HOME", "/home/else")
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 69
    said = capsys.readouterr().err
    assert said == "cannot read /home/else/.invoke.yaml: Permission denied; HOME is somebody else's\n"
    monkeypatch.setenv("HOME", "/root")
    with pytest.raises(PermissionError):
        main()


def test_a_permission_that_is_not_about_a_file_is_told_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(VmtasksProgram, "run", run)
    with pytest.raises(PermissionError, match="Operation not permitted"):
        main()
