"""A supervisor's plan as a line of JSON: what is written is read again, and nothing else is."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from vmtasks.supervisor.plan import BlankFile, FileCopy, GuestNote, Owner, Plan, PlanError, SlotRequest

PLAN = Plan(
    directory="/cache/machines/one",
    argv=("qemu-system-x86_64", "-nodefaults"),
    slot=SlotRequest(machines=2, memory_mib=4096, claim_mib=1024, purpose="a run"),
    owner=Owner(name="one", image="bookworm", user="me", what="a run", caller_pid=7, memory_mib=1024),
    qemu_log="/out/qemu.log",
    console="/out/console.log",
    prepare=(("qemu-img", "create"), ("true",)),
    blank=(BlankFile("/cache/machines/one/transfer", 1 << 35),),
    copy=(FileCopy("/cache/overlay", "/cache/machines/one/disk.qcow2"),),
    load="/cache/state",
    note=GuestNote("/cache/machines/one/transfer", 4096, "wake me"),
    hold=("/cache/in-use",),
)


def test_a_plan_is_read_as_it_was_written() -> None:
    assert Plan.from_json(PLAN.to_json()) == PLAN
    bare = PLAN._replace(load=None, note=None, blank=(), prepare=())
    assert Plan.from_json(bare.to_json().encode()) == bare


def test_a_plan_is_one_line_that_people_can_read() -> None:
    line = PLAN.to_json()
    assert "\n" not in line
    data = json.loads(line)
    assert data["blank"] == [{"path": "/cache/machines/one/transfer", "size_bytes": 1 << 35}]
    assert data["slot"]["purpose"] == "a run"
    assert data["cwd"] is None


def drop(*path: str) -> Callable[[Any], None]:
    def change(data: Any) -> None:
        for name in path[:-1]:
            data = data[name]
        del data[path[-1]]

    return change


def put(value: object, *path: str | int) -> Callable[[Any], None]:
    def change(data: Any) -> None:
        for name in path[:-1]:
            data = data[name]
        data[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("directory"), "the plan lacks the key 'directory'"),
        (drop("slot", "purpose"), "the plan's slot lacks the key 'purpose'"),
        (drop("cwd"), "the plan lacks the key 'cwd'"),
        (put(1, "colour"), "the plan has an unknown key 'colour'"),
        (put(1, "note", "colour"), "the plan's note has an unknown key 'colour'"),
        (put(None, "directory"), "the plan's directory must be a text, not null"),
        (put("qemu", "argv"), 'the plan\'s argv must be a list, not "qemu"'),
        (put([1], "argv"), "the plan's argv[0] must be a text, not 1"),
        (put("true", "prepare", 1), 'the plan\'s prepare[1] must be a list, not "true"'),
        (put(True, "slot", "machines"), "the plan's slot's machines must be a whole number, not true"),
        (put(1.5, "blank", 0, "size_bytes"), "the plan's blank[0]'s size_bytes must be a whole number, not 1.5"),
        (put(["/a", "/b"], "copy", 0), 'the plan\'s copy[0] must be an object, not ["/a", "/b"]'),
        (put({}, "load"), "the plan's load must be a text, not {}"),
        (put("me", "owner"), 'the plan\'s owner must be an object, not "me"'),
    ],
)
def test_what_is_no_plan_is_told_in_a_sentence(change: Callable[[Any], None], message: str) -> None:
    data = json.loads(PLAN.to_json())
    change(data)
    with pytest.raises(PlanError) as caught:
        Plan.from_json(json.dumps(data))
    assert str(caught.value) == message


@pytest.mark.parametrize("line", ["", "{", b"\xff", "[" * 100_000, "null", "[]", '"plan"'])
def test_what_is_no_object_is_no_plan(line: str | bytes) -> None:
    with pytest.raises(
        PlanError, match=r"^(a plan must be JSON, and this is none|the plan must be an object, not .*)$"
    ):
        Plan.from_json(line)
