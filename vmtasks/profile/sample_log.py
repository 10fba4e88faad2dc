"""Keeps samples as they come: all of them in a file, and as many in memory as a picture can show."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

from vmtasks.profile.sample import Sample
from vmtasks.profile.totals import Totals

MOST_SAMPLES = 2000
"""How many are in memory; a machine may be profiled for days."""


class SampleLog:
    """The samples of one profile; they come from a thread that hears the supervisor, and are read by others.

    :param file: receives each of them as a line of JSON; None: no file does.
    """

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self.error = ""
        """Why the file does not have all of them."""
        self.cost_s = 0.0
        """The processor time that keeping them took."""
        self._fd = -1
        self._busy = threading.Lock()
        self._kept: list[Sample] = []
        self._last: Sample | None = None
        self._totals = Totals()
        self._stride = 1
        """Every how manieth is kept."""
        self._count = 0

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Have the file be written in the block; a disk that takes no more costs the file, and not the run."""
        try:
            if self.file is not None:
                self.file.parent.mkdir(parents=True, exist_ok=True)
                self._fd = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        except OSError as problem:
            self._complain(problem)
        try:
            yield
        finally:
            with self._busy:
                self._close()

    def add(self, data: Mapping[str, Any]) -> None:
        """Take one in, as JSON has it; one that is older than the last is left out."""
        began_s = time.thread_time()
        sample = Sample.from_data(data)
        with self._busy:
            if self._last is None or sample.monotonic_s > self._last.monotonic_s:
                self._totals.add(sample)
                self._keep(sample)
                self._write(data)
            self.cost_s += time.thread_time() - began_s

    @property
    def samples(self) -> tuple[Sample, ...]:
        """Those that are kept: the first, the last, and others at equal distances."""
        with self._busy:
            last = () if self._last is None or self._kept[-1:] == [self._last] else (self._last,)
            return (*self._kept, *last)

    @property
    def totals(self) -> Totals:
        """What all of them come to, a copy: also those that are not kept."""
        with self._busy:
            return deepcopy(self._totals)

    @property
    def count(self) -> int:
        """How many have come."""
        return self._count

    def _keep(self, sample: Sample) -> None:
        if self._count % self._stride == 0:
            self._kept.append(sample)
        self._count += 1
        self._last = sample
        if len(self._kept) > MOST_SAMPLES:
            self._stride *= 2
            del self._kept[1::2]

    def _write(self, data: Mapping[str, Any]) -> None:
        line = json.dumps(data).encode() + b"\n"
        try:
            while self._fd >= 0 and line:
                line = line[os.write(self._fd, line) :]
        except OSError as problem:
            self._complain(problem)
            self._close()

    def _complain(self, problem: OSError) -> None:
        self.error = f"cannot write {self.file}: {problem.strerror}"

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
