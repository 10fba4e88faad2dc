"""Files in and out: put and get against tar over ssh, and sftp."""

from __future__ import annotations

import os
import random
import shlex
import subprocess
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measurement import Rows, faster, in_turn, timed
from vmtasks import events
from vmtasks.guest import Guest

PUT_AT_LEAST_TIMES_FASTER = 2.0
_FILES, _DIRECTORIES, _LARGEST_BYTES = 5000, 100, 8192
_FILE_MIB = 64


def transfers(runs: int) -> Rows:
    """Measure one large file and a tree of many small ones, both ways."""
    from vmtasks import boot

    with (
        TemporaryDirectory(prefix="vmtasks-bench-") as directory,
        boot("bookworm", purpose="a measurement of transfers") as guest,
        events.phase("files"),
    ):
        tree, file = Path(directory, "tree"), Path(directory, "file")
        _plant(tree)
        file.write_bytes(os.urandom(_FILE_MIB << 20))
        ssh = shlex.join(guest.ssh_command)
        fresh = _fresh(guest)
        ours, against = in_turn(
            runs,
            lambda: _put_s(guest, tree, next(fresh)),
            lambda: _shell_s(f"tar -C {tree} -c . | {ssh} 'd={next(fresh)}; mkdir $d; tar -x -C $d'"),
        )
        yield faster(f"put of {_FILES} files; against tar | ssh", PUT_AT_LEAST_TIMES_FASTER, ours, against)
        there = next(fresh)
        guest.put(tree, there)
        ours, against = in_turn(
            runs,
            lambda: timed(lambda: guest.get(there, Path(directory, "back"))),
            lambda: _shell_s(f"mkdir -p {directory}/piped; {ssh} 'tar -C {there} -c .' | tar -x -C {directory}/piped"),
        )
        yield faster(f"get of {_FILES} files; against ssh | tar", None, ours, against)
        sftp = _sftp(guest)
        ours, against, other = in_turn(
            runs,
            lambda: _put_s(guest, file, next(fresh)),
            lambda: _shell_s(f"{ssh} 'cat >{next(fresh)}' <{file}"),
            lambda: _shell_s(f"echo put {file} {next(fresh)} | {sftp}"),
        )
        yield faster(f"put of a file of {_FILE_MIB} MiB; against ssh cat", None, ours, against)
        yield faster(f"put of a file of {_FILE_MIB} MiB; against sftp", None, ours, other)
        big = next(fresh)
        guest.put(file, big)
        ours, other = in_turn(
            runs,
            lambda: timed(lambda: guest.get(big, Path(directory, "big"))),
            lambda: _shell_s(f"echo get {big} {directory}/fetched | {sftp}"),
        )
        yield faster(f"get of a file of {_FILE_MIB} MiB; against sftp", None, ours, other)


def _put_s(guest: Guest, source: Path, target: str) -> float:
    return timed(lambda: guest.put(source, target))


def _plant(tree: Path) -> None:
    dice = random.Random(1)  # noqa: S311 - the same sizes each time
    for number in range(_FILES):
        path = tree / f"d{number % _DIRECTORIES:02}" / f"file{number}.c"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(dice.randrange(_LARGEST_BYTES)))


def _fresh(guest: Guest) -> Iterator[str]:
    """Yield names that are not there yet; what had the last ones is removed."""
    for number in count():
        guest.query(["rm", "-rf", f"/srv/bench{number - 3}"])
        yield f"/srv/bench{number}"


def _sftp(guest: Guest) -> str:
    """Return sftp's command line, which takes the options of ssh, but for the port's."""
    _, *words, _ = guest.ssh_command
    options = ["-P" if word == "-p" else word for word in words]
    return shlex.join(["sftp", "-q", "-b", "-", *options, "root@127.0.0.1"])


def _shell_s(line: str) -> float:
    return timed(
        lambda: subprocess.run(["/bin/sh", "-c", line], stdin=subprocess.DEVNULL, capture_output=True, check=True)
    )
