"""CMake: built beside the tree, and tested by ctest if there are tests."""

from __future__ import annotations

import re

from vmtasks.project.kinds.kind import Guess, Tree, Way, wanted_by

_PROJECT = re.compile(
    r"^[ \t]*+project\s*+\(\s*+(?:\"([^\"\n]*+)\"|((?:[\w.+-]|\$\{[^}\n]*+\})++))"
    r"(?:[^)]*?\bVERSION\s++\"?([0-9][\w.]*+))?",
    re.MULTILINE | re.IGNORECASE,
)
_VARIABLE = re.compile(r"\$\{([\w.+-]++)\}")
_SET = r"^[ \t]*+set\s*+\(\s*+%s\s++\"?([\w.+-]++)\"?\s*+\)"
_OLDEST = re.compile(r"cmake_minimum_required\s*+\(\s*+VERSION\s++\"?([0-9]++(?:\.[0-9]++)*+)", re.IGNORECASE)
_TESTS = re.compile(r"\b(?:enable_testing\s*+\(|include\s*+\(\s*+CTest\b|add_test\s*+\()", re.IGNORECASE)
_OPTION = re.compile(r"^[ \t]*+option\s*+\(\s*+(\w++)\s++\"[^\"]*+\"(?:\s++OFF)?+\s*+\)", re.MULTILINE | re.IGNORECASE)
"""An option that is off by default."""
_OF_TESTS = re.compile(r"(?:\w+_)?(?:(?:BUILD|ENABLE|WITH|UNIT)_?)(?:UNIT_?)?TEST(?:S|ING)?", re.IGNORECASE)
_BUILD = 'cmake -S . -B ../build -DBUILD_TESTING=ON%s && cmake --build ../build --parallel "$(nproc)"'
_CTEST = 'ctest --test-dir ../build --output-on-failure --no-tests=error --output-junit "$PWD/ctest.xml"'
_PART = re.compile(r"^[ \t]*+add_subdirectory\s*+\(\s*+([\w./-]{1,255}+)\s*+\)", re.MULTILINE | re.IGNORECASE)
_INCLUDED = re.compile(r"^[ \t]*+include\s*+\(\s*+([\w./-]{1,250}+(?<=\.cmake))\s*+\)", re.MULTILINE | re.IGNORECASE)
_PARTS = 50
"""So many files that it includes, and directories that it adds, are looked at."""
_NEEDS = {
    "PkgConfig": ("pkg-config",),
    "find_package(ECM": ("extra-cmake-modules",),
    "find_package(GTest": ("libgtest-dev",),
    "find_package(ZLIB": ("zlib1g-dev",),
    "find_package(OpenSSL": ("libssl-dev",),
    "find_package(CURL": ("libcurl4-openssl-dev",),
    "find_package(Boost": ("libboost-all-dev",),
    "Doxygen": ("doxygen",),
}


def look(tree: Tree) -> Guess | None:
    """Look for a CMakeLists.txt at the root."""
    text = tree.text("CMakeLists.txt")
    if not (named := _PROJECT.search(text)):
        return None
    has_tests = _TESTS.search(text) or any(
        _TESTS.search(tree.text(f"{directory}/CMakeLists.txt")) for directory in ("test", "tests")
    )
    oldest = _OLDEST.search(text)
    return Guess(
        kind="a CMake project",
        known_by="CMakeLists.txt",
        name=_name(text, named[1] or named[2] or ""),
        version=named[3] or "",
        packages=("cmake", "build-essential", *wanted_by(text, _NEEDS)),
        tool=("cmake", oldest[1] if oldest else ""),
        test=Way(line=f"{_BUILD % _options(tree, text)} && {_CTEST}", artifacts=("ctest.xml",)) if has_tests else None,
    )


def _options(tree: Tree, text: str) -> str:
    """Return the options that turn on tests which are off by default, of the project and of the parts that it names."""
    parts = [*_INCLUDED.findall(text), *(f"{name}/CMakeLists.txt" for name in _PART.findall(text))]
    texts = (text, *(tree.text(name) for name in parts[:_PARTS] if ".." not in name and not name.startswith("/")))
    names = (name for one in texts for name in _OPTION.findall(one) if _OF_TESTS.fullmatch(name))
    return "".join(f" -D{name}=ON" for name in dict.fromkeys(names) if name.upper() != "BUILD_TESTING")


def _name(text: str, name: str) -> str:
    """Return a project's name with its variables filled in; empty where one of them is set elsewhere."""
    for variable in {*_VARIABLE.findall(name)}:
        if found := re.search(_SET % re.escape(variable), text, re.MULTILINE | re.IGNORECASE):
            name = name.replace(f"${{{variable}}}", found[1])
    return "" if "$" in name else re.sub(r"[^\w.+-]+", "-", name.lower()).strip("-")
