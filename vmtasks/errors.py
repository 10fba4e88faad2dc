"""How a run can end, and how to tell one end from another.

::

    VmtasksError
    ├── UsageError               64   the caller asked for something that cannot be: mend the call or the file
    ├── TestFailed                1   the project's own commands failed: mend the project
    │   ├── CommandFailed         1   ... and this is the command that did
    │   └── GuestLost             1   ... the guest went away by its own doing: powered off, panicked, cut its network
    ├── NothingTested             8   nothing failed, and nothing that tells anything was tested
    ├── InfrastructureError           the machinery, not the project: look at the host, or try again
    │   ├── HostError            69   this host cannot: no QEMU, no disk space, no network while baking
    │   │   └── ShutdownTimedOut 69   ... or it had to end a machine that was to power itself off
    │   ├── BootError            69   the guest never answered, panicked, or its QEMU died
    │   └── ConnectionLost       69   the guest answered, and then no longer did
    ├── TimedOut                124   a limit that somebody set has passed
    └── Interrupted             130   Ctrl-C, or a signal to the same end

The numbers are those of sysexits.h (64, 69), autopkgtest(1) (8), timeout(1) (124) and the shell (128 + SIGINT). All of
them are ``invoke.Exit``, so that ``inv`` ends with a sentence and a status instead of a traceback.
"""

from __future__ import annotations

import errno
import re
import warnings
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, ClassVar

from invoke.exceptions import Exit

UNSEEN = (
    "\x7f-\x9f\udc80-\udc9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f"
)
"""Characters that are never shown as they are, as a regular expression has them between brackets: DEL, C1 (as a byte
that is no UTF-8, too), and what reorders, breaks or hides text behind the reader's back (marks of direction, zero
width, tags). C0 goes with them as far as lines and tabs are not wanted. The joiners U+200C and U+200D are not among
them: words of several scripts need them.
"""
_CONTROL = re.compile(f"[\x00-\x08\x0b-\x1f{UNSEEN}]")


class Outcome(StrEnum):
    """How a run ended, in one word; the vocabulary of result.json."""

    PASSED = "passed"
    FAILED = "test-failed"
    SKIPPED = "skipped"
    USAGE = "usage"
    HOST = "host"
    BOOT = "boot"
    CONNECTION_LOST = "connection-lost"
    TIMEOUT = "timeout"
    INTERRUPTED = "interrupted"
    INTERNAL = "internal-error"

    @property
    def exit_code(self) -> int:
        """The exit status that a process ends with."""
        return _EXIT_CODES[self]

    @property
    def is_infrastructure(self) -> bool:
        """Whether the machinery is to blame, and trying again may help."""
        return self in _INFRASTRUCTURE


_EXIT_CODES = {
    Outcome.PASSED: 0,
    Outcome.FAILED: 1,
    Outcome.SKIPPED: 8,
    Outcome.USAGE: 64,
    Outcome.HOST: 69,
    Outcome.BOOT: 69,
    Outcome.CONNECTION_LOST: 69,
    Outcome.INTERNAL: 70,
    Outcome.TIMEOUT: 124,
    Outcome.INTERRUPTED: 130,
}
_INFRASTRUCTURE = frozenset({Outcome.HOST, Outcome.BOOT, Outcome.CONNECTION_LOST, Outcome.INTERNAL})


class VmtasksError(Exit):
    """The root of everything that this package raises on purpose.

    :param message: what could not be done and why, as one sentence.
    :param details: lines that show it (the last of a log, say), oldest first.
    :param hint: what the reader can do next.
    """

    outcome: ClassVar[Outcome] = Outcome.INTERNAL

    def __init__(
        self,
        message: str,
        *,
        details: tuple[str, ...] = (),
        hint: str = "",
        **was: Any,  # noqa: ANN401
    ) -> None:
        details = renamed_options(was, {"evidence": "details"}).get("details", details)
        # Invoke prints the message of an exception that nothing else has shown.
        lines = (message, *(f"  {line}" for line in details), *([hint] if hint else []))
        # The output of a guest or its console must not control the terminal.
        super().__init__(message=_CONTROL.sub("?", "\n".join(lines)), code=self.outcome.exit_code)
        self._message = message
        self.details = details
        self.hint = hint

    def __str__(self) -> str:
        return self._message

    @property
    def sentence(self) -> str:
        """What ``str(error)`` is; before 0.2."""
        renamed("error.sentence", "str(error)")
        return self._message

    @property
    def evidence(self) -> tuple[str, ...]:
        """What *details* was called before 0.2."""
        renamed("error.evidence", "error.details")
        return self.details


class UsageError(VmtasksError):
    """The caller asked for something that cannot be."""

    outcome = Outcome.USAGE


class TestFailed(VmtasksError):
    """The project's own commands failed."""

    __test__ = False  # not a test class, whatever pytest makes of the name
    outcome = Outcome.FAILED


class TestSkipped(VmtasksError):
    """A test reports that it cannot run here: ends a test case, and nothing else."""

    __test__ = False
    outcome = Outcome.PASSED


class CommandFailed(TestFailed):
    """A guest command ended with another status than the caller wanted.

    :param result: what came of it, a :class:`vmtasks.Result`; None where that is not one command's.
    """

    def __init__(self, message: str, *, details: tuple[str, ...] = (), hint: str = "", result: Any = None) -> None:  # noqa: ANN401 - this stands beneath guests
        super().__init__(message, details=details, hint=hint)
        self.result = result


class GuestLost(TestFailed):
    """The guest answered, then no longer did, and all that its host did is in order: what ran in it is the cause."""


class NothingTested(VmtasksError):
    """Nothing failed, but no test told anything either."""

    outcome = Outcome.SKIPPED


class InfrastructureError(VmtasksError):
    """The machinery failed, not the project; the only errors that are ever retried."""


class HostError(InfrastructureError):
    """This host cannot do what is asked of it."""

    outcome = Outcome.HOST


class ShutdownTimedOut(HostError):
    """A machine whose disk is kept did not power itself off: what its guest had not written yet is lost."""


class BootError(InfrastructureError):
    """The guest never answered, panicked, or its QEMU died."""

    outcome = Outcome.BOOT


class ConnectionLost(InfrastructureError):
    """The guest answered, and then no longer did."""

    outcome = Outcome.CONNECTION_LOST


class TimedOut(VmtasksError):
    """A limit that somebody set has passed."""

    outcome = Outcome.TIMEOUT


class CommandTimedOut(TimedOut):
    """A guest command did not end within its limit.

    :param result: what came of it until then, a :class:`vmtasks.Result`.
    """

    def __init__(self, message: str, *, details: tuple[str, ...] = (), hint: str = "", result: Any = None) -> None:  # noqa: ANN401
        super().__init__(message, details=details, hint=hint)
        self.result = result


class Interrupted(VmtasksError):
    """The run was asked to stop."""

    outcome = Outcome.INTERRUPTED


WORST_FIRST: tuple[type[VmtasksError], ...] = (
    TestFailed, TimedOut, UsageError, Interrupted, VmtasksError, HostError, BootError, ConnectionLost, NothingTested,
)  # fmt: skip
"""Which of several ends decides: what is found out about the project goes before what kept others from finding out."""

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""The errors of a disk that takes no more: the host's trouble, wherever in our code it is met."""


def outcome_of(error: BaseException | None) -> Outcome:
    """Name the outcome that an exception stands for; no exception is a pass."""
    if error is None:
        return Outcome.PASSED
    if isinstance(error, VmtasksError):
        return error.outcome
    if isinstance(error, KeyboardInterrupt):
        return Outcome.INTERRUPTED
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return Outcome.HOST
    return Outcome.INTERNAL


def renamed_options(given: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return the options that were given by their names of before 0.2, by those of today, and warn of each.

    :raise TypeError: there never was such an option.
    """
    found = {}
    for old, value in given.items():
        if old not in names:
            raise TypeError(f"there is no option {old!r}")
        renamed(old, names[old], stacklevel=5)
        found[names[old]] = value
    return found


def renamed(old: str, new: str, *, stacklevel: int = 3) -> None:
    """Warn that something has another name now; Python shows it once for each line that uses the old one."""
    warnings.warn(f"{old} is now {new}", FutureWarning, stacklevel=stacklevel)


def message_of(problem: BaseException | None) -> str:
    """Return the message of how something ended; empty if it ended well."""
    if problem is None:
        return ""
    if isinstance(problem, KeyboardInterrupt):
        return "interrupted"
    if isinstance(problem, VmtasksError):
        return str(problem)
    if outcome_of(problem) is Outcome.HOST:
        return f"cannot go on: {problem}"
    return f"{type(problem).__name__}: {problem}"


def did_you_mean(word: str, known: Iterable[str], *, otherwise: str = "") -> str:
    """Return a question about what may be meant by a word that is not known; *otherwise* if nothing is near."""
    from difflib import get_close_matches  # only a mistake waits for it

    near = get_close_matches(word, tuple(known), n=1)
    return f"did you mean '{near[0]}'?" if near else otherwise
