"""What a kernel comes in, taken apart: nothing in it is run, and nothing of it gets outside of one directory.

dpkg-deb reads .deb files. bsdtar, libarchive's, reads .rpm files, with each compression of their payload, and makes a
tar stream of them. Whatever the stream, the one reader for archives of strangers unpacks it. Both programs reach the
one file, where the kernel of this host can see to that.
"""

from __future__ import annotations

import lzma
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from vmtasks.errors import HostError, TestFailed, UsageError
from vmtasks.files.regular_file import open_regular
from vmtasks.guest.unpack import ByteReader, opened, unpack
from vmtasks.host.confined import confined_argv
from vmtasks.kernel.header import read_header
from vmtasks.kernel.tree import is_module, wanted
from vmtasks.process.confined import NOT_FOUND
from vmtasks.process.landlock import Reach

_DEB, _RPM, _ZSTD = b"!<arch>\n", b"\xed\xab\xee\xdb", b"\x28\xb5\x2f\xfd"
_COMPLAINT_BYTES = 4096
_SAYS_NOTHING = re.compile(r"\(null\)$|^bsdtar: Error exit delayed")
"""What bsdtar prints where its library has no words for what is wrong."""
_DRAIN_BYTES = 1024 * 1024
"""More than any archive has behind its end."""
_NO_ARCHIVE = "a .deb, an .rpm, a tarball, a directory or a bzImage is wanted"


class _Whole:
    """A stream in which damage is an error of the archive, as :mod:`tarfile` has them, and not of the disk."""

    def __init__(self, source: ByteReader) -> None:
        self._source = source

    def read(self, size: int) -> bytes:
        """Read on.

        :raise ReadError: what is read is damaged or cut short.
        """
        try:
            return self._source.read(size)
        except (EOFError, OSError, lzma.LZMAError, zlib.error) as problem:
            raise tarfile.ReadError(str(problem)) from problem


def unpack_kernel(file: Path, target: Path, name: str) -> None:
    """Unpack what may belong to a kernel from a file, by what is in it, whatever it is called.

    :param target: a directory; other packages of the same kernel may have been unpacked there.
    :param name: what messages call the file.
    :raise UsageError: it cannot be read, is damaged, or is none of what a kernel comes in.
    :raise HostError: a program is missing, or the disk is full.
    """
    try:
        with os.fdopen(open_regular(file), "rb") as stream:
            first = stream.read(len(_DEB))
        is_image = read_header(file) is not None
    except OSError as problem:
        raise UsageError(f"cannot read the kernel {name}: {problem.strerror or problem}") from problem
    where = str(file.resolve())
    if first == _DEB:
        with _output_of(["dpkg-deb", "--fsys-tarfile", where], where, name, package="dpkg") as output:
            _unpack(output, target, name)
    elif first.startswith(_RPM):
        argv = ["bsdtar", "--create", "--file=-", "--format=pax", f"@{where}"]
        with _output_of(argv, where, name, package="libarchive-tools") as output:
            _unpack(output, target, name)
    elif first.startswith(_ZSTD):
        with _output_of(["zstd", "-dcq", "--", where], where, name, package="zstd") as output:
            _unpack(output, target, name)
    elif is_image:
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target / "bzImage")
    else:
        with opened(file) as tarball:
            _unpack(tarball, target, name)


def top_of(directory: Path) -> Path:
    """Return where in an unpacked archive the kernel's files begin: beneath its one directory, where it has one."""
    names = list(directory.iterdir())
    if len(names) == 1 and names[0].name not in ("boot", "lib", "usr", "arch") and names[0].is_dir():
        return names[0]
    return directory


def _unpack(stream: ByteReader, target: Path, name: str) -> None:
    modules: set[Path] = set()
    is_empty = True
    root = target.resolve()

    def place(path: PurePosixPath) -> PurePosixPath | None:
        nonlocal is_empty
        is_empty = False
        if not wanted(path):
            return None
        if is_module(path):
            modules.add(root / path)
        return path

    try:
        made, _ = unpack(_Whole(stream), target, place=place)
    except TestFailed as problem:
        reason = problem.__cause__ or "it is larger than a kernel may be"
        raise UsageError(f"cannot unpack the kernel {name}: {reason}", hint=_NO_ARCHIVE) from problem
    if is_empty:
        raise UsageError(f"cannot unpack the kernel {name}: nothing is in it, or it is cut short")
    if lost := sorted(modules - set(made)):
        raise UsageError(f"cannot unpack the kernel {name}: its module {lost[0].name} is no file that can be taken")


@contextmanager
def _output_of(argv: list[str], reached: str, name: str, *, package: str) -> Iterator[IO[bytes]]:
    """Yield what a program prints that reads a kernel's file.

    :raise UsageError: it fails; so does the block, as a rule, and the program knows better why.
    """
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(
            confined_argv(argv, Reach((reached,))),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
        )
        trouble: UsageError | None = None
        with process:
            if process.stdout is None:
                raise AssertionError("it is a pipe")
            try:
                yield process.stdout
            except UsageError as problem:
                trouble = problem
            except BaseException:
                process.kill()
                raise
            # To its end, where that is near: it may have something to say of it.
            if len(process.stdout.read(_DRAIN_BYTES)) == _DRAIN_BYTES:
                process.kill()
                raise trouble or UsageError(f"cannot unpack the kernel {name}: it goes on behind its end")
        if process.returncode == NOT_FOUND:
            raise HostError(f"cannot read the kernel {name}: there is no {argv[0]}", hint=f"apt install {package}")
        if process.returncode:
            complaints.seek(0)
            lines = complaints.read(_COMPLAINT_BYTES).decode(errors="replace").strip().splitlines()
            reason = next((line for line in lines if not _SAYS_NOTHING.search(line)), "it is damaged or cut short")
            raise UsageError(f"cannot read the kernel {name}: {reason}", hint=_NO_ARCHIVE) from trouble
        if trouble:
            raise trouble
