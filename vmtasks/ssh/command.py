"""A guest command as data: what to run, how it goes over ssh, what came of it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vmtasks.errors import UsageError, renamed
from vmtasks.ssh import secret

if TYPE_CHECKING:
    from vmtasks.ssh.channel import Tap

_PLACES = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/games:/usr/games"
DEFAULT_ENV = {"PATH": _PLACES, "LANG": "C.UTF-8"}
_OFFLINE = "unshare --net -- /bin/sh -c 'ip link set lo up && exec \"$@\"' sh "
_HIGHEST_SIGNAL = 64
_SHORT = 100


Command = str | Sequence[str | os.PathLike[str]]
"""A text is a line for /bin/sh; a sequence of texts and paths is an argument vector."""


def sh(line: str) -> str:
    """Return *line*; before 0.2, a line for the shell had to be marked as one."""
    renamed('sh("...")', '"..."')
    return line


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a guest command."""

    machine: str
    command: str
    exited: int
    """The exit status, as the guest's shell has it: 128 + N where signal N ended the command."""
    stdout: str
    stderr: str
    """Both decoded from UTF-8, with U+FFFD for what is not; bounded, see *truncated*."""
    duration_s: float
    truncated: bool = False
    """Whether *stdout* or *stderr* holds only the last :data:`channel.KEEP_BYTES`; the log holds more."""
    log: Path | None = None
    spec: CommandSpec | None = field(default=None, repr=False, compare=False)
    """What it ran with, but for its input: where `reopen` opens a shell, if it is what failed."""

    @property
    def ok(self) -> bool:
        """Whether the exit status is 0."""
        return self.exited == 0

    @property
    def failed(self) -> bool:
        """Whether the exit status is another."""
        return not self.ok

    def __bool__(self) -> bool:
        return self.ok

    @property
    def return_code(self) -> int:
        """What Invoke calls *exited* as well."""
        return self.exited

    @property
    def exit_status(self) -> int:
        """What *exited* was called before 0.2."""
        renamed("result.exit_status", "result.exited")
        return self.exited

    @property
    def signal(self) -> int:
        """The number of the signal that ended the command, by the shell's convention; 0 if none."""
        number = self.exited - 128
        return number if 0 < number <= _HIGHEST_SIGNAL else 0

    def tail(self, stream: Literal["stdout", "stderr"], count: int = 10) -> str:
        """Return the last lines of a stream, behind two line ends, as Invoke's does."""
        text = self.stdout if stream == "stdout" else self.stderr
        return "\n\n" + "\n".join(text.splitlines()[-count:])

    def __str__(self) -> str:
        how = f"exited with status {self.exited}"
        parts = [f"Command {how}."]
        for name, text in (("stdout", self.stdout), ("stderr", self.stderr)):
            parts.append(f"=== {name} ===\n{text.rstrip()}\n" if text else f"(no {name})")
        return "\n".join(parts)

    def last_lines(self, count: int = 15) -> tuple[str, ...]:
        """Return the last lines of the output: standard error's, after standard output's where that is short."""
        lines = [line for line in (*self.stdout.splitlines()[-count:], *self.stderr.splitlines()) if line.strip()]
        return tuple(lines[-count:])


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSpec:
    """A command, and all that it is to run with; see :meth:`vmtasks.Guest.run`.

    :raise UsageError: the command is neither a text nor a sequence of texts and paths.
    """

    command: Command
    cwd: str = ""
    """Empty: the user's home."""
    env: Mapping[str, str] = field(default_factory=dict)
    user: str = "root"
    timeout_s: float | None = None
    stdin: bytes = b""
    env_from: tuple[str, ...] = ()
    """The names of variables whose values come first on its standard input."""
    offline: bool = False
    """Whether it has a network of its own, in which there is nothing but the loopback."""
    tap: Tap | None = None
    """Sees the standard output first, and has shown what it likes of it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "command", _checked(self.command))


def display(command: Command) -> str:
    """Return the command as a person would type it.

    :raise UsageError: it is neither a text nor a sequence of texts and paths.
    """
    checked = _checked(command)
    return checked if isinstance(checked, str) else shlex.join(checked)


def _checked(command: Command) -> str | tuple[str, ...]:
    """Return a command with its paths as texts.

    :raise UsageError: it is neither a text nor a sequence of texts and paths.
    """
    if isinstance(command, str):
        return command
    if isinstance(command, bytes | bytearray) or not isinstance(command, Sequence):
        raise UsageError(f"cannot run {command!r}: give a line for the shell, or a list of arguments")
    words = [os.fspath(word) if isinstance(word, os.PathLike) else word for word in command]
    if wrong := [word for word in words if not isinstance(word, str)]:
        raise UsageError(
            f"cannot run {list(command)!r}: each argument must be a text or a path, and {wrong[0]!r} is neither",
            hint="for a number, write str(number)",
        )
    return tuple(words)


def short(shown: str) -> str:
    """Return a command's first line, cut to a length that fits into a sentence."""
    first, _, rest = shown.strip().partition("\n")
    return first if not rest and len(first) <= _SHORT else first[: _SHORT - 3] + "..."


def remote_line(spec: CommandSpec) -> str:
    """Return the one line that sshd hands to root's shell.

    Its first line of output is the number of the process group, so that a command which outlives its limit
    can be killed with all its children: sshd makes each command the leader of a session of its own.

    :raise UsageError: the command is empty.
    """
    command = _checked(spec.command)
    if not command or (isinstance(command, str) and not command.strip()):
        raise UsageError("cannot run an empty command")
    words = [*secret.receiver(spec.env_from)]
    words += ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)
    # Not `exec`: a shell that stays turns a signal's death into 128 + N, which ssh would not tell us otherwise.
    return f"echo $$; {change_line(spec)} && {surroundings_line(spec, words)}; exit $?"


def change_line(spec: CommandSpec) -> str:
    """Return the line of shell that goes where a command runs."""
    return f"cd -- {shlex.quote(spec.cwd)}" if spec.cwd else "cd ~" if spec.user == "root" else f"cd ~{spec.user}"


def surroundings_line(spec: CommandSpec, words: Sequence[str]) -> str:
    """Return the line of shell that runs an argument vector as the user, and in the environment, of a command.

    The variables of ``env_from`` are not among those: they are not for a command line.
    """
    user, settings = spec.user, [f"{name}={value}" for name, value in {**DEFAULT_ENV, **spec.env}.items()]
    # The machine's own card stays as it is: the connection that this line comes over goes through it.
    switch = _OFFLINE if spec.offline else ""
    if user != "root":
        # The group is asked for, because not every user has one of its own name (nobody is in nogroup).
        # --reset-env gives the user's own HOME, SHELL, USER and LOGNAME; what was asked for comes after it.
        switch += f'setpriv --reuid={user} --regid="$(id -g {user})" --init-groups --reset-env '
    return switch + shlex.join(["/usr/bin/env", *settings, *words])
