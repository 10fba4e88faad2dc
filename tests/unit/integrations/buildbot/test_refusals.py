"""What no machine of a worker can be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vmtasks.integrations.buildbot.prepared_image import PreparedImage
from vmtasks.integrations.buildbot.refusals import refusals

IMAGE = "bookworm-buildbot-worker"
PLACES = ("local", "alice@big", "ssh://board", "ssh://root@board:2222", "ec2", "ec2:eu-central-1", "alice@big|local")


def refused(image: Any = IMAGE, *, on: str = "local", network: str = "user", **size: int) -> list[str]:
    return list(refusals(image, on=on, network=network, **size))


@pytest.mark.parametrize("on", PLACES)
@pytest.mark.parametrize("image", [IMAGE, PreparedImage(IMAGE, ["bison"], ["true"])])
def test_every_place_has_machines_for_workers(on: str, image: str | PreparedImage) -> None:
    assert refused(image, on=on) == []


@pytest.mark.parametrize("on", ["local", "alice@big", "alice@big|local"])
def test_qemus_machines_are_as_large_and_as_shut_in_as_one_likes(on: str) -> None:
    assert refused(on=on, network="restricted", memory_mib=4096, cpus=4) == []


@pytest.mark.parametrize(
    ("on", "says"),
    [
        ("", "on is empty"),
        ("alice@", "that is no [USER@]HOST"),
        ("ssh://alice@board", "cannot work as 'alice' at board"),
        ("ssh://board:ssh", "it must be ssh://[root@]HOST[:PORT]"),
        ("ec2|local", "cannot choose between ec2 and others"),
        ("ssh://board|local", "cannot choose between ssh://board and others"),
        ("local|", "has an empty name"),
    ],
)
def test_a_place_that_is_none_is_refused(on: str, says: str) -> None:
    (sentence,) = refused(on=on)
    assert says in sentence


@pytest.mark.parametrize(
    ("on", "says"),
    [("ec2", "on ec2 with network 'restricted'"), ("ssh://board", "cannot keep board from the network")],
)
def test_what_a_place_does_not_shut_in_is_refused(on: str, says: str) -> None:
    (sentence,) = refused(on=on, network="restricted")
    assert says in sentence


@pytest.mark.parametrize("on", ["ec2", "ssh://board"])
def test_a_size_that_would_count_for_nothing_is_refused(on: str) -> None:
    (sentence,) = refused(on=on, memory_mib=4096, cpus=4)
    assert sentence.startswith(f"memory_mib and cpus cannot be had on {on}: ")


def test_an_image_without_an_ami_is_none_on_ec2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own.toml").write_text('suite = "bookworm"\n')
    monkeypatch.setenv("VMTASKS_IMAGES", str(tmp_path))
    assert refused("own") == []
    assert "does not say which AMI it is there" in "".join(refused("own", on="ec2"))


def test_an_image_that_is_none_is_refused() -> None:
    assert refused(PreparedImage("bookwrm")) == refused("bookwrm")
    assert "there is no image 'bookwrm'" in refused("bookwrm")[0]
    assert "image must be the name of an image" in refused(None)[0]


def test_packages_are_a_list_and_need_a_network() -> None:
    assert "packages of a PreparedImage must be a list, and not 'bison'" in refused(PreparedImage(IMAGE, "bison"))[0]
    assert "commands of a PreparedImage must be a list" in refused(PreparedImage(IMAGE, [], "make"))[0]
    (sentence,) = refused(PreparedImage(IMAGE, ["bison"]), network="restricted")
    assert sentence.startswith("cannot install packages in a machine with network 'restricted'")
