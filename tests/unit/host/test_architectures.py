"""What a host lacks for guests of another architecture, and the lines that give it that."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from vmtasks.errors import HostError, UsageError
from vmtasks.host import accelerator, architectures
from vmtasks.host.architectures import EMULATORS, expect_runs_programs, programs_of, remedy, runs_programs
from vmtasks.spec import Architecture

MOUNT = "mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc"
ENABLE = "update-binfmts --enable qemu-aarch64"


@pytest.fixture
def bin_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the only directory of programs that there is."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    return directory


def install(directory: Path, name: str, script: str = "exit 0") -> None:
    (directory / name).write_text(f"#!/bin/sh\n{script}\n")
    (directory / name).chmod(0o755)


def test_each_architecture_has_an_emulator() -> None:
    assert set(EMULATORS) == set(get_args(Architecture))
    assert programs_of("arm64") == {"qemu-system-aarch64": "qemu-system-arm", "qemu-img": "qemu-utils"}
    assert programs_of("i386") == programs_of("amd64")


@pytest.mark.parametrize(
    ("missing", "is_mounted", "line"),
    [
        (
            ["qemu-system-arm", "binfmt-support"],
            False,
            "apt-get install --no-install-recommends qemu-system-arm binfmt-support",
        ),
        ([], False, f"run as root: {MOUNT} && {ENABLE}"),
        ([], True, f"run as root: {ENABLE}"),
    ],
)
def test_what_is_missing_is_a_line_to_type(missing: list[str], is_mounted: bool, line: str) -> None:
    assert remedy(missing, is_mounted=is_mounted).endswith(line)


def test_arch_test_decides_which_programs_run(bin_: Path) -> None:
    install(bin_, "arch-test", '[ "$*" = arm64 ]')
    assert runs_programs("arm64")
    assert not runs_programs("i386")


def test_without_arch_test_nobody_knows(bin_: Path) -> None:
    assert not any(bin_.iterdir())
    with pytest.raises(HostError, match="arch-test is not installed"):
        runs_programs("arm64")


def test_a_bake_that_could_not_run_its_programs_says_what_to_run(
    bin_: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(bin_, "arch-test", "exit 1")
    monkeypatch.setattr(architectures, "BINFMT_MISC", tmp_path)
    monkeypatch.setattr(architectures, "missing_packages", lambda _: [])
    with pytest.raises(HostError, match="cannot bake x: this host does not run programs for arm64") as refusal:
        expect_runs_programs("arm64", "x")
    assert refusal.value.hint == f"run as root: mount -t binfmt_misc binfmt_misc {tmp_path} && {ENABLE}"
    expect_runs_programs("amd64", "x")  # which this host is
    install(bin_, "arch-test")
    expect_runs_programs("arm64", "x")


def test_arm64_is_emulated_whatever_the_host_has_for_its_own(bin_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator, "_try", lambda: pytest.fail("there is nothing to try"))
    for name in ("qemu-system-aarch64", "qemu-img"):
        install(bin_, name)
    for value in ("auto", "tcg"):
        choice = accelerator.choose(value, "arm64")
        assert (choice.accelerator, choice.reason) == ("tcg", "arm64 is emulated on an amd64 host")
    with pytest.raises(UsageError, match="cannot run a machine for arm64 under KVM"):
        accelerator.choose("kvm", "arm64")


def test_the_program_for_arm64_is_not_a_matter_of_setup(bin_: Path) -> None:
    for name in ("qemu-system-x86_64", "qemu-img"):
        install(bin_, name)
    with pytest.raises(HostError, match="qemu-system-aarch64 is not installed") as refusal:
        accelerator.choose("auto", "arm64")
    first, baking = refusal.value.hint.split(", and to bake images for arm64: ")
    assert first.endswith("apt-get install --no-install-recommends qemu-system-arm")
    assert baking.endswith(" qemu-system-arm qemu-user-static binfmt-support")
