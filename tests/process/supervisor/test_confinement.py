"""What a machine's QEMU reaches of the host, with the fake one as a process of a real supervisor."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fake_qemu import FILES
from tests.process.supervised import LIMIT_S, PACKAGE, Supervisor
from vmtasks.process.landlock import Reach, abi
from vmtasks.supervisor.plan import Plan

SEALED = """
import sys
sys.path.insert(0, sys.argv[1])
from vmtasks.process.child import drop_privileges
from vmtasks.process.landlock import Reach, restrict, ruleset
from vmtasks.supervisor.confined import start_confined

drop_privileges()
for _ in range(16):
    with ruleset(Reach(write=("/",), read=("/",))) as rules:
        restrict(rules)
try:
    start_confined(["true"], Reach())
except OSError as problem:
    print(problem)
"""
Supervise = Callable[..., Supervisor]
MakePlan = Callable[..., Plan]
REFUSED = "Permission denied"
pytestmark = pytest.mark.skipif(not abi(), reason="this kernel has no Landlock")


def came_of(one: Supervisor) -> dict[str, str]:
    """Return what came of each file that the fake was to open."""
    one.starts()
    one.close()
    lines = one.hears("exited")["qemu"].splitlines()
    return dict(line.removeprefix("qemu-system-fake: ").split(": ", 1) for line in lines)


def test_qemu_reaches_its_own_files_and_no_other(supervise: Supervise, plan: MakePlan, tmp_path: Path) -> None:
    machine = plan().directory
    for name in ("disk", "kernel", "base", "secret"):
        (tmp_path / name).write_text("ours")
    opened = {
        str(tmp_path / "disk"): "w",
        f"{machine}/overlay": "w",
        str(tmp_path / "kernel"): "r",
        "/dev/urandom": "r",
        "/etc/resolv.conf": "r",
    }
    refused = {
        str(tmp_path / "secret"): "r",
        f"{machine}/../secret": "r",
        str(tmp_path / "new"): "w",
        str(tmp_path / "console.log"): "r",
        "/etc/shadow": "r",
        "/etc/passwd": "r",
        "/usr/new": "w",
        "/proc/1/cmdline": "r",
        str(tmp_path / "base"): "w",
    }
    acts = [["open", path, mode] for path, mode in {**opened, **refused}.items()]
    read = (*FILES, str(tmp_path / "kernel"), str(tmp_path / "base"))
    reach = Reach(read, (str(tmp_path / "disk"), machine))
    found = came_of(supervise(plan({"human-monitor-command": acts}, reach=reach)))
    assert found == {**dict.fromkeys(opened, "opened"), **dict.fromkeys(refused, REFUSED)}
    assert not (tmp_path / "new").exists()


def test_a_machines_directory_is_not_another_machines(supervise: Supervise, plan: MakePlan, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "disk.qcow2").write_text("theirs")
    ours = plan(reach=Reach(FILES, (plan().directory,)))
    acts = [["open", str(tmp_path / "other" / "disk.qcow2"), "r"], ["open", f"{ours.directory}/disk.qcow2", "w"]]
    found = came_of(supervise(plan({"human-monitor-command": acts}, reach=ours.reach)))
    assert [*found.values()] == [REFUSED, "opened"]


def test_temporary_files_are_made_in_the_machines_directory(
    supervise: Supervise, plan: MakePlan, tmp_path: Path
) -> None:
    show = "import os, sys; sys.stderr.write('TMPDIR: ' + os.environ['TMPDIR'] + chr(10))"
    ours = plan()
    last = supervise(ours._replace(argv=(ours.argv[0], "-c", show))).hears("exited")
    assert last["qemu"] == f"TMPDIR: {ours.directory}\n"


def test_what_the_kernel_does_not_confine_is_not_started() -> None:
    argv = [sys.executable, "-I", "-S", "-c", SEALED, str(PACKAGE.parent)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT_S, check=True)
    assert done.stdout == "true could not be confined: the kernel refused (landlock(7))\n"
    assert done.stderr == ""
