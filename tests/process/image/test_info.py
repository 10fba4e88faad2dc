"""Images that name other files, with the real qemu-img: refused before anything that they name is opened."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from vmtasks.errors import HostError, UsageError
from vmtasks.image.info import chain_of, expect_self_contained


def create(path: Path, *words: str) -> Path:
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *words, path, "1M"], check=True)
    return path


def standing_on(path: Path, backing: str) -> Path:
    create(path)
    subprocess.run(["qemu-img", "rebase", "-u", "-F", "raw", "-b", backing, path], check=True)
    return path


def test_an_image_that_names_nothing_serves(tmp_path: Path) -> None:
    image = create(tmp_path / "whole.qcow2")
    expect_self_contained(image)
    assert [one["format"] for one in chain_of(image)] == ["qcow2"]


@pytest.mark.parametrize(
    "backing",
    ["/etc/hostname", "nbd:127.0.0.1:1", 'json:{"driver": "file", "filename": "/etc/hostname"}', "beside.raw"],
)
def test_one_from_elsewhere_that_names_another_is_refused(tmp_path: Path, backing: str) -> None:
    with pytest.raises(UsageError, match="it names another file"):
        expect_self_contained(standing_on(tmp_path / "image.qcow2", backing))


def test_one_whose_data_are_elsewhere_is_refused(tmp_path: Path) -> None:
    image = create(tmp_path / "image.qcow2", "-o", f"data_file={tmp_path / 'data'}")
    with pytest.raises(UsageError, match="it names another file"):
        expect_self_contained(image)
    with pytest.raises(UsageError, match="are in another file"):
        chain_of(image)


@pytest.mark.parametrize("backing", ["nbd:127.0.0.1:1", f"json:{json.dumps({'driver': 'null-co'})}"])
def test_a_chain_has_files_of_this_host_alone(tmp_path: Path, backing: str) -> None:
    with pytest.raises(UsageError, match="which is no file of this host"):
        chain_of(standing_on(tmp_path / "image.qcow2", backing))


def test_a_chain_is_followed_to_its_end(tmp_path: Path) -> None:
    create(tmp_path / "base.qcow2")
    create(tmp_path / "layer.qcow2", "-F", "qcow2", "-b", "base.qcow2")
    names = [Path(one["filename"]).name for one in chain_of(tmp_path / "layer.qcow2")]
    assert names == ["layer.qcow2", "base.qcow2"]
    (tmp_path / "base.qcow2").unlink()
    with pytest.raises(HostError, match=r"cannot use .*layer\.qcow2: .*base\.qcow2"):
        chain_of(tmp_path / "layer.qcow2")
