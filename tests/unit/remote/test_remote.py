"""What goes between two hosts, and what is said when nothing does."""

from __future__ import annotations

import io
import json
import math
import os
import shlex
import time
import zipfile
from pathlib import Path

import pytest

from vmtasks.cache.snapshot import Snapshot
from vmtasks.cache.snapshots import find
from vmtasks.config.settings import HostSettings
from vmtasks.errors import HostError
from vmtasks.host.availability import ALWAYS, Availability
from vmtasks.host.local import LOCAL_HOST, Host
from vmtasks.host.slots import Limits, Ticket
from vmtasks.remote import payload, watchdog
from vmtasks.remote.agent import named
from vmtasks.remote.broken import why_it_broke
from vmtasks.remote.codec import decode, encode
from vmtasks.remote.heartbeat import SILENT_STATUS
from vmtasks.spec import DirectKernel, GroupCard, Machine, Ram

BOOT = DirectKernel(kernel=Path("/i/vmlinuz"), initrd=Path("/i/initrd"), command_line="quiet")


@pytest.mark.parametrize(
    "data",
    [
        None,
        True,
        1.5,
        "text with \N{SNOWMAN} and \udc80",
        [1, [2, (3, Path("/x"))]],
        {"kind": "Snapshot", "fields": {}, "path": "/x"},
        Machine(
            name="m", disk=Path("/i/disk"), boot=BOOT, ram=Ram(file=Path("/r"), shared=True), extra_args=("-a", "b")
        ),
        Machine(name="m", disk=Path("/i/disk"), group_card=GroupCard(mac="56:6d:74:00:00:01", socket=Path("/s/m"))),
        HostSettings(machines=3, accel="kvm"),
        Limits(machines=2, memory_mib=512),
        Ticket(1, "running", "me", 0, 7, "a test", 100, 1.0),
        Availability("none", "a new disk", None, "me", 1.0),
        ALWAYS,
        Snapshot(directory=Path("/f"), metadata={"kind": "template", "stands_on": ["/a"]}),
    ],
)
def test_what_arrives_is_what_was_sent(data: object) -> None:
    arrived = decode(json.loads(json.dumps(encode(data))))
    assert arrived == data
    assert type(arrived) is type(data)


def test_what_comes_from_a_place_is_at_home_there() -> None:
    place = Host()
    snapshot = Snapshot(directory=Path("/f"), metadata={})
    assert decode(encode([snapshot]), place)[0].place is place
    assert decode(encode(decode(encode(snapshot), place))).place is LOCAL_HOST


def test_many_calls_of_this_host_are_made_in_their_order() -> None:
    called: list[tuple[int, str]] = []
    LOCAL_HOST.each(lambda *arguments: called.append(arguments), [(1, "a"), (2, "b")])
    assert called == [(1, "a"), (2, "b")]


@pytest.mark.parametrize(
    "data", [{"kind": "Popen", "fields": {}}, {"kind": "HostError", "fields": {}}, {"path": 3}, {}, {"tuple": "x"}]
)
def test_nothing_else_is_made_of_what_another_host_says(data: object) -> None:
    with pytest.raises(ValueError, match="nobody of ours says"):
        decode(data)


def test_an_agent_calls_our_own_functions_and_no_others() -> None:
    assert named("vmtasks.cache.snapshots:find") is find
    assert named("vmtasks.cache.snapshot:Snapshot.drop") is Snapshot.drop
    with pytest.raises(HostError, match="none of ours"):
        named("os:system")


def test_the_payload_has_all_of_us_and_what_our_errors_stand_on() -> None:
    names = set(zipfile.ZipFile(io.BytesIO(payload.payload())).namelist())
    assert {
        "vmtasks/supervisor/__main__.py",
        "vmtasks/remote/agent.py",
        "invoke/__init__.py",
        "invoke/exceptions.py",
    } <= names
    assert not [name for name in names if not name.endswith(".py")]


def test_a_command_there_is_one_line_for_any_shell() -> None:
    line = payload.command("/a cache/code", "vmtasks.remote.incoming", "image-1")
    assert "\n" not in line + payload.first_command("vmtasks.remote.watchdog", "vmtasks.remote.agent")
    assert shlex.split(line)[-2:] == ["/a cache/code", "image-1"]


@pytest.mark.parametrize(
    ("complaint", "sentence"),
    [
        ("", "the link to big broke: ssh ended with status 255"),
        ("motd\nTimeout, server big not responding.\r\n", "the link to big broke: Timeout, server big not responding."),
        ("ssh: connect to host big port 22: No route to host\r\n", "cannot reach big: No route to host"),
        (
            "ssh: Could not resolve hostname big: Name or service not known",
            "cannot find big: Name or service not known",
        ),
        ("a@big: Permission denied (publickey).", "cannot log in to big: it accepts none of your ssh keys"),
        ("sh: 1: exec: python3: not found", "cannot run machines on big: it has no python3"),
        ("bash: line 1: exec: python3: not found", "cannot run machines on big: it has no python3"),
        ("python3: command not found", "cannot run machines on big: it has no python3"),
    ],
)
def test_what_ssh_complains_of_becomes_a_sentence(complaint: str, sentence: str) -> None:
    assert why_it_broke("big", complaint, 255)[0] == sentence


def test_a_program_that_ends_there_is_told_from_a_link_that_breaks() -> None:
    assert why_it_broke("big", "", 0, is_settled=True)[0] == "its program on big ended: it did not say why"
    assert why_it_broke("big", "OSError: x\n", 1, is_settled=True)[0] == "its program on big ended: OSError: x"
    for status in (255, -9, None):
        assert why_it_broke("big", "", status, is_settled=True)[0].startswith("the link to big broke")


def test_a_link_that_fell_silent_is_told_from_a_program_that_ends() -> None:
    sentence, _ = why_it_broke("big", "", SILENT_STATUS, is_settled=True)
    assert sentence == "the link to big broke: it was silent for 8 s or more"


def test_what_a_host_says_that_has_let_us_in_is_no_complaint_of_ssh() -> None:
    complaint = "x: Permission denied (by me)\nTimeout, server big not responding."
    sentence, hint = why_it_broke("big", complaint, 255, is_settled=True)
    assert (sentence, hint) == ("the link to big broke: Timeout, server big not responding.", "")


@pytest.mark.parametrize(
    ("output", "quiet_s"),
    [
        ("cubic rto:204 bytes_sent:7 bytes_received:9 lastsnd:4 lastrcv:1500 lastack:4", 1.5),
        ("cubic rto:204 bytes_sent:7 bytes_received:9 lastsnd:4 lastack:4", 0.0),
        ("cubic cwnd:10", math.inf),
        ("", math.inf),
    ],
)
def test_a_kernel_that_tells_nothing_of_a_link_does_not_say_that_it_moves(output: str, quiet_s: float) -> None:
    assert watchdog.quiet_s(f"ESTAB 0 0 192.0.2.1:22 192.0.2.2:40000 {output}") == quiet_s


def test_a_link_that_moves_but_brings_no_sign_of_life_is_waited_for_but_not_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watchdog, "TIMEOUT_S", 0.01)
    monkeypatch.setattr(watchdog, "_PATIENCE_S", 0.1)
    monkeypatch.setattr(watchdog, "_quiet_s", lambda: 0.0)
    silent, other = os.pipe()
    began_s = time.monotonic()
    assert watchdog._ready(silent) == []
    assert time.monotonic() - began_s >= watchdog._PATIENCE_S
    os.write(other, b"\n")
    assert watchdog._ready(silent) == [silent]
    os.close(silent)
    os.close(other)
