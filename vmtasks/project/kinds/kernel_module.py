"""A kernel module: built by Kbuild, against the newest kernel headers in the machine."""

from __future__ import annotations

import re

from vmtasks.project.kinds.kind import Guess, Tree, Way

_MODULE = re.compile(r"^[ \t]*obj-(?:m|\$\([\w-]++\))[ \t]*+[:+]?=", re.MULTILINE)
_DKMS = re.compile(r"^PACKAGE_(NAME|VERSION)=[\"']?([\w.+~-]++)", re.MULTILINE)
_HEADERS = '"$(ls -d /lib/modules/*/build | sort -V | tail -n 1)"'


def look(tree: Tree) -> Guess | None:
    """Look for a makefile of Kbuild's, at the root or in ``src``."""
    for directory in ("", "src/"):
        for name in ("Kbuild", "Makefile"):
            if "obj-m" in (text := tree.text(directory + name)) and _MODULE.search(text):
                settings = dict(_DKMS.findall(tree.first_text("dkms.conf", "dkms.conf.in")))
                return Guess(
                    kind="a kernel module",
                    known_by=directory + name,
                    name=settings.get("NAME", ""),
                    version=settings.get("VERSION", ""),
                    packages=("linux-headers-amd64", "kmod"),
                    test=Way(line=f'make -C {_HEADERS} M="$PWD{"/src" if directory else ""}" modules'),
                )
    return None
