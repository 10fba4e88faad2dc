"""What is found out about a host, and what to do about it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vmtasks.cli import checks
from vmtasks.image import baked
from vmtasks.image.definition import find
from vmtasks.process import landlock


@pytest.mark.parametrize(
    ("says", "level", "found"),
    [
        ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)", "good", "QEMU 7.2.22"),
        ("QEMU emulator version 10.0.2", "good", "QEMU 10.0.2"),
        ("QEMU emulator version 5.2.0 (Debian 1:5.2+dfsg-11)", "bad", "QEMU 5.2 is too old"),
        ("", "bad", "does not tell its version"),
    ],
)
def test_a_qemu_is_new_enough_or_not(
    says: str, level: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("qemu-system-x86_64", "qemu-img"):
        (tmp_path / name).write_text(f"#!/bin/sh\necho '{says}'\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    (finding,) = checks._qemu()
    assert finding.level == level
    assert found in finding.says


def test_without_qemu_each_program_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [(finding.level, finding.says, finding.remedy) for finding in checks._qemu()] == [
        ("bad", "there is no qemu-system-x86_64", "apt install qemu-system-x86"),
        ("bad", "there is no qemu-img", "apt install qemu-utils"),
    ]


@pytest.mark.parametrize(
    ("suite", "pockets", "says"),
    [
        ("bookworm", ["release", "updates", "security"], "release, updates, security"),
        ("bookworm", ["release", "updates"], "release, updates, but no security"),
        ("sid", ["release"], "release"),
    ],
)
def test_a_bake_without_a_pocket_is_found_with_what_bakes_it_anew(
    suite: str, pockets: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMTASKS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("VMTASKS_IMAGES", str(tmp_path))
    (tmp_path / "tried.toml").write_text(f'suite = "{suite}"\n')
    (tmp_path / "broken.toml").write_text("no = 1\n")
    key = baked.key_of(find("tried"))
    bake = baked.images_dir() / f"tried-{key}-1"
    bake.mkdir(parents=True)
    (bake / "disk.qcow2").touch()
    manifest = {"name": "tried", "key": key, "parent": None, "baked_s": 1.0, "pockets": {name: {} for name in pockets}}
    (bake / "manifest.json").write_text(json.dumps(manifest))
    found = {finding.says.partition(" ")[0]: finding for finding in checks._images()}
    assert found["tried"].level == ("limited" if "but no" in says else "good")
    assert found["tried"].says.endswith(f": {says}")
    assert found["tried"].remedy == ("`inv images.bake tried --refresh`" if "but no" in says else "")
    assert "broken" not in found


@pytest.mark.parametrize(
    ("version", "level", "says"),
    [
        (0, "limited", "QEMU reaches all files that this user does: the kernel has no Landlock"),
        (7, "good", "QEMU reaches only the files of its machine (Landlock, version 7)"),
    ],
)
def test_what_confines_qemu_is_told(monkeypatch: pytest.MonkeyPatch, version: int, level: str, says: str) -> None:
    monkeypatch.setattr(landlock, "abi", lambda: version)
    (finding,) = checks._confinement()
    assert (finding.level, finding.says) == (level, says)
    assert bool(finding.remedy) is (level == "limited")


@pytest.mark.parametrize(
    ("missing", "is_registered", "level", "says"),
    [
        ([], True, "good", "machines for arm64 are emulated, and their images baked by qemu-user"),
        (["qemu-system-arm"], True, "good", "not set up here: they take qemu-system-arm"),
        (["qemu-user-static", "binfmt-support"], False, "good", "they take qemu-user-static, binfmt-support"),
        ([], False, "limited", "images for arm64 cannot be baked: the kernel runs no programs for arm64"),
    ],
)
def test_what_arm64_takes_is_told_and_lacks_nobody_who_does_not_want_it(
    monkeypatch: pytest.MonkeyPatch, missing: list[str], is_registered: bool, level: str, says: str
) -> None:
    monkeypatch.setattr(checks, "missing_packages", lambda _: missing)
    monkeypatch.setattr(checks, "runs_programs", lambda _: is_registered)
    monkeypatch.setattr(checks, "arm64_remedy", lambda: "run: THIS")
    (finding,) = checks._arm64()
    assert finding.level == level
    assert says in finding.says
    assert ("run: THIS" in finding.remedy) == (bool(missing) or not is_registered)
