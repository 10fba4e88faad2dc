"""debian/ beside what it repeats: the system packages, the Python packages and the version have one home each."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from vmtasks import __version__
from vmtasks.bootstrap import PACKAGES
from vmtasks.config import toml
from vmtasks.project.changelog import SourcePackage
from vmtasks.project.project import Project

ROOT = Path(__file__).resolve().parents[2]
_FIELD = re.compile(r"^([A-Za-z-]+):((?:.*\n)(?:[ \t].*\n)*)", re.MULTILINE)
_PACKAGE = re.compile(r"([a-z0-9][a-z0-9.+-]+)(?: \(>= ([^)]+)\))?")


def relations(field: str) -> dict[str, str]:
    """Return the packages that a field of debian/control names, and the oldest version of each."""
    both = (ROOT / "debian/control").read_text(encoding="utf-8").split("\n\n")
    (text,) = (dict(_FIELD.findall(part + "\n"))[field] for part in both if field in dict(_FIELD.findall(part + "\n")))
    return {found[1]: found[2] or "" for one in text.split(",") if (found := _PACKAGE.match(one.strip()))}


def test_what_setup_installs_is_recommended_but_for_what_holds_a_venv() -> None:
    assert set(relations("Recommends")) == set(PACKAGES) - {"python3-venv"}


def test_python_packages_are_as_new_as_the_project_needs_them() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    needed = dict(line.split(">=") for line in project["project"]["dependencies"])
    names = {"pyyaml": "python3-yaml"}
    wanted = {names.get(name, f"python3-{name}"): version for name, version in needed.items()}
    assert relations("Depends") == wanted
    assert wanted.items() <= relations("Build-Depends").items(), "manual pages are made by running it"
    (backend,) = project["build-system"]["requires"]
    assert relations("Build-Depends")["python3-hatchling"] == backend.partition(">=")[2]


def test_it_is_of_this_version() -> None:
    assert SourcePackage.of(ROOT).version == __version__
    assert (ROOT / "debian/source/format").read_text() == "3.0 (native)\n"


def test_the_project_builds_where_its_libraries_are_new_enough() -> None:
    project = Project.load(ROOT, {})
    assert project.name == "vmtasks"
    assert project.is_packaged
    assert not project.has_own_dist
    assert (project.images.build, project.images.install) == ("trixie-build", "trixie")
    assert "paths" not in toml.read(ROOT / "vmtasks.toml"), "inv in the checkout would look for recipes elsewhere"


def test_no_link_in_an_image_leads_out_of_the_tree() -> None:
    """Such links do not travel, and the tests of the package compare images with those of its source."""
    assert [path for path in (ROOT / "images").rglob("*") if path.is_symlink()] == []
