"""Landlock: a process gives up, for good, all files but those that it names. Root does so as well as any user.

Nothing here needs a privilege. A kernel without Landlock (before 5.13, or where it is switched off) confines nothing,
and :func:`abi` is 0 there. Standard library only: it rides with the supervisor.

Source: landlock(7), landlock_create_ruleset(2), ``linux/landlock.h``.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from contextlib import contextmanager, suppress
from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# The numbers of the system calls are the same on every architecture that has QEMU in Debian.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION = 1
_PATH_BENEATH = 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = (1 << bit for bit in range(4))
MAKE_CHAR, MAKE_FIFO, MAKE_BLOCK, MAKE_SYM = (1 << bit for bit in (6, 10, 11, 12))
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_SCOPES = 0b11  # abstract unix sockets, signals
_FIRST_RIGHTS = (1 << 13) - 1
_SINCE = {2: REFER, 3: TRUNCATE, 5: IOCTL_DEV}
_SCOPES_SINCE = 6

READ = EXECUTE | READ_FILE | READ_DIR | IOCTL_DEV
"""What may be done with what is only read; whether a device obeys an ioctl, the way it was opened decides."""
WRITE = ~(EXECUTE | MAKE_CHAR | MAKE_FIFO | MAKE_BLOCK | MAKE_SYM)
"""What may be done with what is written: anything but run it, or leave what leads who comes after elsewhere: links,
devices and pipes."""
_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV


class Reach(NamedTuple):
    """What a program reaches: files, and directories with all beneath them. What is not there is passed over."""

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    """Read, too."""

    def __or__(self, other: Reach) -> Reach:
        """Return what both reach together."""
        return Reach((*self.read, *other.read), (*self.write, *other.write))


def handled_rights(version: int) -> int:
    """Return all that a kernel with that version of Landlock can forbid to do with files."""
    return _FIRST_RIGHTS | sum(right for since, right in _SINCE.items() if version >= since)


def handled_scopes(version: int) -> int:
    """Return what a kernel with that version can keep within the processes that are confined together."""
    return _SCOPES if version >= _SCOPES_SINCE else 0


def rights(wanted: int, version: int, *, is_directory: bool) -> int:
    """Return as much of *wanted* as that version knows, and as there is to be had of such a file."""
    return wanted & handled_rights(version) & (-1 if is_directory else _OF_FILES)


def abi() -> int:
    """Return the version of Landlock that this kernel has; 0: none."""
    with suppress(OSError):  # it was built without, booted without, or a container forbids to ask
        return _call(_CREATE_RULESET, None, 0, _ASK_VERSION)
    return 0


@contextmanager
def ruleset(reach: Reach, version: int | None = None) -> Iterator[int | None]:
    """Yield a descriptor of rules that allow *reach*, for :func:`restrict`; None: this kernel has no Landlock.

    :param version: how much of it to use, which is what the kernel has.
    :raise OSError: the kernel takes no such rules.
    """
    version = abi() if version is None else version
    if not version:
        yield None
        return
    # The network is left alone: a user network connects wherever the guest asks it to.
    attributes = struct.pack("=QQQ", handled_rights(version), 0, handled_scopes(version))
    rules = _call(_CREATE_RULESET, attributes, len(attributes), 0)
    try:
        for paths, wanted in ((reach.read, READ), (reach.write, WRITE)):
            for path in paths:
                _allow(rules, path, wanted, version)
        yield rules
    finally:
        os.close(rules)


def restrict(rules: int | None) -> None:
    """Confine this process, and all that it starts, to the rules; it must be unable to gain privileges.

    :raise OSError: the kernel refuses, as it does where sixteen rulesets hold already.
    """
    if rules is not None:
        _call(_RESTRICT_SELF, rules, 0)


def _allow(rules: int, path: str, wanted: int, version: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # what we do not reach, the program does not either
        return
    try:
        allowed = rights(wanted, version, is_directory=stat.S_ISDIR(os.fstat(fd).st_mode))
        _call(_ADD_RULE, rules, _PATH_BENEATH, struct.pack("=Qi", allowed, fd), 0)
    except OSError as problem:
        if problem.errno != errno.EBADFD:  # a pipe or a socket, as /dev/stdout may be: no file system has it
            raise
    finally:
        os.close(fd)


def _call(number: int, *arguments: int | bytes | None) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    words = (ctypes.c_long(one) if isinstance(one, int) else one for one in arguments)
    answer = int(libc.syscall(ctypes.c_long(number), *words))
    if answer < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"cannot confine a program: {os.strerror(error)}")
    return answer
