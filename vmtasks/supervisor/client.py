"""The caller's end of a supervisor: start it, hear it, hold it.

As long as the line is open the machine may live; closing it, on purpose or by dying, ends it.
"""

from __future__ import annotations

import itertools
import json
import queue
import shutil
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from vmtasks.deadline import Deadline
from vmtasks.errors import BootError, HostError
from vmtasks.host import slots
from vmtasks.host.local import LOCAL_HOST, Host
from vmtasks.process.cleanup import remove_at_exit
from vmtasks.supervisor.plan import Plan

SILENT_END = {
    "event": "exited", "status": None, "by_itself": False, "error": "its supervisor ended without a word", "qemu": "",
    "console": "",
}  # fmt: skip
_TURN_S = 0.25
STOP_LIMIT_S = 20.0
"""How long a supervisor may take to go once it was told to: more than its own limits add up to."""


class SupervisorClient:
    """A running supervisor. Its messages come out of :meth:`next`, in order; answers to requests do not."""

    def __init__(self, process: subprocess.Popen[bytes], words: queue.SimpleQueue[dict[str, Any]]) -> None:
        self._process = process
        self._words = words
        self._serials = itertools.count()
        self._asking = threading.Lock()
        self._answers: dict[int, dict[str, Any]] = {}
        """Those that no thread has taken yet, by their requests."""
        self._held_back: deque[dict[str, Any]] = deque()
        self._sample_listeners: list[Callable[[Mapping[str, Any]], None]] = []
        self.exited: dict[str, Any] | None = None
        """The supervisor's last message, once it has come."""
        self.keeps = False
        """Whether the plan's scratch files are to stay."""

    def next(self, wait_s: float) -> dict[str, Any] | None:
        """Return the supervisor's next message; None if there is none for *wait_s* seconds."""
        with suppress(IndexError):
            return self._held_back.popleft()
        return self._hear(wait_s)

    def expect(self, event: str, deadline: Deadline) -> dict[str, Any]:
        """Wait for one kind of event; others that come before it are dropped.

        :raise BootError: the machine is gone, or *deadline* passed first.
        """
        while not deadline.passed:
            message = self.next(deadline.within(3600.0))
            if message is not None and message["event"] == event:
                return message
            if message is not None and message["event"] == "exited":
                raise BootError(f"cannot go on: the machine is gone ({message['error'] or 'QEMU ended'})")
        raise BootError(f"cannot go on: the supervisor said nothing of {event!r} in {deadline.timeout_s:g} s")

    def qmp(self, command: str, arguments: Mapping[str, object] | None = None, *, timeout_s: float = 15.0) -> Any:  # noqa: ANN401 - whatever QEMU returns
        """Have QEMU execute a QMP command and return its answer.

        :raise BootError: QEMU refused, did not answer, or is gone.
        """
        return self.request(Deadline.after(timeout_s), do="qmp", execute=command, arguments=arguments or {})

    def request(self, deadline: Deadline, **request: object) -> Any:  # noqa: ANN401
        """Have the supervisor do something, and return its answer; any thread may.

        :raise BootError: it could not, did not answer in time, or is gone.
        """
        action = f"QEMU execute {request['execute']}" if "execute" in request else f"its supervisor do {request['do']}"
        serial = next(self._serials)
        self.send(id=serial, **request)
        while not deadline.passed:
            message = self._hear(deadline.within(_TURN_S))  # another thread that listens may receive the answer, too
            if (answer := self._answers.pop(serial, None)) is not None:
                if "error" in answer:
                    raise BootError(f"cannot have {action}: {answer['error']}")
                return answer["result"]
            if message is not None:
                self._held_back.append(message)
                if message["event"] == "exited":
                    break
        raise BootError(f"cannot have {action}: no answer")

    @contextmanager
    def samples_to(self, listener: Callable[[Mapping[str, Any]], None]) -> Iterator[None]:
        """Hand the samples of a machine that is profiled to *listener*, in the thread that hears the supervisor."""
        self._sample_listeners.append(listener)
        try:
            yield
        finally:
            self._sample_listeners.remove(listener)

    def tell_sample(self, sample: Mapping[str, Any]) -> None:
        """Hand a sample to all who listen."""
        for listener in tuple(self._sample_listeners):
            listener(sample)

    def send(self, **request: object) -> None:
        """Send one request; a supervisor that is gone no longer hears it."""
        self._write(json.dumps(request))

    def start(self, plan: Plan) -> None:
        """Send the plan, which is the first line."""
        self._write(plan.to_json())

    def _write(self, line: str) -> None:
        stdin = self._process.stdin
        if stdin is None:
            raise AssertionError("the line is a pipe")
        if stdin.closed:  # there is no supervisor to ask any more
            return
        with self._asking, suppress(BrokenPipeError):  # its last message tells more than this would
            stdin.write(line.encode() + b"\n")
            stdin.flush()

    def stop(self, *, grace_s: float = 0.0, keep: bool = False) -> None:
        """End the machine and wait until nothing is left of it.

        :param grace_s: seconds to let QEMU end of its own accord first (the guest is powering off).
        :param keep: whether the plan's scratch files are to stay.
        :raise HostError: the supervisor did not go, and was killed; the kernel took QEMU with it.
        """
        self.keeps |= keep
        self.send(do="stop", timeout_s=grace_s, keep=keep)
        with suppress(subprocess.TimeoutExpired):  # held until then: an interrupt closes it, and is noticed
            self._process.wait(grace_s + STOP_LIMIT_S)
        self.close()

    def final_event(self) -> dict[str, Any]:
        """Return the last message of a supervisor that has ended."""
        while self.exited is None:
            self._hear(STOP_LIMIT_S)
        return self.exited

    def close(self, timeout_s: float = STOP_LIMIT_S) -> None:
        """Close the supervisor's standard input, and see it out."""
        stdin = self._process.stdin
        if stdin is not None:
            with suppress(BrokenPipeError):  # closing flushes, and it may be gone already
                stdin.close()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise HostError(
                f"cannot end the machine: its supervisor (pid {self._process.pid}) did not go in {timeout_s:g} s",
                hint="it was killed, and QEMU with it",
            ) from None

    def _hear(self, wait_s: float) -> dict[str, Any] | None:
        if self.exited is not None:  # the end stays the end, however often one asks
            return self.exited
        try:
            message = self._words.get(timeout=min(wait_s, threading.TIMEOUT_MAX))
        except queue.Empty:
            return None
        if message["event"] == "answer":
            self._answers[message["id"]] = message
            return None
        if message["event"] == "exited":
            self.exited = message
        return message


@contextmanager
def supervised(plan: Plan, *, log: Path, place: Host = LOCAL_HOST) -> Iterator[SupervisorClient]:
    """Run a supervisor for as long as the block lasts; what it was killed before it could remove, goes as well.

    :param log: receives what the supervisor itself has to complain about.
    :param place: where it runs; files of another host are removed there.
    """
    with log.open("ab") as complaints:
        process = subprocess.Popen(
            place.program("vmtasks.supervisor.__main__"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            cwd="/",
            start_new_session=True,  # Ctrl-C is for the caller; the line is for the supervisor
        )
    words: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    if process.stdout is None:
        raise AssertionError("a supervisor's words come through a pipe")
    client = SupervisorClient(process, words)
    heard = (process.stdout, words, client.tell_sample)
    listener = threading.Thread(target=_listen, args=heard, name="supervisor", daemon=True)
    listener.start()
    if place.is_local:
        remove_at_exit(Path(plan.directory))  # for the case that both of us are killed
    with ExitStack() as stack:
        if place.is_local:
            stack.callback(_sweep_after, client, process, plan)
        stack.enter_context(process.stdout)
        stack.callback(listener.join)
        stack.callback(client.close)
        client.start(plan)
        yield client


def _sweep_after(client: SupervisorClient, process: subprocess.Popen[bytes], plan: Plan) -> None:
    """Remove what a supervisor has left: all, if it was killed (QEMU was before it); a disk that is not to be kept."""
    was_killed = (process.poll() or 0) < 0
    if was_killed:
        shutil.rmtree(plan.directory, ignore_errors=True)
        with suppress(slots.SlotsUnavailableError):  # then the next claim removes its ticket
            slots.sweep(plan.slot.directory)
    if was_killed or not client.keeps:
        for path in plan.scratch:
            Path(path).unlink(missing_ok=True)


def _listen(
    stdout: IO[bytes],
    words: queue.SimpleQueue[dict[str, Any]],
    on_sample: Callable[[Mapping[str, Any]], None] = lambda _: None,
) -> None:
    try:
        for line in stdout:
            with suppress(ValueError):  # a supervisor that is killed may be cut short in a line
                match message := json.loads(line):
                    case {"event": "sample", "sample": dict(sample)}:  # nobody waits for one: they would pile up
                        on_sample(sample)
                    case {"event": "answer", "id": int(), "error": _} | {"event": "answer", "id": int(), "result": _}:
                        words.put(message)
                    case {"event": "exited"}:
                        words.put({**SILENT_END, **message})
                    case {"event": str(event)} if event not in {"sample", "answer"}:
                        words.put(message)
    finally:  # whatever it says, nobody may wait for ever
        # A supervisor that was killed has sent no last message; after a real one, this one is never read.
        words.put({**SILENT_END})
