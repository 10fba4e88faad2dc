"""A project's own test command, in a machine that has what it needs."""

from __future__ import annotations

import shlex
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING

from vmtasks import events
from vmtasks.errors import UsageError
from vmtasks.project import source_package
from vmtasks.project.prepared import DoneOnce
from vmtasks.project.source import Source
from vmtasks.run.own_dependencies import attempt, take_over
from vmtasks.ssh.command import CommandSpec, short

if TYPE_CHECKING:
    from vmtasks.guest import Guest
    from vmtasks.project import Project
    from vmtasks.run.run import Run

_OF_ROOT = {
    "HOME": f"/home/{source_package.USER}",  # what is fetched once lies there
    "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*",  # the tree is the user's
}  # fmt: skip
"""What root finds in its environment, to use a tree and a home that are another user's."""


def test_command(project: Project) -> str:
    """Return the project's own test command.

    :raise UsageError: it has none.
    """
    if not project.commands.test:
        reason = project.detected.untested if project.detected else ""
        raise UsageError(
            f"there is no command that tests {project.root}{f': {reason}' if reason else ''}",
            hint=_hint(project.root),
        )
    return project.commands.test


def _hint(root: Path) -> str:
    """Return what to do where nothing tells how a tree is tested: it may be a part of a project."""
    tops = ("vmtasks.toml", ".git")
    above = next((one for one in root.parents if any((one / name).exists() for name in tops)), None)
    say = 'say one in vmtasks.toml: [commands] test = "make check"'
    return f"{say}; or is the project {above}? `--source {shlex.quote(str(above))}`" if above else say


def run_own_tests(run: Run, guest: Guest, project: Project, out: Path) -> None:
    """Run the project's own test command in a machine that has what it needs, and bring out what it leaves.

    If what it needs is not there, that is fetched first. Where this is a guess, the test command alone decides: it
    fetches what it misses.
    """
    test_command(project)
    spec, prepares = ready_for_tests(guest, project)
    try:
        for line in (*prepares, spec):
            guest.succeed(line.command, cwd=line.cwd, user=line.user, env=line.env, env_from=line.env_from)
    finally:
        for pattern in project.artifacts.test:
            # By their pattern, and not one by one: a name need not be text.
            for made in guest.get_any(f"{escape(spec.cwd)}/{pattern}", out):
                run.artifact(made)


def ready_for_tests(guest: Guest, project: Project) -> tuple[CommandSpec, tuple[CommandSpec, ...]]:
    """Put the project's files into a machine, and return its test command as it runs there, and what runs before that.

    What runs before is what fetches what the tests need, where it is not there and is the project's own to say.
    """
    from vmtasks.project import fetching  # a listing of the tasks does without it

    once = DoneOnce.of(project)
    is_there = once is not None and take_over(guest, project, once)
    tree = Source.of(project.root).deliver(guest)
    env, secrets = {**fetching.env(guest, project), **project.env}, project.commands.env_from
    prepares = []
    if once and not is_there:
        if not project.guesses_prepare:
            prepares.append(
                CommandSpec(command=once.line, cwd=tree, user=source_package.USER, env=env, env_from=secrets)
            )
        elif status := attempt(guest, once, tree, env, env_from=secrets):
            text = f"the guess `{short(once.line)}` ended with status {status}; the test command runs without it"
            events.emit(events.Note(machine=guest.name, text=text, level="warning"))
            tree = Source.of(project.root).deliver(guest)
    user, of_root = ("root", _OF_ROOT) if project.commands.as_root else (source_package.USER, {})
    test = CommandSpec(command=project.commands.test, cwd=tree, user=user, env={**of_root, **env}, env_from=secrets)
    return test, tuple(prepares)
