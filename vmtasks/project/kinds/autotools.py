"""Autotools: a configure script, made or to be made."""

from __future__ import annotations

import re

from vmtasks.project.kinds.kind import Guess, Tree, Way, wanted_by
from vmtasks.project.kinds.make import targets_of

# No two parts take the same character: a stranger's file must not make them try it both ways.
_AC_INIT = re.compile(
    r"^AC_INIT\(\s*+\[?+([\w.+-]++(?: ++[\w.+-]++)*+)\s*+\]?+\s*+,\s*+\[?+([\w.+~-]++)\s*+\]?+\s*+[,)]", re.MULTILINE
)
_PACKAGES = ("autoconf", "automake", "libtool")
_NEEDS = {
    "AM_GNU_GETTEXT": ("gettext", "autopoint"),
    "AX_": ("autoconf-archive",),
    "AC_PROG_YACC": ("bison",),
    "bison": ("bison",),
    "PROG_LEX": ("flex",),
    "flex": ("flex",),
    "GTK_DOC_CHECK": ("gtk-doc-tools",),
    "PKG_CHECK_MODULES": ("pkg-config",),
    "PKG_PROG_PKG_CONFIG": ("pkg-config",),
    "_TEXINFOS": ("texinfo",),
    "dist-zstd": ("zstd",),
    "dist-zip": ("zip",),
}
"""What words of configure.ac and Makefile.am stand for."""
_LOGS = ("test-suite.log", "*/test-suite.log")


def look(tree: Tree) -> Guess | None:
    """Look for what configure is made of, or a configure that a Makefile.in was written for."""
    sources = ("configure.ac", "configure.in")
    template = tree.text("Makefile.in")
    if not tree.has(*sources) and not (tree.has("configure") and template):
        return None
    source, automake = tree.first_text(*sources), tree.text("Makefile.am")
    is_automake = tree.has("Makefile.am")
    is_made = not is_automake and tree.has("configure")
    configure = "./configure && " if is_made else "autoreconf --force --install && ./configure && "
    # With automake a Makefile is made, not read: it is there on the host at most.
    targets = frozenset({"check", "dist"}) if is_automake else targets_of(template)
    test = next((name for name in ("check", "test") if name in targets), "")
    named = _AC_INIT.search(source)
    return Guess(
        kind="an Autotools project",
        known_by=next(name for name in (*sources, "configure") if tree.has(name)),
        name=re.sub(r"\W+", "-", named[1].removeprefix("GNU ").strip().lower()) if named else "",
        # A macro's name is no version.
        version=named[2] if named and named[2][0].isdigit() else "",
        packages=() if is_made else (*_PACKAGES, *wanted_by(f"{source}\n{automake}", _NEEDS)),
        test=Way(line=f"{configure}make {test}", artifacts=_LOGS) if test else None,
        dist=Way(line=f"{configure}make dist") if "dist" in targets else None,
    )
