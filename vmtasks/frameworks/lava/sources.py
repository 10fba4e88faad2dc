"""Definitions that a job names: read from where the files are on this host, and as the job wants them."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

from vmtasks.errors import UsageError
from vmtasks.frameworks.lava import definition
from vmtasks.frameworks.lava.definition import GitRepository, TestDefinition
from vmtasks.frameworks.lava.group_job import DefinitionSource
from vmtasks.frameworks.lava.repositories import clone, git_environ

_LIMIT_S = 300.0


def read_source(source: DefinitionSource, *, scratch: Path) -> TestDefinition:
    """Return the definition.

    :param scratch: a directory for a checkout of another revision than what lies there; it need not exist.
    :raise UsageError: it cannot be read, or is none; the message says which key of the job has named it.
    """
    try:
        found = source.definition or _from_file(source, scratch)
        named = replace(found, name=source.name or found.name, expected=source.expected or found.expected)
        return named.with_params(source.params).skipping(source.skip_install)
    except UsageError as problem:
        text = str(problem)
        raise UsageError(
            text if text.startswith(source.where) else f"{source.where}: {text}", hint=problem.hint
        ) from problem


def _from_file(source: DefinitionSource, scratch: Path) -> TestDefinition:
    file, root = source.file or Path(), source.repository
    if root is None:
        return replace(definition.load(file), is_alone=True)
    if not root.is_dir():
        raise UsageError(f"cannot read {root}: it is no directory")
    if source.revision:
        root = _checked_out(root, source.revision, scratch)
    return definition.load(root / file)


def _checked_out(root: Path, revision: str, scratch: Path) -> Path:
    """Return a checkout of a revision of a repository of this host."""
    if revision.startswith("-"):
        raise UsageError(f"there is no revision '{revision}'")
    clone(GitRepository(url=str(root.absolute())), scratch)
    argv = ["git", "-C", str(scratch), "-c", "advice.detachedHead=false", "checkout", "--quiet", revision, "--"]
    try:
        done = subprocess.run(
            argv, env=git_environ(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            timeout=_LIMIT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise UsageError(f"cannot check out {revision} of {root}: git has not ended within {_LIMIT_S:.0f} s") from None
    if done.returncode:
        complaint = " ".join(done.stderr.decode(errors="replace").split())
        raise UsageError(f"cannot check out {revision} of {root}: git says '{complaint}'")
    return scratch
