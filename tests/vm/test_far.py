"""Real machines on a bigger host: the same verbs, checkpoints and recipes, over ssh."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bigger_host import BiggerHost
from tests.group_roles import roles
from tests.small_package import write_small_package
from tests.waiting import until
from vmtasks import BootOptions, Guest, Preparation, Role, boot, boot_group
from vmtasks.errors import InfrastructureError, UsageError
from vmtasks.providers.base import MachineRequest
from vmtasks.providers.boot import machine
from vmtasks.providers.preparation import prepare
from vmtasks.remote.host import remote_host

ROOT = Path(__file__).resolve().parents[2]
RUN_LIMIT_S = 900
NOTICED_S = 10.0
REACH = "timeout 5 bash -c 'echo >/dev/tcp/server/22'"


@pytest.fixture(autouse=True)
def _nothing_is_left_there(big: BiggerHost, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("VMTASKS_SSH", big.ssh)
    yield
    remote_host(big.name).close()
    big.see_it_empty()


def inv(big: BiggerHost, tmp_path: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "invoke", "--search-root", str(ROOT), *words]
    results = {"VMTASKS_RESULTS": str(tmp_path / "results"), "VMTASKS_SSH": big.ssh, **environ}
    return subprocess.run(
        argv,
        env={**os.environ, **results},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=RUN_LIMIT_S,
        check=False,
    )


def start_of(guest: Guest) -> str:
    return str(guest.source.kind)


def see_own_kernel_booted(guest: Guest, big: BiggerHost) -> None:
    """See a kernel of the guest's brought to its host, booted there, and the guest found where it was."""
    port = guest.address.port
    guest.reboot(kernel=guest.query(["uname", "-r"]).strip(), kernel_args=["far=1"], timeout_s=RUN_LIMIT_S)
    assert "far=1" in guest.query(["cat", "/proc/cmdline"]).split()
    assert guest.address.port == port
    (room,) = (big.cache / "machines").glob("*/kernel-1")
    assert {path.name for path in room.iterdir()} == {"vmlinuz", "initrd"}


def test_a_machine_there_is_a_machine(big: BiggerHost, tmp_path: Path) -> None:
    (tmp_path / "tree/below").mkdir(parents=True)
    (tmp_path / "tree/below/file").write_text("there and back\n")
    with boot("bookworm", on=big.name, log_dir=tmp_path) as guest:
        guest.put(tmp_path / "tree", "/srv")
        assert guest.get("/srv/below/file", f"{tmp_path}/back/") == [tmp_path / "back/file"]
        assert (tmp_path / "back/file").read_text() == "there and back\n"
        assert start_of(guest) == "clone"
        console = guest.console_log
    with boot("bookworm", on=big.name, log_dir=tmp_path) as guest:
        assert start_of(guest) == "clone", "its template is that host's, and stays there"
        assert guest.glob("/srv/*") == []
        see_own_kernel_booted(guest, big)
    assert console.parent == tmp_path
    assert list((big.cache / "snapshots").glob("*/ram"))
    assert not list((big.cache / "images").glob("*/id_ed25519"))


def test_checkpoints_are_of_that_host_and_so_are_their_forks(big: BiggerHost) -> None:
    with boot("bookworm", on=big.name, forkable=True) as guest:
        guest.succeed(["touch", "/srv/before"])
        checkpoint = guest.checkpoint("with a file")
        assert checkpoint.on == big.name
        guest.succeed(["touch", "/srv/after"])
    with boot(checkpoint) as fork:
        assert start_of(fork) == "fork"
        assert fork.glob("/srv/*") == ["/srv/before"]
    with pytest.raises(UsageError, match="another memory_mib"), boot(checkpoint, memory_mib=700):
        pass
    assert checkpoint.drop()


def test_work_that_was_done_there_is_kept_there(big: BiggerHost) -> None:
    done: list[str] = []

    def work(guest: Guest) -> bool:
        done.append(guest.name)
        guest.succeed(["touch", "/srv/done"])
        return True

    preparation = Preparation(name="a file", key=f"a file of {big.name}", run=work)
    for _ in range(2):
        with machine(
            MachineRequest(image="bookworm", options=BootOptions(on=big.name), preparation=preparation)
        ) as guest:
            prepare(guest, preparation)
            assert guest.glob("/srv/done")
    assert len(done) == 1


def test_a_cut_link_ends_a_running_command_and_the_machine(big: BiggerHost) -> None:
    cut_s: list[float] = []

    def run_and_cut() -> None:
        with boot("bookworm", on=big.name) as guest:
            big.cut()
            cut_s.append(time.monotonic())
            guest.run(["sleep", "600"], warn=True)

    try:
        with pytest.raises(InfrastructureError, match="the link to"):
            run_and_cut()
        assert time.monotonic() - cut_s[0] < NOTICED_S + 5
        big.see_it_empty()
    finally:
        big.mend()


def test_the_main_job_runs_there_unchanged_and_its_products_come_home(big: BiggerHost, tmp_path: Path) -> None:
    project = write_small_package(tmp_path / "parrot")

    def made(recipe: str, **environ: str) -> dict[str, bytes]:
        run = inv(big, tmp_path, recipe, "--source", str(project), **environ)
        assert run.returncode == 0, run.stderr
        return {Path(path).name: (tmp_path / path).read_bytes() for path in run.stdout.splitlines()}

    there = made("test-in-vm", VMTASKS_ON=big.name)
    result = json.loads((tmp_path / "results/latest/result.json").read_text())
    assert result["outcome"] == "passed"
    assert {machine["on"] for machine in result["machines"]} == {big.name}
    assert [name for name in there if name.endswith(".deb")]
    assert made("tarbake").items() <= there.items(), "what is made here is the same"


def test_a_group_there_has_its_network_and_its_messages(big: BiggerHost, tmp_path: Path) -> None:
    both = {name: Role(image="bookworm", memory_mib=512) for name in ("server", "client")}
    with boot_group(both, on=big.name, log_dir=tmp_path, purpose="a group to be seen") as group:
        assert {start_of(guest) for guest in group.guests()} == {"clone"}
        for one, other in (("client", "server"), ("server", "client")):
            address = group[one].succeed(["getent", "hosts", other]).split()[0]
            assert address.startswith("198.18.0.")
        group["client"].succeed(REACH)
        group.network.cut("client", "server")
        group["client"].fail(REACH)
        group.network.heal()
        group["client"].wait_until_succeeds(REACH, timeout_s=RUN_LIMIT_S)
        group.run_all('lava-send "from-$(lava-self)" key=value; lava-wait-all from-client client; lava-sync end')
        listed = inv(big, tmp_path, "vm.ps", "--on", big.name).stdout
        assert [name for name in both if f"a group to be seen: {name}" in listed] == [*both]
        group["client"].reboot()
        assert group["client"].succeed("lava-self") == "client\n"


def test_a_killed_groups_switch_and_machines_are_gone_there(big: BiggerHost, tmp_path: Path) -> None:
    job = tmp_path / "pair.toml"
    tests = '\n[[tests]]\nname = "wait"\nrun = "lava-wait never"\n'
    job.write_text(roles(server="memory_mib = 512\n", client="memory_mib = 512\n") + tests)
    argv = [sys.executable, "-m", "invoke", "--search-root", str(ROOT), "group", "--job", str(job), "--on", big.name]
    environ = {**os.environ, "VMTASKS_RESULTS": str(tmp_path / "results"), "VMTASKS_SSH": big.ssh}
    log = tmp_path / "log"
    with (
        log.open("wb") as output,
        subprocess.Popen(argv, cwd=tmp_path, env=environ, stdin=subprocess.DEVNULL, stderr=output) as run,
    ):
        until("test in both members", lambda: log.read_text().count("$ lava-wait never") == 2, RUN_LIMIT_S)
        assert [line for _, line in big.running() if "vmtasks.group.switch" in line]
        run.kill()
    big.see_it_empty()


def test_what_runs_there_is_listed_from_here(big: BiggerHost, tmp_path: Path) -> None:
    with boot("bookworm", on=big.name, purpose="a machine to be seen"):
        listed = inv(big, tmp_path, "vm.ps", "--on", big.name)
    assert listed.returncode == 0, listed.stderr
    assert "a machine to be seen" in listed.stdout
    assert "a machine to be seen" not in inv(big, tmp_path, "vm.ps").stdout


def test_what_was_left_there_is_swept_from_here(big: BiggerHost, tmp_path: Path) -> None:
    left = big.cache / "machines/left-1-1"
    left.mkdir(parents=True)
    (left / "lease.json").write_text("{}")
    swept = inv(big, tmp_path, "vm.gc", "--on", big.name)
    assert swept.stdout == f"swept {left}\n", swept.stderr
    assert inv(big, tmp_path, "vm.gc", "--on", big.name).stdout == "nothing to sweep\n"
