"""Images that somebody else made: fetched, checked, and let in through a NoCloud seed.

Source: cloud-init's documentation of the NoCloud datasource (a volume labelled ``cidata``).
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from vmtasks.errors import HostError, UsageError
from vmtasks.host.confined import qemu_img
from vmtasks.image.definition import Definition
from vmtasks.image.download import copied, download
from vmtasks.image.info import expect_self_contained
from vmtasks.process.landlock import Reach

_FETCHING = "fetching the image"


def fetch(definition: Definition, out: Path) -> None:
    """Copy or download the image that *definition* names into ``disk.qcow2``.

    :raise UsageError: the file is not there, or is no disk image.
    :raise HostError: the network or the disk failed, or what came is not what was meant.
    """
    if (source := definition.original) is not None:
        if not source.is_file():
            raise UsageError(f"{definition.home}: there is no image {source}")
        if definition.sha256 is not None:
            with source.open("rb") as file:
                _check_sum(definition, copied(file, None, source.stat().st_size, detail=_FETCHING))
        _convert(source, out / "disk.qcow2")
        return
    download = out / "download"
    _download(definition, download)
    _convert(download, out / "disk.qcow2")
    download.unlink()


def make_seed(definition: Definition, out: Path) -> Path:
    """Write the seed that lets our key in as root, and gives the guest the host key that we know.

    :raise HostError: xorriso, which writes it, is missing.
    """
    if shutil.which("xorriso") is None:
        raise HostError(
            f"cannot let anybody into {definition.name}: xorriso, which makes its NoCloud seed, is not installed",
            hint="apt install xorriso",
        )
    content = out / "seed"
    content.mkdir()
    (content / "user-data").write_text(user_data(out))
    (content / "meta-data").write_text(json.dumps({"instance-id": out.name, "local-hostname": definition.name}) + "\n")
    seed = out / "seed.iso"
    subprocess.run(
        ["xorriso", "-as", "mkisofs", "-quiet", "-volid", "cidata", "-rational-rock", "-o", str(seed), str(content)],
        check=True, stdin=subprocess.DEVNULL, capture_output=True,
    )  # fmt: skip
    shutil.rmtree(content)
    return seed


def user_data(keys: Path, **more: object) -> str:
    """Return what tells cloud-init the key to let in as root, and the host key to have.

    :param keys: the directory of both, see :func:`vmtasks.image.mmdebstrap.make_keys`.
    :param more: other keys of cloud-config.
    """
    host_key = (keys / "ssh_host_key").read_text()
    config = {  # YAML is a superset of JSON
        "disable_root": False,
        "users": [{"name": "root", "ssh_authorized_keys": [(keys / "id_ed25519.pub").read_text().strip()]}],
        "ssh_deletekeys": True,
        "ssh_keys": {"ed25519_private": host_key, "ed25519_public": (keys / "ssh_host_key.pub").read_text()},
        **more,
    }
    return "#cloud-config\n" + json.dumps(config, indent=1) + "\n"


def _download(definition: Definition, target: Path) -> None:
    url = definition.url or ""
    try:
        _check_sum(definition, download(url, target, detail=_FETCHING))
    except ValueError as problem:
        raise UsageError(f"{definition.home}: key 'url' is no URL: {url}") from problem


def _check_sum(definition: Definition, found: str) -> None:
    if found != definition.sha256:
        raise HostError(
            f"cannot use {definition.url or definition.path}: its sha256 is {found}, "
            f"and {definition.home} expects {definition.sha256}",
            hint="if a new version is what you want, put its sum into the definition",
        )


def _convert(source: Path, disk: Path) -> None:
    expect_self_contained(source)
    disk.touch()  # so that no more than this file need be reached
    reach = Reach((str(source),), (str(disk),))
    result = qemu_img("convert", "-O", "qcow2", str(source), str(disk), reach=reach)
    if result.returncode:
        raise HostError(f"cannot read {source} as a disk image: {result.stderr.strip()}")
