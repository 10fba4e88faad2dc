"""The one place that decides which reports listen to a run, and for how long."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TextIO

from vmtasks.events import listening
from vmtasks.report.display.matrix_lines import MatrixLines
from vmtasks.report.display.plain import Plain
from vmtasks.report.display.stdout import Products
from vmtasks.report.display.stream import SafeStream
from vmtasks.report.files.document import document
from vmtasks.report.files.junit import JunitFile
from vmtasks.report.files.matrix_junit import JUNIT, MatrixJunit
from vmtasks.report.files.result import ResultFile


@contextmanager
def reporting(
    directory: Path | None,
    *,
    matrix: bool = False,
    stderr: TextIO | None = None,
    stdout: TextIO | None = None,
    environ: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """Show the run inside this block as it happens, and record it in *directory*.

    The display goes to *stderr*: drawn by rich on a terminal, plain lines elsewhere. Products' paths, and
    nothing else, go to *stdout*. At the end, however it comes, everything is detached and the terminal is
    as it was.

    :param directory: where result.json and junit.xml belong; None for a run that leaves no record.
    :param matrix: whether what runs is a matrix of runs, each with a report of its own.
    :param stderr: ``sys.stderr`` (as it is now, not as it was at import) unless given.
    :param stdout: ``sys.stdout`` unless given.
    :param environ: ``os.environ`` unless given; TERM, NO_COLOR and COLUMNS matter.
    :raise HostError: *directory* or a file in it cannot be written; at the start, or where the disk filled up
        meanwhile, at the end.
    """
    err = SafeStream(sys.stderr if stderr is None else stderr)
    out = SafeStream(sys.stdout if stdout is None else stdout)
    environ = os.environ if environ is None else environ
    with ExitStack() as stack:
        # The records listen first: what they have to complain about is shown before the summary. They are
        # also left last, so that their complaint at the end finds the terminal as it was.
        if directory is not None:
            stack.enter_context(document(ResultFile(directory / "result.json")))
            stack.enter_context(document((MatrixJunit if matrix else JunitFile)(directory / JUNIT)))
        if err.isatty() and environ.get("TERM") not in ("dumb", "unknown"):
            from vmtasks.report.display.matrix import MatrixTable
            from vmtasks.report.display.terminal import Terminal, showing

            terminal = stack.enter_context(showing((MatrixTable if matrix else Terminal)(err, environ)))
            aside = terminal.aside if out.isatty() else nullcontext
            stack.enter_context(listening(Products(out, aside=aside)))
            stack.enter_context(listening(terminal))
        else:
            plain = (MatrixLines if matrix else Plain)(err)
            stack.callback(plain.flush)
            stack.enter_context(listening(Products(out, aside=nullcontext)))
            stack.enter_context(listening(plain))
        yield
