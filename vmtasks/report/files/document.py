"""Files that are true at every moment: written beside, then renamed, as often as there is news."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from vmtasks.errors import HostError
from vmtasks.events import Event, Note, RunEnded, emit, listening
from vmtasks.files import durable


class Document(Protocol):
    """Something that turns events into the text of a file."""

    @property
    def path(self) -> Path:
        """Where the file belongs."""

    def hear(self, event: Event) -> bool:
        """Take *event* in; return whether the file should be written now."""

    def text(self) -> str | None:
        """Return what the file should hold now; None if there should be no file yet."""


@contextmanager
def document(paper: Document) -> Iterator[None]:
    """Keep the file of *paper* true until the block ends.

    A file that an earlier run left there is replaced at once. If writing fails later on, the run goes on
    with a warning: what is being tested matters more than the record of it.

    :raise HostError: the file cannot be written, at the start or, after a good run, still at the end.
    """
    put(paper.path, paper.text())
    keeper = _Keeper(paper)
    with listening(keeper):
        yield
    if keeper.problem:
        raise keeper.problem


class _Keeper:
    def __init__(self, paper: Document) -> None:
        self._paper = paper
        self.problem: HostError | None = None

    def __call__(self, event: Event) -> None:
        if not self._paper.hear(event):
            return
        warned = self.problem is not None
        try:
            put(self._paper.path, self._paper.text(), lasting=isinstance(event, RunEnded))
            self.problem = None
        except HostError as problem:
            self.problem = problem
            if not warned:
                emit(Note(text=str(problem), level="warning"))


def put(path: Path, text: str | None, *, lasting: bool = False) -> None:
    """Replace the file at *path* by one with *text* in one step; None removes it.

    :param lasting: whether it has to be there after a power cut, as the news on the way to it need not.
    :raise HostError: the directory or the file cannot be written; what was there is still there.
    """
    beside = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            path.unlink(missing_ok=True)
        else:
            beside.write_text(text, encoding="utf-8", errors="replace")
            durable.rename(beside, path, lasting=lasting)
    except OSError as problem:
        cause = problem.strerror or str(problem)
        hint = "make room or fix the directory's permissions, or have the results written elsewhere"
        raise HostError(f"cannot write {path}: {cause}", hint=hint) from problem
