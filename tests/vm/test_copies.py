"""Copied machines: as good as freshly booted ones, each itself, and never handed out if their template is damaged."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmtasks import Guest, Preparation, UsageError, boot, events
from vmtasks.cache.snapshot import Snapshot
from vmtasks.cache.snapshots import all_snapshots, failure
from vmtasks.errors import CommandFailed
from vmtasks.guest.failure import failure_from, line_at
from vmtasks.guest.transfer_disk import FIND

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def starts() -> Iterator[list[str]]:
    """Yield how each machine started, but for those that templates are made of."""
    heard: list[str] = []

    def hear(event: events.Event) -> None:
        if isinstance(event, events.MachineStarted) and not event.machine.endswith("-template"):
            heard.append(event.start)

    with events.listening(hear):
        yield heard


def template_of(image: str) -> Snapshot:
    return [snapshot for snapshot in all_snapshots() if (snapshot.kind, snapshot.name) == ("template", image)][-1]


def test_two_copies_are_themselves_and_as_good_as_new(starts: list[str], tmp_path: Path) -> None:
    with boot("bookworm", log_dir=tmp_path) as left, boot("bookworm", log_dir=tmp_path) as right:
        assert starts == ["clone", "clone"]
        for command in (["cat", "/etc/machine-id"], ["hostname"], ["head", "-c", "16", "/proc/sys/kernel/random/uuid"]):
            assert left.succeed(command) != right.succeed(command)
        for guest in (left, right):
            # The guest's clock is read between two looks at ours.
            before_s = time.time()
            guest_s = float(guest.query(["date", "+%s.%N"]))
            assert before_s - 1 < guest_s < time.time() + 1
            assert guest.succeed(["systemctl", "is-system-running"]) == "running\n"
            assert guest.succeed('getent hosts "$(hostname)"').startswith("127.0.1.1 ")
            guest.succeed(["journalctl", "--boot", "--lines=1", "--quiet"])
            guest.succeed("touch /var/tmp/mine; timeout 5 bash -c 'echo >/dev/tcp/10.0.2.2/1' 2>&1 | grep refused")
        left.succeed(["rm", "/var/tmp/mine"])
        right.succeed(["test", "-e", "/var/tmp/mine"])


def test_work_is_kept_step_by_step_and_goes_on_from_the_step_that_others_have_made(starts: list[str]) -> None:
    done: list[str] = []

    def step(name: str, before: Preparation | None = None) -> Preparation:
        def work(guest: Guest) -> bool:
            guest.succeed(["touch", f"/srv/{name}"])
            done.append(name)
            return True

        return Preparation(name=name, key=name, run=work, before=before)

    for last, files in (("one", "one tools"), ("one", "one tools"), ("other", "other tools")):
        with boot("bookworm", prepare=step(last, before=step("tools"))) as guest:
            assert guest.succeed(["ls", "/srv"]).split() == files.split()
    assert done == ["tools", "one", "other"]
    assert starts == ["clone", "fork", "fork"]


@pytest.mark.parametrize("name", ["ram", "state", "disk.qcow2", "overlay"])
def test_a_template_that_was_cut_short_is_dropped_and_made_anew(starts: list[str], name: str) -> None:
    with boot("bookworm"):
        damaged = template_of("bookworm")
    path = damaged.directory / name
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with boot("bookworm") as guest:
        assert guest.is_up()
    assert starts == ["clone", "clone"]
    assert not damaged.directory.exists()


def test_a_template_that_qemu_refuses_costs_time_and_nothing_else(
    starts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Snapshot, "damage", lambda *_, **__: "")
    with boot("bookworm"):
        damaged = template_of("bookworm")
    damaged.state.write_bytes(b"no state at all" * 1000)
    with boot("bookworm") as guest:
        assert guest.is_up()
    assert starts == ["clone", "cold"]
    assert not damaged.directory.exists()


def test_a_cold_start_can_be_asked_for(starts: list[str]) -> None:
    with boot("bookworm", cold=True) as guest:
        assert guest.is_up()
        # The guest's clock is read between two looks at ours.
        looks = [(time.monotonic(), uptime_s(guest), time.monotonic())]
        guest.succeed("i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done")
        looks.append((time.monotonic(), uptime_s(guest), time.monotonic()))
        (first_s, began_s, second_s), (third_s, ended_s, fourth_s) = looks
        assert 0.98 * (third_s - second_s) - 0.1 < ended_s - began_s < 1.02 * (fourth_s - first_s) + 0.1
    assert starts == ["cold"]


def uptime_s(guest: Guest) -> float:
    return float(guest.query(["cut", "-d", " ", "-f", "1", "/proc/uptime"]))


def test_a_checkpoint_is_where_others_start_while_the_machine_goes_on(starts: list[str]) -> None:
    with boot("bookworm", forkable=True) as parent:
        parent.succeed("echo before >/var/tmp/state; echo memory >/dev/shm/state")
        connection = parent.connection
        checkpoint = parent.checkpoint("half-way")
        parent.succeed("echo after >/var/tmp/state; echo after >/dev/shm/state")
        assert parent.connection is connection
        with boot(checkpoint, name="child") as child:
            assert child.succeed(["cat", "/var/tmp/state", "/dev/shm/state"]) == "before\nmemory\n"
            assert child.succeed(["hostname"]).startswith("child-")
            child.succeed(["rm", "/var/tmp/state"])
        assert parent.succeed(["cat", "/var/tmp/state", "/dev/shm/state"]) == "after\nafter\n"
        assert not checkpoint.drop(), "the parent's disk lies over it"
    assert checkpoint.drop()
    assert starts == ["clone", "fork"]


def test_a_machine_that_failed_is_opened_as_it_was_as_often_as_one_likes(starts: list[str]) -> None:
    with boot("bookworm", name="failing", forkable=True) as guest:
        guest.succeed("install -d -o builder /srv/tree; echo disk >/srv/tree/state; echo memory >/dev/shm/state")
        with pytest.raises(CommandFailed):
            guest.run("test -e no", cwd="/srv/tree", user="builder", env={"WORD": "two words"})
        frozen = guest.freeze()
        guest.succeed("rm /srv/tree/state /dev/shm/state")
    for _ in range(2):
        moment = failure(frozen.directory.name)
        with boot(moment) as copy:
            assert copy.succeed(["cat", "/srv/tree/state", "/dev/shm/state"]) == "disk\nmemory\n"
            failed = failure_from(moment.metadata["failure"])
            line = line_at(copy, failed, 'pwd; id -un; echo "$WORD"; rm -f state; exit 3')
            done = subprocess.run([*copy.ssh_command, line], capture_output=True, text=True, check=False)
            assert (done.returncode, done.stdout) == (3, "/srv/tree\nbuilder\ntwo words\n"), done.stderr
            copy.fail("ls /tmp | grep vmtasks")
    assert starts == ["clone", "fork", "fork"]
    assert frozen.drop()


def test_a_copy_gets_its_identity_by_itself_and_no_agent_is_left(tmp_path: Path) -> None:
    with boot("bookworm", log_dir=tmp_path) as guest:
        assert guest.query(["cat", "/run/vmtasks-ready"]) == guest.query(["cat", "/etc/machine-id"])
        assert guest.query(["cat", "/etc/hosts"]).count("127.0.1.1") == 2, "the image's name, and its own, told once"
        guest.fail(["pgrep", "perl"])
        guest.fail(["test", "-e", "/run/vmtasks-waiting"])
        transfer_disk = f"$({FIND} && echo $d)"
        tail = guest.query(f"d={transfer_disk}; blockdev --flushbufs $d; tail -c 4096 $d | tr -d '\\0' | wc -c")
        assert tail == "0\n", "what the random numbers began with is gone"


def content(tree: Path) -> dict[str, tuple[int, object]]:
    paths = [path for path in tree.rglob("*") if path.is_symlink() or path.is_file()]
    return {
        str(path.relative_to(tree)): (path.lstat().st_mode, path.readlink() if path.is_symlink() else path.read_bytes())
        for path in paths
    }


@pytest.mark.parametrize("way", ["disk", "ssh"])
def test_trees_and_large_files_go_there_and_back(way: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for number in range(50):
        (tree / f"d{number % 3}").mkdir(parents=True, exist_ok=True)
        (tree / f"d{number % 3}" / f"f{number}").write_bytes(bytes([number]) * 20_000)
    (tree / "link").symlink_to("d1")
    (tree / "d0" / "f0").chmod(0o755)
    with boot("bookworm") as guest:
        if way == "ssh":
            guest._files.transfer_disk.is_known = False  # type: ignore[union-attr]
        before = guest.client.qmp("query-blockstats")
        for again in range(2):  # the second time, nothing of the first is to be seen
            guest.put(tree, f"/srv/tree{again}")
            assert guest.query(["readlink", f"/srv/tree{again}/link"]) == "d1\n"
            guest.get(f"/srv/tree{again}", tmp_path / f"back{again}")
            assert content(tmp_path / f"back{again}") == content(tree)
            guest.succeed(f"rm -r /srv/tree{again}/d1")
        moved = [
            sum(one["stats"][key] for one in stats if one["device"] == "transfer" for key in ("rd_bytes", "wr_bytes"))
            for stats in (before, guest.client.qmp("query-blockstats"))
        ]
        assert (moved[1] - moved[0] > 4_000_000) == (way == "disk")


def test_a_machine_that_was_not_meant_to_be_forked_says_how_it_could_be() -> None:
    with boot("bookworm") as guest, pytest.raises(UsageError, match="it was not booted with forkable=True"):
        guest.checkpoint("never")
