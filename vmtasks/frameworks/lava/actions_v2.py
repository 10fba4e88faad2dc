"""The actions of LAVA's second version, and what each of their keys is here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vmtasks.errors import UsageError
from vmtasks.frameworks.lava import yaml11
from vmtasks.frameworks.lava.actions_v1 import below, named_url
from vmtasks.frameworks.lava.definition import INSTALL_PARTS, TestDefinition, definition_of
from vmtasks.frameworks.lava.durations import seconds_at
from vmtasks.frameworks.lava.group_job import DefinitionSource, ShellStep
from vmtasks.frameworks.lava.keys import accepted, expect_known, list_at, mapping_at
from vmtasks.frameworks.lava.mapping import LavaMapping

ACTIONS = {"deploy": "an image", "boot": "its start", "test": "what runs"}
REFUSED = {"command": "it is one of the lab's, for its devices"}
"""Actions that cannot be done, and why."""
_AGAIN = {
    "repeat": "list the action as often as it is to be done",
    "namespace": "a member is one machine",
    "connection-namespace": "a member has one connection",
}
_NAME = re.compile(r"[\w-]+", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionLimits:
    """How long things may take that say nothing of it themselves."""

    shell_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """The URLs of what a deploy action names."""

    where: str
    """The key of the image, for messages."""
    rootfs: str
    kernel: str


def deploy(table: Mapping[str, Any], where: str, notes: list[str]) -> Deployed:
    """Read a deploy action.

    :raise UsageError: a machine of ours cannot start so.
    """
    boards = "it is for boards; a machine of QEMU has images: {rootfs: {url: URL}}"
    if (to := table.get("to")) != "tmpfs":  # first, since the other keys of a board are its own
        raise UsageError(f"{where}: key 'to' cannot be '{yaml11.as_text(to)}': {boards}, to tmpfs")
    refused = {
        **_AGAIN,
        **dict.fromkeys(("nfsrootfs", "persistent_nfs", "tftp"), boards),
    }
    noted = {"failure_retry": "a deployment here cannot fail now and then"}
    rest = accepted(table, where, refused=refused, noted=noted, notes=notes)
    seconds_at(rest, "timeout", where)
    for key in rest:
        expect_known(key, where, ("to", "images", "os", "root_partition", "timeout", "uefi", "type"), what="key")
    images = mapping_at(rest, "images", where)
    unused = dict.fromkeys(("ramdisk", "initrd", "dtb"), "the kernel's package, or the image, has its own")
    kept = accepted(images, f"{where}.images", noted=unused, notes=notes)
    for key in kept:
        expect_known(key, f"{where}.images", ("rootfs", "kernel", *unused), what="key")
    urls = {key: _url(mapping_at(kept, key, f"{where}.images"), f"{where}.images.{key}") for key in kept}
    if "rootfs" not in urls:
        raise UsageError(f"{where}.images: key 'rootfs' is missing: a machine here starts from a disk")
    return Deployed(where=f"{where}.images.rootfs.url", rootfs=urls["rootfs"], kernel=urls.get("kernel", ""))


def _url(table: Mapping[str, Any], where: str) -> str:
    for key in table:
        known = ("url", "compression", "image_arg", "format", "type", "archive", "md5sum", "sha256sum", "sha512sum")
        expect_known(key, where, (*known, "root_partition", "partition", "headers", "size"), what="key")
    if not isinstance(url := table.get("url"), str):
        raise UsageError(f"{where}: key 'url' is missing; it must be a text (where LAVA has the image from)")
    return named_url(url, f"{where}: key 'url'")


def boot(table: Mapping[str, Any], where: str) -> None:
    """Read a boot action: how a machine is known to be up is not asked here, since commands go over ssh.

    :raise UsageError: a machine of ours cannot start so.
    """
    refused = {
        "commands": "a machine starts as a copy of one that has booted",
        "docker": "QEMU is that of this host",
        **_AGAIN,
    }
    rest = accepted(table, where, refused=refused, silent=("failure_retry",))
    seconds_at(rest, "timeout", where)
    known = (
        "method",
        "media",
        "prompts",
        "auto_login",
        "connection",
        "timeout",
        "transfer_overlay",
        "ignore_kernel_messages",
        "parameters",
    )
    for key in rest:
        expect_known(key, where, known, what="key")
    expect_known(rest.get("method", "qemu"), f"{where}: key 'method'", ("qemu",), what="method")


def test(
    table: Mapping[str, Any],
    where: str,
    mapping: LavaMapping,
    *,
    path: Path,
    limits: ActionLimits,
    names: set[str],
    notes: list[str],
) -> ShellStep:
    """Read a test action.

    :param path: the job's file.
    :param names: the names of the definitions so far; those of this action are added.
    :raise UsageError: it cannot be done here.
    """
    console = "a test is a definition in a machine, and no dialogue with its console"
    refused = {
        "interactive": console,
        "monitors": console,
        "docker": "tests run in the machine",
        **_AGAIN,
    }
    noted = {"failure_retry": "nothing is tried again: a test that fails now and then is to be seen"}
    rest = accepted(table, where, refused=refused, noted=noted, notes=notes)
    for key in rest:
        expect_known(key, where, ("definitions", "timeout", "name"), what="key")
    sources = []
    for number, one in enumerate(list_at(rest, "definitions", where)):
        source = _source(one, f"{where}.definitions[{number}]", mapping, path)
        if source.name in names:
            raise UsageError(
                f"{source.where}: two definitions are called '{source.name}'; results could not be told apart"
            )
        names.add(source.name)
        sources.append(source)
    if not sources:
        raise UsageError(f"{where}: key 'definitions' is missing, or empty: there is nothing to run")
    return ShellStep(sources=tuple(sources), timeout_s=seconds_at(rest, "timeout", where) or limits.shell_s)


def _source(table: object, where: str, mapping: LavaMapping, path: Path) -> DefinitionSource:
    if not isinstance(table, dict):
        raise UsageError(f"{where} must be a mapping with from, repository, path and name")
    known = ("from", "repository", "path", "name", "revision", "branch", "parameters", "params", "skip_install")
    more = ("expected", "lava-signal", "history", "shallow", "type")
    for key in table:
        expect_known(key, where, (*known, *more), what="key")
    origin = table.get("from", "")
    gone = {"bzr": "bazaar is gone; give a git repository", "tar": "give a git repository, a url, or it inline"}
    expect_known(origin, f"{where}: key 'from'", ("git", "url", "inline"), gone, what="kind of place")
    name = table.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UsageError(f"{where}: key 'name' must be a text of letters, digits, '-' and '_': what results call it")
    params = {**mapping_at(table, "params", where), **mapping_at(table, "parameters", where)}
    source = DefinitionSource(
        where=where,
        name=name,
        params={key: yaml11.as_text(value) for key, value in params.items()},
        skip_install=_texts(table, "skip_install", where, INSTALL_PARTS),
        expected=_texts(table, "expected", where),
    )
    repository = table.get("repository")
    if origin == "inline":
        return replace(source, definition=_inline(repository, where, path))
    if not isinstance(repository, str) or not repository:
        raise UsageError(f"{where}: key 'repository' must be a text: the URL")
    place = mapping.local(repository, where=f"{where}.repository")
    if origin == "url":
        return replace(source, file=place)
    file = below(yaml11.as_text(table.get("path")), f"{where}.path")
    revisions = (yaml11.as_text(table.get(key)) for key in ("revision", "branch"))  # a revision may be the number 0
    return replace(source, repository=place, file=file, revision=next(filter(None, revisions), ""))


def _inline(document: object, where: str, path: Path) -> TestDefinition:
    """Return the definition that is part of a job."""
    if not isinstance(document, dict):
        raise UsageError(f"{where}: key 'repository' must be a definition: a mapping with metadata and run")
    return replace(definition_of(document, Path(f"{where}.repository")), path=path, is_alone=True)


def _texts(
    table: Mapping[str, Any], key: str, where: str, known: Mapping[str, object] | None = None
) -> tuple[str, ...]:
    texts = tuple(yaml11.as_text(one) for one in list_at(table, key, where))
    for text in texts if known else ():
        expect_known(text, f"{where}.{key}", known or (), what="part of install")
    return texts
