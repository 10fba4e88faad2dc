"""Have autopkgtest, on the host, run tests of a source tree in machines of a run."""

from __future__ import annotations

import os
import secrets
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from vmtasks import events
from vmtasks.config.here import setup_line
from vmtasks.errors import HostError, TestFailed
from vmtasks.frameworks.autopkgtest.server import serve
from vmtasks.frameworks.autopkgtest.summary import Summary, parse
from vmtasks.frameworks.autopkgtest.testbed import Testbed
from vmtasks.guest.told import told
from vmtasks.process.host_commands import host_commands
from vmtasks.process.isolated import isolated_argv
from vmtasks.process.tail import last_lines
from vmtasks.process.threads import check_interrupted, parallel

_TURN_S = 0.25
_PEER = struct.Struct("3i")
"""struct ucred: pid, uid, gid (unix(7))."""
_FACTOR = 10
"""autopkgtest's own limits are meant for machines that are not emulated, on a host that has nothing else to do."""
_NO_LIMIT_S = 10**7
_LOG_BYTES = 256 * 1024 * 1024
"""So large may its log grow, which has what all tests print."""
_FILE_BYTES = 4 * _LOG_BYTES
"""What the kernel lets it write to any file, for when nobody looks at the log: the terminal may be stopped."""
_TESTBED_FAILED = 16
"""The least exit status of a call that did not come to its end."""
_TEST_FAILED = 4
"""In a lower exit status: this bit is set where a test has failed, or the package is erroneous."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What came of one call of autopkgtest."""

    status: int
    """0 passed, 2 skipped, 4 failed (6: both), 8 nothing ran, 12 erroneous package, 16 testbed failed, 20 other."""
    summary: Summary
    directory: Path
    """What autopkgtest left: log, each test's output and packages, artifacts."""

    def expect_end(self, tests: Sequence[str]) -> None:
        """See that autopkgtest came to its end, and that its status agrees with what it has reported.

        Where it has complained before it had reported all *tests*, those without a row are told that.

        :raise TestFailed: it did not, which autopkgtest(1) calls a failure, whatever has passed before; or its status
            is that of a failure, and it has reported none.
        """
        verdicts = {row.test: row.verdict for row in self.summary.rows}
        is_whole = {*tests} <= verdicts.keys()
        cause = self.summary.complaint
        if not tests or not (is_whole or not cause):  # those without a row are told the complaint
            return
        if not 0 <= self.status < _TESTBED_FAILED:
            cause = cause or " ".join(last_lines(self.directory / "log", 1))
            when = f"after {', '.join(tests)}" if is_whole else f"before it has reported on {', '.join(tests)}"
            raise TestFailed(f"autopkgtest failed {when} (exit status {self.status}): {cause}")
        if self.status & _TEST_FAILED and "FAIL" not in {row.verdict for row in self.summary.rows}:
            cause = cause or f"it has reported no failure of {', '.join(tests)}; its log is {self.directory / 'log'}"
            raise TestFailed(f"autopkgtest ended with the status of a failure, {self.status}: {cause}")

    def output_of(self, test: str, count: int = 15) -> tuple[str, ...]:
        """Return the last lines that a test printed, or where there are none, those of the log."""
        printed = [
            *last_lines(self.directory / f"{test}-stdout", count),
            *last_lines(self.directory / f"{test}-stderr", count),
        ]
        return tuple(printed[-count:]) or last_lines(self.directory / "log", count)


def command_line(
    tree: Path,
    server: Sequence[str],
    *,
    directory: Path,
    tests: Sequence[str] = (),
    skip: Sequence[str] = (),
    timeout_s: float | None = None,
    shell: bool = False,
) -> list[str]:
    """Return the command line of autopkgtest: a pure function.

    :param tree: an unpacked source, its path absolute: a plain word would be the name of a package of the archive.
        With a file debian/files in it, it counts as built.
    :param server: the virtualisation server.
    :param directory: where results go; it must be empty or not there.
    :param tests: the names of those to run; all by default.
    :param skip: the names of those that are not to run, and are not reported.
    :param timeout_s: how long one test may take; 0 and None are no limit.
    """
    # In one word: autopkgtest reads words from a file where one begins with @.
    names = [*(f"--test-name={test}" for test in tests), *(f"--skip-test={test}" for test in skip)]
    # The control file has been completed by autodep8 already, in a machine: it obeys the tree that it looks at.
    test_timeout_s = max(1, round(timeout_s)) if timeout_s else _NO_LIMIT_S
    return [
        "autopkgtest", "--no-built-binaries", "--no-auto-control", f"--output-dir={directory}", *names,
        f"--timeout-factor={_FACTOR}", f"--timeout-test={test_timeout_s}", *(["--shell-fail"] if shell else []),
        str(tree), "--", *server,
    ]  # fmt: skip


def run(
    command: Callable[[Sequence[str]], list[str]], testbed: Testbed, *, directory: Path, machine: str, shown: str
) -> Report:
    """Call autopkgtest, and have *testbed* serve it.

    :param command: returns autopkgtest's command line for a virtualisation server's; see :func:`command_line`.
    :param machine: what output is shown as.
    :param shown: what to call it in the story.
    :raise HostError: autopkgtest cannot be run.
    :raise TestFailed: the tests print too much.
    """
    ended = False
    with _listening() as (listener, name), TemporaryDirectory(prefix=".tmp-", dir=directory.parent) as temporary:
        argv = [*command(isolated_argv("vmtasks.frameworks.autopkgtest.relay", name))]
        log = _Followed(directory / "log", machine)

        def watch(_: float) -> None:
            check_interrupted()
            log.emit_more()
            log.expect_bounded()

        def call() -> int:
            nonlocal ended
            try:
                with host_commands() as host:
                    # All that it prints is in its log; what it leaves in TMPDIR when it is killed is the run's.
                    quiet = ["/bin/sh", "-c", 'exec "$@" </dev/null >/dev/null 2>&1', "sh"]
                    limited = ["prlimit", f"--fsize={_FILE_BYTES}", "env", f"TMPDIR={Path(temporary).absolute()}"]
                    line = [*quiet, *limited, *argv]
                    return host.run(line, watch=watch)
            finally:
                ended = True

        def answer() -> None:
            with _accepted(listener, lambda: ended) as lines:
                if lines is not None:
                    serve(testbed, *lines)

        statuses: list[int] = []
        with told(machine, shown, directory / "log") as learn:
            try:
                parallel(answer, lambda: statuses.append(call()))
            finally:
                log.emit_more()
            check_interrupted()  # what ends us may have ended it before: its status is no verdict then
            learn(statuses[0])
        log.expect_bounded()
    try:
        summary = (directory / "summary").read_text(encoding="utf-8", errors="replace")
    except OSError as problem:
        reason = " ".join(last_lines(directory / "log", 1)) or str(problem.strerror)
        raise HostError(f"cannot run autopkgtest: {reason}", hint=f"{setup_line()} installs it") from problem
    return Report(status=statuses[0], summary=parse(summary), directory=directory)


class _Followed:
    """A log that grows, shown as a machine's output."""

    def __init__(self, path: Path, machine: str) -> None:
        self._path = path
        self._machine = machine
        self._position = 0

    def emit_more(self) -> None:
        try:
            with self._path.open("rb") as file:
                file.seek(self._position)
                data = file.read(max(0, _LOG_BYTES - self._position))
        except FileNotFoundError:  # it has not begun
            return
        self._position += len(data)
        if data:
            events.emit(events.Output(machine=self._machine, stream="stdout", text=data.decode(errors="replace")))

    def expect_bounded(self) -> None:
        """See that it does not fill the disk.

        :raise TestFailed: it would.
        """
        with suppress(FileNotFoundError):
            if self._path.stat().st_size > _LOG_BYTES:
                raise TestFailed(
                    f"the tests print more than {_LOG_BYTES >> 20} MiB, and were ended: {self._path} has the beginning",
                    hint="have them write to files in $AUTOPKGTEST_ARTIFACTS instead",
                )


@contextmanager
def _listening() -> Iterator[tuple[socket.socket, str]]:
    """Yield an abstract UNIX socket that listens, and its name."""
    name = f"vmtasks-autopkgtest-{secrets.token_hex(16)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(f"\0{name}")
        listener.listen()
        listener.settimeout(_TURN_S)
        yield listener, name


@contextmanager
def _accepted(
    listener: socket.socket, has_ended: Callable[[], bool]
) -> Iterator[tuple[Iterator[str], Callable[[str], object]] | None]:
    """Yield the lines that come from the relay and what sends one back; None if it ended before it called."""
    connection = _first_caller(listener, has_ended)
    if connection is None:
        yield None
        return

    def answer(line: str) -> None:
        connection.sendall(line.encode(errors="surrogateescape"))

    with connection, connection.makefile("r", encoding="utf-8", errors="surrogateescape", newline="\n") as lines:
        yield iter(lines), answer


def _first_caller(listener: socket.socket, has_ended: Callable[[], bool]) -> socket.socket | None:
    """Return the connection of the first caller that runs as this user; None if autopkgtest has ended before."""
    while not has_ended():
        check_interrupted()
        with suppress(TimeoutError):
            connection, _ = listener.accept()
            _, uid, _ = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
            if uid == os.getuid():
                connection.settimeout(None)
                return connection
            connection.close()
    return None
