"""Which machine `--on ssh://` means, and what is refused before anybody is asked."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from vmtasks import BootOptions, UsageError
from vmtasks.providers.base import MachineRequest
from vmtasks.providers.boot import provider_of
from vmtasks.providers.static_host import reservation
from vmtasks.providers.static_host.provider import StaticHost
from vmtasks.ssh.openssh import ssh_words


@pytest.mark.parametrize(
    ("on", "host", "port"),
    [
        ("ssh://board", "board", None),
        ("ssh://root@board.example.org:2222", "board.example.org", 2222),
        ("ssh://root@127.0.0.1:1", "127.0.0.1", 1),
        ("ssh://_a-b", "_a-b", None),
        ("ssh://root@[fe80::1%eth0]:22", "fe80::1%eth0", 22),
    ],
)
def test_a_machine_is_named_as_ssh_names_it(on: str, host: str, port: int | None) -> None:
    standing = StaticHost(host=host, port=port)
    assert provider_of(on) == standing
    assert provider_of(standing.on) == standing
    assert (standing.on == on) is ("root@" in on)


@pytest.mark.parametrize(
    "on",
    [
        "ssh://",
        "ssh://root@",
        "ssh://-oProxyCommand=id",
        "ssh://root@-l",
        "ssh://board;id",
        "ssh://board id",
        "ssh://board\n",
        "ssh://board/build",
        "ssh://board:",
        "ssh://board:ssh",
        "ssh://board:65536",
        "ssh://board:0",
        "ssh://a@b@c",
        "ssh://$(id)",
        "ssh://b\u00f6rd",
        "ssh://[-x]",
    ],
)
def test_a_name_that_is_none_becomes_an_option_of_nothing(on: str) -> None:
    with pytest.raises(UsageError, match=r"must be ssh://\[root@\]HOST\[:PORT\]"):
        provider_of(on)


@pytest.mark.parametrize("user", ["alice", "", "-x"])
def test_only_root_can_do_there_what_recipes_do(user: str) -> None:
    with pytest.raises(UsageError, match=f"cannot work as '{user}' at board: .* root") as refusal:
        provider_of(f"ssh://{user}@board")
    assert "ssh://root@board" in refusal.value.hint


def test_a_shell_there_is_an_ordinary_ssh() -> None:
    assert ssh_words("board", None) == ["ssh", "root@board"]
    assert ssh_words("board", 2222) == ["ssh", "-p", "2222", "root@board"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (BootOptions(network="none"), r"cannot keep nowhere\.invalid from the network"),
        (BootOptions(extra_args=("-snapshot",)), "cannot give nowhere.invalid arguments for QEMU"),
    ],
)
def test_what_such_a_machine_cannot_be_is_said_at_once(options: BootOptions, says: str) -> None:
    with (
        pytest.raises(UsageError, match=says),
        StaticHost(host="nowhere.invalid").machine(MachineRequest(image="bookworm", options=options)),
    ):
        pytest.fail("nobody was to be asked")


def test_an_image_that_is_to_reach_nothing_is_not_brought_to_a_machine_that_reaches_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shut-in.toml").write_text('from = "bookworm"\nnetwork = "restricted"\n')
    monkeypatch.setenv("VMTASKS_IMAGES", str(tmp_path))
    with (
        pytest.raises(UsageError, match=r"from the network \('restricted'\)"),
        StaticHost(host="nowhere.invalid").machine(MachineRequest(image="shut-in", options=BootOptions())),
    ):
        pytest.fail("nobody was to be asked")


@pytest.mark.parametrize("problem", [EOFError(), OSError("the channel is closed")], ids=repr)
def test_a_line_that_breaks_under_a_heartbeat_is_a_loss_that_is_heard_of(
    problem: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def send_all(_: object, __: bytes) -> None:
        raise problem

    monkeypatch.setattr(reservation, "HEARTBEAT_S", 0.0)
    monkeypatch.setattr(reservation, "send_all", send_all)
    lost = threading.Event()
    reservation._beat(SimpleNamespace(status_event=threading.Event()), lost)
    assert lost.is_set()
