"""A Buildbot worker that exists only while it builds, in a machine of any provider's."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from buildbot import config
from buildbot.interfaces import LatentWorkerCannotSubstantiate, LatentWorkerFailedToSubstantiate
from buildbot.process.build import Build
from buildbot.util.protocol import LineProcessProtocol
from buildbot.util.twisted import async_to_deferred
from buildbot.worker.latent import AbstractLatentWorker, States
from buildbot.worker.protocols.base import Connection
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.python import log
from twisted.python.failure import Failure

from vmtasks.errors import Outcome
from vmtasks.integrations.buildbot.prepared_image import PreparedImage
from vmtasks.integrations.buildbot.refusals import kind_of, refusals
from vmtasks.integrations.buildbot.retries import MAX_RETRIES, retries_before
from vmtasks.integrations.buildbot.worker_machine import WorkerConfig
from vmtasks.report.display.plain import shown
from vmtasks.spec import LOCAL, Network

_FOR_GOOD = (Outcome.USAGE, Outcome.HOST)
"""What would end the same way again."""
_END_LIMITS_S = {"ssh": 120.0, "ec2": 900.0}
_END_LIMIT_S = 60.0
"""How long a process may take to end its machine, by the kind of its place, and elsewhere: more than its own limits add
up to. EC2 is asked time and again, because an instance that is not ended costs."""


class VMLatentWorker(AbstractLatentWorker):  # type: ignore[misc]
    """Has a machine for each build, which is gone, or given back, when the build is over.

    Options are those of other latent workers, but for the password, which each machine has of its own,
    ``build_wait_timeout`` and ``max_builds``: nothing is reused, and no two builds meet in a machine.

    :param image: the name of an image with a Buildbot worker in it, or a
        :class:`vmtasks.integrations.buildbot.prepared_image.PreparedImage`: with what builds need on top.
    :param on: where the machine is to be, as ``--on`` has it: "local" is the master's own host; "USER@HOST",
        "ssh://HOST", "ec2", or "USER@HOST|local", a choice. Everywhere, the worker's way to the master is the machine's
        ssh connection.
    :param memory_mib: the machine's memory; by default, what the image sets. QEMU's machines alone have that, as the
        next.
    :param cpus: the machine's processors; by default, what the image sets.
    :param network: what the machine reaches: "user" is all that the host does; "restricted" nothing but the master's
        port for workers, to which every machine has a way of its own. On a host of QEMU's.
    :param missing_timeout: how many seconds the worker may take to call the master once its machine answers. What
        comes before has limits of its own, or none: a machine waits for a slot as long as it takes.
    :param max_retries: how often a build is tried again whose machine did not come up or was lost; as that of
        :class:`vmtasks.integrations.buildbot.step.VmTask`. A host that cannot run the machine is not asked again.
    """

    command: ClassVar[tuple[str, ...]] = (sys.executable, "-P", "-m", "vmtasks.integrations.buildbot.worker_machine")
    """The program that holds a machine."""
    _machine_process: _MachineProcess | None = None

    def checkConfig(  # noqa: N802 - Buildbot's name
        self,
        name: str,
        image: str | PreparedImage,
        *,
        on: str = LOCAL,
        memory_mib: int | None = None,
        cpus: int | None = None,
        network: Network = "user",
        max_retries: int = MAX_RETRIES,  # noqa: ARG002 - of reconfigService
        **options: Any,  # noqa: ANN401
    ) -> None:
        """Say what is wrong with the configuration."""
        for refusal in refusals(image, on=on, network=network, memory_mib=memory_mib, cpus=cpus):
            config.error(f"worker {name}: {refusal}")
        super().checkConfig(name, secrets.token_urlsafe(), build_wait_timeout=0, max_builds=1, **options)

    @async_to_deferred  # type: ignore[untyped-decorator]
    async def reconfigService(  # noqa: N802 - Buildbot's name
        self,
        name: str,
        image: str | PreparedImage,
        *,
        on: str = LOCAL,
        memory_mib: int | None = None,
        cpus: int | None = None,
        network: Network = "user",
        missing_timeout: float = 300.0,
        max_retries: int = MAX_RETRIES,
        **options: Any,  # noqa: ANN401
    ) -> None:
        """Take over a configuration, from the next machine on."""
        prepared = PreparedImage.of(image)
        self._machine: dict[str, Any] = {
            "image": prepared.image,
            "packages": prepared.packages,
            "commands": prepared.commands,
            "on": on,
            "memory_mib": memory_mib,
            "cpus": cpus,
            "network": network,
        }
        self._max_retries = max_retries
        options |= {"build_wait_timeout": 0, "max_builds": 1, "missing_timeout": missing_timeout}
        await super().reconfigService(name, self.password, **options)

    def attached(self, conn: Connection) -> Deferred[None]:
        """Take in the worker of a machine."""
        conn.remoteInterruptCommand = partial(self._interrupt, conn, conn.remoteInterruptCommand)
        return super().attached(conn)

    def canStartBuild(self) -> bool:  # noqa: N802 - Buildbot's name
        """Tell whether there is nothing left of an earlier build, and nothing else against one."""
        return self.state is States.NOT_SUBSTANTIATED and bool(super().canStartBuild())

    @async_to_deferred  # type: ignore[untyped-decorator]
    async def start_instance(self, build: Build) -> bool:
        """Begin to have a machine; it is not waited for, because Buildbot stops nothing while this goes on."""
        self.stopMissingTimer()
        retries = await retries_before(build)
        if retries > self._max_retries:  # they had machines, and lost them: Buildbot would go on like that for ever
            raise LatentWorkerCannotSubstantiate(f"{self.name}: given up after {retries} builds that ended in RETRY")
        self._is_last_try = retries == self._max_retries
        self.password = secrets.token_urlsafe()
        await self.registration.update(self, self.master.config)
        address = self._master_address()
        worker_config = WorkerConfig(name=self.name, password=self.password, master=address, **self._machine)
        self._machine_process = _MachineProcess(worker_config, hear=self._hear, show=partial(self._show, build))
        self.master.reactor.spawnProcess(self._machine_process, self.command[0], self.command, env=None)
        return True

    @async_to_deferred  # type: ignore[untyped-decorator]
    async def stop_instance(self, fast: bool = False) -> bool:  # noqa: ARG002, FBT001, FBT002 - Buildbot's
        """End the machine, and wait until it is gone."""
        process, self._machine_process = self._machine_process, None
        if process:
            await process.end(self.master.reactor)
        return True

    def _master_address(self) -> str:
        """Return where the master listens for workers, whatever kind of port that is, as this host reaches it."""
        registered = self.registration.pbReg
        port = registered.manager.dispatchers[registered.portstr].port
        return master_address(port.getHost(), self.master.basedir)

    def _interrupt(self, conn: Connection, interrupt: Callable[..., Deferred[None]], *command: str) -> Deferred[None]:
        """Interrupt a command; when the master ends, lose its worker instead.

        Buildbot means such a build to be tried again, but takes one with an interrupted step for cancelled.
        """
        if not self.botmaster.shuttingDown:
            return interrupt(*command)
        conn.loseConnection()
        return succeed(None)

    def _hear(self, event: str, *, outcome: str = "", message: str = "") -> None:
        """Take an event from the process of the machine; once there is a connection, it is ignored."""
        if self.state is not States.SUBSTANTIATING_STARTING or self.conn:
            return
        if event == "started":
            self.startMissingTimer()
        else:
            cannot = outcome in _FOR_GOOD or self._is_last_try
            kind = LatentWorkerCannotSubstantiate if cannot else LatentWorkerFailedToSubstantiate
            self._substantiation_failed(Failure(kind(f"{self.name}: {message}")))

    def _missing_timer_fired(self) -> None:
        self.missing_timer = None
        self._hear("late", message=f"the worker did not call the master within {self.missing_timeout:g} s")

    def _show(self, build: Build, line: str) -> None:
        """Show a line of what goes on: in the master's log, and of our own words the last one with the build."""
        news = shown(line)
        if news or not self.conn:
            log.msg(f"{self.name}: {line}")
        if news and self.state is States.SUBSTANTIATING_STARTING:
            shows = self.master.data.updates.setBuildStateString(build.buildid, f"preparing worker: {news}")
            shows.addErrback(log.err, "while showing what goes on")


def master_address(address: UNIXAddress | IPv4Address | IPv6Address, directory: str) -> str:
    """Return how ssh's ``-R`` names the *address* of a listening port.

    :param directory: what the path of a UNIX socket is relative to.
    """
    if isinstance(address, UNIXAddress):
        return str(Path(directory, os.fsdecode(address.name)))
    # What listens on all addresses is reached on the loopback interface as well, and by the same family.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)  # noqa: S104 - only compared
    return f"[{host}]:{address.port}" if ":" in host else f"{host}:{address.port}"


class _MachineProcess(LineProcessProtocol):  # type: ignore[misc]
    """The process that holds a machine, and that we hold by its standard input."""

    def __init__(self, worker_config: WorkerConfig, *, hear: Callable[..., None], show: Callable[[str], None]) -> None:
        super().__init__()
        self._config = worker_config
        self._hear = hear
        self._show = show
        self._ended: Deferred[None] = Deferred()

    async def end(self, reactor: Any) -> None:  # noqa: ANN401 - it has no type of its own
        self.transport.closeStdin()
        limit = reactor.callLater(_END_LIMITS_S.get(kind_of(self._config.on), _END_LIMIT_S), self._kill)
        await self._ended
        if limit.active():
            limit.cancel()

    def _kill(self) -> None:
        with suppress(ProcessExitedAlready):  # another process has its pipes
            self.transport.signalProcess("KILL")
        self.transport.loseConnection()

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name, as below
        self.transport.write(json.dumps(asdict(self._config)).encode() + b"\n")

    def outLineReceived(self, line: bytes) -> None:  # noqa: N802
        with suppress(ValueError):  # one that is killed may be cut short in a word
            report = json.loads(line)
            self._hear(report["event"], outcome=report.get("outcome", ""), message=report.get("message", ""))

    def errLineReceived(self, line: bytes) -> None:  # noqa: N802
        self._show(line.decode(errors="replace"))

    def processEnded(self, reason: Failure) -> None:  # noqa: N802
        super().processEnded(reason)
        self._hear("ended", message=reason.getErrorMessage())
        self._ended.callback(None)
