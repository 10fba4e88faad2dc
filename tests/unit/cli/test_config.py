"""What holds, where it comes from, and what is wrong with the files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from invoke.context import Context
from invoke.exceptions import Exit

from vmtasks.cli import checks, config, doctor, images, vm
from vmtasks.cli.table import Column, tell


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VMTASKS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("VMTASKS_CONFIG", str(tmp_path / "host.toml"))
    power = '[hosts."board"]\nreset = "pdu cycle 3"\n'
    (tmp_path / "host.toml").write_text(f"machines = 3\nboot-limit-s = 9\n{power}")


def origins(capsys: pytest.CaptureFixture[str]) -> dict[str, tuple[str, object]]:
    capsys.readouterr()
    config.config(Context(), json=True)
    return {one["key"]: (one["origin"], one["value"]) for one in json.loads(capsys.readouterr().out)}


def test_each_setting_says_where_it_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "Makefile").write_text("check:\n\t./run\n")
    (tmp_path / "vmtasks.toml").write_text('[machine]\nmemory-mib = 2048\n[images]\nbuild = "sid-build"\n')
    monkeypatch.setenv("VMTASKS_CPUS", "3")
    found = origins(capsys)
    assert found["commands.test"] == ("guess", "make check")
    assert found["machine.memory_mib"] == ("vmtasks.toml", 2048)
    assert found["machine.cpus"] == ("VMTASKS_CPUS", 3)
    assert found["images.build"] == ("vmtasks.toml", "sid-build")
    assert found["install.leftovers"] == ("default", "fail")
    assert found["machines"] == (str(tmp_path / "host.toml"), 3)
    assert found["hosts.board.reset"] == (str(tmp_path / "host.toml"), "pdu cycle 3")
    assert found["hosts.board.power_timeout_s"] == ("default", 60.0)
    assert found["boot_timeout_s"] == (str(tmp_path / "host.toml"), 9.0)
    monkeypatch.setenv("VMTASKS_IMAGE", "trixie")
    assert origins(capsys)["images.build"] == ("VMTASKS_IMAGE", "trixie-build")


def test_people_read_values_as_they_would_write_them(capsys: pytest.CaptureFixture[str]) -> None:
    config.config(Context())
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines if line.startswith("commands.timeout_s")] == [
        ["commands.timeout_s", "default", "3600"]
    ]
    assert [line.split() for line in lines if line.startswith("build.source")] == [["build.source", "default", "false"]]


def test_lint_finds_no_fault_in_what_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    config.lint(Context())
    assert all(line.startswith("ok  ") for line in capsys.readouterr().out.splitlines())


OLD = [
    ("host.toml", "frozen_mib = 4\n", "frozen_mib is now snapshots_mib"),
    ("host.toml", "on = 'here'\n", "on = here is now on = local"),
    ("vmtasks.toml", "[machine]\non = 'here'\n", "on = here is now on = local"),
]


@pytest.mark.parametrize(("file", "text", "sentence"), OLD)
@pytest.mark.parametrize("task", ["lint", "config"])
def test_old_names_of_settings_are_told_by_every_command(
    tmp_path: Path, file: str, text: str, sentence: str, task: str
) -> None:
    (tmp_path / file).write_text(text)
    command = [sys.executable, "-P", "-c", "from vmtasks.cli.program import main; main()", task]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert f"{sentence}\n" in ran.stderr


@pytest.mark.parametrize(
    ("file", "text", "sentence"),
    [
        (
            "vmtasks.toml",
            "[commands]\ntset = 1\n",
            "vmtasks.toml: unknown key 'tset' in [commands]; did you mean 'test'?",
        ),
        ("vmtasks.toml", '[images]\nbuild = "bokworm"\n', "images.build: there is no image 'bokworm'; did you mean"),
        ("images/mine.toml", 'description = "x"\n', "images/mine.toml: exactly one of 'suite', 'from'"),
        ("host.toml", "machines = 0\n", "key 'machines' must be a whole number of at least 1"),
    ],
)
def test_lint_tells_each_fault_without_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str, text: str, sentence: str
) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / file).write_text(text)
    with pytest.raises(Exit) as ended:
        config.lint(Context())
    assert ended.value.code == 64
    told = capsys.readouterr().out
    assert sentence in told
    assert "ok  " in told  # the rest is looked at all the same
    assert not (tmp_path / "build").exists()


def test_an_answer_is_a_table_for_people_and_whole_numbers_for_programs() -> None:
    columns = (Column("size_bytes", "SIZE", lambda size: f"{size >> 20} MiB"), Column("port", "PORT"))
    records = [{"size_bytes": 5 << 20, "port": None}]
    assert tell(columns, records, as_json=False) == "SIZE   PORT\n5 MiB"
    assert json.loads(tell(columns, records, as_json=True)) == [{"size_bytes": 5242880, "port": None}]


def test_what_is_not_there_is_an_empty_list_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    vm.times(Context(), "tarbake", json=True)
    told = capsys.readouterr()
    assert json.loads(told.out) == []
    assert told.err.startswith("there are no runs of tarbake in ")


def test_images_and_findings_can_be_read_by_programs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    images.list_(Context(), json=True)
    found = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert (found["bookworm"]["state"], found["bookworm"]["size_bytes"]) == ("not baked", None)
    finding = checks.Finding(level="bad", says="no QEMU", remedy="apt install it")
    monkeypatch.setattr(checks, "examine", lambda: iter([finding]))
    with pytest.raises(Exit) as ended:
        doctor.doctor(Context(), json=True)
    assert ended.value.code == 69
    assert json.loads(capsys.readouterr().out) == [{"level": "bad", "says": "no QEMU", "remedy": "apt install it"}]
