"""What a project's own files tell about it: its name and version, and how projects of its kind are tested."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from vmtasks.project.changelog import CHANGELOG, SourcePackage
from vmtasks.project.detected import Detected
from vmtasks.project.kinds import (
    autotools,
    cmake,
    debian_package,
    golang,
    kernel_module,
    make,
    meson,
    node,
    python,
    python_tree,
    rust,
)
from vmtasks.project.kinds.kind import Guess, Kind, Tree, Way
from vmtasks.project.kinds.suites import suite_with

KINDS: tuple[Kind, ...] = (
    debian_package.look,
    kernel_module.look,
    autotools.look,
    rust.look,
    golang.look,
    make.look,
    python.look,
    meson.look,
    cmake.look,
    node.look,
    python_tree.look,
)
"""Of several that know a tree, the first that has a command tests it, and the first that has one makes its release."""
_OF_VARIANT = {"kernel": "it has the headers of the kernel that runs there"}
"""Why an image is chosen that is for more than builds."""
_OF_NODE, _OF_DEBIAN = "package.json", "debian/control"
"""Beside what builds the project, package.json lists tools of its authors: what npm packs is no release of it."""
_NAMES_FIRST = "pyproject.toml"
"""What tells a project's name better than whatever builds it."""


def detect(root: Path) -> Detected:
    """Look at a project.

    :raise UsageError: one of the files that tell is not as it should be.
    """
    tree = Tree(root)
    guesses = tuple(guess for look in KINDS if (guess := look(tree)) is not None)
    tests = next((guess for guess in guesses if guess.test), None)
    is_node = all(guess.known_by in (_OF_NODE, _OF_DEBIAN) for guess in guesses)
    packs = next((guess for guess in guesses if guess.dist and (is_node or guess.known_by != _OF_NODE)), None)
    test = tests.test if tests and tests.test else Way(line="")
    dist = packs.dist if packs and packs.dist else Way(line="")
    suite, note = suite_with(*_tool(guesses, tests))
    name, version = _identity(root, guesses)
    # A command of the project's own needs the tools all the same.
    packages = (*_tools(guesses, tests or next(iter(guesses), None), packs), *test.packages, *dist.packages)
    return Detected(
        name=name,
        version=version,
        guesses=guesses,
        test=test,
        dist=dist,
        packages=tuple(dict.fromkeys(packages)),
        suite=suite,
        variant=tests.variant if tests else "build",
        note=note or (_OF_VARIANT.get(tests.variant, "") if tests else ""),
    )


def _tools(guesses: tuple[Guess, ...], *chosen: Guess | None) -> Iterator[str]:
    """Yield the packages of the tools: those of the chosen kinds, and of all if it is a makefile that calls them."""
    calls_others = any(guess and not guess.packages for guess in chosen)
    for guess in guesses:
        if calls_others or guess in chosen:
            yield from guess.packages


def _tool(guesses: tuple[Guess, ...], tests: Guess | None) -> tuple[str, str]:
    wants = [guess.tool for guess in (tests, *guesses) if guess and guess.tool[1]]
    return wants[0] if wants else ("", "")


def _identity(root: Path, guesses: tuple[Guess, ...]) -> tuple[str, str]:
    """Return the project's name, and its version if something tells it."""
    if os.path.lexists(root / CHANGELOG):
        package = SourcePackage.of(root)
        return package.name, package.upstream_version
    named = sorted((guess for guess in guesses if guess.name), key=lambda guess: guess.known_by != _NAMES_FIRST)
    return (named[0].name, named[0].version) if named else (root.name or "project", "")
