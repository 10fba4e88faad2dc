"""What the host's kernel counts of a process: pure parsers of /proc, and the one function that reads there.

Standard library only, because it rides with the supervisor. Source: proc(5).
"""

from __future__ import annotations

import errno
import os

from vmtasks.profile.sample import MemoryUse, StorageUse, TaskTimes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# Where the fields behind the name are: proc(5) counts from 1, and the name is the second.
_MINOR_FAULTS, _MAJOR_FAULTS, _USER, _SYSTEM, _BEGAN = (field - 3 for field in (10, 12, 14, 15, 22))

_ENDED = ("Z", "X")
"""States of a process that has ended."""


class NotCounted(Exception):
    """The host does not count something for us; the text says why."""


def parse_stat(text: str) -> TaskTimes:
    """Return what ``/proc/PID/stat`` says; a name may have blanks and parentheses, and what no terminal can show."""
    number, _, rest = text.partition(" (")
    name, _, rest = rest.rpartition(") ")
    fields = rest.split()
    return TaskTimes(
        id=int(number),
        name="".join(letter if letter.isprintable() else "?" for letter in name),
        began_ticks=int(fields[_BEGAN]),
        user_s=int(fields[_USER]) * _TICK_S,
        system_s=int(fields[_SYSTEM]) * _TICK_S,
        minor_faults=int(fields[_MINOR_FAULTS]),
        major_faults=int(fields[_MAJOR_FAULTS]),
    )


def parse_statm(text: str, page_bytes: int = _PAGE_BYTES) -> MemoryUse:
    """Return what ``/proc/PID/statm`` says."""
    _, resident, shared = map(int, text.split()[:3])
    return MemoryUse(resident_bytes=resident * page_bytes, own_bytes=(resident - shared) * page_bytes)


def parse_io(text: str) -> StorageUse:
    """Return what ``/proc/PID/io`` says of storage.

    :raise NotCounted: it says nothing of it.
    """
    found = dict(line.split(": ", 1) for line in text.splitlines())
    try:
        return StorageUse(read_bytes=int(found["read_bytes"]), written_bytes=int(found["write_bytes"]))
    except KeyError as problem:
        raise NotCounted("the host's kernel does not count what a process has disks read and write") from problem


def parse_pss(text: str) -> int:
    """Return the proportional set size that ``/proc/PID/smaps_rollup`` has, in bytes.

    :raise NotCounted: it has none.
    """
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise NotCounted("the host's kernel reports no proportional set size")


def process(pid: int) -> TaskTimes:
    """Return what a process has taken, with threads of it that have ended.

    :raise OSError: it is gone, or has ended and only waits to be told of: that has neither memory nor threads.
    """
    text = _read(f"/proc/{pid}/stat")
    if text.rpartition(") ")[2][:1] in _ENDED:
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
    return parse_stat(text)


def threads(pid: int) -> tuple[TaskTimes, ...]:
    """Return what each thread of a process has taken that still runs.

    :raise OSError: the process is gone.
    """
    return tuple(_threads(pid))


def memory(pid: int) -> MemoryUse:
    """Return how much of a process is in memory.

    :raise OSError: it is gone.
    """
    return parse_statm(_read(f"/proc/{pid}/statm"))


def storage(pid: int) -> StorageUse:
    """Return what a process had disks read and write.

    :raise NotCounted: the kernel does not tell us.
    """
    return parse_io(_told(f"/proc/{pid}/io"))


def pss_bytes(pid: int) -> int:
    """Return a process's proportional set size, for which the kernel looks at each page of it: milliseconds for a GiB.

    :raise NotCounted: the kernel does not tell us.
    """
    return parse_pss(_told(f"/proc/{pid}/smaps_rollup"))


def _threads(pid: int) -> Iterator[TaskTimes]:
    for number in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - it rides with the supervisor, which has no pathlib
        try:
            yield parse_stat(_read(f"/proc/{pid}/task/{number}/stat"))
        except (FileNotFoundError, ProcessLookupError):  # it ended just now: the process has its times
            continue


def _told(path: str) -> str:
    """Return a file that not every kernel has, and not for everybody."""
    try:
        return _read(path)
    except OSError as problem:
        raise NotCounted(f"{path}: {problem.strerror}") from problem


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123
        return file.read()
