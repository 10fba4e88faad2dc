"""Open files beneath a directory whatever somebody does to the directories on the way: no link is followed there."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Beneath:
    """The tree at *root*: paths in it are opened component by component, with O_NOFOLLOW (openat(2))."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._root = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._parent: tuple[tuple[str, ...], int] = ((), self._root)

    def parent_of(self, path: PurePath, *, make: bool = False) -> int:
        """Return a descriptor of the directory that a path, relative to the root, is in; it is ours to close.

        :param make: make the directories that are not there.
        :raise OSError: it is not there, or a link stands on the way (ELOOP, ENOTDIR).
        """
        *above, _ = path.parts
        if path.is_absolute() or ".." in above:
            raise OSError(errno.EXDEV, "it is outside of the tree", str(path))
        if tuple(above) != self._parent[0]:
            fd = os.dup(self._root)
            try:
                for name in above:
                    if make:
                        with suppress(FileExistsError):
                            os.mkdir(name, dir_fd=fd)
                    fd, before = os.open(name, _DIRECTORY, dir_fd=fd), fd
                    os.close(before)
            except OSError as problem:
                os.close(fd)
                raise OSError(problem.errno, f"{problem.strerror} on the way", str(path)) from problem
            self._leave()
            self._parent = (tuple(above), fd)
        return self._parent[1]

    def close(self) -> None:
        """Let go of the tree."""
        self._leave()
        os.close(self._root)

    def _leave(self) -> None:
        if self._parent[1] != self._root:
            os.close(self._parent[1])
        self._parent = ((), self._root)


@contextmanager
def beneath(root: Path) -> Iterator[Beneath]:
    """Hold a tree open for the length of the block.

    :raise OSError: it is no directory, or cannot be opened.
    """
    tree = Beneath(root)
    try:
        yield tree
    finally:
        tree.close()
