"""What is done to a machine that nobody has baked: all that the layers say, in their order, once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from vmtasks import events
from vmtasks.debian import apt
from vmtasks.errors import CommandFailed, HostError, UsageError
from vmtasks.image.baked import key_of
from vmtasks.image.definition import Definition, find
from vmtasks.providers.apply_image import apply_image

BASE = """
suite = "bookworm"
tree = "tree"
boot_packages = ["kernel"]
packages = ["one"]
[[steps]]
run = "first"
"""
LAYER = """
from = "base"
tree = "over"
packages = ["two"]
files = [{ path = "/f", content = "text" }]
[[steps]]
run = "second"
where = "guest"
"""


class Notes:
    """A running Debian that notes what is done to it."""

    name = "box"

    def __init__(self, *, is_a: str = "bookworm amd64") -> None:
        self.did: list[Any] = []
        self.applied = ""
        self._is_a = is_a
        self.fails = ""

    def query(self, command: str) -> str:
        if "os-release" in command:
            if not self._is_a:
                raise CommandFailed("it failed", details=("cannot open /etc/os-release",))
            return f"{self._is_a}\n"
        if command.startswith("cat "):
            return self.applied
        self.applied += command.partition("echo ")[2].split()[0] + "\n"
        return ""

    def succeed(self, command: Sequence[str] | str, *, stdin: bytes = b"") -> str:
        word = stdin.decode() if isinstance(command, str) else command[-1]
        if word == self.fails:
            raise CommandFailed("it failed", details=("line",))
        self.did.append(word)
        return ""

    def put(self, source: Path, target: str, **_: object) -> None:
        self.did.append((source.name, target))


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("tree", "over"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").touch()
    (tmp_path / "base.toml").write_text(BASE)
    (tmp_path / "layer.toml").write_text(LAYER)
    monkeypatch.setenv("VMTASKS_IMAGES", str(tmp_path))
    monkeypatch.setattr(apt, "update", lambda guest: guest.did.append("update"))
    monkeypatch.setattr(apt, "install", lambda guest, packages: guest.did.append(("install", *packages)))
    return tmp_path


@pytest.fixture
def layer(images: Path) -> Definition:
    assert images
    return find("layer")


def done(guest: Notes, definition: Definition) -> list[Any]:
    apply_image(guest, definition)  # type: ignore[arg-type]
    done, guest.did = guest.did, []
    return done


OF_THE_LAYER = [("install", "two"), "clean", ("over", "/"), "text", "/f", "second"]


def test_all_layers_are_brought_but_not_what_makes_a_disk_boot(layer: Definition) -> None:
    guest = Notes()
    assert done(guest, layer) == ["update", ("install", "one"), "clean", "first", *OF_THE_LAYER]
    assert guest.applied.split() == [key_of(one) for one in layer.lineage]


def test_what_a_machine_has_it_is_not_given_again(layer: Definition) -> None:
    guest = Notes()
    apply_image(guest, layer)  # type: ignore[arg-type]
    guest.did.clear()
    assert done(guest, layer) == []


def test_a_machine_that_has_the_lower_layer_is_given_the_upper_one(layer: Definition) -> None:
    guest = Notes()
    apply_image(guest, find("base"))  # type: ignore[arg-type]
    guest.did.clear()
    assert done(guest, layer) == ["update", *OF_THE_LAYER]
    guest.did.clear()
    assert done(guest, find("base")) == [], "it still has the lower one"


def test_another_definition_is_brought_all_over(layer: Definition, images: Path) -> None:
    guest = Notes()
    apply_image(guest, layer)  # type: ignore[arg-type]
    guest.did.clear()
    (images / "base.toml").write_text(BASE.replace("first", "changed"))
    assert done(guest, find("layer")) == ["update", ("install", "one"), "clean", "changed", *OF_THE_LAYER]


def test_what_fails_is_the_hosts_trouble_and_goes_on_from_there(layer: Definition) -> None:
    guest = Notes()
    guest.fails = "second"
    with pytest.raises(HostError, match="cannot make layer of box: it failed") as failure:
        apply_image(guest, layer)  # type: ignore[arg-type]
    assert failure.value.details == ("line",)
    guest.did.clear()
    guest.fails = ""
    assert done(guest, layer) == ["update", *OF_THE_LAYER]


@pytest.mark.parametrize(
    ("is_a", "message"),
    [
        ("trixie amd64", "the machine is trixie for amd64"),
        ("bookworm arm64", "the machine is bookworm for arm64"),
        (" ", "the machine is none for nothing we know"),
    ],
)
def test_another_debian_is_refused(layer: Definition, is_a: str, message: str) -> None:
    guest = Notes(is_a=is_a)
    with pytest.raises(UsageError, match=rf"the image is Debian bookworm for amd64, and {message}"):
        apply_image(guest, layer)  # type: ignore[arg-type]
    assert not guest.did


@pytest.mark.parametrize("is_a", ["bookworm amd64", "bookworm arm64"])
def test_an_image_for_arm64_is_for_a_machine_that_is(images: Path, is_a: str) -> None:
    (images / "base.toml").write_text(f'architecture = "arm64"\n{BASE}')
    guest = Notes(is_a=is_a)
    if is_a == "bookworm arm64":
        assert done(guest, find("layer"))[-6:] == OF_THE_LAYER
        return
    with pytest.raises(
        UsageError, match="the image is Debian bookworm for arm64, and the machine is bookworm for amd64"
    ):
        apply_image(guest, find("layer"))  # type: ignore[arg-type]
    assert not guest.did


def test_what_is_no_debian_at_all_is_the_hosts_trouble(layer: Definition) -> None:
    with pytest.raises(HostError, match="cannot make layer of box: it failed") as failure:
        apply_image(Notes(is_a=""), layer)  # type: ignore[arg-type]
    assert failure.value.details == ("cannot open /etc/os-release",)


def test_it_is_told_as_a_phase_of_its_machine(layer: Definition) -> None:
    heard: list[events.Event] = []
    with events.listening(heard.append):
        apply_image(Notes(), layer)  # type: ignore[arg-type]
    (ended,) = (event for event in heard if isinstance(event, events.PhaseEnded))
    assert (ended.phase, ended.machine, ended.detail) == ("provision", "box", "layer")
