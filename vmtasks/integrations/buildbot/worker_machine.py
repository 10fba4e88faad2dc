"""Hold a machine with a Buildbot worker in it, for as long as the caller holds our standard input.

A program: ``python -m vmtasks.integrations.buildbot.worker_machine``. The one line that it reads is an
:class:`WorkerConfig`; the end of its standard input, or of its caller, ends the machine. On standard output it reports,
as a JSON object a line, ``started`` when the machine answers, and ``failed`` with the ``outcome`` and a ``message``.
Standard error shows what goes on.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import threading
from dataclasses import dataclass

from vmtasks import events
from vmtasks.errors import Outcome, VmtasksError, outcome_of
from vmtasks.integrations.buildbot.tunnel import GUEST_PORT, tunnel
from vmtasks.process.signals import interrupt_on_signals
from vmtasks.providers.boot import boot
from vmtasks.report.display.plain import Plain
from vmtasks.report.display.stream import SafeStream
from vmtasks.spec import LOCAL, Network

_USER = "builder"
_PREPARE = f"umask 077 && cd ~{_USER} && mkdir worker && cat >worker/buildbot.tac && chown -R {_USER}: worker"
_START = ("buildbot-worker", "start", "--nodaemon", "worker")
_TAC = """
import os, sys
from buildbot_worker.bot import Worker
from twisted.application.service import Application
from twisted.python.log import FileLogObserver, ILogObserver

application = Application('buildbot-worker')
application.setComponent(ILogObserver, FileLogObserver(sys.stdout).emit)
worker = Worker('127.0.0.1', {port}, {config.name!r}, {config.password!r}, os.getcwd(), 600, protocol='pb')
worker.setServiceParent(application)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """Which machine is to be held, and which master its worker calls."""

    image: str
    memory_mib: int | None = None
    cpus: int | None = None
    name: str
    """The worker's."""
    password: str
    master: str
    """Where it listens for workers: HOST:PORT, or the path of a UNIX socket."""
    network: Network = "user"

    def tac(self, port: int = GUEST_PORT) -> str:
        """Return the worker's configuration, which is a program for Twisted: it finds the master at that *port*."""
        return _TAC.format(config=self, port=port)


def main() -> None:
    """Be the program."""
    sys.exit(_outcome().exit_code)


def _outcome() -> Outcome:
    try:
        with events.listening(Plain(SafeStream(sys.stderr))), interrupt_on_signals():
            config = WorkerConfig(**json.loads(sys.stdin.buffer.readline()))
            threading.Thread(target=_wait_for_the_end, args=(threading.get_ident(),), daemon=True).start()
            _run_worker(config)
    except (VmtasksError, OSError) as problem:
        outcome = outcome_of(problem)
        _say("failed", outcome=outcome, message=str(getattr(problem, "message", problem)))
        return outcome
    return Outcome.PASSED


def _run_worker(config: WorkerConfig) -> None:
    """Run the worker in a clean machine until it ends."""
    machine = boot(
        config.image,
        on=LOCAL,  # wherever others run: WorkerConfig.master is of this host
        memory_mib=config.memory_mib,
        cpus=config.cpus,
        network=config.network,
        purpose=f"the Buildbot worker {config.name}",
    )
    with machine as guest, tunnel(guest.ssh_command, config.master):
        guest.mask([config.password.encode()])
        guest.heartbeat_s = math.inf  # a worker that prints nothing is as it should be
        _say("started")
        guest.query(_PREPARE, stdin=config.tac().encode())
        guest.succeed(_START, user=_USER, timeout_s=0)


def _wait_for_the_end(main: int) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    signal.pthread_kill(main, signal.SIGTERM)  # this thread, because it may be waiting for something


def _say(event: str, **more: str) -> None:
    SafeStream(sys.stdout).write(json.dumps({"event": event, **more}) + "\n")


if __name__ == "__main__":
    main()
