"""What this host has to give: cores and memory, as far as this process may use them.

A container or a batch job may use less than the kernel shows: its cgroups bound it, in version 1 or 2.

Standard library only, like the queue that it sets the limits of.
"""

# The kernel's files are read by their names, as plain strings; pathlib need not be loaded for that.
# ruff: noqa: PTH123

from __future__ import annotations

import os
import re

from vmtasks.host.slots import Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmtasks.config.settings import HostSettings

_MIB = 1024 * 1024


def default_limits(*, emulated: bool, root: str = "") -> Limits:
    """Return the limits that suit this host.

    An emulated machine keeps a core busy; one with hardware acceleration mostly waits, so two share a core.
    A tenth of the memory, and at least 512 MiB, stays with the host.

    :param root: where ``/proc`` and ``/sys`` are to be found.
    """
    total_mib = memory_mib(root)
    reserve_mib = max(512, total_mib // 10)
    return Limits(machines=cores(root) * (1 if emulated else 2), memory_mib=max(0, total_mib - reserve_mib))


def limits_of(settings: HostSettings, *, emulated: bool) -> Limits:
    """Return how much of this host its settings let machines have; :func:`default_limits` where they do not say."""
    usual = default_limits(emulated=emulated)
    return Limits(machines=settings.machines or usual.machines, memory_mib=settings.memory_mib or usual.memory_mib)


def cores(root: str = "") -> int:
    """Return how many cores this process may keep busy: of its affinity and its cgroups' quotas, the least.

    :param root: where ``/proc`` and ``/sys`` are to be found.
    """
    quotas = [quota for group in _cgroups(root, "cpu") if (quota := _cpu_quota(group))]
    return max(1, int(min([len(os.sched_getaffinity(0)), *quotas])))


def memory_mib(root: str = "") -> int:
    """Return how much memory this process may use: of the host's and its cgroups' limits, the least.

    :param root: where ``/proc`` and ``/sys`` are to be found.
    """
    total_mib = _meminfo_mib(root, "MemTotal")
    bounds_mib = [total_mib] if total_mib else []
    for group in _cgroups(root, "memory"):
        for text in (_text(f"{group}/memory.max"), _text(f"{group}/memory.limit_in_bytes")):
            bounds_mib += [int(text) // _MIB] if text.isdecimal() else []  # "max" is no bound
    return min(bounds_mib, default=0)


def memory_available_mib(root: str = "") -> int:
    """Return how much of that memory nothing else needs now, at most: what its cgroups hold already is not known.

    :param root: where ``/proc`` and ``/sys`` are to be found.
    """
    return min(_meminfo_mib(root, "MemAvailable"), memory_mib(root))


def _meminfo_mib(root: str, name: str) -> int:
    """Return what the kernel reports of the host's memory; 0 where it does not."""
    found = re.search(rf"^{name}:\s+(\d+) kB", _text(f"{root}/proc/meminfo"), re.MULTILINE)
    return int(found[1]) // 1024 if found else 0


def _cpu_quota(group: str) -> float | None:
    """Return how many cores' worth of time a cgroup may have, if it is bounded."""
    words = _text(f"{group}/cpu.max").split() or [
        _text(f"{group}/cpu.cfs_quota_us"),
        _text(f"{group}/cpu.cfs_period_us"),
    ]
    if not all(word.isdecimal() for word in words):  # "max", -1, or no such file
        return None
    quota_us, period_us = map(int, words)
    return quota_us / period_us


def _cgroups(root: str, controller: str) -> Iterator[str]:
    """Yield the directories of the cgroups that bound this process, in versions 1 and 2, from its own upwards.

    In a container the kernel may report a path that is not there: then only the top, which is the container's, is.
    """
    for line in _text(f"{root}/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        for mount in (controllers, controller) if controllers else (".", "unified"):
            below = path.rstrip("/")
            while below:
                yield f"{root}/sys/fs/cgroup/{mount}{below}"
                below = below.rpartition("/")[0]
            yield f"{root}/sys/fs/cgroup/{mount}"


def _text(path: str) -> str:
    """Return what is in a file of the kernel's; nothing where this kernel has no such file."""
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""
