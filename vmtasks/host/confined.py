"""QEMU's programs where they are no machine: they end with their caller, have no privileges, and reach few files."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence

from vmtasks.errors import HostError
from vmtasks.host.program_files import program_files
from vmtasks.process.confined import NOT_FOUND
from vmtasks.process.isolated import isolated_argv
from vmtasks.process.landlock import Reach


def confined_argv(command: Sequence[str], reach: Reach) -> list[str]:
    """Return the command line that runs *command*, which reaches *reach* and what its program needs."""
    files = json.dumps(program_files(command[0]) | reach)
    return isolated_argv("vmtasks.process.confined", str(os.getpid()), files, *command)


def qemu_img(*words: str, reach: Reach) -> subprocess.CompletedProcess[str]:
    """Run qemu-img, and return how that ended and what it printed.

    :param reach: the images; a directory if it makes one there.
    :raise HostError: it is not installed.
    """
    done = subprocess.run(
        confined_argv(["qemu-img", *words], reach),
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode == NOT_FOUND:
        raise HostError("cannot read disk images: qemu-img is not installed", hint="apt install qemu-utils")
    return done
