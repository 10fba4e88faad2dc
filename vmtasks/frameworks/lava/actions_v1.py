"""The actions of LAVA's first version, and what each of their parameters is here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from vmtasks.config import toml
from vmtasks.errors import UsageError
from vmtasks.frameworks.lava import yaml11
from vmtasks.frameworks.lava.commands import definition_of_commands
from vmtasks.frameworks.lava.definition import INSTALL_PARTS
from vmtasks.frameworks.lava.durations import LONGEST_S
from vmtasks.frameworks.lava.group_job import BootStep, DefinitionSource, ShellStep, times
from vmtasks.frameworks.lava.keys import accepted, expect_known, list_at, mapping_at
from vmtasks.frameworks.lava.mapping import LavaMapping

_BOARD = "it is for boards, and a machine here is none"
REFUSED = {
    "dummy_deploy": "each machine starts from an image; name it with deploy_linaro_image",
    "deploy_linaro_android_image": "an image here is a Debian system",
    "boot_linaro_android_image": "an image here is a Debian system",
    "lava_android_test_run": "an image here is a Debian system",
    "lava_test_run": "lava_test_shell has taken its place",
    "lava_test_install": "lava_test_shell has taken its place",
}
"""Actions that cannot be done, and why."""
_SSH = "commands go over ssh, which logs in without asking"
_LOGIN = dict.fromkeys(("login_prompt", "username", "password_prompt", "password", "login_commands"), _SSH)
_KEPT_AS_IT_IS = ("rootfstype", "bootloadertype", "boot_part", "root_part", "target_type")
"""What an image is like, which ours knows itself."""
_NO_TREE = "a machine of QEMU has no device tree of its own"


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineImage:
    """What an action deploys."""

    url: str
    where: str
    """The key that says so, for messages."""
    kernel: str = ""
    """The URL of another kernel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Image:
    image: str = field(metadata={"says": "the URL of an image"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kernel:
    kernel: str = field(metadata={"says": "the URL of a kernel"})
    rootfs: str = field(default="", metadata={"says": "the URL of an image"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shell:
    testdef_urls: tuple[str, ...] = field(default=(), metadata={"says": "URLs of test definitions"})
    timeout: int | None = field(default=None, metadata={"says": "limit in seconds", "at_least": 1})
    skip_install: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Repository:
    git_repo: str = field(default="", metadata={"says": "the URL of a repository"})
    url: str = field(default="", metadata={"says": "the URL of a definition"})
    revision: str = ""
    branch: str = ""
    testdef: str = field(default="lavatest.yaml", metadata={"says": "the path of the definition in the repository"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Commands:
    commands: tuple[str, ...] = field(metadata={"says": "lines for the shell"})
    iterations: int = field(default=1, metadata={"says": "how often all of them run", "at_least": 1})
    parser: str = field(default="", metadata={"says": "a regular expression"})
    fixupdict: tuple[str, ...] = field(default=(), metadata={"says": "WORD:RESULT"})
    timeout: int | None = field(default=None, metadata={"says": "limit in seconds", "at_least": 1})


def deploy_image(parameters: Mapping[str, Any], where: str, notes: list[str]) -> MachineImage:
    """Read deploy_linaro_image.

    :raise UsageError: it cannot be done.
    """
    refused = {
        "hwpack": "an image here is one file; give it as image",
        "rootfs": "an image here is one file; give it as image",
        "qemu_pflash": _BOARD,
        "customize": "put files into the image by the install steps of a test definition",
    }
    noted = _LOGIN | {"dtb": _NO_TREE}
    table = accepted(parameters, where, refused=refused, noted=noted, silent=_KEPT_AS_IT_IS, notes=notes)
    found = toml.parse(_Image, table, where=where)
    return MachineImage(url=named_url(found.image, f"{where}: key 'image'"), where=f"{where}.image")


def named_url(url: str, what: str) -> str:
    """Return a URL that names something.

    :param what: the key that has it, for messages.
    :raise UsageError: it is empty, which is not the same as not there.
    """
    if not url.strip():
        raise UsageError(f"{what} is empty; it must be a URL, or not be there")
    return url


def deploy_kernel(parameters: Mapping[str, Any], where: str, notes: list[str]) -> MachineImage:
    """Read deploy_linaro_kernel: the root file system is an image of ours, the kernel a Debian package.

    :raise UsageError: it cannot be done.
    """
    refused = {
        "nfsrootfs": "a machine here starts from a disk; give it as rootfs",
        "overlays": "put files into the image by the install steps of a test definition",
        **dict.fromkeys(("bootloader", "firmware", "bl1", "bl2", "bl31", "qemu_pflash"), _BOARD),
    }
    noted = _LOGIN | {"ramdisk": "the package of the kernel brings its own", "dtb": _NO_TREE}
    table = accepted(parameters, where, refused=refused, noted=noted, silent=_KEPT_AS_IT_IS, notes=notes)
    found = toml.parse(_Kernel, table, where=where)
    if not found.rootfs:
        raise UsageError(f"{where}: key 'rootfs' is missing: a machine here starts from a disk, and not from a ramdisk")
    return MachineImage(url=found.rootfs, where=where, kernel=named_url(found.kernel, f"{where}: key 'kernel'"))


def boot(parameters: Mapping[str, Any], where: str, notes: list[str]) -> BootStep:
    """Read boot_linaro_image.

    :raise UsageError: it cannot be done.
    """
    refused = {
        "boot_cmds": "a machine starts as a copy of one that has booted; an image has its own kernel options",
        "options": "the machine is as the image, and the options of `group`, have it",
    }
    noted = {"test_image_prompt": "commands go over ssh, which needs no prompt"}
    for key in accepted(parameters, where, refused=refused, noted=noted, notes=notes):
        expect_known(key, where, ("role", "repeat", "test_image_prompt"), what="key")
    return BootStep()


def submit(parameters: Mapping[str, Any], where: str, notes: list[str]) -> None:
    """Read submit_results, which has nothing to do: results are files of the run.

    :raise UsageError: a key is unknown.
    """
    for key in parameters:
        expect_known(key, where, ("server", "stream", "token", "result_disk"), what="key")
    notes.append(
        f"{where}: nothing is submitted to {parameters.get('server', 'a server')}: results are files of the run"
    )


def shell(parameters: Mapping[str, Any], where: str, mapping: LavaMapping, *, timeout_s: float) -> ShellStep:
    """Read lava_test_shell.

    :param timeout_s: its limit, if it says none.
    :raise UsageError: it cannot be done, or nothing stands here for a URL.
    """
    refused = dict.fromkeys(("lava_test_dir", "lava_test_results_dir"), "the directory in the machine is ours")
    table = accepted(parameters, where, refused=refused)
    repositories = list_at(table, "testdef_repos", where)
    table.pop("testdef_repos", None)
    found = toml.parse(_Shell, table, where=where)
    if found.skip_install:
        expect_known(found.skip_install, f"{where}: key 'skip_install'", INSTALL_PARTS, what="part of install")
    skip = (found.skip_install,) if found.skip_install else ()
    sources = [
        DefinitionSource(where=place, file=mapping.local(url, where=place), skip_install=skip)
        for number, url in enumerate(found.testdef_urls)
        for place in [f"{where}.testdef_urls[{number}]"]
    ]
    if not repositories and not found.testdef_urls:
        raise UsageError(f"{where}: keys 'testdef_urls' and 'testdef_repos' are missing, or empty: nothing would run")
    for number, one in enumerate(repositories):
        sources.append(_source(one, f"{where}.testdef_repos[{number}]", mapping, skip))
    return ShellStep(sources=tuple(sources), timeout_s=min(found.timeout or timeout_s, LONGEST_S))


def _source(table: object, where: str, mapping: LavaMapping, skip: tuple[str, ...]) -> DefinitionSource:
    """Read an item of testdef_repos.

    :raise UsageError: it cannot be done, or nothing stands here for its URL.
    """
    if not isinstance(table, dict):
        raise UsageError(f"{where} must be a mapping with git-repo or url")
    refused = {"bzr-repo": "bazaar is gone; give a git repository", "tar-repo": "give a git repository or a url"}
    rest = accepted(table, where, refused=refused)
    params = {name: yaml11.as_text(value) for name, value in mapping_at(rest, "parameters", where).items()}
    rest.pop("parameters", None)
    found = toml.parse(_Repository, rest, where=where)
    if bool(found.git_repo) == bool(found.url):
        raise UsageError(f"{where} must have one of git-repo and url")
    if found.url:
        file = mapping.local(found.url, where=f"{where}.url")
        return DefinitionSource(where=where, file=file, params=params, skip_install=skip)
    return DefinitionSource(
        where=where,
        file=below(found.testdef, f"{where}.testdef"),
        repository=mapping.local(found.git_repo, where=f"{where}.git-repo"),
        revision=found.revision or found.branch,
        params=params,
        skip_install=skip,
    )


def commands(parameters: Mapping[str, Any], where: str, *, path: Path, timeout_s: float) -> ShellStep:
    """Read lava_command_run: each command is a case of one definition.

    :param path: the job's file.
    :param timeout_s: its limit, if it says none.
    :raise UsageError: it cannot be done.
    """
    found = toml.parse(_Commands, parameters, where=where)
    definition = definition_of_commands(
        found.commands,
        iterations=times(found.iterations, where=f"{where}: key 'iterations'"),
        parser=found.parser,
        fixups=found.fixupdict,
        path=path,
        where=where,
    )
    source = DefinitionSource(where=where, definition=definition)
    return ShellStep(sources=(source,), timeout_s=min(found.timeout or timeout_s, LONGEST_S), is_of_commands=True)


def below(path: str, where: str) -> Path:
    """Return a path that is relative to a repository.

    :raise UsageError: it leads out of it.
    """
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or not parts.parts:
        raise UsageError(f"{where}: '{path}' must be a path below the repository")
    return Path(parts)
