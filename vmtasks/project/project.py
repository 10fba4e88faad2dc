"""A project: what its vmtasks.toml sets, and what can be found out without asking.

Three sources, each over the one before: what the tree itself tells (see kinds/),
``vmtasks.toml`` at its root, and ``VMTASKS_...`` in the environment. docs/vmtasks.toml.md lists every key.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vmtasks.config.here import task_line
from vmtasks.config.own import Paths
from vmtasks.config.paths import image_dirs
from vmtasks.errors import UsageError
from vmtasks.project.changelog import SourcePackage
from vmtasks.project.detected import Detected
from vmtasks.project.kinds.kind import Way
from vmtasks.project.release import stem
from vmtasks.project.settings import Artifacts, Build, Commands, Images, Install, MachineSettings, SourceSettings
from vmtasks.ssh.command import short

if TYPE_CHECKING:
    from vmtasks.config.settings import HostSettings

_UNSET = "\0"
"""Stands for a command that is not set."""
_OF_PYTHON = ("pyproject.toml", "setup.py", "tox.ini", "tox.toml", "noxfile.py", "requirements.txt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """What is to be built and tested; *version* is empty where nothing tells it."""

    root: Path = field(metadata={"key": None})
    version: str = field(default="", metadata={"key": None})
    name: str = field(metadata={"says": "the project's name", "env": "VMTASKS_NAME"})
    images: Images = field(default_factory=Images)
    machine: MachineSettings = field(default_factory=MachineSettings)
    commands: Commands = field(default_factory=Commands)
    build: Build = field(default_factory=Build)
    install: Install = field(default_factory=Install)
    artifacts: Artifacts = field(default_factory=Artifacts)
    source: SourceSettings = field(default_factory=SourceSettings)
    has_own_dist: bool = field(default=False, metadata={"key": None})
    """Whether a dist command was set, and it is not what projects of this kind usually have."""
    guesses_prepare: bool = field(default=False, metadata={"key": None})
    """Whether something was detected that is done once for the tests, and nobody has set that, if only to nothing."""
    guesses: frozenset[str] = field(default=frozenset(), metadata={"key": None})
    """Those of ``test`` and ``dist`` that nobody has set, if only to what was detected."""
    paths: Paths = field(default_factory=Paths)
    detected: Detected | None = field(default=None, metadata={"key": None})
    """What its files tell; None where no kind of projects knows it."""

    @classmethod
    def load(cls, root: Path, environ: Mapping[str, str] = os.environ) -> Project:
        """Look at the directory *root*, read its vmtasks.toml if there is one, and let *environ* override both.

        :raise UsageError: it is no directory, or something in it is not as it should be.
        """
        from vmtasks.config import toml
        from vmtasks.config.settings import HostSettings
        from vmtasks.project.detect import detect

        root = Path(os.path.abspath(os.path.expanduser(root)))  # noqa: PTH100, PTH111 - pathlib leaves ".." standing
        try:
            os.scandir(root).close()
        except OSError as error:
            raise UsageError(f"cannot open the project {root}: {error.strerror}") from error
        found = detect(root)
        project = cls(
            root=root,
            name=found.name,
            version=found.version,
            images=Images.like(found.suite, image_dirs(environ), variant=found.variant) if found.note else Images(),
            commands=Commands(
                test=found.test.line,
                dist=_UNSET,
                prepare=_UNSET,
                prepare_files=(_UNSET,),
                packages=found.packages,
                as_root=found.test.as_root,
            ),
            artifacts=Artifacts(test=found.test.artifacts),
            detected=found if found.guesses else None,
        )
        if os.path.lexists(root / "vmtasks.toml"):
            project = toml.load(cls, root / "vmtasks.toml", over=project, within=root)
            _check_place(root / "vmtasks.toml", project.machine.on)
            if not environ.get("VMTASKS_ENV_FROM"):  # what the user asks for needs nobody's leave
                _check_env(root / "vmtasks.toml", project.commands.env_from, HostSettings.load(environ))
        project = _over(project, environ)
        return replace(
            project,
            commands=_filled(project.commands, found),
            has_own_dist=project.commands.dist not in {"", _UNSET},
            guesses_prepare=bool(found.test.prepare) and project.commands.prepare == _UNSET,
            # By identity: what somebody has set may say the same, and is no guess.
            guesses=frozenset(
                name
                for name, unset in (("test", found.test.line), ("dist", _UNSET))
                if found.guesses and getattr(project.commands, name) is unset
            ),
        )

    @classmethod
    def of_file(cls, path: Path, environ: Mapping[str, str] = os.environ) -> Project:
        """Return the project that a source archive stands for: defaults, and *environ* over them."""
        packed = stem(path.name)
        name = (packed.rpartition("-")[0] or packed).split("_")[0] or path.name.split("_")[0]
        return _over(cls(root=path.absolute(), name=name), environ)

    def guess(self, command: Literal["test", "dist"]) -> tuple[str, ...]:
        """Return lines that say what a command was guessed to be, and from what.

        If somebody has set it, there are none, but for what is not kept then.
        """
        line = getattr(self.commands, command)
        if self.detected is None or not line:
            return ()
        if command not in self.guesses:
            is_another = command == "test" and line != self.detected.test.line
            return self._not_kept_in_words if is_another else ()
        image = f", in {self.images.build}: {self.detected.note}" if self.detected.note else ""
        packages = f"; packages = {' '.join(self.commands.packages)}" if self.commands.packages else ""
        lines = (
            f"{self.name}{f' {self.version}' if self.version else ''}: {self.detected.kind}{image}",
            f"guessed: {command} = {line}{packages}; {task_line('init')} writes it to vmtasks.toml",
        )
        way = self.detected.test
        if command != "test" or not way.prepare or self.commands.prepare != way.prepare:
            return lines
        return (*lines, f"{self._kept_in_words}: {short(way.installs)}")

    @property
    def _kept_in_words(self) -> str:
        if self.commands.env_from:
            return "installed in each run, since it gets secrets (env_from)"
        return f"installed once, then kept until {' or '.join(['this', *self.commands.prepare_files])} changes"

    @property
    def _not_kept_in_words(self) -> tuple[str, ...]:
        """What goes with the guess of a test command, and is not done for another, which may have been that guess."""
        if self.detected is None or not self.guesses_prepare:
            return ()
        way = self.detected.test
        return (
            f"nothing that the tests need is kept: `{short(way.installs)}` is done once for the detected test command, "
            f"`{short(way.line)}`, and another is set; [commands] prepare says what to do once for that, if anything",
        )

    @property
    def is_packaged(self) -> bool:
        """Whether it can be built as a Debian package."""
        return (self.root / "debian/control").is_file()

    @property
    def is_python(self) -> bool:
        """Whether it is a Python project, for which pip may be called."""
        return any((self.root / name).is_file() for name in _OF_PYTHON)

    @property
    def env(self) -> dict[str, str]:
        """The environment of its commands; a version that was set is in it, for the tools that else ask git for one."""
        names = ("VMTASKS_VERSION", "SETUPTOOLS_SCM_PRETEND_VERSION", "PBR_VERSION") if self.source.version else ()
        return {**dict.fromkeys(names, self.source.version), **self.commands.env}

    @property
    def directory_name(self) -> str:
        """What its directory in a machine is called: NAME-VERSION, as that of a release would be."""
        name = f"{self.name}-{self.version}" if self.version else self.name
        return re.sub(r"[/\0\n]", "-", name).lstrip("-.") or "project"

    @property
    def source_package(self) -> SourcePackage:
        """The source package that it is; a UsageError where debian/changelog does not tell."""
        return SourcePackage.of(self.root)


def _filled(commands: Commands, found: Detected) -> Commands:
    """Return *commands* with the guesses that nobody has set over, and which fit the test command."""
    way = found.test if commands.test == found.test.line else Way(line="")
    return replace(
        commands,
        dist=found.dist.line if commands.dist is _UNSET else commands.dist,
        prepare=way.prepare if commands.prepare is _UNSET else commands.prepare,
        prepare_files=way.prepare_files if commands.prepare_files == (_UNSET,) else commands.prepare_files,
    )


def _over(project: Project, environ: Mapping[str, str]) -> Project:
    """Return *project* with what *environ* sets over it."""
    from vmtasks.config import toml
    from vmtasks.config.settings import place

    if image := environ.get("VMTASKS_IMAGE"):
        variant = project.detected.variant if project.detected else "build"
        project = replace(project, images=Images.like(image, image_dirs(environ), variant=variant))
    project = toml.override(project, environ)
    machine = replace(project.machine, on=place(project.machine.on))
    return replace(project, machine=machine, version=project.source.version or project.version)


def _check_place(path: Path, on: str) -> None:
    """See that a project asks for clean machines alone: whose host it is root on, or whose money it spends, users say.

    :raise UsageError: it asks for others.
    """
    if on.startswith(("ssh://", "ec2")):
        raise UsageError(
            f"{path}: [machine] on = {on!r}: a project may name a host for its clean machines, as 'USER@HOST'",
            hint=f"if you want it so: --on {on}, or VMTASKS_ON",
        )


def _check_env(path: Path, names: Iterable[str], settings: HostSettings) -> None:
    """See that a project asks for those variables of the host alone that the host's settings give away.

    :raise UsageError: it asks for others.
    """
    if refused := settings.refused(names):
        words = ", ".join(f'"{name}"' for name in (*settings.env_allowed, *refused))
        raise UsageError(
            f"{path} asks for variables of this host that its settings do not give to projects: {', '.join(refused)}",
            hint=f"if you trust the project: env_allowed = [{words}] in your config.toml, "
            f"or VMTASKS_ENV_ALLOWED={shlex.quote(' '.join(refused))}; VMTASKS_ENV_FROM=' ' gives it none",
        )
