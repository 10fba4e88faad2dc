"""Standard output: the paths of the files that came out, one per line, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from vmtasks.events import Artifact, Event
from vmtasks.report.display.stream import SafeStream


class Products:
    """Prints the path of every artifact.

    :param stdout: where the paths go.
    :param aside: a block in which nothing else draws on that terminal.
    """

    def __init__(self, stdout: SafeStream, *, aside: Callable[[], AbstractContextManager[None]]) -> None:
        self._stdout = stdout
        self._aside = aside

    def __call__(self, event: Event) -> None:
        """Hear an event."""
        if isinstance(event, Artifact):
            with self._aside():
                self._stdout.write_path(event.path)
