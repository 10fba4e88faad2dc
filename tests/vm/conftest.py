"""What the tests on real machines share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vmtasks import Guest, boot
from vmtasks.config.paths import cache_dir
from vmtasks.host.accelerator import Choice
from vmtasks.image.baked import BakedImage, images_dir
from vmtasks.image.definition import Definition
from vmtasks.providers.base import BootOptions
from vmtasks.providers.qemu import provider
from vmtasks.spec import Machine


@pytest.fixture(autouse=True, scope="module")  # what comes next in this worker has its own settings
def _all_machines_have_room() -> Iterator[None]:
    """Have slots for those of three tests: who has one could wait for another's for ever, if there were two.

    And have machines no more processors than three at a time can use on a host of two, unless a test asks for more:
    those would only cost time.
    """
    whole = provider.machine_of

    def machine_of(
        definition: Definition,
        baked: BakedImage,
        choice: Choice,
        options: BootOptions = provider.DEFAULT_OPTIONS,
        **more: Any,
    ) -> Machine:
        return whole(definition, baked, choice, replace(options, cpus=options.cpus or 1), **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provider, "machine_of", machine_of)
        for name, value in (("VMTASKS_SLOTS", "12"), ("VMTASKS_CPUS", "1")):
            if name not in os.environ:
                patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have all images, and templates that no other test starts from: what is done to them is theirs alone."""
    cache = tmp_path_factory.mktemp("cache")
    images_dir().mkdir(parents=True, exist_ok=True)
    (cache / "images").symlink_to(images_dir())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VMTASKS_CACHE", str(cache))
        yield
    shutil.rmtree(cache)


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a directory for definitions of a test's own; what is baked of them goes with the test."""
    directory = tmp_path / "images"
    directory.mkdir()
    monkeypatch.setenv("VMTASKS_IMAGES", str(directory))
    yield directory
    for definition in directory.glob("*.toml"):
        for baked in (made for end in "-.+" for made in images_dir().glob(f"{definition.stem}{end}*")):
            shutil.rmtree(baked) if baked.is_dir() else baked.unlink()


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """Yield, as its owner has it, a machine that is a host like any other to a user who has its key and knows it."""
    home = tmp_path_factory.mktemp("home")
    with boot("bookworm-build", name="board") as guest, pytest.MonkeyPatch.context() as patch:
        address = guest.address
        (home / ".ssh").mkdir(mode=0o700)
        (home / ".ssh" / "config").write_text(
            f"Host board\n  HostName {address.host}\n  Port {address.port}\n  IdentityFile {address.access.identity}\n"
            f"  UserKnownHostsFile {home}/.ssh/known_hosts\n"
        )
        _, kind, key = address.access.known_hosts.read_text().split()[:3]
        (home / ".ssh" / "known_hosts").write_text(f"[{address.host}]:{address.port} {kind} {key}\n")
        patch.setenv("VMTASKS_CACHE", str(cache_dir()))
        patch.setenv("HOME", str(home))
        patch.setenv("VMTASKS_SSH", f"ssh -F {home}/.ssh/config")  # which looks in no other home than passwd(5)'s
        yield guest
