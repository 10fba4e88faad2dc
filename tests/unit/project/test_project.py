"""What a project says, what is found out about it, and which of its files travel."""

from __future__ import annotations

import json
import os
import subprocess
import tomllib
from contextlib import suppress
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from vmtasks.config.settings import HostSettings
from vmtasks.errors import UsageError
from vmtasks.project import (
    Artifacts,
    Commands,
    Images,
    MachineSettings,
    Project,
    SourcePackage,
    SourceSettings,
    left_behind,
    source_date_epoch,
    tree_files,
)

REFERENCE = Path(__file__).parents[3] / "docs" / "vmtasks.toml.md"

CHANGELOG = """\
hello (1:2.10-3) unstable; urgency=medium

  * Say hello.

 -- Ida Sample <ida@example.org>  Wed, 01 Jan 2025 01:00:00 +0100

hello (2.9-1) unstable; urgency=low

  * First.

 -- Ida Sample <ida@example.org>  Mon, 01 Jan 2024 00:00:00 +0000
"""


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def git(root: Path, *arguments: str, date: str = "2025-03-01T00:00:00Z") -> None:
    """Run git as somebody whose own configuration does not matter."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_COMMITTER_DATE": date,
        "GIT_AUTHOR_DATE": date,
    }
    identity = ["-c", "user.name=Ida", "-c", "user.email=ida@example.org", "-c", "protocol.file.allow=always"]
    subprocess.run(["git", "-C", str(root), *identity, *arguments], env=environ, check=True, capture_output=True)


def checkout(root: Path, files: dict[str, str]) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    git(root, "init", "--quiet")
    write(root, files)
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message=all")
    return root


def names(root: Path) -> list[str]:
    return [str(path) for path in tree_files(root)]


# What the project says


def test_a_bare_directory_has_defaults(tmp_path: Path) -> None:
    root = tmp_path / "my project"
    root.mkdir()
    assert Project.load(root, {}) == Project(root=root, name="my project")
    assert Project.load(root, {}).version == ""


def test_every_key_is_read(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "vmtasks.toml": """
            name = "hello"
            images = { build = "trixie-build", install = "trixie" }
            machine = { memory_mib = 2048, cpus = 1, network = "none" }
            [commands]
            dist = "make release"
            test = "make check"
            smoke = "hello"
            timeout_s = 60
            packages = ["bison"]
            env = { KEY = "value" }
            env_from = ["TOKEN"]
            [artifacts]
            dist = ["*.tar.xz"]
            test = ["log/*"]
            [source]
            git = true
            version = "1.2"
            orig = "tree"
            """
        },
    )
    assert Project.load(tmp_path, {"VMTASKS_ENV_ALLOWED": "TOKEN"}) == Project(
        root=tmp_path,
        name="hello",
        images=Images(build="trixie-build", install="trixie"),
        machine=MachineSettings(memory_mib=2048, cpus=1, network="none"),
        commands=Commands(
            dist="make release",
            test="make check",
            smoke="hello",
            timeout_s=60.0,
            packages=("bison",),
            env={"KEY": "value"},
            env_from=("TOKEN",),
        ),
        artifacts=Artifacts(dist=("*.tar.xz",), test=("log/*",)),
        source=SourceSettings(git=True, version="1.2", orig="tree"),
        version="1.2",
        has_own_dist=True,
    )


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    write(tmp_path, {"vmtasks.toml": 'commands = { test = "a", dist = "b" }\nmachine = { cpus = 1 }\n'})
    environ = {"VMTASKS_TEST": "make fast", "VMTASKS_CPUS": "4", "VMTASKS_DIST": "", "VMTASKS_PACKAGES": "bison flex"}
    project = Project.load(tmp_path, environ)
    assert (project.commands.test, project.commands.dist, project.machine.cpus) == ("make fast", "b", 4)
    assert project.commands.packages == ("bison", "flex")


def test_a_project_may_name_a_host_for_clean_machines_and_nothing_else(tmp_path: Path) -> None:
    def on(setting: str, **environ: str) -> str:
        return Project.load(
            write(tmp_path, {"vmtasks.toml": f'machine = {{ on = "{setting}" }}\n'}), environ
        ).machine.on

    assert on("alice@big") == "alice@big"
    assert on("alice@big", VMTASKS_ON="ssh://board") == "ssh://board", "users may"
    for setting in ("ssh://root@localhost", "ec2", "ec2:eu-central-1"):
        with pytest.raises(UsageError, match=r"\[machine\] on = .*: a project may name a host for its clean machines"):
            on(setting)


def test_a_project_gets_the_variables_that_the_hosts_settings_give_away_and_no_others(tmp_path: Path) -> None:
    def env_from(*names: str, **environ: str) -> tuple[str, ...]:
        project = write(tmp_path, {"vmtasks.toml": f"commands = {{ env_from = {json.dumps(names)} }}\n"})
        return Project.load(project, environ).commands.env_from

    assert env_from("LANG", "LC_ALL", "SOURCE_DATE_EPOCH") == ("LANG", "LC_ALL", "SOURCE_DATE_EPOCH")
    assert env_from("CI_TOKEN", VMTASKS_ENV_ALLOWED="CI_* OTHER") == ("CI_TOKEN",)
    assert env_from("TOKEN", VMTASKS_ENV_FROM="TOKEN OTHER") == ("TOKEN", "OTHER"), "users may"
    assert env_from("TOKEN", VMTASKS_ENV_FROM=" ") == ()
    config = tmp_path / "config.toml"
    config.write_text('env_allowed = ["TOKEN"]\n')
    assert env_from("TOKEN", VMTASKS_CONFIG=str(config)) == ("TOKEN",)
    with pytest.raises(UsageError, match=r"its settings do not give to projects: KEY$") as no:
        env_from("TOKEN", "KEY", VMTASKS_CONFIG=str(config))
    assert 'env_allowed = ["TOKEN", "KEY"]' in no.value.hint
    assert "VMTASKS_ENV_ALLOWED=KEY;" in no.value.hint
    for name in ("AWS_SECRET_ACCESS_KEY", "HOME", "lang", "LANGUAGES", "*", ""):
        with pytest.raises(UsageError, match="do not give to projects"):
            env_from(name)


def test_what_is_found_out_stays_where_the_file_is_silent(tmp_path: Path) -> None:
    write(tmp_path, {"Makefile": "dist check:\n", "vmtasks.toml": 'commands = { test = "mine" }\n'})
    commands = Project.load(tmp_path, {}).commands
    assert (commands.dist, commands.test) == ("make dist", "mine")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("[machine]\nmemroy_mib = 1\n", "unknown key 'memroy_mib' in [machine]; did you mean 'memory_mib'?"),
        (
            '[machine]\nmemory_mib = "2G"\n',
            "key 'memory_mib' in [machine] must be a whole number of at least 64 (memory in MiB), not the text \"2G\"",
        ),
        (
            "root = '/'\n",
            "unknown key 'root'; known are 'name', 'images', 'machine', 'commands', 'build', 'install', 'artifacts', "
            "'source', 'paths'",
        ),
    ],
)
def test_mistakes_in_the_file_are_told(tmp_path: Path, content: str, sentence: str) -> None:
    write(tmp_path, {"vmtasks.toml": content})
    with pytest.raises(UsageError) as caught:
        Project.load(tmp_path, {})
    assert str(caught.value) == f"{tmp_path}/vmtasks.toml: {sentence}"


def test_a_bad_variable_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="environment variable VMTASKS_MEMORY_MIB must be a whole number"):
        Project.load(tmp_path, {"VMTASKS_MEMORY_MIB": "2G"})


def test_the_project_must_be_a_directory(tmp_path: Path) -> None:
    write(tmp_path, {"file": ""})
    with pytest.raises(UsageError, match=r"cannot open the project .*/nowhere: No such file or directory"):
        Project.load(tmp_path / "nowhere", {})
    with pytest.raises(UsageError, match=r"cannot open the project .*/file: Not a directory"):
        Project.load(tmp_path / "file", {})


def test_the_root_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    assert Project.load(Path("../b"), {}).root == tmp_path / "b"
    assert Project.load(Path(), {}).name == "a"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Project.load(Path("~/b"), {}).root == tmp_path / "b"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("trixie", ("trixie-build", "trixie")),
        ("trixie-build", ("trixie-build", "trixie")),
        ("bookworm-i386", ("bookworm-i386", "bookworm-i386")),
        ("lonely-build", ("lonely-build", "lonely-build")),
    ],
)
def test_one_image_stands_for_its_pair(tmp_path: Path, name: str, expected: tuple[str, str]) -> None:
    images = write(tmp_path / "images", {"trixie.toml": "", "trixie-build.toml": "", "lonely-build.toml": ""})
    root = tmp_path / "project"
    root.mkdir()
    environ = {"VMTASKS_IMAGES": str(images), "VMTASKS_IMAGE": name}
    found = Project.load(root, environ).images
    assert (found.build, found.install) == expected
    assert Project.load(root, environ | {"VMTASKS_INSTALL_IMAGE": "other"}).images == Images(
        build=expected[0], install="other"
    )


@pytest.mark.parametrize("file", ["tiny_1.0-1.dsc", "tiny-1.0.tar.gz", "tiny_1.0.orig.tar.xz"])
def test_a_files_images_are_said_by_the_environment_alone(tmp_path: Path, file: str) -> None:
    images = write(tmp_path / "images", {"trixie.toml": "", "trixie-build.toml": ""})
    environ = {"VMTASKS_IMAGES": str(images), "VMTASKS_IMAGE": "trixie"}
    project = Project.of_file(tmp_path / file, environ)
    assert project.name == "tiny"
    assert project.images == Images(build="trixie-build", install="trixie")
    assert Project.of_file(tmp_path / file, environ | {"VMTASKS_BUILD_IMAGE": "mine"}).images == Images(
        build="mine", install="trixie"
    )


@pytest.mark.parametrize(
    ("setting", "environ", "expected"),
    [
        ("", {}, ("make dist", False)),
        ('dist = "make dist"', {}, ("make dist", True)),
        ('dist = ""', {}, ("", False)),
        ('test = "make check"', {}, ("make dist", False)),
        ("", {"VMTASKS_DIST": "make dist"}, ("make dist", True)),
    ],
)
def test_a_dist_command_that_is_said_is_known_from_the_usual_one(
    tmp_path: Path, setting: str, environ: dict[str, str], expected: tuple[str, bool]
) -> None:
    write(tmp_path, {"Makefile": "dist:\n", "vmtasks.toml": f"[commands]\n{setting}\n"})
    project = Project.load(tmp_path, environ)
    assert (project.commands.dist, project.has_own_dist) == expected


def test_a_version_that_is_said_goes_where_those_look_who_ask_git(tmp_path: Path) -> None:
    write(tmp_path, {"vmtasks.toml": '[source]\nversion = "1.2"\n[commands]\nenv = { PBR_VERSION = "mine" }\n'})
    project = Project.load(tmp_path, {})
    assert project.directory_name == f"{tmp_path.name}-1.2"
    assert project.env == {
        "VMTASKS_VERSION": "1.2", "SETUPTOOLS_SCM_PRETEND_VERSION": "1.2", "PBR_VERSION": "mine",
    }  # fmt: skip
    assert Project.load(tmp_path, {"VMTASKS_VERSION": "2"}).version == "2"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a b", "a b"), ("a[1]", "a[1]"), ("../../etc", "etc"), ("a/b", "a-b"), ("-rf", "rf"), (".", "project")],
)
def test_a_projects_directory_is_one(tmp_path: Path, name: str, expected: str) -> None:
    assert Project(root=tmp_path, name=name).directory_name == expected


# What is found out


@pytest.mark.parametrize(
    ("files", "dist", "test"),
    [
        ({"Makefile": "all: ; true\n"}, "", ""),
        ({"Makefile": ".PHONY: dist test\ndist test: all\n\ttrue\n"}, "make dist", "make test"),
        ({"Makefile": "check:: test\n\ttrue\ntest:\n"}, "", "make check"),
        ({"Makefile": "dist := dist\ncheck ::= 1\ntest = a:b\n"}, "", ""),
        ({"GNUmakefile": "all:\n", "Makefile": "dist:\n"}, "", ""),
        ({"setup.py": ""}, "python3 -m build --sdist", ""),
        ({"pyproject.toml": "[tool.ruff]\n", "tests/a": ""}, "", ""),
        (
            {"pyproject.toml": "[project]\nname = 'a'\n", "tests/test_a.py": ""},
            "python3 -m build --sdist",
            "python3 -m venv",
        ),
        (
            {"pyproject.toml": "[project]\n", "Makefile": "check:\n\t./run\n", "test/a": ""},
            "python3 -m build",
            "make check",
        ),
        (
            {"configure.ac": "", "Makefile.am": "TESTS = a\n", "Makefile": "all:\n"},
            "autoreconf --force --install && ./configure && make dist",
            "autoreconf --force --install && ./configure && make check",
        ),
    ],
)
def test_the_usual_commands(tmp_path: Path, files: dict[str, str], dist: str, test: str) -> None:
    commands = Project.load(write(tmp_path, files), {}).commands
    assert commands.dist.startswith(dist)
    assert bool(commands.dist) == bool(dist)
    assert commands.test.startswith(test)
    assert bool(commands.test) == bool(test)


def test_the_usual_commands_come_with_their_packages(tmp_path: Path) -> None:
    write(tmp_path, {"pyproject.toml": "[build-system]\nrequires = ['Hatchling>=1', 'hatch-vcs']\n", "tests/a.py": ""})
    found = Project.load(tmp_path, {}).commands.packages
    tools = ("python3-build", "python3-pip", "python3-venv")
    assert found == (*tools, "python3-hatchling", "python3-hatch-vcs", "python3-pytest")
    write(tmp_path, {"Makefile": "check:\n\t./run\n"})
    assert Project.load(tmp_path, {}).commands.packages == (*tools, "python3-hatchling", "python3-hatch-vcs")
    write(tmp_path, {"vmtasks.toml": "commands = { packages = [] }\n"})
    assert Project.load(tmp_path, {}).commands.packages == ()


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"debian/changelog": CHANGELOG, "pyproject.toml": "[project]\nname='other'\n"}, ("hello", "2.10")),
        ({"pyproject.toml": "[project]\nname = 'snake'\nversion = '1.2'\n"}, ("snake", "1.2")),
        ({"pyproject.toml": "[project]\nname = 'snake'\ndynamic = ['version']\n"}, ("snake", "")),
        ({"configure.ac": "dnl\nAC_INIT([GNU Hello],[2.12],[bug@example.org])\n"}, ("hello", "2.12")),
        ({"configure.ac": "AC_INIT(hello, 1.0)\n"}, ("hello", "1.0")),
        ({"configure.ac": "AC_INIT([hello], m4_esyscmd([./version]))\n"}, ("project", "")),
        ({"pyproject.toml": "project = 3\n"}, ("project", "")),
    ],
)
def test_name_and_version(tmp_path: Path, files: dict[str, str], expected: tuple[str, str]) -> None:
    project = Project.load(write(tmp_path / "project", files), {})
    assert (project.name, project.version) == expected


def test_a_broken_pyproject_is_told(tmp_path: Path) -> None:
    write(tmp_path, {"pyproject.toml": "[project\n"})
    with pytest.raises(UsageError, match=r"cannot read .*/pyproject.toml: it is not valid TOML: .*line 1"):
        Project.load(tmp_path, {})


def test_the_source_package(tmp_path: Path) -> None:
    write(tmp_path, {"debian/changelog": CHANGELOG})
    project = Project.load(tmp_path, {})
    assert not project.is_packaged
    assert project.source_package == SourcePackage(name="hello", version="1:2.10-3")
    assert project.source_package.upstream_version == "2.10"
    write(tmp_path, {"debian/control": ""})
    assert project.is_packaged


# The date of the sources


def test_the_date_is_that_of_the_changelog(tmp_path: Path) -> None:
    checkout(tmp_path, {"debian/changelog": CHANGELOG})
    assert source_date_epoch(tmp_path) == 1735689600


def test_a_changelog_without_date_leaves_it_to_the_commit(tmp_path: Path) -> None:
    checkout(tmp_path, {"debian/changelog": CHANGELOG.replace("Wed, 01 Jan 2025", "yesterday")})
    assert source_date_epoch(tmp_path) == 1740787200


def test_the_date_is_that_of_the_last_commit_below(tmp_path: Path) -> None:
    checkout(tmp_path, {"part/a": "1"})
    write(tmp_path, {"other": "1"})
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--message=other", date="2025-04-01T00:00:00Z")
    assert source_date_epoch(tmp_path / "part") == 1740787200
    assert source_date_epoch(tmp_path) == 1743465600


def test_the_date_is_that_of_the_newest_file(tmp_path: Path) -> None:
    write(tmp_path, {"old": "", "new": ""})
    os.utime(tmp_path / "old", (1000, 1000))
    os.utime(tmp_path / "new", (2000, 2000))
    assert source_date_epoch(tmp_path) == 2000
    git(tmp_path, "init", "--quiet")
    assert source_date_epoch(tmp_path) == 2000, "a checkout without a commit has no date"


# The files that travel


def test_a_checkout_gives_tracked_and_new_files_but_not_ignored_ones(tmp_path: Path) -> None:
    root = checkout(tmp_path / "a b", {".gitignore": "*.o\n", "src/main.c": "", "gone": "", "with space": ""})
    write(root, {"main.o": "", "new": "", "build/vmtasks/log": "", ".venv/x": "", "src/__pycache__/y": ""})
    (root / "gone").unlink()
    (root / "empty").mkdir()
    assert names(root) == [".gitignore", "new", "src/main.c", "with space"]


def test_tracked_byproducts_travel(tmp_path: Path) -> None:
    root = checkout(tmp_path, {"sub/.venv/kept": ""})
    assert names(root) == ["sub/.venv/kept"]


def test_links_stay_links(tmp_path: Path) -> None:
    root = checkout(tmp_path / "git", {"dir/a": ""})
    (root / "to-dir").symlink_to("dir")
    (root / "dangling").symlink_to("nowhere")
    assert names(root) == ["dangling", "dir/a", "to-dir"]
    plain = write(tmp_path / "plain", {"dir/a": ""})
    (plain / "to-dir").symlink_to("dir")
    (plain / "dangling").symlink_to("nowhere")
    assert names(plain) == ["dangling", "dir/a", "to-dir"]


def test_a_link_that_took_the_place_of_a_tracked_directory(tmp_path: Path) -> None:
    root = checkout(tmp_path, {"dir/a": "", "other/a": ""})
    (root / "dir/a").unlink()
    (root / "dir").rmdir()
    (root / "dir").symlink_to("other")
    assert names(root) == ["dir", "other/a"]


def test_names_need_not_be_utf8(tmp_path: Path) -> None:
    root = checkout(tmp_path, {"a": ""})
    odd = os.fsdecode(b"caf\xe9\nx")
    (root / odd).touch()
    assert names(root) == ["a", odd]


def test_a_part_of_a_larger_checkout(tmp_path: Path) -> None:
    checkout(tmp_path, {"top": "", "part/a": "", "part/sub/b": "", ".gitignore": "*.log\n"})
    write(tmp_path, {"part/new": "", "part/x.log": ""})
    assert names(tmp_path / "part") == ["a", "new", "sub/b"]


def test_a_part_that_the_larger_checkout_ignores_is_none_of_it(tmp_path: Path) -> None:
    checkout(tmp_path, {".gitignore": "/scratch\n"})
    write(tmp_path, {"scratch/a": "", "scratch/b.log": ""})
    assert names(tmp_path / "scratch") == ["a", "b.log"]


def test_a_checkout_that_ignores_everything_is_empty(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    write(tmp_path, {".git/info/exclude": "*\n", "secret": ""})
    assert names(tmp_path) == []


def test_submodules_travel(tmp_path: Path) -> None:
    inner = checkout(tmp_path / "inner", {"lib.c": "", ".gitignore": "*.o\n"})
    outer = checkout(tmp_path / "outer", {"main.c": ""})
    git(outer, "submodule", "add", str(inner), "third/inner")
    write(outer, {"third/inner/lib.o": ""})
    assert names(outer) == [".gitmodules", "main.c", "third/inner/.gitignore", "third/inner/lib.c"]
    git(outer, "submodule", "deinit", "--force", "third/inner")
    assert names(outer) == [".gitmodules", "main.c"]


def test_git_variables_of_a_hook_do_not_mislead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = checkout(tmp_path / "a", {"a": ""})
    write(root, {".git/info/exclude": "secret\n", "secret": ""})
    other = checkout(tmp_path / "b", {"b": ""})
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git/index"))
    assert names(root) == ["a"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a checkout away")
def test_a_checkout_may_be_somebody_elses(tmp_path: Path) -> None:
    root = checkout(tmp_path, {".gitignore": "*.o\n", "a": ""})
    write(root, {"a.o": ""})
    for path in (root, *root.rglob("*")):
        os.chown(path, 12345, 12345)
    assert names(root) == [".gitignore", "a"]


def test_nothing_of_the_project_runs_on_the_host(tmp_path: Path) -> None:
    root = checkout(tmp_path / "root", {"a": ""})
    hook = write(tmp_path, {"hook": f"#!/bin/sh\ntouch '{tmp_path}/ran'\n"}) / "hook"
    hook.chmod(0o755)
    git(root, "config", "core.fsmonitor", str(hook))
    git(root, "status")
    assert (tmp_path / "ran").exists(), "the trap must work without our care"
    (tmp_path / "ran").unlink()
    assert names(root) == ["a"]
    source_date_epoch(root)
    assert not (tmp_path / "ran").exists()


def test_git_fetches_nothing_that_a_checkout_lacks(tmp_path: Path) -> None:
    root = checkout(tmp_path / "root", {"a": "", "below/b": ""})
    for name, value in (
        ("core.repositoryFormatVersion", "1"),
        ("extensions.partialClone", "origin"),
        ("remote.origin.promisor", "true"),
        ("remote.origin.url", str(tmp_path / "nowhere")),
        ("remote.origin.uploadpack", f"touch '{tmp_path}/ran'; false"),
    ):
        git(root, "config", name, value)
    tree = subprocess.run(["git", "rev-parse", "HEAD:below"], cwd=root, capture_output=True, text=True, check=True)
    lost = tree.stdout.strip()
    (root / ".git" / "objects" / lost[:2] / lost[2:]).unlink()
    subprocess.run(["git", "ls-tree", "-r", "HEAD"], cwd=root, capture_output=True, check=False)
    assert (tmp_path / "ran").exists(), "the trap must work without our care"
    (tmp_path / "ran").unlink()
    with suppress(UsageError):  # it may complain, and must not fetch
        source_date_epoch(root)
    with suppress(UsageError):
        tree_files(root)
    assert not (tmp_path / "ran").exists()


def test_a_broken_checkout_is_told(tmp_path: Path) -> None:
    root = checkout(tmp_path, {"a": ""})
    (root / ".git/index").write_bytes(b"rubbish, and enough of it to look like an index file")
    with pytest.raises(UsageError, match=r"cannot look into the checkout .*: git says '"):
        tree_files(root)


def test_elsewhere_all_but_byproducts_travels(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "a": "",
            "b/c": "",
            "build/out": "",
            "build/vmtasks/log": "",
            "b/build/vmtasks/kept": "",
            ".venv/x": "",
            "b/__pycache__/x": "",
            "b/.git": "gitdir: ../nowhere",
        },
    )
    os.mkfifo(tmp_path / "pipe")
    assert names(tmp_path) == ["a", "b/build/vmtasks/kept", "b/c", "build/out"]


def test_without_git_all_but_byproducts_travels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = checkout(tmp_path / "root", {"a": "", ".gitignore": "*.o\n"})
    write(root, {"a.o": ""})
    monkeypatch.setenv("PATH", str(tmp_path))
    assert names(root) == [".gitignore", "a", "a.o"]


# What stays behind


def test_what_stays_behind_is_told(tmp_path: Path) -> None:
    inner = checkout(tmp_path / "inner", {"lib.c": ""})
    root = checkout(tmp_path / "outer", {"a": "", ".gitignore": "ignored\n", "kept/.keep": ""})
    git(root, "submodule", "add", str(inner), "third/inner")
    git(root, "commit", "--quiet", "--message=inner")
    assert left_behind(root) == []
    git(root, "submodule", "deinit", "--force", "third/inner")
    for name in ("obj", "deep/er", "ignored", "new/sub", "m", "n"):
        (root / name).mkdir(parents=True)
    (root / "new" / "file").touch()
    (root / "out").symlink_to("/etc")
    (root / "up").symlink_to("../inner/lib.c")
    (root / "inside").symlink_to("kept/../a")
    assert left_behind(root) == [
        "empty directories stay on the host: deep, m, n and 1 more",
        "submodules are not checked out: third/inner",
        "links lead out of the tree, to what the machine has not: out, up",
    ]


def test_what_stays_behind_is_told_elsewhere_too(tmp_path: Path) -> None:
    write(tmp_path, {"a": ""})
    for name in ("obj", "deep/er", ".venv/lib", "build/vmtasks/test-in-vm-1/artifacts"):
        (tmp_path / name).mkdir(parents=True)
    assert left_behind(tmp_path) == ["empty directories stay on the host: deep/er, obj"]


# The reference


def _settings(cls: Any, path: str = "") -> dict[str, str]:
    """Return every key of a dataclass, dotted, with its variable."""
    found: dict[str, str] = {}
    for field in fields(cls):
        if field.metadata.get("key", field.name) is None:
            continue
        inner = field.default if is_dataclass(field.default) else field.default_factory
        if is_dataclass(inner):
            found |= _settings(inner, f"{path}{field.name}.")
        else:
            found[path + field.name] = field.metadata.get("env", "")
    return found


def test_the_reference_names_every_key_and_variable() -> None:
    rows = [line.split("|") for line in REFERENCE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    told = {row[1].strip(" `"): row[-2].strip(" `") for row in rows if len(row[1].split()) == 1}
    wanted = _settings(Project) | _settings(HostSettings)
    assert {key: told.get(key) for key in wanted} == wanted


def test_the_references_example_is_read(tmp_path: Path) -> None:
    example = REFERENCE.read_text(encoding="utf-8").split("```toml\n")[1].split("```")[0]
    write(tmp_path, {"vmtasks.toml": example})
    assert Project.load(tmp_path, {"VMTASKS_ENV_ALLOWED": "API_TOKEN"}).commands.packages == ("bison",)
    assert set(tomllib.loads(example)) == {key.split(".")[0] for key in _settings(Project)}
