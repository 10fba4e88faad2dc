"""What QEMU's programs need of a host besides the files that they are given: libraries, firmware, the host's settings.

Standard library only: the supervisor asks.
"""

# Up in milliseconds: os.path is there already, pathlib is not.
# ruff: noqa: PTH118, PTH120

from __future__ import annotations

import os

from vmtasks.process.landlock import Reach

_SYSTEM = (
    "/usr", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store",
    *(f"/etc/{name}" for name in (
        "ld.so.cache", "ld.so.preload", "localtime", "resolv.conf", "hosts", "host.conf", "nsswitch.conf", "gai.conf",
        "alternatives", "qemu",
    )),
    *(f"/proc/{name}" for name in ("cpuinfo", "meminfo", "filesystems", "sys/vm", "sys/kernel/random")),
    "/sys/devices/system", "/sys/kernel/mm", "/sys/bus/nd",
    "/dev/urandom", "/dev/random", "/dev/zero",
)  # fmt: skip
_DATA = ("share", "lib", "lib64", "libexec")


def program_files(name: str) -> Reach:
    """Return what the program *name* needs, where it is installed."""
    return Reach((*_SYSTEM, *_own_files(name), *_name_servers()), ("/dev/null",))


def _own_files(name: str) -> list[str]:
    """Return the program, and what is installed beside it: outside /usr, it is no part of the system."""
    for directory in os.get_exec_path():
        path = os.path.join(directory, name)  # an absolute name stands for itself
        if os.access(path, os.X_OK):
            program = os.path.realpath(path)
            prefix = os.path.dirname(os.path.dirname(program))
            return [program, *(os.path.join(prefix, data) for data in _DATA)]
    return []


def _name_servers() -> list[str]:
    """Return the directory where the host's resolv.conf is really kept, which is written anew as networks change."""
    directory = os.path.dirname(os.path.realpath("/etc/resolv.conf"))
    return [] if directory == "/etc" else [directory]
