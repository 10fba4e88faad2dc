"""What a run brings out for the user: where it goes, and that it is announced."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from vmtasks import errors, events
from vmtasks.errors import HostError, UsageError
from vmtasks.files import durable
from vmtasks.run.options import RecipeOptions
from vmtasks.run.place import make_directory, write_file

if TYPE_CHECKING:
    from vmtasks.process.branch import Branch

_ARTIFACTS_LIMIT = 10_000
"""How many artifacts a run's result lists."""
_BRANCHES = "branches"
_NAME_LIMIT = 100
"""How many letters the name of a branch's directory has, without a number."""


@dataclass(kw_only=True)
class ArtifactStore:
    """The directory of a run, and the files that it has announced."""

    flags: RecipeOptions = field(default_factory=RecipeOptions)
    directory: Path
    home: Path = Path()
    """The project's directory, or where the recipe is called from: links in there are not ours to write through."""
    artifacts: list[Path] = field(default_factory=list)
    _branch_dirs: dict[Branch, Path] = field(default_factory=dict)
    _branch_lock: threading.Lock = field(default_factory=threading.Lock)

    def artifact(self, path: Path) -> Path:
        """Announce a file for the user, and return it: it is on the disk by then.

        A name that a guest chose must not be two lines on standard output, speak to the terminal, or pass for another.
        """
        from vmtasks.report.sanitize import is_harmless

        if not is_harmless(str(path)):
            events.emit(events.Note(text=f"a file with control characters in its name: {path!r}", level="warning"))
            return path
        try:
            with suppress(FileNotFoundError):  # announced all the same: its reader will see
                durable.sync(path)
        except OSError as problem:
            raise HostError(f"cannot write {path}: {problem.strerror}") from problem
        self.artifacts.append(path)
        if len(self.artifacts) <= _ARTIFACTS_LIMIT:
            events.emit(events.Artifact(path=path))
        elif len(self.artifacts) == _ARTIFACTS_LIMIT + 1:
            text = f"there are more than {_ARTIFACTS_LIMIT} artifacts: the others are there, and not listed"
            events.emit(events.Note(text=text, level="warning"))
        return path

    def output_dir(self, path: str) -> Path:
        """Return the directory for artifacts: the one that was asked for, or the run's own; a dry run makes none.

        :raise UsageError: it cannot be written, or a link in the project is on the way.
        """
        chosen = Path(path) if path else self.directory / "artifacts"
        if self.flags.dry_run:
            return chosen
        try:
            chosen = make_directory(chosen, project=self.home)
        except OSError as problem:
            raise UsageError(f"cannot write artifacts to {chosen}: {problem.strerror}") from problem
        if not os.access(chosen, os.W_OK | os.X_OK):
            raise UsageError(f"cannot write artifacts to {chosen}: it is not yours to write to")
        return chosen

    def branch_dir(self) -> Path:
        """Return the directory of the branch of `parallel` that runs here, which is made when it is first used.

        It is ``branches/NAME`` in the run's directory, and that of a branch within another is in the other's. Where a
        branch of that name had one before, it has a number. What is no branch has the run's directory; a dry run makes
        none.

        :raise UsageError: a link in the project is on the way.
        :raise HostError: it cannot be made.
        """
        from vmtasks.process.branch import CURRENT_BRANCH

        branch = CURRENT_BRANCH.get()
        with self._branch_lock:
            return self._dir_of(branch) if branch else self.directory

    def _dir_of(self, branch: Branch) -> Path:
        from vmtasks.files.file_name import file_name, fresh_directory

        if branch not in self._branch_dirs:
            around = self._dir_of(branch.outer) if branch.outer else self.directory / _BRANCHES
            path = around / file_name(branch.name)[:_NAME_LIMIT]
            if not self.flags.dry_run:
                try:
                    path = fresh_directory(make_directory(around, project=self.home) / path.name)
                except OSError as problem:
                    message = f"cannot make a directory for {branch.name} in {around}: {problem.strerror}"
                    raise HostError(message) from problem
            self._branch_dirs[branch] = path
        return self._branch_dirs[branch]

    def write(self, path: Path, text: str) -> Path:
        """Write a small file among the artifacts, announce it, and return it: no link that stands there is followed.

        :raise UsageError: it cannot be written.
        """
        try:
            write_file(path, text)
        except OSError as problem:
            raise UsageError(f"cannot write {path}: {problem.strerror}") from problem
        return self.artifact(path)

    def product(self, path: Path) -> Path:
        """Do what :meth:`artifact` does, as it was called before 0.2."""
        errors.renamed("run.product()", "run.artifact()")
        return self.artifact(path)

    def out(self, value: str) -> Path:
        """Do what :meth:`output_dir` does, as it was called before 0.2."""
        errors.renamed("run.out()", "run.output_dir()")
        return self.output_dir(value)
