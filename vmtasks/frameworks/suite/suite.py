"""A suite as it is asked for: where its files are, and what is to run them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from vmtasks.config.paths import expanded
from vmtasks.errors import UsageError
from vmtasks.guest import places

if TYPE_CHECKING:  # recipes name their suites when they are listed, long before there is one
    from vmtasks.frameworks.suite.runners import SuiteRunner
    from vmtasks.installables import Installable, Wheels
    from vmtasks.providers.preparation import Preparation

HOME = places.SUITES
"""The guest's directory for all suites: ``TAG/tree``, ``TAG/results``, and ``.runners/RUNNER``."""
_TAG = re.compile(r"[A-Za-z0-9][\w.-]{0,63}", re.ASCII)
_NO_TAG = re.compile(r"[^\w.-]+", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A test suite for a guest."""

    runner: SuiteRunner
    files: Installable
    tag: str
    """What its cases are of, and what its directories are called, in the guest and among the results."""
    words: tuple[str, ...] = ()
    """More arguments for the runner; of scripts, patterns of those that are run."""
    only: str = ""
    """The one file that it is; empty: all that is in its directory."""
    packages: tuple[str, ...] = ()
    """More Debian packages that it needs."""
    user: str = "root"
    timeout_s: float = 0.0
    """How long all of it may take, reboots included; 0 is no limit."""

    @classmethod
    def of(
        cls,
        source: str,
        *,
        runner: str = "shell",
        tag: str = "",
        args: str = "",
        packages: Sequence[str] = (),
        user: str = "root",
        timeout_s: float = 0.0,
    ) -> Self:
        """Return the suite that a user names.

        :param source: a directory, a file or a tarball of this host, or the address of a tarball with its sum.
        :param tag: what it is called; like its directory or file by default.
        :param args: more arguments for the runner, as a shell reads them.
        :raise UsageError: it is not there, or cannot be run so.
        """
        from vmtasks.frameworks.suite.runners import runner_of
        from vmtasks.installables import FileTree, files_of

        chosen = runner_of(runner)
        last = expanded(source.partition("#")[0]).absolute().name
        tag = tag or _NO_TAG.sub("-", last).strip("-.") or chosen.name
        if not _TAG.fullmatch(tag):
            raise UsageError(
                f"cannot call a suite {tag!r}: directories are called so",
                hint="a tag has letters, digits, -, _ and ., at most 64, and begins with a letter or a digit",
            )
        if timeout_s < 0:
            raise UsageError(f"a suite cannot take {timeout_s:g} s: its limit is 1 s or more, or 0 for none")
        files = files_of(source, f"{HOME}/{tag}/tree")
        files.fetch()
        try:
            words = tuple(shlex.split(args))
        except ValueError as problem:
            raise UsageError(f"cannot read the arguments {args!r}: {problem}") from problem
        only = files.path.name if isinstance(files, FileTree) and files.path.is_file() else ""
        return cls(
            runner=chosen,
            files=files,
            tag=tag,
            words=words,
            only=only,
            packages=tuple(packages),
            user=user,
            timeout_s=timeout_s,
        )

    @property
    def home(self) -> str:
        """The guest's directory for all of it."""
        return f"{HOME}/{self.tag}"

    @property
    def results(self) -> str:
        """The guest's directory for what comes home."""
        return f"{self.home}/results"

    def preparation(self) -> Preparation | None:
        """Return what a machine has to have behind it before the suite is run there: its runner and packages.

        :raise HostError: the runner cannot be fetched.
        """
        from vmtasks.installables import preparation_of
        from vmtasks.providers.preparation import Preparation

        wheels = [self._environment()] if self.runner.wheels else []
        return Preparation.joined(
            Preparation.of_packages((*self.runner.packages, *self.packages)), preparation_of(*wheels)
        )

    @property
    def programs(self) -> str:
        """The guest's directory that the runner's own programs are in; empty: they are where all others are."""
        return f"{self._place}/bin" if self.runner.wheels else ""

    @property
    def _place(self) -> str:
        return f"{HOME}/.runners/{self.runner.name}"

    def _environment(self) -> Wheels:
        from vmtasks.installables import PinnedWheel, Wheels

        wheels = tuple(PinnedWheel(requirement=one, sha256=sha256) for one, sha256 in self.runner.wheels)
        return Wheels(name=self.runner.name, wheels=wheels, target=self._place)
