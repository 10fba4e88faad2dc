"""Where things are on a host, and its settings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vmtasks.config import here
from vmtasks.config.own import own_directory
from vmtasks.config.paths import cache_dir, image_dirs, socket_dir
from vmtasks.config.settings import HostSettings
from vmtasks.errors import UsageError


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"HOME": "/home/ida"}, "/home/ida/.cache/vmtasks"),
        ({"HOME": "/home/ida", "XDG_CACHE_HOME": "/var/ida"}, "/var/ida/vmtasks"),
        ({"HOME": "/home/ida", "XDG_CACHE_HOME": "relative"}, "/home/ida/.cache/vmtasks"),
        ({"HOME": "/home/ida", "XDG_CACHE_HOME": ""}, "/home/ida/.cache/vmtasks"),
        ({"HOME": "/home/ida", "XDG_CACHE_HOME": "/var/ida", "VMTASKS_CACHE": "/big"}, "/big"),
    ],
)
def test_the_cache_follows_xdg(environ: dict[str, str], expected: str) -> None:
    assert cache_dir(environ) == Path(expected)


def test_a_relative_cache_is_below_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cache_dir({"VMTASKS_CACHE": "here"}) == tmp_path / "here"


def test_sockets_are_where_their_names_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert socket_dir({"XDG_RUNTIME_DIR": str(tmp_path)}) == tmp_path
    monkeypatch.setattr("tempfile.tempdir", "/var/tmp")
    assert socket_dir({"XDG_RUNTIME_DIR": "/proc/1/nothing"}) == Path("/var/tmp")
    monkeypatch.setattr("tempfile.tempdir", f"/{'x' * 60}")
    assert socket_dir({}) == Path("/tmp")


def test_own_images_come_last(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir()
    second.mkdir()
    found = image_dirs({"VMTASKS_IMAGES": f"{first}{os.pathsep}{os.pathsep}{second}"})
    assert found[:2] == (first, second)
    assert found[2:] == image_dirs({})


def test_an_image_directory_must_be_one(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"cannot look for images in .*/nowhere: VMTASKS_IMAGES names it, but: No such"
    ):
        image_dirs({"VMTASKS_IMAGES": str(tmp_path / "nowhere")})


def test_own_images_lie_beside_a_checkout_and_inside_an_installed_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "vmtasks"
    (tmp_path / "images").mkdir()
    package.mkdir()
    monkeypatch.setattr(here, "PACKAGE", package)
    assert here.beside("images") == tmp_path / "images"
    assert here.task_line("doctor") == "`inv doctor`"
    assert here.page("hosts") == "docs/hosts.md"
    assert here.setup_line() == "`make setup`"
    with monkeypatch.context() as called:  # anywhere: in a directory with no tasks.py, docs/ and makefile of ours
        called.setattr("sys.argv", ["/x/.venv/bin/vmtasks", "test"])
        assert here.task_line("doctor") == "`vmtasks doctor`"
        assert here.page("hosts") == "`vmtasks help hosts`"
        assert here.setup_line() == "`vmtasks setup`"
        assert here.setup_line("ec2") == "`make setup EXTRAS=ec2`"
    (package / "_images").mkdir()
    (package / "_recipes").mkdir()
    assert here.beside("images") == package / "_images"
    assert here.task_line("doctor") == "`vmtasks doctor`"
    assert here.setup_line("ec2") == "`pip install 'CHECKOUT[ec2]'`, with the path of a checkout of vmtasks"
    monkeypatch.setattr(here, "_OF_DEBIAN", tmp_path)
    assert here.setup_line("ec2") == "`apt install python3-boto3`"
    assert here.setup_line() == "`vmtasks setup`"


def test_a_checkouts_own_directories_are_ours_and_linted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here.PACKAGE.parent)
    assert own_directory("images") is None
    assert own_directory("images", Path()) == Path("images")
    assert image_dirs({}) == (here.beside("images"),)


def test_the_working_directorys_images_come_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "more").mkdir()
    monkeypatch.chdir(tmp_path)
    assert image_dirs({"VMTASKS_IMAGES": "more"}) == (tmp_path / "more", tmp_path / "images", here.beside("images"))
    (tmp_path / "vmtasks.toml").write_text('[paths]\nimages = "nowhere"\n')
    assert image_dirs({}) == (here.beside("images"),)
    (tmp_path / "vmtasks.toml").write_text('[paths]\nimage = "more"\n')
    with pytest.raises(UsageError, match=r"unknown key 'image'; did you mean 'images'\?"):
        image_dirs({})


@pytest.fixture
def system(tmp_path: Path) -> Path:
    path = tmp_path / "etc.toml"
    path.write_text('machines = 4\naccel = "tcg"\n')
    return path


def test_without_files_the_defaults_hold(tmp_path: Path) -> None:
    assert HostSettings.load({"HOME": str(tmp_path)}, system=tmp_path / "none") == HostSettings()


def test_later_settings_override_key_by_key(tmp_path: Path, system: Path) -> None:
    user = tmp_path / ".config" / "vmtasks" / "config.toml"
    user.parent.mkdir(parents=True)
    user.write_text("machines = 2\nattempts = 5\n")
    environ = {"HOME": str(tmp_path), "VMTASKS_ATTEMPTS": "1", "VMTASKS_SLOTS_MEMORY_MIB": "4096"}
    assert HostSettings.load(environ, system=system) == HostSettings(
        machines=2, accel="tcg", attempts=1, memory_mib=4096
    )


def test_vmtasks_config_takes_the_place_of_the_users_file(tmp_path: Path, system: Path) -> None:
    chosen = tmp_path / "chosen.toml"
    chosen.write_text("heartbeat_s = 5\n")
    settings = HostSettings.load({"HOME": str(tmp_path), "VMTASKS_CONFIG": str(chosen)}, system=system)
    assert settings == HostSettings(machines=4, accel="tcg", heartbeat_s=5.0)


def test_vmtasks_config_must_exist(tmp_path: Path, system: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*/nowhere.toml"):
        HostSettings.load({"VMTASKS_CONFIG": str(tmp_path / "nowhere.toml")}, system=system)


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("VMTASKS_SLOTS", "0", "VMTASKS_SLOTS must be a whole number of at least 1"),
        ("VMTASKS_SLOTS", "many", "VMTASKS_SLOTS must be a whole number of at least 1"),
        ("VMTASKS_ACCEL", "hvf", 'VMTASKS_ACCEL must be one of "auto", "kvm", "tcg"'),
        ("VMTASKS_SNAPSHOTS_SHARE", "1.01", r"VMTASKS_SNAPSHOTS_SHARE\) must be at most 1, not 1.01"),
        ("VMTASKS_SNAPSHOTS_SHARE", "inf", r"VMTASKS_SNAPSHOTS_SHARE\) must be at most 1, not inf"),
        ("VMTASKS_SNAPSHOTS_SHARE", "nan", "VMTASKS_SNAPSHOTS_SHARE must be a number of at least 0"),
        ("VMTASKS_BOOT_TIMEOUT_S", "-1", "VMTASKS_BOOT_TIMEOUT_S must be a number of at least 0"),
    ],
)
def test_bad_variables_are_usage_errors(tmp_path: Path, variable: str, value: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        HostSettings.load({"HOME": str(tmp_path), variable: value}, system=tmp_path / "none")


def test_a_bad_file_is_named(tmp_path: Path, system: Path) -> None:
    system.write_text("machine = 4\n")
    with pytest.raises(UsageError) as caught:
        HostSettings.load({"HOME": str(tmp_path)}, system=system)
    assert str(caught.value) == f"{system}: unknown key 'machine'; did you mean 'machines'?"
