"""A matrix of runs: real processes of inv, in machines that are none."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.waiting import until

ROOT = Path(__file__).resolve().parents[3]
INV = Path(sys.executable).with_name("inv")
LIMIT_S = 60.0

TASKS = '''
import os
import signal
from pathlib import Path

from vmtasks import HostError, Run, TestFailed, recipe, use_provider
from vmtasks.testing import FakeProvider


class Fake(FakeProvider):
    def command_line(self, request):
        return ("qemu", request.image, request.options.on)


INSTEAD = use_provider(Fake())  # for as long as this process lives: who drops it has real machines
INSTEAD.__enter__()


@recipe
def test_in_vm(run: Run, source: str = ".", out: str = "", image: str = "bookworm") -> None:
    """Do what a file called like the image says.

    :param source: the project's directory.
    :param out: where the artifacts go.
    :param image: the image to boot.
    """
    if "VMTASKS_RUN_DIRECTORY" in os.environ:
        raise HostError("what is started below this would write into its directory")
    told = Path(source, image).read_text() if Path(source, image).exists() else ""
    with run.boot(image) as guest, run.case("test"):
        if told == "wait":
            Path(f"{run.directory}.pid").write_text(str(os.getpid()))
            while not Path("go").exists():
                guest.watch(0.1)
        if told == "fail":
            raise TestFailed("it is rude")
        if told == "host":
            raise HostError("cannot make a disk: no room")
        if told == "die":
            os.kill(os.getpid(), signal.SIGKILL)
    path = run.output_dir(out) / "hello.txt"
    path.write_text(image)
    run.artifact(path)


@recipe(pairs=True)
def measure(run: Run, image: str = "bookworm", out: str = "") -> None:
    """Have a server and a client.

    :param image: the image of both.
    :param out: where the artifacts go.
    """
    with run.group({"server": image, "client": image}) as group:
        run.write(run.output_dir(out) / "pair.txt", " ".join(run.flags.pair))
        if "ssh://d" in run.flags.pair:
            raise TestFailed(f"{group['client'].name} is slow")
'''


@dataclass(kw_only=True)
class Place:
    """A directory with a tasks file, and what runs there."""

    home: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def tell(self, **images: str) -> None:
        for image, what in images.items():
            (self.home / image).write_text(what)

    def start(
        self, *words: str, argv: tuple[str, ...] = (str(INV), "test-in-vm"), **more: Any
    ) -> subprocess.Popen[str]:
        environ = {
            **os.environ,
            "NO_COLOR": "1",
            "VMTASKS_CACHE": str(self.home / "cache"),
            "VMTASKS_SLOTS": "2",
            **more.pop("environ", {}),
        }
        process = subprocess.Popen(
            [*argv, *words],
            cwd=self.home, env=environ, text=True,
            **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more},
        )  # fmt: skip
        self.started.append(process)
        return process

    def call(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        process = self.start(*words, **more)
        stdout, stderr = process.communicate(timeout=LIMIT_S)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    @property
    def whole(self) -> Path:
        (found,) = (path for path in (self.home / "build/vmtasks").glob("test-in-vm-*") if path.is_dir())
        return found

    def result(self, run: str = "") -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.whole / run / "result.json").read_text())
        return found

    def outcomes(self) -> dict[str, tuple[str, int | None]]:
        return {row["combination"]: (row["outcome"], row["exit_code"]) for row in self.result()["runs"]}

    def waits(self, *runs: str) -> dict[str, int]:
        """Return the pids of runs once they wait for the file ``go``."""

        def there() -> dict[str, int]:
            files = (self.home / "build/vmtasks").glob("test-in-vm-*/*.pid")
            found = {path.stem: int(path.read_text() or 0) for path in files if path.stem in runs}
            return found if len(found) == len(runs) and all(found.values()) else {}

        return until(f"wait of {' and '.join(runs)}", there, LIMIT_S)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    (tmp_path / "tasks.py").write_text(TASKS)
    found = Place(home=tmp_path)
    yield found
    (tmp_path / "go").touch()
    for process in found.started:
        process.kill()
        process.communicate()


def test_each_combination_is_a_run_and_the_worst_is_the_status(place: Place) -> None:
    place.tell(trixie="fail", sid="host")
    done = place.call("--image", "bookworm,trixie,sid", "--out", "my out")
    assert done.returncode == 1, done.stderr
    assert done.stdout == "my out/bookworm/hello.txt\n"
    assert place.outcomes() == {"bookworm": ("passed", 0), "trixie": ("test-failed", 1), "sid": ("host", 69)}
    whole = place.result()
    assert (whole["outcome"], whole["exit_code"]) == ("test-failed", 1)
    assert whole["message"] == "2 of 3 runs did not pass: trixie (test-failed), sid (host)"
    assert [row["message"] for row in whole["runs"]] == ["", "it is rude", "cannot make a disk: no room"]
    assert [Path(row["directory"]) for row in whole["runs"]] == [place.whole / name for name in place.outcomes()]
    for name, (outcome, _) in place.outcomes().items():
        own = place.result(name)
        assert own["outcome"] == outcome
        assert [(machine["image"], machine["accelerator"]) for machine in own["machines"]] == [(name, "none")]
        assert f"--image {name}" in own["rerun"]
        assert "began; logs and results go to" in (place.whole / name / "output.log").read_text()
    suites = ET.parse(place.whole / "junit.xml").getroot()  # noqa: S314 - our own text
    assert [(suite.get("name"), suite.get("failures"), suite.get("errors")) for suite in suites] == [
        ("bookworm.test-in-vm", "0", "0"),
        ("trixie.test-in-vm", "1", "0"),
        ("sid.test-in-vm", "0", "1"),
    ]
    assert (place.home / "build/vmtasks/latest").readlink() == Path(place.whole.name)
    lines = done.stderr.splitlines()
    where = place.whole.relative_to(place.home)
    assert any(line.endswith(f"; results in {where}/bookworm") for line in lines)
    assert [line for line in lines if line.startswith("  rerun:")][:2] == [
        f"  rerun:   {os.path.relpath(INV, place.home)} test-in-vm --out 'my out/{name}' --image {name}"
        for name in ("trixie", "sid")
    ]
    assert any(re.fullmatch(r"[0-9:]{8} trixie +\* test-failed after .*: it is rude", line) for line in lines)


def test_hosts_make_a_product_with_images(place: Place) -> None:
    done = place.call("--image", "bookworm,trixie", "--on", "local,alice@big")
    assert done.returncode == 0, done.stderr
    names = [f"{image}-on-{on}" for image in ("bookworm", "trixie") for on in ("local", "alice@big")]
    assert list(place.outcomes()) == names
    assert sorted(done.stdout.splitlines()) == sorted(
        f"{place.whole.relative_to(place.home)}/{name}/artifacts/hello.txt" for name in names
    )
    assert place.result("trixie-on-alice@big")["rerun"].endswith(" --image trixie --on alice@big")


def test_pairs_of_hosts_are_a_run_each_with_results_of_its_own(place: Place) -> None:
    measure = (str(INV), "measure")
    done = place.call("--on", "ssh://a,ssh://b,ssh://c,ssh://d", "--pairs", argv=measure)
    assert done.returncode == 1, done.stderr
    (whole,) = (path for path in (place.home / "build/vmtasks").glob("measure-*") if path.is_dir())
    document = json.loads((whole / "result.json").read_text())
    rows = {row["combination"]: (row["outcome"], row["message"]) for row in document["runs"]}
    assert rows == {"ssh-a-and-ssh-b": ("passed", ""), "ssh-c-and-ssh-d": ("test-failed", "client is slow")}
    for name, text in {"ssh-a-and-ssh-b": "ssh://a ssh://b", "ssh-c-and-ssh-d": "ssh://c ssh://d"}.items():
        assert (whole / name / "artifacts/pair.txt").read_text() == text
        own = json.loads((whole / name / "result.json").read_text())
        assert own["rerun"].endswith(f" measure --pairs --on {text.replace(' ', ',')}")
    suites = ET.parse(whole / "junit.xml").getroot()  # noqa: S314 - our own text
    assert [suite.get("name") for suite in suites] == [f"{name}.measure" for name in rows]


def test_a_host_without_a_partner_starts_nothing(place: Place) -> None:
    done = place.call("--on", "ssh://a,ssh://b,ssh://c", "--pairs", argv=(str(INV), "measure"))
    assert done.returncode == 64
    assert done.stderr.splitlines() == [
        "--pairs needs an even number of hosts, and --on names 3: ssh://c has no partner",
        "name another host, or leave ssh://c out",
    ]
    assert not (place.home / "build").exists()


def test_a_run_that_is_killed_is_the_hosts_trouble_and_told_of_everywhere(place: Place) -> None:
    place.tell(trixie="die")
    done = place.call("--image", "bookworm,trixie")
    assert done.returncode == 69, done.stderr
    assert place.outcomes() == {"bookworm": ("passed", 0), "trixie": ("host", -9)}
    assert place.result()["runs"][1]["message"] == "its process was ended by SIGKILL"
    (_, killed) = ET.parse(place.whole / "junit.xml").getroot()  # noqa: S314 - our own text
    assert (killed.get("name"), killed.get("errors")) == ("trixie.test-in-vm", "1")


def test_no_more_are_started_than_there_is_room_for(place: Place) -> None:
    place.tell(bookworm="wait", trixie="wait", sid="wait")
    process = place.start("--image", "bookworm,trixie,sid", environ={"VMTASKS_SLOTS": "1"})
    place.waits("bookworm", "trixie")
    states = {"bookworm": ("running", None), "trixie": ("running", None), "sid": ("waiting", None)}
    until("place for a third", lambda: place.outcomes() == states)
    assert not (place.whole / "sid").exists()
    (place.home / "go").touch()
    _, stderr = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, stderr
    assert set(place.outcomes().values()) == {("passed", 0)}


def test_one_name_is_a_run_as_ever(place: Place) -> None:
    done = place.call("--image", "trixie", "--on", "local")
    assert done.returncode == 0, done.stderr
    assert place.result()["runs"] == []
    assert place.result()["machines"][0]["image"] == "trixie"
    assert not (place.whole / "output.log").exists()
    assert not (place.whole / "trixie").exists()


def test_a_dry_run_prints_each_and_leaves_nothing(place: Place) -> None:
    done = place.call("--image", "bookworm,trixie", "--on", "local,alice@big", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "qemu bookworm local", "qemu bookworm alice@big", "qemu trixie local", "qemu trixie alice@big",
    ]  # fmt: skip
    assert "bookworm-on-alice@big:\n" in done.stderr
    assert not (place.home / "build").exists()


def test_a_name_that_cannot_be_starts_nothing(place: Place) -> None:
    done = place.call("--image", "bookworm,trixi")
    assert done.returncode == 64
    assert done.stderr.startswith("there is no image 'trixi'; did you mean 'trixie'?\n")
    assert not (place.home / "build").exists()


@pytest.mark.parametrize("how", ["SIGTERM", "SIGHUP", "reader", "SIGKILL", "nohup"])
def test_all_end_with_it(place: Place, how: str, ended: Callable[..., bool]) -> None:
    place.tell(bookworm="wait", trixie="wait")
    argv = ("nohup", str(INV), "test-in-vm") if how == "nohup" else (str(INV), "test-in-vm")
    process = place.start("--image", "bookworm,trixie", argv=argv)
    pids = place.waits("bookworm", "trixie")
    for pid in pids.values():
        assert not ended(pid, 0)
    if how == "reader":
        assert process.stderr
        process.stderr.close()
    else:
        process.send_signal(signal.SIGKILL if how == "nohup" else signal.Signals[how])
    for pid in pids.values():
        assert ended(pid, LIMIT_S)
    status = process.wait(LIMIT_S)
    assert status == (-signal.SIGKILL if how in {"SIGKILL", "nohup"} else 130)
    for name in pids:
        own = place.result(name)
        assert (own["outcome"], own["ended"] is None) == ("interrupted", False)
    if status == 130:
        assert place.outcomes() == {"bookworm": ("interrupted", 130), "trixie": ("interrupted", 130)}
        assert place.result()["outcome"] == "interrupted"


def test_ctrl_c_ends_all_and_also_tells_of_those_that_had_not_begun(place: Place, ended: Callable[..., bool]) -> None:
    place.tell(bookworm="wait", trixie="wait", sid="wait")
    with ExitStack() as stack:
        ours, theirs = pty.openpty()
        stack.callback(os.close, ours)
        process = place.start(
            "--image", "bookworm,trixie,sid",
            argv=("setsid", "--ctty", "--wait", str(INV), "test-in-vm"),
            stdin=theirs, stdout=theirs, stderr=theirs, environ={"VMTASKS_SLOTS": "1", "TERM": "xterm"},
        )  # fmt: skip
        os.close(theirs)
        pids = until("two runs", lambda: drained(ours) and place.waits("bookworm", "trixie"), LIMIT_S)
        for pid in pids.values():
            assert not ended(pid, 0)
        os.write(ours, b"\x03")
        until("end at Ctrl-C", lambda: drained(ours) and process.poll() is not None, LIMIT_S)
        for pid in pids.values():
            assert ended(pid, 0)
    assert process.returncode == 130
    assert place.outcomes() == {
        "bookworm": ("interrupted", 130),
        "trixie": ("interrupted", 130),
        "sid": ("interrupted", None),
    }
    assert place.result()["runs"][2]["message"] == "interrupted before it began"
    assert place.result()["message"] == "interrupted by SIGINT"


def drained(fd: int) -> bool:
    """Read what a terminal shows, so that it can show more."""
    while select.select([fd], [], [], 0)[0]:
        try:
            os.read(fd, 65536)
        except OSError:  # its last user has closed it
            break
    return True


def test_make_takes_several_images(place: Place) -> None:
    checkout = place.home / "vmtasks"
    (checkout / "vmtasks").mkdir(parents=True)
    shutil.copy(ROOT / "vmtasks/vmtasks.mk", checkout / "vmtasks")
    (checkout / "vmtasks/bootstrap.py").touch()
    (checkout / ".venv/bin").mkdir(parents=True)
    (checkout / ".venv/bin/inv").symlink_to(INV)
    shutil.move(place.home / "tasks.py", checkout)
    (place.home / "Makefile").write_text("include vmtasks/vmtasks/vmtasks.mk\n")
    place.tell(trixie="fail")
    done = place.call(argv=("make", "test-in-vm", "IMAGE=bookworm,trixie", "ARGS=--on local,alice@big"))
    assert done.returncode == 2
    assert place.result()["exit_code"] == 1
    assert {name: outcome for name, (outcome, _) in place.outcomes().items()} == {
        "bookworm-on-local": "passed",
        "bookworm-on-alice@big": "passed",
        "trixie-on-local": "test-failed",
        "trixie-on-alice@big": "test-failed",
    }
    assert len(done.stdout.splitlines()) == 2
