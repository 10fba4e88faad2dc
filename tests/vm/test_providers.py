"""What every provider promises, kept by the real ones; and a shipped recipe on a machine that simply is there."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bigger_host import BiggerHost
from tests.contract import ProviderContract
from tests.small_package import DEB, write_small_package
from tests.vm_board import ON
from vmtasks import Guest, Provider, boot
from vmtasks.providers.boot import provider_of
from vmtasks.spec import LOCAL

ROOT = Path(__file__).resolve().parents[2]
INV = (str(Path(sys.executable).with_name("inv")), "-r", str(ROOT))
LIMIT_S = 900.0


class TestQemu(ProviderContract):
    @pytest.fixture
    def provider(self) -> Provider:
        return provider_of(LOCAL)


class TestQemuOnABiggerHost(ProviderContract):
    @pytest.fixture
    def provider(self, big: BiggerHost, monkeypatch: pytest.MonkeyPatch) -> Provider:
        monkeypatch.setenv("VMTASKS_SSH", big.ssh)
        return provider_of(big.name)


@pytest.mark.usefixtures("board")
class TestStanding(ProviderContract):
    is_clean = False

    @pytest.fixture
    def provider(self, board: Guest) -> Iterator[Provider]:
        yield provider_of(ON)
        board.wait_up()  # its owner's connection does not survive its reboots


def test_what_commands_leave_running_ends_and_what_others_run_goes_on(board: Guest) -> None:
    started = "setsid sleep {} >/dev/null 2>&1 & until pgrep --full --exact 'sleep {}' >/dev/null; do :; done"
    board.succeed(started.format(1001, 1001))
    with boot("bookworm", on=ON) as guest:
        guest.succeed(started.format(1002, 1002), user="builder")
        guest.succeed(started.format(1003, 1003))
    assert board.succeed(["pgrep", "--full", "--list-full", "^sleep 100"]).split()[1:] == ["sleep", "1001"]
    board.succeed(["pkill", "--full", "^sleep 1001"])


def test_a_shipped_recipe_runs_there_unchanged_and_leaves_only_packages(board: Guest, tmp_path: Path) -> None:
    project = write_small_package(tmp_path / "parrot")
    recipe = ["test-in-vm", "--source", str(project), "--out", "out", "--on", ON]
    done = subprocess.run([*INV, *recipe], cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / DEB).is_file()
    result = json.loads((tmp_path / "build" / "vmtasks" / "latest" / "result.json").read_text())
    assert {case["outcome"] for case in result["cases"]} == {"passed"}
    assert [(one["machine"], one["accelerator"]) for one in result["machines"]] == [
        ("tarbake", "none"),
        ("build", "none"),
        ("source", "none"),
        ("install", "none"),
    ]
    board.fail("ls -d /build /srv/vmtasks* /etc/apt/sources.list.d/vmtasks.list /sys/fs/cgroup/vmtasks 2>/dev/null")
    board.succeed("[ -e /var/lib/vmtasks/standing ] && ! [ -s /var/lib/vmtasks/standing ]")
