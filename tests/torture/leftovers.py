"""What there still is of a run: its processes, the ports that they listen on, its files and mounts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

MARK = "VMTASKS_TORTURE"
"""The variable that all descendants of a run inherit."""
PROC = Path("/proc")
_LISTENS = "0A"
_PROGRAMS = {"vmtasks.supervisor.__main__": "supervisor", "vmtasks.group.switch": "switch"}
"""What the last caller calls, by a part of its command line; all else is a tool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process that runs; the same number at another time is another one."""

    pid: int
    began: int
    parent: int = field(compare=False)
    name: str = field(compare=False)
    line: str = field(compare=False)
    """Its command line."""
    mark: str = field(compare=False)

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})"


def processes(proc: Path = PROC) -> dict[int, Process]:
    """Return all processes but those that have ended and were not waited for."""
    found = {}
    for path in proc.glob("[0-9]*"):
        with suppress(OSError):  # it has ended just now
            before, _, rest = (path / "stat").read_text().rpartition(")")
            fields = rest.split()
            if fields[0] in "ZX":
                continue
            line = (path / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
            pid = int(path.name)
            name = before.partition("(")[2]
            found[pid] = Process(
                pid=pid, began=int(fields[19]), parent=int(fields[1]), name=name, line=line, mark=_mark(path)
            )
    return found


def _mark(process: Path) -> str:
    with suppress(PermissionError):  # somebody else's
        for entry in (process / "environ").read_bytes().split(b"\0"):
            name, _, value = entry.partition(b"=")
            if name == MARK.encode():
                return value.decode()
    return ""


def family(found: Mapping[int, Process], known: Iterable[Process], mark: str | None = None) -> set[Process]:
    """Return those of *found* that are known or have the mark, and all below them: what runs in a bake has no mark."""
    ours = {process for process in found.values() if process.mark == mark} | set(known).intersection(found.values())
    while more := {one for one in found.values() if found.get(one.parent) in ours} - ours:
        ours |= more
    return ours


def roles(found: Mapping[int, Process], shell: int, callers: Iterable[str]) -> dict[str, Process]:
    """Return who is who below a shell, as far as they are there; of several supervisors, one and its QEMU."""
    cast: dict[str, Process] = {}
    last = found.get(shell)
    if last:
        cast["shell"] = last
    for name in callers:
        last = next((one for one in found.values() if last and one.parent == last.pid and one.name == name), None)
        if last:
            cast[name] = last
    for one in found.values():
        is_remover = one.line.endswith(" remover ")  # whose work begins when all is lost
        if last and one.parent == last.pid and one.line != last.line and not is_remover:
            cast[next((role for program, role in _PROGRAMS.items() if program in one.line), "tool")] = one
    for one in found.values():
        if "supervisor" in cast and one.parent == cast["supervisor"].pid and one.name.startswith("qemu-system"):
            cast["qemu"] = one
    return cast


def listening(of: Iterable[Process], proc: Path = PROC) -> dict[str, int]:
    """Return the TCP sockets (their inodes) on which these processes wait for connections, with their ports."""
    theirs = set()
    for process in of:
        with suppress(OSError):  # it has ended just now
            for fd in (proc / str(process.pid) / "fd").iterdir():
                with suppress(OSError):
                    theirs.add(str(fd.readlink()))
    return {inode: port for inode, port in listeners(proc).items() if f"socket:[{inode}]" in theirs}


def listeners(proc: Path = PROC) -> dict[str, int]:
    """Return all such sockets, whoever has them."""
    rows = [row.split() for row in (proc / "net/tcp").read_text().splitlines()[1:]]
    return {row[9]: int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == _LISTENS}


def mounts(below: Path, proc: Path = PROC) -> Iterator[str]:
    """Yield what is mounted below a directory."""
    for row in (proc / "self/mountinfo").read_text().splitlines():
        if (point := row.split()[4]).startswith(f"{below}/"):
            yield point


def files(cache: Path, tmp: Path, *, snapshots: Iterable[str]) -> Iterator[Path]:
    """Yield what is nobody's any more: disks, sockets and leases of machines, half-made things, temporary files.

    :param snapshots: the snapshots that were there before; templates that were completed since may stay.
    """
    yield from sorted(cache.glob("machines/*"))
    yield from sorted((*cache.glob("*/.*.part"), *cache.glob(".accelerator-*")))
    yield from sorted(tmp.iterdir())
    for path in sorted(cache.glob("snapshots/[!.]*")):
        if re.fullmatch(r"[0-9a-f]{16}-[0-9a-f]+", path.name) and path.name not in snapshots and not _is_template(path):
            yield path


def _is_template(path: Path) -> bool:
    try:
        return bool(json.loads((path / "snapshot.json").read_text())["kind"] == "template")
    except (OSError, ValueError):
        return False
