"""The patterns of definitions, searched for in what tests print: by a process of their own, and not for ever."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain, repeat

from vmtasks.errors import HostError, TestFailed
from vmtasks.process.isolated import isolated_argv
from vmtasks.process.matching import MEMORY_BYTES, TOO_MUCH

Groups = Mapping[str, str]
GROUPS = ("test_case_id", "result", "measurement", "units")
"""The groups of a pattern that mean something."""
LIMIT_S = 2.0
"""How long a processor may work on one answer."""
_SEARCHED = 4096
"""So much of a line is searched."""
_TOGETHER = 16 * 1024
"""So many characters are searched for one answer, if a line does not have more."""


class PatternFailed(TestFailed):
    """A pattern cannot be searched for any more; the message goes on where a sentence has begun with 'its pattern'."""


class Patterns:
    """Searches for the patterns of definitions, one at a time. The process is there only once there is a pattern.

    :param tell: called with a sentence when a pattern is given up: it is not searched for any more.
    """

    def __init__(self, tell: Callable[[str], object]) -> None:
        self._tell = tell
        self._search: _Search | None = None
        self._given_up: dict[str, str] = {}

    def search(self, pattern: str, lines: Sequence[str]) -> Iterator[Groups | None]:
        """Yield for each line what is found of a pattern; nothing once it is given up."""
        found: list[Groups | None] = []
        try:
            for batch in _batches(lines if pattern not in self._given_up else ()):
                if self._search is None or self._search.pattern != pattern:
                    self.close()
                    self._search = _Search(pattern)
                found += self._search.groups(batch)
        except PatternFailed as problem:
            self.close()
            self._given_up[pattern] = f"its pattern {problem}; cases may be missing"
            self._tell(self._given_up[pattern])
        nothing: repeat[Groups | None] = repeat(None, len(lines) - len(found))
        yield from chain(found, nothing)

    def complaint(self, pattern: str) -> str:
        """Return why a pattern has been given up; nothing if it has not."""
        return self._given_up.get(pattern, "")

    def close(self) -> None:
        """End the process, if there is one."""
        search, self._search = self._search, None
        if search:
            search.close()


class _Search:
    """The process that searches for one pattern."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        try:
            self._process = subprocess.Popen(
                isolated_argv("vmtasks.process.matching"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,  # Ctrl-C is for us
            )
        except OSError as problem:
            raise HostError(f"cannot search for the pattern of a definition: {problem.strerror}") from problem
        self._send({"pattern": pattern, "groups": GROUPS, "limit_s": LIMIT_S})

    def groups(self, lines: Sequence[str]) -> list[Groups | None]:
        """Return for each line what is found.

        :raise PatternFailed: it takes too long.
        """
        self._send(lines)
        answer = self._process.stdout.readline() if self._process.stdout else b""
        if not answer.endswith(b"\n"):
            raise PatternFailed(_why(self._process.wait()))
        found: list[Groups | None] = json.loads(answer)
        return found

    def _send(self, what: object) -> None:
        with suppress(BrokenPipeError):  # why it has ended is asked when no answer comes
            if self._process.stdin:
                self._process.stdin.write(json.dumps(what).encode() + b"\n")
                self._process.stdin.flush()

    def close(self) -> None:
        """See it out: what it may be searching for is of no use any more."""
        self._process.kill()
        with suppress(BrokenPipeError):
            self._process.communicate()


def _why(status: int) -> str:
    if status == -signal.SIGPROF:
        return f"is given up: a processor has worked on a few lines for more than {LIMIT_S:g} s"
    if status == TOO_MUCH:
        return f"is given up: the search for it takes more than {MEMORY_BYTES >> 20} MiB of memory"
    return f"is given up: what searches for it has ended with status {status}"


def _batches(lines: Sequence[str]) -> Iterator[list[str]]:
    """Yield lines by as many as are searched for one answer, and of each as much as is searched."""
    batch: list[str] = []
    length = 0
    for line in lines:
        searched = line[:_SEARCHED]
        if batch and length + len(searched) > _TOGETHER:
            yield batch
            batch, length = [], 0
        batch.append(searched)
        length += len(searched)
    if batch:
        yield batch
