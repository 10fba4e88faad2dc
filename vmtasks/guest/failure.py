"""Where a command failed, for a shell or another command there: its directory, its user and its environment.

What neither a command line nor a list of processes is to show goes into a directory of the guest: the variables of
``env_from``, and the failed command, as the history of a shell. The lines that are made here remove it in the end.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING

from vmtasks import events
from vmtasks.errors import HostError
from vmtasks.files import typed_json
from vmtasks.guest.places import FAILURE
from vmtasks.ssh import secret
from vmtasks.ssh.command import CommandSpec, change_line, display, surroundings_line

if TYPE_CHECKING:
    from vmtasks.guest import Guest

AT_HOME = CommandSpec(command="")
"""Where a shell opens if no command is known that failed."""
_SHAPE = {"command": str, "cwd": str, "user": str, "env": {"*": str}, "env_from": [str], "offline": bool}
_LAY_OUT = (
    f"umask 077; d=$(mktemp --directory --tmpdir {FAILURE}XXXXXX) && "
    'cat >"$d/env" && { [ -z "$2" ] || printf "#1\\n%s\\n" "$2"; } >"$d/history" && '
    '{ [ "$1" = root ] || chown -R "$1:" "$d"; } && echo "$d"'
)
# bash takes the lines behind a time for one command, if it is to write times as well.
_SHELL = (
    '. "$1/env"; export HISTFILE="$1/history" HISTTIMEFORMAT="%F %T "; '
    "command -v bash >/dev/null && exec bash -i; exec sh -i"
)
_COMMAND = '. "$1/env" && exec /bin/sh -c "$2"'


def failure_as_data(spec: CommandSpec | None) -> dict[str, object]:
    """Return what :func:`failure_from` reads, as JSON has it."""
    if spec is None:
        return {}
    return {
        "command": display(spec.command),
        "cwd": spec.cwd,
        "user": spec.user,
        "env": dict(spec.env),
        "env_from": list(spec.env_from),
        "offline": spec.offline,
    }


def failure_from(data: object) -> CommandSpec:
    """Return the command that failed, as it was written down; :data:`AT_HOME` if none was.

    :raise HostError: what was written down is damaged.
    """
    if data == {}:
        return AT_HOME
    if not isinstance(data, dict) or not typed_json.fits(data, _SHAPE):
        raise HostError("cannot tell where the command failed: what is written down of it is damaged")
    return CommandSpec(**{**data, "env_from": tuple(data["env_from"])})


def shell_at(guest: Guest, failed: CommandSpec) -> str:
    """Return the line for ssh that opens a shell where a command failed, with that in its history.

    If the directory is gone by now, the shell says so, and opens in the user's home.

    :raise CommandFailed: the guest has no room for what the shell is to find.
    """
    directory = _laid_out(guest, failed)
    opened = surroundings_line(failed, ["/bin/sh", "-c", _SHELL, "sh", directory])
    return _cleaned_up(f"{change_line(failed)} || cd; {opened}", directory)


def line_at(guest: Guest, failed: CommandSpec, line: str) -> str:
    """Return the line for ssh that runs a line of shell where a command failed.

    :raise CommandFailed: the guest has no room for what the line is to find.
    """
    directory = _laid_out(guest, failed)
    ran = surroundings_line(failed, ["/bin/sh", "-c", _COMMAND, "sh", directory, line])
    return _cleaned_up(f"{change_line(failed)} && {ran}", directory)


def _cleaned_up(line: str, directory: str) -> str:
    return f"{line}; status=$?; rm -rf -- {shlex.quote(directory)}; exit $status"


def _laid_out(guest: Guest, failed: CommandSpec) -> str:
    """Lay what a shell there reads into the guest, and return where it is."""
    if missing := [name for name in failed.env_from if name not in os.environ]:
        text = f"{' and '.join(missing)} of env_from is not set here, and so not there either"
        events.emit(events.Note(machine=guest.name, text=text, level="warning"))
    values = secret.values(name for name in failed.env_from if name in os.environ)
    words = ["/bin/sh", "-c", _LAY_OUT, "sh", failed.user, display(failed.command)]
    return guest.query(words, stdin=exports(values)).strip()


def exports(values: Mapping[str, bytes]) -> bytes:
    """Return the lines of shell that set variables."""
    lines = (f"export {name}={shlex.quote(os.fsdecode(value))}\n" for name, value in values.items())
    return b"".join(map(os.fsencode, lines))
