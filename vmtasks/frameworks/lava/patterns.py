"""The patterns of definitions, searched for in what tests print: by a process of their own, and not for ever."""

from __future__ import annotations

import json
import signal
import subprocess
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import accumulate

from vmtasks.errors import HostError, TestFailed
from vmtasks.process.isolated import isolated_argv
from vmtasks.process.matching import MEMORY_BYTES, TOO_MUCH

Groups = Mapping[str, str]
_Piece = tuple[int, str]
"""Some text, and the number of the line that it is of."""
GROUPS = ("test_case_id", "result", "measurement", "units")
"""The groups of a pattern that mean something."""
LIMIT_S = 2.0
"""How long a processor may work on one answer."""
_TOGETHER = 4096
"""So many characters of output are searched for one answer, or a pattern that is slow would be given up for much."""
_KEPT = 2048
"""So many characters in which nothing was found are searched again with what follows: a match may be of some lines."""


class PatternFailed(TestFailed):
    """A pattern cannot be searched for any more; the message goes on where a sentence has begun with 'its pattern'."""


class Patterns:
    """Searches what definitions print for their patterns, one at a time, as it comes.

    All that is found in a line counts, and what is of several lines. The process is there only once there is a pattern.

    :param tell: called with a sentence when a pattern is given up: it is not searched for any more.
    """

    def __init__(self, tell: Callable[[str], object]) -> None:
        self._tell = tell
        self._search: _Search | None = None
        self._given_up: dict[str, str] = {}
        self.begin()

    def begin(self) -> None:
        """Forget what was printed so far: nothing of it belongs to what follows."""
        self._before = ""
        """The last character before the rest: ``^`` asks for it."""
        self._rest = ""
        """The end of the output so far, in which nothing was found."""

    def search(self, pattern: str, lines: Sequence[str]) -> Iterator[Sequence[Groups]]:
        """Yield for each line what is found of a pattern, up to its end; nothing once it is given up."""
        found: list[list[Groups]] = [[] for _ in lines]
        try:
            for pieces in _batches(lines if pattern not in self._given_up else ()):
                if self._search is None or self._search.pattern != pattern:
                    self.close()
                    self._search = _Search(pattern)
                for number, groups in self._matches(self._search, pieces):
                    found[number].append(groups)
        except PatternFailed as problem:
            self.close()
            self._given_up[pattern] = f"its pattern {problem}; cases may be missing"
            self._tell(self._given_up[pattern])
        yield from found

    def _matches(self, search: _Search, pieces: Sequence[_Piece]) -> Iterator[tuple[int, Groups]]:
        """Yield what is found in what has come, each with the number of the line in which it ends."""
        text = self._before + self._rest + "".join(piece for _, piece in pieces)
        ends = [*accumulate((len(piece) for _, piece in pieces), initial=len(self._before) + len(self._rest))][1:]
        last = len(self._before)
        for start, end, groups in search.matches(text, last):
            if end == len(text) and not text.endswith("\n"):  # in the middle of a line: it may go on
                last = start
                break
            yield pieces[min(bisect_left(ends, end), len(pieces) - 1)][0], groups
            last = end
        last = max(last, len(text) - _KEPT)
        self._before, self._rest = text[max(last - 1, 0) : last], text[last:]

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

    def matches(self, text: str, start: int) -> list[tuple[int, int, Groups]]:
        """Return all that is found in a text: where it begins and ends, and the groups.

        :raise PatternFailed: it takes too long.
        """
        self._send((text, start))
        answer = self._process.stdout.readline() if self._process.stdout else b""
        if not answer.endswith(b"\n"):
            raise PatternFailed(_why(self._process.wait()))
        found: list[tuple[int, int, Groups]] = json.loads(answer)
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


def _batches(lines: Sequence[str]) -> Iterator[list[_Piece]]:
    """Yield lines by as many as are searched for one answer; one that is longer comes in pieces."""
    batch: list[_Piece] = []
    length = 0
    for number, line in enumerate(lines):
        whole = f"{line}\n"
        for start in range(0, len(whole), _TOGETHER):
            piece = whole[start : start + _TOGETHER]
            if batch and length + len(piece) > _TOGETHER:
                yield batch
                batch, length = [], 0
            batch.append((number, piece))
            length += len(piece)
    if batch:
        yield batch
