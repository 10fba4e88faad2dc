"""A ``perf stat`` of a running process, for as long as it is profiled. It rides with the supervisor."""

from __future__ import annotations

import os
import resource
import signal
import subprocess

from vmtasks.process.child import die_with_parent
from vmtasks.profile.perf import HARDWARE, KVM, SOFTWARE, parse_perf, perf_argv, tracepoints

_STOP_LIMIT_S = 2.0


class PerfStat:
    """A ``perf stat`` that counts beside us, where the host has it and lets us.

    :param pid: the process that it counts of.
    :param output: the file that it writes to.
    :param is_kvm: whether KVM runs that process's machine: of one that is emulated it would count 0.
    """

    def __init__(self, pid: int, output: str, *, is_kvm: bool) -> None:
        self._output = output
        self._errors = f"{output}.errors"
        self._process: subprocess.Popen[bytes] | None = None
        self._reason = ""
        self.cost_s = 0.0
        """The processor time that it took, once it has ended."""
        parent = os.getpid()
        argv = perf_argv(pid, (*SOFTWARE, *HARDWARE, *(tracepoints(KVM) if is_kvm else ())), output)
        try:
            with open(self._errors, "wb") as errors:
                self._process = subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    env={**os.environ, "LC_ALL": "C"},  # or a count has its decimal comma where we expect a point
                    preexec_fn=lambda: die_with_parent(parent),  # noqa: PLW1509 - there is but one thread here
                )
        except FileNotFoundError:
            self._reason = "perf is not installed on the host (Debian's package linux-perf)"
        except OSError as problem:
            self._reason = f"perf cannot be run: {problem.strerror}"

    def stop(self) -> None:
        """End it, by force if need be."""
        if self._process is None:
            return
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.cost_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def counts(self) -> tuple[dict[str, float | None] | None, dict[str, str]]:
        """Return what it has counted, or None, and why not; its files go."""
        if self._process is None:
            return None, {"perf": self._reason}
        text, errors = (_taken(path) for path in (self._output, self._errors))
        found, reasons = parse_perf(text)
        if found:
            return dict(found), reasons
        complaint = " ".join(errors.split()) or "it had not begun to count when the profile ended"
        return None, {"perf": f"perf stat: {complaint[:300]}"}


def _taken(path: str) -> str:
    """Return what a file has, and remove it; nothing where it is not there."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
        os.unlink(path)
    except FileNotFoundError:
        return ""
    return text
