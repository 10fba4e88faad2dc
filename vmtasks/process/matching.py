"""A program that searches lines for a regular expression of a stranger's, which may be one that takes for ever.

Python's own search cannot be interrupted, not even by a signal, and keeps all threads of its process waiting. So it is
this process that searches, and the kernel ends it when it has worked too long for one answer, or takes too much memory.

On its standard input come texts of JSON, one a line: first an object with the ``pattern``, the ``groups`` that are
asked for and ``limit_s``, the most seconds of a processor for one answer; then lists of lines. The answer to each is a
list of the same length on standard output: the texts of those groups, empty ones included, or null where nothing is
found. It ends when its standard input does.
"""

from __future__ import annotations

import json
import re
import resource
import signal
import sys

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
    pattern = re.compile(plan["pattern"])
    groups = [name for name in wanted if name in pattern.groupindex]
    for request in sys.stdin:
        signal.setitimer(signal.ITIMER_PROF, limit_s)
        answer = [
            found and {name: found[name] or "" for name in groups} for found in map(pattern.search, json.loads(request))
        ]
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
