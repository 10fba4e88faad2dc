"""Make the members of an archive that a guest has sent, beneath one directory: no link is followed on the way there."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tarfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePath, PurePosixPath

from vmtasks.guest.beneath import Beneath

Place = Callable[[PurePosixPath], PurePosixPath | None]
"""Says where a member of that name goes; None leaves it out."""

_PATH_BYTES = 4095
"""PATH_MAX without the NUL: what is deeper can be made step by step, and then neither read nor removed by its name."""
_COPY_BYTES = 1024 * 1024
_NO_NAME = frozenset({errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ})


class Refusal(Exception):
    """Why a member is left out."""


def extract(archive: tarfile.TarFile, member: tarfile.TarInfo, tree: Beneath, place: Place) -> Path | None:
    """Make one member, and return where; None for a directory.

    :raise Refusal: it is nothing that we make.
    :raise OSError: the disk is full, or the like.
    """
    path = _place(member, place)
    if not path.parts:
        if member.isdir():
            return None
        raise Refusal("it would replace the target")
    if len(os.fsencode(tree.root / path)) > _PATH_BYTES:
        raise Refusal("its name is too long")
    try:
        _make(archive, member, tree, path)
    except (FileExistsError, NotADirectoryError):
        raise Refusal("something else stands in its place") from None
    except OSError as problem:
        if problem.errno in _NO_NAME:
            raise Refusal(f"this host has no room for its name: {problem.strerror}") from problem
        raise
    return None if member.isdir() else tree.root / path


def escapes(path: Path, top: Path) -> bool:
    """Tell whether a link that was made leads outside *top* by now: by way of one that was there before."""
    try:
        path.stat()
    except FileNotFoundError:
        pass
    except OSError:  # a circle, or a longer chain than the kernel follows; a member of it that leads outside is removed
        return False
    return not Path(os.path.realpath(path)).is_relative_to(top)


def _place(member: tarfile.TarInfo, place: Place) -> PurePosixPath:
    """Return where a member belongs, relative to the target."""
    path = PurePosixPath(member.name)
    if "\0" in member.name + member.linkname or (member.issym() and not member.linkname):
        raise Refusal("its name is none")
    if path.is_absolute() or ".." in path.parts:
        raise Refusal("its name leads outside")
    name = place(path)
    if name is None:
        raise Refusal("nobody asked for it")
    return name


def _make(archive: tarfile.TarFile, member: tarfile.TarInfo, tree: Beneath, path: PurePosixPath) -> None:
    parent = _way_to(path, tree)
    if member.isdir():
        _make_directory(parent, path.name, member)
    elif member.issym():
        _make_symlink(parent, path, member)
    elif member.islnk():
        _make_link(parent, path, member, tree)
    elif member.issparse():
        raise Refusal("it is sparse, and takes more room than it came with")
    elif member.isreg():
        _make_file(parent, path.name, member, archive)
    else:
        raise Refusal("it is neither a file, nor a directory, nor a link")


def _way_to(path: PurePath, tree: Beneath) -> int:
    """Return the directory that a member goes into; it is made."""
    try:
        return tree.parent_of(path, make=True)
    except NotADirectoryError:
        links = (tree.root / one for one in list(path.parents)[:-1])
        raise Refusal(
            "a link stands on the way" if any(map(os.path.islink, links)) else "something else stands in its place"
        ) from None


def _make_directory(parent: int, name: str, member: tarfile.TarInfo) -> None:
    try:
        os.mkdir(name, dir_fd=parent)
    except FileExistsError:
        if stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            raise Refusal("a link stands in its place") from None
    fd = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        Path(f"/proc/self/fd/{fd}").chmod((member.mode | 0o700) & 0o777)
    finally:
        os.close(fd)


def _make_symlink(parent: int, path: PurePath, member: tarfile.TarInfo) -> None:
    if _leads_outside(member.linkname, depth=len(path.parts) - 1):
        raise Refusal(f"it is a link that leads outside, to {member.linkname!r}")
    _clear(parent, path.name)
    os.symlink(member.linkname, path.name, dir_fd=parent)


def _leads_outside(target: str, *, depth: int) -> bool:
    """Tell whether a link could lead out of the tree.

    It goes up from its own directory, which is none that a link could take the place of, and then down. One that goes
    up again further on might come out anywhere, as soon as another link takes the place of a directory on its way.

    :param depth: in how many directories beneath the top the link is.
    """
    parts = PurePosixPath(target).parts
    ups = next((number for number, part in enumerate(parts) if part != ".."), len(parts))
    return target.startswith("/") or ".." in parts[ups:] or ups > depth


def _make_link(parent: int, path: PurePath, member: tarfile.TarInfo, tree: Beneath) -> None:
    original = PurePosixPath(member.linkname)
    missing = Refusal(f"it is another name of {member.linkname!r}, which did not come along")
    if original == path or not original.parts:
        raise missing
    # A descriptor of our own: the tree has one for a directory at a time.
    parent = os.dup(parent)
    try:
        there = tree.parent_of(original)
        if not stat.S_ISREG(os.stat(original.name, dir_fd=there, follow_symlinks=False).st_mode):
            raise missing
        _clear(parent, path.name)
        os.link(original.name, path.name, src_dir_fd=there, dst_dir_fd=parent, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError as problem:
        raise missing from problem
    finally:
        os.close(parent)


def _make_file(parent: int, name: str, member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
    _clear(parent, name)
    content = archive.extractfile(member)
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=parent)
    with os.fdopen(fd, "wb") as file:
        if content is not None:
            shutil.copyfileobj(content, file, _COPY_BYTES)
        file.flush()
        os.fchmod(fd, member.mode & 0o777)
        with suppress(OverflowError, ValueError):  # a time that no clock shows
            os.utime(fd, (member.mtime, member.mtime))


def _clear(parent: int, name: str) -> None:
    with suppress(FileNotFoundError):
        mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
        if stat.S_ISLNK(mode) or stat.S_ISREG(mode):
            os.unlink(name, dir_fd=parent)
