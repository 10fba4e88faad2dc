"""A host that ssh reaches, as a place for machines."""

from __future__ import annotations

import atexit
import itertools
import json
import re
import shutil
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ParamSpec, TypeVar

from vmtasks import errors, events
from vmtasks.config.here import page
from vmtasks.config.paths import socket_dir
from vmtasks.config.settings import HostSettings
from vmtasks.errors import HostError, UsageError
from vmtasks.host.local import Host
from vmtasks.process.cleanup import remove_at_exit
from vmtasks.process.isolated import isolated_argv
from vmtasks.process.threads import check_interrupted
from vmtasks.remote import codec, payload
from vmtasks.remote.heartbeat import TIMEOUT_S

Options = ParamSpec("Options")
Result = TypeVar("Result")

ARCHITECTURE = "x86_64"
_NAME = re.compile(r"(?:\w[\w.-]*@)?[A-Za-z0-9][\w.:-]*", re.ASCII)
"""What ssh takes for a host, and neither ssh nor a shell for anything else."""
_OTHERS = f"other places are local, ssh://HOST and ec2: see {page('providers')}"
_CONNECT_LIMIT_S = 10
_PROBES = 3
_CLOSE_LIMIT_S = 15.0
_TURN_S = 0.25
_AHEAD = 16
"""How many of many calls may be on their way."""
_hosts: dict[str, RemoteHost] = {}
_connecting = threading.Lock()


def expect_name(name: str) -> None:
    """See that a host can be called so.

    :raise UsageError: none can.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"cannot have machines on '{name}': that is no [USER@]HOST", hint=_OTHERS)


def remote_host(name: str) -> RemoteHost:
    """Return the host that ssh(1) knows by *name*, ``[USER@]HOST``; one link serves all of this process.

    :raise UsageError: it cannot be a host's name.
    :raise HostError: it cannot be reached, or cannot run our machines.
    """
    expect_name(name)
    while not _connecting.acquire(timeout=_TURN_S):
        check_interrupted()
    try:
        host = _hosts.get(name)
        if host is None or host.is_lost:
            if host is not None:
                host.close()
            host = _hosts[name] = RemoteHost(name)
        return host
    finally:
        _connecting.release()


@dataclass(frozen=True, slots=True, kw_only=True)
class _About:
    """What an agent reports of its host."""

    cache: Path
    code: str
    """The directory with our code."""
    processor: str


class RemoteHost(Host):
    """Another host, and the link to it, which lasts until this process ends."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._directory = Path(tempfile.mkdtemp(prefix="vmtasks-", dir=socket_dir()))
        remove_at_exit(self._directory)
        self._payload_file = self._directory / "code.zip"
        self._payload_file.write_bytes(payload.payload())
        self._serials = itertools.count(1)
        self._asked: dict[int, Future[Any]] = {}
        self._lock = threading.Lock()
        self._about: Future[_About] = Future()
        self._end: HostError | None = None
        with events.phase("connect", detail=name), ExitStack() as unless_it_serves:
            self._agent = subprocess.Popen(
                self._proxy("vmtasks.remote.agent", master=True),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd="/",
                start_new_session=True,  # Ctrl-C is for us; it ends with the pipe
            )
            self._listener = threading.Thread(target=self._listen, args=(self._agent.stdout,), daemon=True)
            self._listener.start()
            atexit.register(self.close)
            unless_it_serves.callback(self.close)
            self._is = _awaited(self._about)
            if self._is.processor != ARCHITECTURE:
                processor = self._is.processor
                raise HostError(f"cannot run machines on {name}: its processor is {processor}, not {ARCHITECTURE}")
            unless_it_serves.pop_all()

    @property
    def is_lost(self) -> bool:
        """Whether the link is no more."""
        return self._end is not None

    def cache(self) -> Path:
        """Return the directory there of what can be made again."""
        return self._is.cache

    def call(self, function: Callable[Options, Result], *args: Options.args, **options: Options.kwargs) -> Result:
        """Call *function* there: one of our own that needs nothing but the standard library, with plain data.

        :raise HostError: the link broke, or *function* raised it.
        """
        answer: Result = _awaited(self._ask("call", function, args, options)[1])
        return answer

    def each(self, function: Callable[..., object], calls: Iterable[tuple[object, ...]]) -> None:
        """Call *function*, which is done in no time, there with each of many arguments, in their order.

        :raise HostError: the link broke, or *function* raised it.
        """
        asked: deque[Future[Any]] = deque()
        for arguments in calls:
            asked.append(self._ask("each", function, arguments, {})[1])
            if len(asked) > _AHEAD:
                _awaited(asked.popleft())
        for answer in asked:
            _awaited(answer)

    def enter(
        self,
        manager: Callable[Options, AbstractContextManager[Result]],
        *args: Options.args,
        **options: Options.kwargs,
    ) -> AbstractContextManager[Result]:
        """Return a block that is within the block of *manager* there; an error leaves that as an error, too."""

        @contextmanager
        def block() -> Iterator[Result]:
            serial, entered = self._ask("enter", manager, args, options)
            try:
                yield _awaited(entered)
            except BaseException:
                with suppress(HostError):  # where the link broke, all has been left there
                    self._send(do="leave", block=serial, failed=True)
                raise
            _awaited(self._send(do="leave", block=serial, failed=False)[1])

        return block()

    def program(self, module: str) -> list[str]:
        """Return the command line of a proxy to a program of ours there."""
        return self._proxy(module)

    def close(self) -> None:
        """End the link, and see that nothing of ours is left there."""
        if self._agent.stdin and not self._agent.stdin.closed:
            with suppress(BrokenPipeError):
                self._agent.stdin.close()
        try:  # it ends by itself, and takes everything along
            self._agent.wait(_CLOSE_LIMIT_S)
        except subprocess.TimeoutExpired:  # as the link does then, which is noticed there
            self._agent.kill()
            self._agent.wait()
        self._listener.join(_CLOSE_LIMIT_S)
        shutil.rmtree(self._directory, ignore_errors=True)
        atexit.unregister(self.close)

    def _proxy(self, program: str, *, master: bool = False) -> list[str]:
        if master:
            command = payload.first_command("vmtasks.remote.watchdog", program)
        else:
            command = payload.command(self._is.code, "vmtasks.remote.watchdog", program)
        return isolated_argv(
            "vmtasks.remote.proxy", self.name, command, str(self._payload_file), *self._ssh(master=master)
        )

    def _ssh(self, *, master: bool = False) -> list[str]:
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": str(_CONNECT_LIMIT_S),
            "ServerAliveInterval": f"{TIMEOUT_S / (_PROBES + 1):.0f}",
            "ServerAliveCountMax": str(_PROBES),
            "ControlMaster": "yes" if master else "no",
            "ControlPath": str(self._directory / "link"),
            "ControlPersist": "no",
            "ForwardAgent": "no",
            "RemoteCommand": "none",
            "RequestTTY": "no",
            "StrictHostKeyChecking": "yes",
        }
        words = (word for name, value in options.items() for word in ("-o", f"{name}={value}"))
        return [*HostSettings.load().ssh_argv(), *words]

    def _ask(self, do: str, function: Any, args: Any, options: Any) -> tuple[int, Future[Any]]:  # noqa: ANN401
        name = f"{function.__module__}:{function.__qualname__}"
        return self._send(do=do, name=name, args=codec.encode(list(args)), options=codec.encode(dict(options)))

    def _send(self, **request: object) -> tuple[int, Future[Any]]:
        serial = next(self._serials)
        answer: Future[Any] = Future()
        with self._lock:
            if self._end is not None:
                raise self._end
            self._asked[serial] = answer
            with suppress(BrokenPipeError):  # its end is told where it is heard
                if self._agent.stdin:
                    self._agent.stdin.write(json.dumps({"id": serial, **request}).encode() + b"\n")
                    self._agent.stdin.flush()
        return serial, answer

    def _listen(self, stdout: IO[bytes]) -> None:
        end = HostError(f"the link to {self.name} broke: its proxy ended without a word")
        with stdout:
            try:
                for line in stdout:
                    message = json.loads(line)
                    if message["event"] == "exited":
                        end = HostError(str(message["error"]), hint=str(message.get("hint", "")))
                    else:
                        self._hear(message)
            except Exception as problem:  # noqa: BLE001 - whatever another host sends, no thread that waits may hang
                end = HostError(f"cannot understand what {self.name} says: {problem!r}")
                self._agent.kill()
        with self._lock:
            self._end = end
            waiting = [*self._asked.values(), *([] if self._about.done() else [self._about])]
            self._asked.clear()
        for answer in waiting:
            answer.set_exception(end)

    def _hear(self, message: dict[str, Any]) -> None:
        match message["event"]:
            case "agent":
                about = _About(
                    cache=Path(message["cache"]), code=str(message["code"]), processor=str(message["processor"])
                )
                self._about.set_result(about)
            case "note":
                level: events.Level = "warning" if message["level"] == "warning" else "info"
                events.emit(events.Note(text=f"{self.name}: {message['text']}", level=level))
            case "answer":
                error = _error(self.name, message["error"]) if "error" in message else None
                result = None if error else codec.decode(message["result"], self)
                with self._lock:
                    answer = self._asked.pop(message["id"])
                if error:
                    answer.set_exception(error)
                else:
                    answer.set_result(result)


def _awaited(answer: Future[Result]) -> Result:
    """Return an answer once it is there; a thread that waits for one hears of an interrupt, too."""
    while True:
        check_interrupted()
        with suppress(TimeoutError):
            return answer.result(_TURN_S)


def _error(host: str, fields: dict[str, Any]) -> Exception:
    """Return the error that an agent reports."""
    kind = getattr(errors, fields["kind"], None)
    if isinstance(kind, type) and issubclass(kind, errors.VmtasksError):
        return kind(f"{host}: {fields['message']}", details=tuple(fields["details"]), hint=fields["hint"])
    return RuntimeError(f"on {host}: {fields['traceback']}")
