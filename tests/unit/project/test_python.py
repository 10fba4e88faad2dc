"""Python projects: what installs and tests them, and what pip is told of this host."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from vmtasks.project import pip
from vmtasks.project.kinds import python


def wanted(pyproject: dict[str, object]) -> list[str]:
    """Return what the test line has pip install."""
    install = python.venv_line(pyproject).rpartition("--no-warn-script-location ")[2].partition(" && ")[0]
    return shlex.split(install)


@pytest.mark.parametrize(
    ("pyproject", "expected"),
    [
        ({}, ["."]),
        ({"project": {"optional-dependencies": {"docs": [], "tests": ["x"], "dev": []}}}, [".[tests]"]),
        ({"project": {"optional-dependencies": {"testing": ["x"], "test": ["x"]}}}, [".[test]"]),
        ({"dependency-groups": {"dev": ["mypy", "pytest>=8"]}}, [".", "mypy", "pytest>=8"]),
        (
            {"dependency-groups": {"test": [{"include-group": "more"}, "a; python_version<'4'"], "more": ["b", "b"]}},
            [".", "b", "a; python_version<'4'"],
        ),
        ({"dependency-groups": {"test": [{"include-group": "test"}, "a"]}}, [".", "a"]),
        ({"dependency-groups": {"test": "a"}, "project": 3}, ["."]),
    ],
)
def test_what_tests_need_is_installed_with_the_project(pyproject: dict[str, object], expected: list[str]) -> None:
    assert wanted(pyproject) == expected


@pytest.mark.parametrize(
    ("requires", "expected"),
    [
        (None, ("python3-setuptools", "python3-wheel")),
        (["setuptools>=61", "Wheel"], ("python3-setuptools", "python3-wheel")),
        (["poetry_core>=1.0"], ("python3-poetry-core",)),
        (["flit-core >=3.2,<4"], ("flit",)),
        (["maturin"], ("cargo",)),
        ("setuptools", ()),
    ],
)
def test_debians_packages_of_what_builds_it(requires: object, expected: tuple[str, ...]) -> None:
    pyproject = {} if requires is None else {"build-system": {"requires": requires}}
    assert python.packages(pyproject) == ("python3-build", "python3-pip", "python3-venv", *expected)


def test_pip_is_told_of_this_hosts_index_but_of_no_password_and_no_file(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    listing = [
        ":env:.index-url='https://mirror.example.org/simple'",
        "global.index-url='https://other.example.org/simple'",
        "global.extra-index-url='file:///srv/simple\\nhttps://user:secret@example.org/simple https://a.example.org'",
        "global.find-links='/srv/wheels'",
        "install.trusted-host='a.example.org'",
        f"global.cert='{tmp_path}/ca.pem'",
        "freeze.timeout='10'",
    ]
    assert pip.of_host(listing) == {
        "PIP_INDEX_URL": "https://mirror.example.org/simple",
        "PIP_EXTRA_INDEX_URL": "https://a.example.org",
        "PIP_TRUSTED_HOST": "a.example.org",
        "PIP_CERT": f"{tmp_path}/ca.pem",
    }
    assert pip.of_host([f"global.cert='{tmp_path}/nowhere'"]) == {}
