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
from collections.abc import Sequence
from dataclasses import dataclass

from vmtasks import events
from vmtasks.errors import Outcome, VmtasksError, outcome_of
from vmtasks.guest import places
from vmtasks.integrations.buildbot.prepared_image import PreparedImage
from vmtasks.integrations.buildbot.tunnel import tunnel
from vmtasks.process.signals import interrupt_on_signals
from vmtasks.providers.boot import boot
from vmtasks.report.display.plain import Plain
from vmtasks.report.display.stream import SafeStream
from vmtasks.spec import LOCAL, Network

USER = "builder"
PROGRAM = "buildbot-worker"
DIRECTORY = places.BUILDBOT_WORKER
_PREPARE = """
user=$1 directory=$2
id -u "$user" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash "$user"
umask 077
mkdir "$directory"
cat >"$directory/buildbot.tac"
chown -R "$user:" "$directory"
"""
_TAC = """
import os, sys
from buildbot_worker.bot import Worker
from twisted.application.internet import TimerService
from twisted.application.service import Application
from twisted.internet import reactor
from twisted.python.log import FileLogObserver, ILogObserver

def end_with_directory():
    if not os.path.exists('buildbot.tac'):
        reactor.stop()

application = Application('buildbot-worker')
application.setComponent(ILogObserver, FileLogObserver(sys.stdout).emit)
worker = Worker('127.0.0.1', {port}, {config.name!r}, {config.password!r}, os.getcwd(), 600, protocol='pb')
worker.setServiceParent(application)
TimerService({period_s}, end_with_directory).setServiceParent(application)
"""
"""Where a machine outlives its worker, as an existing host does, its last sign is that this file goes: then the worker
ends, with what it has running, though nobody can tell it to."""
_LOOK_S = 2


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
    on: str = LOCAL
    """Where the machine is to be, as ``--on`` has it."""
    packages: Sequence[str] = ()
    """Of :class:`PreparedImage`, as are the next."""
    commands: Sequence[str] = ()

    def tac(self, port: int) -> str:
        """Return the worker's configuration, which is a program for Twisted: it finds the master at that *port*."""
        return _TAC.format(config=self, port=port, period_s=_LOOK_S)


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
    """Run the worker in a machine until it ends."""
    machine = boot(
        config.image,
        on=config.on,
        memory_mib=config.memory_mib,
        cpus=config.cpus,
        network=config.network,
        prepare=PreparedImage(config.image, config.packages, config.commands).preparation,
        purpose=f"the Buildbot worker {config.name}",
    )
    with machine as guest, tunnel(guest, config.master) as port:
        guest.mask([config.password.encode()])
        guest.heartbeat_s = math.inf  # a worker that prints nothing is as it should be
        _say("started")
        prepare = ["/bin/sh", "-euc", _PREPARE, "prepare", USER, DIRECTORY]
        guest.query(prepare, stdin=config.tac(port).encode())
        guest.succeed([PROGRAM, "start", "--nodaemon", DIRECTORY], user=USER, timeout_s=0)


def _wait_for_the_end(main: int) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    signal.pthread_kill(main, signal.SIGTERM)  # this thread, because it may be waiting for something


def _say(event: str, **more: str) -> None:
    SafeStream(sys.stdout).write(json.dumps({"event": event, **more}) + "\n")


if __name__ == "__main__":
    main()
