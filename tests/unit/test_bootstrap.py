"""The parts of the bootstrap that decide; what they set going is tried by every fresh checkout."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from vmtasks import bootstrap


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "requirements.lock").write_text("rich==15\n")
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    return tmp_path


def finish_venv(checkout: Path) -> None:
    interpreter = checkout / ".venv/bin/python"
    interpreter.parent.mkdir(parents=True, exist_ok=True)
    interpreter.symlink_to(sys.executable)
    (checkout / ".venv/vmtasks-stamp").write_text(bootstrap.fingerprint(checkout))


def test_only_installed_packages_count_as_installed() -> None:
    listing = "git installed\nzstd not-installed\nuidmap config-files\n"
    assert bootstrap.not_installed(listing, ["git", "zstd", "uidmap", "mmdebstrap"]) == ["zstd", "uidmap", "mmdebstrap"]


def test_every_package_says_why_and_every_program_belongs_to_one() -> None:
    listed = {**bootstrap.PACKAGES, **bootstrap.ARM64_PACKAGES, **bootstrap.TEST_PACKAGES}
    assert all(listed.values())
    assert set(bootstrap.PROGRAMS) <= set(listed)


def test_setup_asks_for_nothing_that_only_arm64_needs() -> None:
    assert not set(bootstrap.ARM64_PACKAGES) & {*bootstrap.needed_packages(), *bootstrap.TEST_PACKAGES}


@pytest.mark.parametrize(
    ("is_checkout", "has_environment", "extra"),
    [(True, False, {"python3-venv"}), (False, True, set()), (False, False, {"python3-pip"})],
)
def test_only_an_installation_of_the_systems_own_needs_its_pip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_checkout: bool, has_environment: bool, extra: set[str]
) -> None:
    if is_checkout:
        (tmp_path / "requirements.lock").touch()
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "prefix", "/environment" if has_environment else sys.base_prefix)
    assert {"python3-venv", "python3-pip"} & set(bootstrap.needed_packages()) == extra


def test_elsewhere_programs_tell_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "git").write_text("#!/bin/sh\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setattr(bootstrap, "has_apt", lambda: False)
    monkeypatch.setattr(bootstrap, "_ADMIN_PATH", str(tmp_path))
    missing = bootstrap.missing_packages()
    assert "git" not in missing
    assert "qemu-system-x86" in missing
    assert "debian-archive-keyring" not in missing  # no program stands for it: baking will tell


def test_without_apt_the_missing_programs_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "has_apt", lambda: False)
    with pytest.raises(bootstrap.Unready, match=r"qemu-img .*disks.*, newuidmap"):
        bootstrap.install_packages(["qemu-utils", "uidmap"])


@pytest.mark.parametrize(("user", "command"), [(0, "run: apt-get install"), (1000, "run: sudo apt-get install")])
def test_where_apt_is_forbidden_the_exact_command_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], user: int, command: str
) -> None:
    monkeypatch.setattr(bootstrap, "has_apt", lambda: True)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setenv("VMTASKS_NO_APT", "1")
    with pytest.raises(bootstrap.Unready, match="VMTASKS_NO_APT") as caught:
        bootstrap.install_packages(["zstd", "uidmap"])
    assert caught.value.hint == f"{command} --no-install-recommends zstd uidmap"
    told = capsys.readouterr()
    assert told.out == ""
    assert "missing: zstd (packs trees and initrds)" in told.err


def test_without_root_and_sudo_the_command_for_root_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "has_apt", lambda: True)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(bootstrap.shutil, "which", lambda _program: None)
    monkeypatch.setenv("VMTASKS_NO_APT", "0")
    with pytest.raises(bootstrap.Unready, match="no sudo") as caught:
        bootstrap.install_packages(["zstd"])
    assert caught.value.hint == "run as root: apt-get install --no-install-recommends zstd"


def test_the_users_own_python_and_pip_have_no_say_in_what_goes_where() -> None:
    names = ("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_REQUIRE_VIRTUALENV", "PIP_CONSTRAINT")
    theirs = dict.fromkeys((*names, "PYTHONPATH", "PYTHONHOME", "PYTHONNOUSERSITE", "PYTHONUSERBASE"), "x")
    kept = {"PATH": "/bin", "PIP_INDEX_URL": "http://mirror", "PIP_CERT": "c", "HTTPS_PROXY": "p"}
    assert bootstrap.environment({**theirs, **kept}) == kept


def test_last_words_are_what_went_wrong() -> None:
    output = "Get:1 somewhere\n\nReading package lists...\nE: Unable to locate package zstd\n"
    assert bootstrap.last_words(output) == ["E: Unable to locate package zstd"]
    assert bootstrap.last_words("\n".join(f"line {number}" for number in range(20)))[0] == "line 14"


def test_a_finished_venv_is_kept(checkout: Path) -> None:
    assert not bootstrap.is_built(checkout)
    finish_venv(checkout)
    assert bootstrap.is_built(checkout)


@pytest.mark.parametrize("changed", ["requirements.lock", "pyproject.toml"])
def test_a_venv_of_other_files_is_built_anew(checkout: Path, changed: str) -> None:
    finish_venv(checkout)
    with (checkout / changed).open("a") as file:
        file.write("# changed\n")
    assert not bootstrap.is_built(checkout)


def test_a_venv_that_moved_is_built_anew(checkout: Path) -> None:
    finish_venv(checkout)
    moved = checkout.with_name("moved")
    checkout.rename(moved)
    assert not bootstrap.is_built(moved)


def test_a_venv_without_its_python_is_built_anew(checkout: Path) -> None:
    finish_venv(checkout)
    (checkout / ".venv/bin/python").unlink()
    (checkout / ".venv/bin/python").symlink_to("/nonexistent/python3.9")
    assert not bootstrap.is_built(checkout)


def test_one_make_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with bootstrap.alone(path), path.open("a") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with path.open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("asked", ["--fast", "ec2,azure", "ec2 azure"])
def test_what_is_no_extra_is_a_usage_error(capsys: pytest.CaptureFixture[str], asked: str) -> None:
    assert bootstrap.main([asked]) == 64
    assert "the extras are buildbot and ec2" in capsys.readouterr().err


@pytest.mark.parametrize("asked", [["ec2", "buildbot-tests"], ["ec2,buildbot-tests"], ["ec2, buildbot-tests", ""]])
def test_extras_stand_between_commas_or_spaces(monkeypatch: pytest.MonkeyPatch, asked: list[str]) -> None:
    wanted: list[str] = []
    monkeypatch.setattr(bootstrap, "make_ready", lambda _, extras: wanted.extend(extras))
    assert bootstrap.main(asked) == 0
    assert wanted == ["ec2", "buildbot-tests"]


@pytest.fixture
def installed(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what is installed in the checkout instead of being installed: locks, and the checkout itself."""
    for name in (*bootstrap.EXTRAS, *bootstrap.TEST_EXTRAS):
        (checkout / f"requirements-{name}.lock").write_text(f"{name}==4\n")
    steps: list[str] = []

    def step(_: str, argv: Sequence[str]) -> None:
        steps.append(Path(argv[-1]).name)
        if "--requirement" in argv and not Path(argv[-1]).exists():
            raise bootstrap.Unready(f"cannot install {steps[-1]}")
        if "--clear" in argv:
            shutil.rmtree(checkout / ".venv", ignore_errors=True)
            finish_venv(checkout)

    monkeypatch.setattr(bootstrap, "_step", step)
    monkeypatch.setattr(bootstrap, "missing_packages", lambda _: [])
    return steps


def test_an_extra_is_installed_once_and_anew_with_another_lock(checkout: Path, installed: list[str]) -> None:
    finish_venv(checkout)
    bootstrap.make_ready(checkout, ["buildbot"])
    bootstrap.make_ready(checkout, ["buildbot"])
    assert installed == ["requirements-buildbot.lock"]
    (checkout / "requirements-buildbot.lock").write_text("buildbot==5\n")
    bootstrap.make_ready(checkout, ["buildbot"])
    assert installed == ["requirements-buildbot.lock"] * 2


def test_a_checkout_keeps_the_extras_that_it_was_asked_for_and_not_those_of_its_tests(
    checkout: Path, installed: list[str]
) -> None:
    bootstrap.make_ready(checkout, ["ec2"])
    bootstrap.make_ready(checkout, ["ec2-tests"])
    for change in ("once", "and once more"):
        (checkout / "pyproject.toml").write_text(change)
        installed.clear()
        bootstrap.make_ready(checkout)
        assert installed == [".venv", "requirements.lock", checkout.name, "requirements-ec2.lock"]
    (checkout / "requirements-ec2.lock").write_text("ec2==5\n")
    installed.clear()
    bootstrap.make_ready(checkout)
    bootstrap.make_ready(checkout)
    assert installed == ["requirements-ec2.lock"]


def test_an_extra_that_could_not_be_installed_is_not_remembered(checkout: Path, installed: list[str]) -> None:
    finish_venv(checkout)
    (checkout / "requirements-ec2.lock").unlink()
    with pytest.raises(bootstrap.Unready):
        bootstrap.make_ready(checkout, ["ec2"])
    installed.clear()
    bootstrap.make_ready(checkout)
    assert not installed


def test_an_old_python_is_told_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(bootstrap, "OLDEST_PYTHON", (99, 1))
    assert bootstrap.main([]) == 69
    assert "needs 99.1 or newer" in capsys.readouterr().err


def test_a_checkout_that_cannot_be_written_is_told_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path / "nowhere")
    assert bootstrap.main([]) == 69
    assert "cannot set up" in capsys.readouterr().err
