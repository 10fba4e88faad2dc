"""One command in the guest, from its start to its result."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from vmtasks.deadline import Deadline
from vmtasks.errors import CommandTimedOut
from vmtasks.ssh import secret
from vmtasks.ssh.channel import follow
from vmtasks.ssh.command import CommandSpec, Result, display, short
from vmtasks.ssh.session import Session


@dataclass(frozen=True, slots=True)
class CommandRunner:
    """Runs commands over the connection to a guest, each to its end."""

    session: Session

    def run(
        self, spec: CommandSpec, *, log: Path | None = None, quiet: bool = True, heartbeat_s: float = 60.0
    ) -> Result:
        """Run a command; nothing is told of what a *quiet* one prints.

        :param heartbeat_s: after how many seconds of silence the command gives a sign of life.
        :raise CommandTimedOut: the limit passed.
        :raise ConnectionLost: the machine is gone or no longer answers.
        """
        session, shown, began_s = self.session, display(spec.command), time.monotonic()
        values = secret.values(spec.env_from)
        session.secrets.update(values.values())
        with session.started(session.line(spec), timeout_s=spec.timeout_s) as channel:
            outcome = follow(
                channel,
                session.machine,
                shown,
                deadline=Deadline.after(spec.timeout_s),
                watch=lambda: session.watch(0.0),
                stdin=secret.sent(values) + spec.stdin,
                heartbeat_s=heartbeat_s,
                log=log,
                quiet=quiet,
                secrets=tuple(session.secrets),
                tap=spec.tap,
                end=session.end_group,
            )
            was_ended = outcome.timed_out and session.end_group(outcome.group)
        result = Result(
            machine=session.machine,
            command=shown,
            exited=-1 if outcome.status is None else outcome.status,
            stdout=outcome.stdout.text(),
            stderr=outcome.stderr.text(),
            duration_s=time.monotonic() - began_s,
            truncated=outcome.stdout.truncated or outcome.stderr.truncated,
            log=log,
            spec=session.remembered(spec),
        )
        if outcome.timed_out:
            more = "" if was_ended else f", and {session.machine} no longer answers"
            raise CommandTimedOut(
                f"`{short(shown)}` on {session.machine} did not end within {spec.timeout_s:g} s{more}",
                details=result.last_lines(),
                result=result,
            )
        if outcome.status is None:
            message = f"the connection to {session.machine} broke while it ran `{short(shown)}`"
            raise session.lost(message, result.last_lines())
        return result
