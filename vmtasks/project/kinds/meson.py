"""Meson: built beside the tree."""

from __future__ import annotations

import os
import re

from vmtasks.project.kinds.kind import Guess, Tree, Way, wanted_by

_PROJECT = re.compile(r"^[ \t]*+project\s*+\(\s*+'([\w .+-]++)'", re.MULTILINE)
_VERSION = re.compile(r"[^)]*?\bversion\s*+:\s*+'([0-9][\w.+~-]*+)'")
"""Behind the beginning of the project: to look for that again and again would read the file to its end each time."""
_OLDEST = re.compile(r"\bmeson_version\s*+:\s*+'\s*+>=?\s*+([0-9.]++)'")
_OPTION = re.compile(r"^[ \t]*+option\s*+\(\s*+'([\w.-]++)'([^)]*+)", re.MULTILINE)
_OF_TESTS = re.compile(r"(?:(?:build|enable|with|unit)[_-])?(?:unit[_-])?tests?")
_OFF = (
    (re.compile(r"\bvalue\s*+:\s*+false\b"), "true"),
    (re.compile(r"\bvalue\s*+:\s*+'disabled'"), "enabled"),
)
"""How an option says that it is off, and the value of the same type by which it is on."""
_RAN = (
    "{ [ -s ../build/meson-logs/testlog.json ] || "
    "{ echo 'No test was run: see in the project which option of meson setup builds its tests' >&2; false; }; }"
)
"""Without a test, Meson is content; but it makes no log then."""
_TEST = re.compile(r"^[ \t]*+test\s*+\(", re.MULTILINE)
_SUBDIR = re.compile(r"^[ \t]*+subdir\s*+\(\s*+'([\w./-]{1,255}+)'", re.MULTILINE)
_DEPTH = 3
"""So deep directories are followed, to see whether there are tests."""
_DIRECTORIES = 1000
"""So many names of them: by way of links, and of other ways to write its name, one has any number."""
_NEEDS = {
    "i18n": ("gettext",),
    "gnome": ("libglib2.0-dev",),
    "gtk_doc": ("gtk-doc-tools",),
    "cmake": ("cmake",),
    "vala": ("valac",),
    "find_program('nasm')": ("nasm",),
    "find_program('bison'": ("bison",),
    "find_program('flex'": ("flex",),
    "find_program('gperf'": ("gperf",),
    "find_installation(": ("python3",),
    "dependency('glib-2.0'": ("libglib2.0-dev",),
    "dependency('gio-2.0'": ("libglib2.0-dev",),
    "dependency('libxml-2.0'": ("libxml2-dev",),
    "dependency('zlib'": ("zlib1g-dev",),
    "dependency('openssl'": ("libssl-dev",),
    "dependency('libcurl'": ("libcurl4-openssl-dev",),
    "dependency('xcb'": ("libxcb1-dev",),
    "dependency('xcb-xkb'": ("libxcb-xkb-dev",),
    "dependency('wayland-client'": ("libwayland-dev",),
    "dependency('wayland-server'": ("libwayland-dev",),
    "dependency('wayland-protocols'": ("wayland-protocols",),
    "dependency('libdrm'": ("libdrm-dev",),
}


def look(tree: Tree) -> Guess | None:
    """Look for a meson.build at the root that begins a project."""
    text = tree.text("meson.build")
    if not (named := _PROJECT.search(text)):
        return None
    version, oldest = _VERSION.match(text, named.end()), _OLDEST.search(text)
    return Guess(
        kind="a Meson project",
        known_by="meson.build",
        name=named[1].strip().replace(" ", "-").lower(),
        version=version[1] if version else "",
        packages=("meson", "ninja-build", "pkg-config", "build-essential", *wanted_by(text, _NEEDS)),
        tool=("meson", oldest[1] if oldest else ""),
        test=Way(
            line=f"meson setup ../build{_options(tree)} && meson test -C ../build --print-errorlogs && {_RAN}",
            artifacts=("../build/meson-logs/testlog.junit.xml",),
        )
        if _has_tests(tree, text)
        else None,
    )


def _options(tree: Tree) -> str:
    """Return the options that turn on tests which are off by default."""
    values = {}
    for name, rest in _OPTION.findall(tree.first_text("meson.options", "meson_options.txt")):
        if _OF_TESTS.fullmatch(name):
            values[name] = next((on for off, on in _OFF if off.search(rest)), "")
    return "".join(f" -D{name}={value}" for name, value in values.items() if value)


def _has_tests(tree: Tree, text: str) -> bool:
    """Whether a meson.build has a test, or one of the directories that it goes into."""
    level, seen = [(".", text)], {os.path.realpath(tree.root)}
    looked_at = 0
    for depth in range(_DEPTH + 1):
        if any(_TEST.search(build) for _, build in level):
            return True
        below: list[tuple[str, str]] = []
        for directory, build in level if depth < _DEPTH else ():
            for name in sorted({name for name in _SUBDIR.findall(build) if ".." not in name}):
                if (looked_at := looked_at + 1) > _DIRECTORIES:
                    break
                if (real := os.path.realpath(tree.root / directory / name)) in seen:
                    continue
                seen.add(real)
                below.append((f"{directory}/{name}", tree.text(f"{directory}/{name}/meson.build")))
        level = below
    return False
