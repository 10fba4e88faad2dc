"""Where things are on this host."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Mapping
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
_LONGEST_BYTES = 1024
"""Of the path of the cache: what is in there has longer ones."""
_UNNAMEABLE = re.compile(r'["\\\x00-\x1f\x7f]|\$\{')
_SHOWN = 200


def cache_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the directory of what can be made again: images, and all that belongs to them.

    :raise UsageError: no file in there could be named to ssh, or to the kernel.
    """
    chosen = environ.get("VMTASKS_CACHE")
    path = Path(chosen).absolute() if chosen else _xdg(environ, "XDG_CACHE_HOME", ".cache") / "vmtasks"
    if (match := _UNNAMEABLE.search(str(path))) or len(os.fsencode(path)) > _LONGEST_BYTES:
        cause = f"ssh cannot read a file whose name has {match[0]!r} in it" if match else "its name is too long"
        raise UsageError(
            f"cannot keep the cache in {str(path)[:_SHOWN]!r}: {cause}", hint="name another directory: VMTASKS_CACHE"
        )
    return path


def is_at(path: Path, kind: Callable[[int], bool] = lambda _: True) -> bool:
    """Tell whether there is something at a path that a user gave, of a kind that `stat.S_IS…` tells.

    :raise UsageError: no file can be called so.
    """
    try:
        return kind(path.stat().st_mode)
    except ValueError:  # there is a NUL in it
        return False
    except OSError as problem:
        if problem.errno == errno.ENAMETOOLONG:
            raise UsageError(f"there is no {str(path)[:_SHOWN]}…: {problem.strerror}") from problem
        return False


def expanded(name: str | Path) -> Path:
    """Return the path that a user, or a file of settings, names; ``~`` and ``~NAME`` stand for somebody's home.

    :raise UsageError: nobody is called so, or has a home.
    """
    try:
        return Path(name).expanduser()
    except RuntimeError as problem:
        raise UsageError(
            f"cannot find {str(name)[:_SHOWN]}: this host knows no home of that user",
            hint="write the whole path, from / on",
        ) from problem


def socket_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the directory in which those of sockets are made: the name of a socket may have 107 bytes."""
    import tempfile

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
    return Path(environ.get("HOME") or expanded("~")) / below_home
