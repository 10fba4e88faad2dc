"""A program that searches a text for a regular expression of a stranger's, which may be one that takes for ever.

Python's own search cannot be interrupted, not even by a signal, and keeps all threads of its process waiting. So it is
this process that searches, and the kernel ends it when it has worked too long for one answer, or takes too much memory.

On its standard input come values of JSON, one a line: first an object with the ``pattern``, the ``groups`` that are
asked for and ``limit_s``, the most seconds of a processor for one answer; then a list of a text and of where in it to
begin. The answer to each is a list on standard output, of all that is found: where it begins, where it ends, and the
texts of those groups, empty ones included. It ends when its standard input does.
"""

from __future__ import annotations

import json
import re
import resource
import signal
import sys
from collections.abc import Iterator

from vmtasks.process.child import drop_privileges

MEMORY_BYTES = 512 * 1024 * 1024
TOO_MUCH = 3
"""The exit status for a search that takes more memory than that."""


def main() -> None:
    """Answer until the caller is gone."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF})
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    drop_privileges()
    try:
        _answer()
    except (MemoryError, RecursionError):
        sys.exit(TOO_MUCH)


def _answer() -> None:
    plan = json.loads(sys.stdin.readline())
    wanted, limit_s = plan["groups"], plan["limit_s"]
    signal.setitimer(signal.ITIMER_PROF, limit_s)
    pattern = re.compile(plan["pattern"], re.MULTILINE)
    groups = [name for name in wanted if name in pattern.groupindex]
    for request in sys.stdin:
        signal.setitimer(signal.ITIMER_PROF, limit_s)
        found = matches(pattern, groups[0], *json.loads(request))
        answer = [(one.start(), one.end(), {name: one[name] or "" for name in groups}) for one in found]
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def matches(pattern: re.Pattern[str], name: str, text: str, start: int = 0) -> Iterator[re.Match[str]]:
    """Yield what is found in a text, one behind the other, and of no length none.

    :param name: a group that is to be of one line: of one that takes several, as ``[^:]+`` may, its last counts.
    :param start: where to begin; what stands before it is there for ``^`` and the like.
    """
    while start <= len(text) and (found := pattern.search(text, start)):  # it takes what is beyond the end for the end
        first, end = found.span(name)
        line = text.rfind("\n", first, end) + 1 if first >= 0 else 0
        if line:
            start = line
        elif found.end() == found.start():
            start = found.end() + 1
        else:
            yield found
            start = found.end()
