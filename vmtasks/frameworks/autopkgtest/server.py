"""The protocol of autopkgtest's virtualisation servers: a line is a request, and a line is the answer.

Source: README.virtualisation-server.rst of autopkgtest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from urllib.parse import quote, unquote

from vmtasks.errors import UsageError
from vmtasks.frameworks.autopkgtest.testbed import Testbed


def serve(testbed: Testbed, requests: Iterable[str], answer: Callable[[str], object]) -> None:
    """Answer requests until one is ``quit``, or there are no more; the testbed is then closed.

    What goes wrong ends it: to autopkgtest, a server that ends early is a testbed that failed. When autopkgtest itself
    ends, it no longer reads.

    :param requests: lines.
    :param answer: sends one line, with its line feed.
    :raise UsageError: a request comes where it cannot be met.
    """
    try:
        answer("ok\n")
        for line in requests:
            if not (request := line.split()):
                continue
            command, arguments = request[0], [unquote(word, errors="surrogateescape") for word in request[1:]]
            words = _answered(testbed, command, arguments)
            with suppress(BrokenPipeError, ConnectionResetError):
                answer(" ".join(words) + "\n")
            if command == "quit":
                return
    finally:
        testbed.close()


def _answered(testbed: Testbed, command: str, arguments: Sequence[str]) -> Sequence[str]:
    """Do what a request asks for, and return the words of the answer."""
    match command, *arguments:
        case ["open"] if not testbed.is_open:
            return ["ok", _quoted(testbed.open())]
        case ["revert"] if testbed.is_open:
            return ["ok", _quoted(testbed.revert())]
        case ["capabilities"]:
            return ["ok", *testbed.capabilities()]
        case ["print-execute-command"]:
            return ["ok", ",".join(map(_quoted, testbed.execute_command))]
        case ["shell", directory, *environment]:
            return ["ok"] if testbed.shell(directory, environment) else ["not supported by virt server"]
        case _:
            _obey(testbed, command, arguments)
            return ["ok"]


def _obey(testbed: Testbed, command: str, arguments: Sequence[str]) -> None:
    """Do what is answered by a mere "ok"."""
    match command, *arguments:
        case ["reboot"] | ["reboot", "prepare-only"]:
            testbed.reboot(by_itself=bool(arguments))
        case ["close"] | ["quit"]:
            testbed.close()
        case ["copydown", source, target] if _agree(source, target):
            testbed.copy_down(source, target)
        case ["copyup", source, target] if _agree(source, target):
            testbed.copy_up(source, target)
        case ["auxverb_debug_fail"]:  # newer ones ask for it; there is nothing more to tell
            pass
        case _:
            raise UsageError(f"autopkgtest asks for what cannot be done now: {command} {' '.join(arguments)}".rstrip())


def _agree(source: str, target: str) -> bool:
    """Tell whether both are names of directories, or both of files."""
    return bool(source and target) and source.endswith("/") == target.endswith("/")


def _quoted(word: str) -> str:
    return quote(word, errors="surrogateescape")
