"""What a Debian build's environment says of profiles and options, and who has the last word on it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from vmtasks import Project
from vmtasks.project.profiles import OPTIONS, PROFILES, build_env


def project(tmp_path: Path, toml: str = "", environ: Mapping[str, str] | None = None) -> Project:
    (tmp_path / "vmtasks.toml").write_text(toml)
    return Project.load(tmp_path, environ or {})


@pytest.mark.parametrize(
    ("toml", "environ", "profiles", "options"),
    [
        ("", {}, None, None),
        ('[commands]\nenv = { DEB_BUILD_PROFILES = "stage1", DEB_BUILD_OPTIONS = "terse" }', {}, "stage1", "terse"),
        ('[build]\nprofiles = ["stage1", "cross"]\noptions = ["terse", "noopt"]', {}, "stage1 cross", "terse noopt"),
        ('[build]\nprofiles = ["a"]\n[commands]\nenv = { DEB_BUILD_PROFILES = "b" }', {}, "a", None),
        ('[build]\nprofiles = ["a"]', {"VMTASKS_BUILD_PROFILES": "b c", "VMTASKS_BUILD_OPTIONS": "x"}, "b c", "x"),
        ('[build]\nprofiles = ["a"]\noptions = ["terse"]', {PROFILES: "b", OPTIONS: "noopt"}, "b", "noopt"),
        ('[build]\nprofiles = ["a"]', {PROFILES: ""}, "a", None),
        ("", {PROFILES: "x,y  z"}, "x y z", None),
        ("", {PROFILES: "nocheck"}, "nocheck", "nocheck"),
        ("", {PROFILES: "nodoc stage1", OPTIONS: "terse"}, "nodoc stage1", "terse nodoc"),
        ("", {PROFILES: "nocheck", OPTIONS: "nocheck"}, "nocheck", "nocheck"),
        ("", {OPTIONS: "nocheck"}, None, "nocheck"),
    ],
)  # fmt: skip
def test_the_caller_goes_before_the_project(
    tmp_path: Path, toml: str, environ: dict[str, str], profiles: str | None, options: str | None
) -> None:
    env = build_env(project(tmp_path, toml, environ), environ)
    assert (env.get(PROFILES), env.get(OPTIONS)) == (profiles, options)


def test_a_source_package_has_the_callers(tmp_path: Path) -> None:
    environ = {"VMTASKS_BUILD_PROFILES": "nodoc"}
    of_file = Project.of_file(tmp_path / "thing_1.dsc", environ)
    assert build_env(of_file, environ) == {PROFILES: "nodoc", OPTIONS: "nodoc"}


def test_the_rest_of_the_environment_stays(tmp_path: Path) -> None:
    loaded = project(tmp_path, '[commands]\nenv = { LC_ALL = "C", DEB_BUILD_PROFILES = " " }')
    assert build_env(loaded, {}) == {"LC_ALL": "C"}
