"""A host's availability, declared by hand: written for all who use the host, and taken back.

Each user has a file: the directory is sticky, and so nobody can replace that of another.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from vmtasks.config.settings import HostSettings
from vmtasks.files import durable
from vmtasks.host import slots
from vmtasks.host.availability import FILE, Availability, Rules, file_of, now, plain, rules_of
from vmtasks.host.slots import SlotsUnavailableError
from vmtasks.process.user import user_name


def declare(state: str, *, until_s: float | None = None, reason: str = "", directory: str | None = None) -> None:
    """Have a host take machines eagerly, reluctantly, or none, whatever its settings say; the last word of this user.

    :param until_s: when that ends, in seconds since the epoch; None: when it is taken back.
    :param directory: where the queue is, if not where that of this host is.
    :raise SlotsUnavailableError: it cannot be written.
    """
    path = Path(directory or slots.default_directory())
    slots.make_queue(str(path))
    about = {"state": state, "until_s": until_s, "reason": plain(reason), "user": user_name()}
    name = file_of(os.geteuid())
    beside = path / f".{name}.{os.getpid()}"
    try:
        beside.unlink(missing_ok=True)  # of a process that had this number, and was killed
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w") as file:
            json.dump(about, file)
            os.fchmod(file.fileno(), 0o644)  # for all to read, whatever the umask
        durable.rename(beside, path / name)
    except OSError as problem:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise _refused(path / name, problem) from problem


def take_back(*, directory: str | None = None) -> None:
    """Take back what this user has declared; root takes back what anybody has.

    :raise SlotsUnavailableError: it cannot be removed.
    """
    path = Path(directory or slots.default_directory())
    names = [file_of(os.geteuid())]
    if os.geteuid() == 0:
        with suppress(OSError):  # nobody has made it yet
            names += filter(FILE.fullmatch, os.listdir(path))  # noqa: PTH208 - names are all that is asked for
    for name in names:
        try:
            (path / name).unlink(missing_ok=True)
        except OSError as problem:
            raise _refused(path / name, problem) from problem


def current(rules: Rules | None = None, *, directory: str | None = None) -> Availability:
    """Return whether this host takes machines now.

    :param rules: by default, those of its settings.
    :raise SlotsUnavailableError: the queue cannot be read.
    :raise UsageError: its settings are not right.
    """
    wanted = rules_of(HostSettings.load()) if rules is None else rules
    running = sum(ticket.state == slots.RUNNING for ticket in slots.tickets(directory))
    try:
        queue = os.open(directory or slots.default_directory(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:  # nobody has made it yet
        return now(None, wanted, machines=running)
    try:
        return now(queue, wanted, machines=running)
    finally:
        os.close(queue)


def _refused(path: Path, problem: OSError) -> SlotsUnavailableError:
    reason = problem.strerror or str(problem)
    with suppress(OSError, KeyError):
        if isinstance(problem, PermissionError) and path.lstat().st_uid != os.geteuid():
            reason = f"that file, which is to be this user's, is {path.owner()}'s: only they and root can remove it"
    return SlotsUnavailableError(f"cannot set the host's availability in {path}: {reason}")
