"""Whether a kernel has the drivers without which a machine of ours neither finds its root nor is reached."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from types import MappingProxyType

DRIVERS: Mapping[str, str] = MappingProxyType(
    {
        "virtio_pci": "CONFIG_VIRTIO_PCI",
        "virtio_blk": "CONFIG_VIRTIO_BLK",
        "ext4": "CONFIG_EXT4_FS",
        "virtio_net": "CONFIG_VIRTIO_NET",
    }
)
"""Each driver, by its module's name, and the option of the kernel's configuration that is its."""
_FROM_ROOT = {"virtio_net"}
"""What may be loaded once the root is there; the others come from an initrd, or are built in."""
_OPTION = re.compile(r"(?m)^(CONFIG_\w+)=(\S+)$")
_COMPRESSED = re.compile(r"\.ko(?:\.(?:xz|zst|gz))?$")


def module_name(path: str) -> str:
    """Return the name by which the kernel knows a module, from its file's."""
    return _COMPRESSED.sub("", PurePosixPath(path).name).replace("-", "_")


def missing_drivers(modules: Iterable[str], builtin: str | None, config: str | None) -> tuple[str, ...] | None:
    """Return which drivers a kernel lacks; None if what came with it does not tell.

    :param modules: the paths of its modules.
    :param builtin: its ``modules.builtin``.
    :param config: its ``.config``.
    """
    options = dict(_OPTION.findall(config or ""))
    loaded = {module_name(path) for path in modules}
    has_initrd = config is None or options.get("CONFIG_BLK_DEV_INITRD") == "y"
    compiled_in = {module_name(line) for line in (builtin or "").splitlines()}
    missing = tuple(
        driver
        for driver, option in DRIVERS.items()
        if driver not in compiled_in
        and options.get(option) != "y"
        and not (driver in loaded and (has_initrd or driver in _FROM_ROOT))
    )
    return None if missing and builtin is None and config is None else missing
