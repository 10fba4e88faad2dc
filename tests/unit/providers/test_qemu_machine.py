"""The machine that an image makes: what its kernel is told, by its architecture and by what runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmtasks.host.accelerator import Choice
from vmtasks.image.baked import BakedImage
from vmtasks.image.definition import find
from vmtasks.providers.base import BootOptions
from vmtasks.providers.qemu.provider import machine_of
from vmtasks.spec import Accelerator

BAKED = BakedImage(directory=Path("/cache/images/one"), manifest={"kernel": True})


@pytest.mark.parametrize(
    ("image", "accelerator", "options"),
    [
        ("bookworm", "kvm", "root=/dev/vda rw console=ttyS0 quiet net.ifnames=0 no_timer_check tsc=reliable"),
        (
            "bookworm-i386",
            "tcg",
            "root=/dev/vda rw console=ttyS0 quiet net.ifnames=0 no_timer_check init_on_alloc=0 norandmaps",
        ),
        (
            "bookworm-arm64",
            "tcg",
            "root=/dev/vda rw console=ttyAMA0 quiet net.ifnames=0 init_on_alloc=0 norandmaps",
        ),
    ],
)
def test_a_kernel_is_told_what_its_board_has(image: str, accelerator: Accelerator, options: str) -> None:
    machine = machine_of(find(image, {}), BAKED, Choice(accelerator=accelerator, reason="a test"))
    assert machine.boot is not None
    assert machine.boot.command_line == options


def test_an_emulated_kernel_is_told_how_fast_its_counter_ticks_where_that_is_known() -> None:
    """What it counts itself on a busy host may be anything; where it must count, it goes on to watch the counter."""
    told = Choice(accelerator="tcg", reason="a test", tsc_khz=2_596_130)
    machine = machine_of(find("bookworm", {}), BAKED, told)
    assert machine.boot is not None
    assert "tsc=reliable tsc_early_khz=2596130" in machine.boot.command_line


def test_builds_for_arm64_have_an_image_of_their_own() -> None:
    build = find("bookworm-arm64-build", {})
    machine = machine_of(build, BAKED, Choice(accelerator="tcg", reason="a test"))
    assert (machine.architecture, machine.memory_mib) == ("arm64", 2048)


def test_a_machine_has_two_processors_unless_it_is_asked_for_others() -> None:
    one = find("bookworm", {})
    choice = Choice(accelerator="tcg", reason="a test")
    counts = [machine_of(one, BAKED, choice, BootOptions(cpus=cpus)).cpus for cpus in (None, 1, 4)]
    assert counts == [2, 1, 4]
