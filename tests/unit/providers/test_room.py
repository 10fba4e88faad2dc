"""A machine is not to be larger than its host."""

from __future__ import annotations

import pytest

from vmtasks.errors import UsageError
from vmtasks.host import capacity
from vmtasks.providers.base import BootOptions
from vmtasks.providers.qemu.provider import launch_of


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (BootOptions(memory_mib=capacity.memory_mib() + 1), "MiB of memory: the host has"),
        (BootOptions(memory_mib=10**30), "MiB of memory: the host has"),
        (BootOptions(cpus=max(8, capacity.cores()) + 1), r"processors: on this host, \d+ are the most"),
        (BootOptions(cpus=10**12), r"processors: on this host, \d+ are the most"),
    ],
)
def test_what_no_host_has_is_a_usage_error_before_anything_is_baked(options: BootOptions, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        launch_of("bookworm", options)
