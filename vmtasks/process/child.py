"""What a child does to itself before it becomes another program. Standard library only: it rides with the supervisor.

Source: prctl(2), capset(2), capabilities(7).
"""

from __future__ import annotations

import ctypes
import itertools
import os
import signal
import struct

_PR_SET_PDEATHSIG = 1
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION_3 = 0x20080522


def die_with_parent(parent: int) -> None:
    """Be killed when the process *parent* ends, however it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the kernel was told
        os._exit(1)


def drop_privileges() -> None:
    """Have no capability any more, and get none from any program: not even root's. What the kernel refuses is left."""
    libc = ctypes.CDLL(None)
    for capability in itertools.count():
        if libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0):  # there are no more, or we may not
            break
    libc.capset(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), bytes(24))  # those in effect, to be had, to be inherited
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
