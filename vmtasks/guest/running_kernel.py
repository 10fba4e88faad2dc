"""The kernel that a guest runs, compared with the one that it was to boot."""

from __future__ import annotations

from collections.abc import Sequence

from vmtasks.errors import TestFailed
from vmtasks.guest import answers
from vmtasks.guest.commands import GuestCommands

_RUNNING = "uname --kernel-release; cat /proc/cmdline"


def expect_running(guest: GuestCommands, release: str, args: Sequence[str] = ()) -> None:
    """See that a guest runs a kernel, with these arguments among others.

    :param release: what ``uname -r`` has to say; empty: anything.
    :raise TestFailed: it runs another one, or without them.
    """
    running, words = answers.at_least(guest.query(_RUNNING).split("\n", 1), 2, of="uname")
    if release and running != release:
        raise TestFailed(f"{guest.name} came back with the kernel {running}, and not with {release}")
    if missing := [word for word in args if word not in words.split()]:
        raise TestFailed(f"{guest.name} runs {running} without {' '.join(missing)}: it was booted with {words.strip()}")
