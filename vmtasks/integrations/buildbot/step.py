"""A build step that has make run a recipe, shows what goes on, and reads how it ended."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from buildbot.process.buildstep import BuildStep, ShellMixin
from buildbot.process.logobserver import LogLineObserver
from buildbot.process.remotecommand import RemoteCommand
from buildbot.process.results import CANCELLED, RETRY, Results
from buildbot.util import unicode2bytes
from buildbot.util.twisted import async_to_deferred
from buildbot.worker.protocols.base import FileWriterImpl

from vmtasks.integrations.buildbot.results import BuildResult, build_result, by_hand, cut_short, read
from vmtasks.integrations.buildbot.retries import MAX_RETRIES, retries_before
from vmtasks.report.display.plain import shown
from vmtasks.report.format import duration

MACHINES = ("tarbake", "build", "install", "upgrade", "test")
"""How the recipes that vmtasks has call their machines."""

_MOST_BYTES = 16 * 1024 * 1024
"""How much of each file the master takes."""


class VmTask(ShellMixin, BuildStep):  # type: ignore[misc]
    """Run ``make TARGET NAME=VALUE …`` and end as the run ended that it made.

    Options are those of ShellCommand, but for the command and log files. The paths of what came out are in the
    property ``artifacts`` afterwards. A run's directory is kept on the worker until the builder's next build there.

    :param target: a target of make that runs a recipe.
    :param variables: make's variables.
    :param machines: the names of machines whose consoles are shown while they run; all are attached in the end.
    :param max_retries: how often a build is tried again where the infrastructure failed.
    """

    renderables = ("target", "variables")
    haltOnFailure = True  # noqa: N815 - Buildbot's names
    lazylogfiles = True
    sigtermTime = 60  # noqa: N815 - a run that is stopped ends its machines, and reports that
    logEnviron = False  # noqa: N815 - a log need not show the worker's environment
    timeout = None  # of silence: a run that waits for a slot prints nothing new

    def __init__(
        self,
        target: str = "test-in-vm",
        *,
        variables: Mapping[str, str] | None = None,
        machines: Sequence[str] = MACHINES,
        max_retries: int = MAX_RETRIES,
        **options: Any,  # noqa: ANN401
    ) -> None:
        options = self.setupShellMixin({"name": target, **options}, prohibitArgs=["command", "logfiles"])
        super().__init__(**options)
        self.target = target
        self.variables = variables or {}
        self.machines = machines
        self.max_retries = max_retries
        self._now = ""
        self._build_result: BuildResult | None = None

    @async_to_deferred  # type: ignore[untyped-decorator]
    async def run(self) -> int:
        """Make, attach what the run left, and build_result it."""
        results = await self._place()
        run = f"{results}/latest"
        consoles = [f"{machine}-console.log" for machine in self.machines]
        self.logfiles = {console: f"{run}/{console}" for console in consoles}
        self.addLogObserver("stdio", _ErrorLines(self._hear))
        variables = [
            f"{name}={value.replace('$', '$$')}" for name, value in self.variables.items()
        ]  # make expands them
        command = await self.makeRemoteShellCommand(
            command=["make", self.target, *variables], env={**self.env, "VMTASKS_RESULTS": results}
        )
        await self.runCommand(command)
        await self._attach(run)
        self._build_result = await self._judge(await self._read(f"{run}/result.json"), command.rc)
        self.setProperty("artifacts", list(self._build_result.artifacts), "VmTask")
        if self.stopped:  # a master that shuts down has its builds tried again
            return int(RETRY if self.build.results == RETRY else CANCELLED)
        if self._build_result.results != "success":
            await self.addCompleteLog("rerun", self._by_hand())
        if self._build_result.results == "retry":
            self._build_result = self._rest(self._build_result)
        return int(Results.index(self._build_result.results))

    def getCurrentSummary(self) -> dict[str, str]:  # noqa: N802 - Buildbot's name
        """Return what goes on."""
        return {"step": self._now or f"make {self.target}"}

    def getResultSummary(self) -> dict[str, str]:  # noqa: N802 - Buildbot's name
        """Return how it ended and where the time went."""
        if self._build_result is None:
            return dict(super().getResultSummary())
        step = "; ".join(part for part in (self._build_result.message, self._build_result.times) if part)
        return {"step": step, "build": self._build_result.message}

    def _hear(self, line: str) -> None:
        if news := shown(line):
            self._now = news
            self.updateSummary()

    async def _place(self) -> str:
        """Return the directory for this step's results, after the removal of those of earlier builds.

        It is beside the checkout, which may be another builder's too, and its name is no other build's: whatever an
        earlier run still writes, it is not taken for ours.
        """
        builder = f"{self.getProperty('builddir')}/vmtasks/{self.getProperty('builderid')}."
        build = f"{builder}{self.getProperty('buildnumber')}."
        if old := [path for path in await self._glob(f"{builder}*") if not path.startswith(build)]:
            await self._ask("rmdir", dir=old)
        return f"{build}{self.number}"

    async def _attach(self, run: str) -> None:
        """Attach the files of a run, but for those that have been shown already."""
        for path in sorted(await self._glob(f"{run}/*.*")):
            name = posixpath.basename(path)
            if name not in self.logs and (text := await self._read(path)):
                await self.addCompleteLog(name, self.build.properties.cleanupTextFromSecrets(text))

    def _rest(self, result: BuildResult) -> BuildResult:
        """Give the worker no build for a while, and say so: one that fails at once would be free first for each."""
        rest = f"{self.worker.name} takes no build for {duration(self.worker.quarantine_timeout)}"
        rests_already = self.worker.quarantine_timer is not None
        self.worker.putInQuarantine()
        return result if rests_already else replace(result, message=f"{result.message}; {rest}")

    def _by_hand(self) -> str:
        return by_hand(
            self.target,
            self.variables,
            builddir=str(self.getProperty("builddir")),
            revision=str(self.getProperty("got_revision") or ""),
            repository=self.build.getSourceStamp().repository if self.build.sources else "",
        )

    async def _judge(self, text: str, status: int | None) -> BuildResult:
        document = read(text)
        if document is None:
            kind = "results that cannot be read (result.json)" if text else "no results"
            message = f"make {self.target} ended with status {status} and {kind}"
            return BuildResult(results="exception", message=message)
        if self.timed_out or self.max_lines_reached:
            document = cut_short(document)
        return build_result(
            document, retries=await retries_before(self.build), max_retries=self.max_retries, status=status
        )

    async def _glob(self, pattern: str) -> list[str]:
        return list((await self._ask("glob", path=pattern)).updates["files"][-1])

    async def _read(self, path: str) -> str:
        """Return the text of a file on the worker; nothing where it cannot be read."""
        memory = _Memory()
        await self._ask(
            "uploadFile", workdir="", workersrc=path, writer=memory, maxsize=_MOST_BYTES, blocksize=256 * 1024
        )
        return memory.content.decode(errors="replace")

    async def _ask(self, command: str, **arguments: Any) -> RemoteCommand:  # noqa: ANN401
        """Have the worker do a small thing, also after a stop, when ``runCommand`` no longer would."""
        self.cmd = RemoteCommand(command, arguments)
        self.cmd.worker = self.worker
        try:
            return await self.cmd.run(self, self.remote, self.build.builder.name)
        finally:
            self.cmd = None


class _ErrorLines(LogLineObserver):  # type: ignore[misc]
    """Hands on what the command prints on standard error."""

    def __init__(self, hear: Callable[[str], None]) -> None:
        super().__init__()
        self.errLineReceived = hear


class _Memory(FileWriterImpl):  # type: ignore[misc]
    """Takes a file of the worker's as it comes: a character may be cut in two."""

    def __init__(self) -> None:
        self.content = bytearray()

    def remote_write(self, data: bytes | str) -> None:
        """Take a piece."""
        self.content += unicode2bytes(data)

    def remote_close(self) -> None:
        """Hear that this was all."""
