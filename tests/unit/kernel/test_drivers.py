"""Which drivers a kernel has, by what came with it."""

from __future__ import annotations

import pytest

from tests.small_kernel import MODULES
from vmtasks.kernel.drivers import missing_drivers, module_name

FILES = [f"kernel/{name}.ko.xz" for name in MODULES]
BUILTIN = "".join(f"kernel/{name.replace('_', '-')}.ko\n" for name in MODULES)
CONFIG = "# CONFIG_MODULES is not set\nCONFIG_VIRTIO_PCI=y\nCONFIG_VIRTIO_BLK=y\nCONFIG_EXT4_FS=y\nCONFIG_VIRTIO_NET=y"
ALL = ("virtio_pci", "virtio_blk", "ext4", "virtio_net")


@pytest.mark.parametrize(
    ("modules", "builtin", "config", "missing"),
    [
        (FILES, None, None, ()),
        (FILES, "", None, ()),
        ([], BUILTIN, None, ()),
        ([], None, CONFIG, ()),
        ([], None, None, None),
        (FILES[:2], None, None, None),
        ([], "", None, ALL),
        ([], None, "", ALL),
        (FILES[:1], "", None, ("virtio_blk", "ext4", "virtio_net")),
        ([], None, CONFIG.replace("CONFIG_EXT4_FS=y", "CONFIG_EXT4_FS=m"), ("ext4",)),
        ([], None, CONFIG.replace("CONFIG_EXT4_FS=y", "# CONFIG_EXT4_FS is not set"), ("ext4",)),
    ],
)
def test_built_in_or_a_module_or_nobody_tells(
    modules: list[str], builtin: str | None, config: str | None, missing: tuple[str, ...] | None
) -> None:
    assert missing_drivers(modules, builtin, config) == missing


def test_without_an_initrd_the_root_needs_what_is_built_in() -> None:
    assert missing_drivers(FILES, "", "CONFIG_MODULES=y\n") == ALL[:3]
    assert missing_drivers(FILES, "", "CONFIG_MODULES=y\nCONFIG_BLK_DEV_INITRD=y\n") == ()


@pytest.mark.parametrize("path", ["kernel/fs/crc32c-generic.ko", "crc32c_generic.ko.zst", "a.b/crc32c-generic.ko.gz"])
def test_a_module_is_known_by_one_name(path: str) -> None:
    assert module_name(path) == "crc32c_generic"
