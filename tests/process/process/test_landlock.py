"""Landlock with a real child and this host's kernel: what was named is reached, and nothing else is."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fake_qemu import FILES
from vmtasks.host.program_files import program_files
from vmtasks.process import landlock
from vmtasks.process.child import drop_privileges
from vmtasks.process.landlock import Reach, abi, restrict, ruleset

LIMIT_S = 30.0
CHILD = """
import json, os, sys

def tried(do, *arguments):
    try:
        do(*arguments)
    except OSError as problem:
        return type(problem).__name__
    return ""

def read(path):
    with open(path, "rb") as file:
        file.read()

def write(path):
    with open(path, "wb") as file:
        file.write(b"theirs")

def connect(name):
    import socket
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(bytes.fromhex(name))

do = {"read": read, "write": write, "list": os.listdir, "remove": os.unlink, "mkdir": os.mkdir, "connect": connect,
      "symlink": lambda path: os.symlink("/etc/shadow", path), "fifo": os.mkfifo,
      "link": lambda path: os.link("/etc/passwd", path),
      "signal": lambda pid: os.kill(pid, 0), "truncate": lambda path: os.truncate(path, 0)}
print(json.dumps([tried(do[verb], argument) for verb, argument in json.loads(sys.argv[1])]))
"""
pytestmark = pytest.mark.skipif(not abi(), reason="this kernel has no Landlock")


def tries(reach: Reach, *acts: tuple[str, Any], version: int | None = None) -> list[str]:
    """Return what came of each act of a child that reaches *reach*: nothing, or the name of an error."""

    def confine(rules: int | None) -> None:
        drop_privileges()
        restrict(rules)

    argv = [sys.executable, "-I", "-S", "-c", CHILD, json.dumps(acts, default=str)]
    with ruleset(program_files(sys.executable) | Reach(FILES) | reach, version) as rules:
        done = subprocess.run(
            argv,
            capture_output=True,
            timeout=LIMIT_S,
            check=True,
            preexec_fn=lambda: confine(rules),
        )
    found: list[str] = json.loads(done.stdout)
    return found


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """Return a directory with two rooms, in each of which a file is."""
    for room in ("own", "other"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "file").write_text("ours")
    return tmp_path


@pytest.mark.parametrize("version", range(1, abi() + 1))
def test_what_is_named_is_reached_and_nothing_else(house: Path, version: int) -> None:
    own, other = house / "own", house / "other"
    found = tries(
        Reach(write=(str(own),)),
        *(("read", own / "file"), ("write", own / "file"), ("write", own / "new"), ("list", own)),
        *(("mkdir", own / "room"), ("remove", own / "new")),
        *(("read", other / "file"), ("write", other / "file"), ("write", other / "new"), ("list", other)),
        *(("remove", other / "file"), ("mkdir", other / "room"), ("list", house), ("read", "/etc/shadow")),
        version=version,
    )
    assert found == [""] * 6 + ["PermissionError"] * 8
    assert (own / "file").read_text() == "theirs"
    assert (other / "file").read_text() == "ours"


def test_what_is_read_is_not_written(house: Path) -> None:
    own = house / "own"
    found = tries(
        Reach(read=(str(own),)),
        ("read", own / "file"),
        ("list", own),
        ("write", own / "file"),
        ("remove", own / "file"),
    )
    assert found == ["", "", "PermissionError", "PermissionError"]
    assert (own / "file").read_text() == "ours"


def test_a_file_is_no_directory(house: Path) -> None:
    file = house / "own" / "file"
    acts = (("write", file), ("write", house / "own" / "new"), ("remove", file))
    assert tries(Reach(write=(str(file),)), *acts) == ["", "PermissionError", "PermissionError"]


def test_a_link_leads_nowhere_else(house: Path) -> None:
    (house / "own" / "link").symlink_to(house / "other" / "file")
    found = tries(Reach(write=(str(house / "own"),)), ("read", house / "own" / "link"))
    assert found == ["PermissionError"]


def test_what_is_written_is_not_run(house: Path) -> None:
    program = house / "own" / "program"
    program.write_bytes(Path("/bin/true").read_bytes())
    program.chmod(0o755)
    assert tries(Reach(write=(str(house / "own"),)), ("read", program)) == [""]
    with (
        ruleset(program_files("true") | Reach(write=(str(house / "own"),))) as rules,
        pytest.raises(PermissionError),
    ):
        subprocess.run([program], check=True, preexec_fn=lambda: (drop_privileges(), restrict(rules)))


@pytest.mark.parametrize("verb", ["symlink", "fifo", "link"])
def test_what_is_written_leads_nowhere_else(house: Path, verb: str) -> None:
    own = house / "own"
    (found,) = tries(Reach(write=(str(own),)), (verb, own / "new"))
    assert found in {"PermissionError", "OSError"}  # EXDEV, from another directory
    assert not (own / "new").is_symlink()
    assert not (own / "new").exists()


def test_what_is_not_there_is_passed_over(house: Path) -> None:
    missing = Reach((str(house / "none"),), (str(house / "none" / "file"), str(house / "absent")))
    assert tries(missing, ("read", house / "own" / "file"), ("write", house / "absent")) == ["PermissionError"] * 2


@pytest.mark.skipif(abi() < 3, reason="this kernel's Landlock does not know of truncation")
def test_a_file_is_not_cut_short(house: Path) -> None:
    file = house / "own" / "file"
    assert tries(Reach(read=(str(file),)), ("truncate", file)) == ["PermissionError"]
    assert file.read_text() == "ours"


@pytest.mark.skipif(abi() < 6, reason="this kernel's Landlock has no scopes")
def test_other_processes_get_no_signal_and_no_abstract_connection() -> None:
    name = b"\0vmtasks-test-%d" % os.getpid()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)
        server.listen()
        assert tries(Reach(), ("signal", os.getpid()), ("connect", name.hex())) == ["PermissionError"] * 2


def test_a_socket_that_has_a_name_is_connected_to(tmp_path: Path) -> None:
    path = tmp_path / "socket"  # so is the switch of a group, which is not in the reach of its machines' QEMU
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        assert tries(Reach(), ("connect", os.fsencode(path).hex())) == [""]


def test_a_kernel_without_it_confines_nothing(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "_CREATE_RULESET", -1)
    assert abi() == 0
    assert tries(Reach(), ("read", house / "own" / "file")) == [""]


def test_rules_of_a_kernel_that_refuses_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "_PATH_BENEATH", 99)
    with pytest.raises(OSError, match="cannot confine a program"), ruleset(Reach(("/usr",))):
        pytest.fail("there are no such rules")


def test_no_descriptor_is_left(house: Path) -> None:
    open_before = os.listdir("/proc/self/fd")  # noqa: PTH208 - names are enough
    with ruleset(Reach((str(house),))) as rules:
        assert rules is not None
        assert os.get_inheritable(rules) is False
    assert os.listdir("/proc/self/fd") == open_before  # noqa: PTH208
