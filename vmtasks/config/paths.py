"""Where things are on this host."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from vmtasks.config.here import beside
from vmtasks.config.own import own_directory
from vmtasks.errors import UsageError


def nearest(path: Path) -> Path:
    """Return *path*, or where that is not there yet, the nearest directory above it that is."""
    return next(one for one in (path, *path.parents) if os.access(one, os.F_OK))


_SHORT_BYTES = 40
"""What leaves room for a directory's name and a socket's, to which ssh adds 17 bytes while it makes one."""


def cache_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the directory of what can be made again: images, and all that belongs to them."""
    if chosen := environ.get("VMTASKS_CACHE"):
        return Path(chosen).absolute()
    return _xdg(environ, "XDG_CACHE_HOME", ".cache") / "vmtasks"


def socket_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the directory in which those of sockets are made: the name of a socket may have 107 bytes."""
    with suppress(KeyError, FileNotFoundError):
        runtime = Path(environ["XDG_RUNTIME_DIR"])
        if runtime.stat().st_uid == os.geteuid():  # sudo leaves another user's in the environment
            return runtime
    usual = Path(tempfile.gettempdir())
    return usual if len(os.fsencode(usual)) <= _SHORT_BYTES else Path("/tmp")  # noqa: S108 - what is in it is made anew


def image_dirs(environ: Mapping[str, str] = os.environ) -> tuple[Path, ...]:
    """Return the directories of image definitions; the first that has a name wins.

    Those of ``$VMTASKS_IMAGES`` come first, then that of the working directory's project, and ours last.

    :raise UsageError: ``$VMTASKS_IMAGES`` names something that cannot be read as a directory, or the project's
        vmtasks.toml is not right.
    """
    chosen = tuple(Path(name).absolute() for name in environ.get("VMTASKS_IMAGES", "").split(os.pathsep) if name)
    for path in chosen:
        try:
            os.scandir(path).close()
        except OSError as error:
            cause = f"VMTASKS_IMAGES names it, but: {error.strerror}"
            raise UsageError(f"cannot look for images in {path}: {cause}") from error
    ours = beside("images")
    own = own_directory("images")
    return (*chosen, *([own] if own and own.resolve() != ours.resolve() else []), ours)


def _xdg(environ: Mapping[str, str], variable: str, below_home: str) -> Path:
    """Return a base directory of the XDG specification, which has relative ones ignored."""
    chosen = Path(environ.get(variable, ""))
    if chosen.is_absolute():
        return chosen
    return Path(environ.get("HOME") or Path.home()) / below_home
