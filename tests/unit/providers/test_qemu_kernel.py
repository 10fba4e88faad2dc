"""A machine that was asked for with a kernel of its own runs that one, or is none; members of groups as well."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from vmtasks.errors import BootError
from vmtasks.group import boot
from vmtasks.image.baked import BakedImage
from vmtasks.machine.launch import LaunchConfig
from vmtasks.providers.base import BootOptions, MachineRequest
from vmtasks.providers.qemu import provider

RUNS = "6.1.0-1-amd64"


class RunningGuest:
    """A guest with a kernel, and nothing else."""

    name = "m"

    def query(self, command: list[str]) -> str:
        assert command == ["uname", "--kernel-release"]
        return f"{RUNS}\n"


@contextmanager
def running(*_: object) -> Iterator[RunningGuest]:
    yield RunningGuest()


@pytest.mark.parametrize(
    ("asked", "image_has", "is_good"),
    [("linux-image-rt-amd64", "6.1.0-1-rt-amd64", False), ("linux-image-amd64", RUNS, True), ("", "6.12", True)],
)
def test_a_kernel_is_the_one_that_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, asked: str, image_has: str, is_good: bool
) -> None:
    monkeypatch.setattr(provider, "running", running)
    monkeypatch.setattr(provider, "images_dir", lambda: tmp_path)
    monkeypatch.setattr(provider, "release_of", {tmp_path / "serial" / "vmlinuz": image_has}.__getitem__)
    baked = BakedImage(directory=Path("/there/serial"), manifest={"kernel": True})
    request = MachineRequest(image="bookworm", options=BootOptions(kernel=asked))
    nothing: Any = None
    launch = LaunchConfig(image="bookworm", baked=baked, access=nothing, choice=nothing, settings=nothing)
    parts = (nothing, launch, nothing)
    if is_good:
        with boot.started(request, *parts) as guest:
            assert guest.name == "m"
        return
    with pytest.raises(BootError, match=f"m runs the kernel {RUNS}, and not the {image_has}"):
        boot.started(request, *parts).__enter__()
