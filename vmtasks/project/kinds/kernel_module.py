"""A kernel module: built by Kbuild, against the headers of the kernel that runs in the machine, or else the newest."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Iterator

from vmtasks.project.kinds.kind import Guess, Tree, Way

_MODULE = re.compile(r"^[ \t]*obj-(?:m|\$\([\w-]++\))[ \t]*+[:+]?=", re.MULTILINE)
_DKMS = re.compile(r"^PACKAGE_(NAME|VERSION)=[\"']?([\w.+~-]++)", re.MULTILINE)
_MAKES = re.compile(r"^(?:MAKE(?:\[0\])?|BUILT_MODULE_LOCATION\[[0-9]++\])=[^\n]*+", re.MULTILINE)
"""The lines of dkms.conf that tell where in the tree the module is built."""
_PLACE = re.compile(
    r"""(?:-C[ \t]*+|\bM=|LOCATION\[[0-9]++\]=|/build/)["']?(?:\$[\w{}()]++/|\./)*+([\w.+-][\w./+-]*+)"""
)
_HEADERS = '"$(ls -d "/lib/modules/$(uname -r)/build" 2>/dev/null || ls -d /lib/modules/*/build | sort -V | tail -n 1)"'

_BUILT = (
    """{ [ -n "$(find . -name '*.ko' -print -quit)" ] || """
    "{ echo 'No module was built: is its obj-$(CONFIG_...) set in this kernel?' >&2; false; }; }"
)
"""Where the kernel's configuration has none of it as a module, Kbuild is content."""


def look(tree: Tree) -> Guess | None:
    """Look for a makefile of Kbuild's: at the root, in ``src``, or in a directory that dkms.conf names."""
    settings = tree.first_text("dkms.conf", "dkms.conf.in")
    for directory in ("", "src", *_places(settings)):
        for name in ("Kbuild", "Makefile"):
            path = posixpath.join(directory, name)
            if "obj-m" in (text := tree.text(path)) and _MODULE.search(text):
                told = dict(_DKMS.findall(settings))
                place = shlex.quote(directory)
                return Guess(
                    kind="a kernel module",
                    known_by=path,
                    name=told.get("NAME", ""),
                    version=told.get("VERSION", ""),
                    packages=("linux-headers-amd64", "kmod"),
                    test=Way(
                        line=f'make -C {_HEADERS} M="$PWD"{f"/{place}" if directory else ""} modules && {_BUILT}',
                        as_root=True,
                    ),
                    variant="kernel",
                )
    return None


def _places(settings: str) -> Iterator[str]:
    """Yield the directories of the tree that dkms.conf names."""
    for line in _MAKES.findall(settings):
        for found in _PLACE.findall(line):
            place = posixpath.normpath(re.split(r"(?:^|/)build/", found)[-1])  # where dkms has a copy of the tree
            if place != "." and not place.startswith((".", "/", "lib/modules")):
                yield place
