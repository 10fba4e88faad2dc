"""The agent: does on its host what a caller on another one has to have done to that host's files.

Standard input has one request a line: ``call`` a function of ours, ``enter`` the block of a context manager, ``leave``
one. Each is served by a thread of its own, since some wait for others; but for ``each``, which is one of many calls.
Standard output has the answers, and meanwhile the notes of our functions. When the caller is gone, every block is
left as by an error.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import sys
import threading
import traceback
from contextlib import AbstractContextManager, suppress
from typing import Any

from vmtasks import events
from vmtasks.cache import snapshots
from vmtasks.config.paths import cache_dir
from vmtasks.errors import HostError, VmtasksError
from vmtasks.process.isolated import PACKAGE_PARENT
from vmtasks.remote import codec
from vmtasks.supervisor.control import os_error_text


class CallerFailed(Exception):
    """What a block here is left by, if the one around it over there ended in an error."""


class Agent:
    """Serves requests, and remembers which blocks it is in."""

    def __init__(self) -> None:
        self._blocks: dict[int, AbstractContextManager[object]] = {}
        self._left: set[int] = set()
        """The blocks that were left before they were entered: the caller that waited has given up."""
        self._one_at_a_time = threading.Lock()

    def serve(self, request: dict[str, Any]) -> None:
        """Do what one request asks for, and answer it."""
        try:
            answer = {"result": codec.encode(self._do(request))}
        except VmtasksError as problem:
            fields = {"message": str(problem), "details": problem.details, "hint": problem.hint}
            answer = {"error": {"kind": type(problem).__name__, **fields}}
        except OSError as problem:
            answer = {"error": {"kind": "HostError", "message": os_error_text(problem), "details": (), "hint": ""}}
        except Exception:  # noqa: BLE001 - a defect of ours is shown where people look
            answer = {"error": {"kind": "defect", "traceback": traceback.format_exc()}}
        emit("answer", id=request["id"], **answer)

    def _do(self, request: dict[str, Any]) -> object:
        if request["do"] == "leave":
            self._leave(request["block"], failed=request["failed"])
            return None
        function = named(request["name"])
        done = function(*codec.decode(request["args"]), **codec.decode(request["options"]))
        if request["do"] != "enter":
            return done
        value = done.__enter__()
        with self._one_at_a_time:
            self._blocks[request["id"]] = done
        if request["id"] in self._left:
            self._leave(request["id"], failed=True)
        return value

    def _leave(self, block: int, *, failed: bool) -> None:
        with self._one_at_a_time:
            self._left.add(block)
            entered = self._blocks.pop(block, None)
        if entered is None:
            return
        problem = CallerFailed() if failed else None
        with suppress(CallerFailed):
            entered.__exit__(type(problem) if problem else None, problem, None)

    def close(self) -> None:
        """Leave every block, and let go of what no other process can find."""
        for block in tuple(self._blocks):
            self._leave(block, failed=True)
        snapshots.remove_private()


def named(name: str) -> Any:  # noqa: ANN401 - whatever it is
    """Return what is called *name*, like ``vmtasks.cache.snapshot:Snapshot.drop``.

    :raise HostError: it is none of ours.
    """
    module, _, path = name.partition(":")
    if not module.startswith("vmtasks."):
        raise HostError(f"cannot call {name}: it is none of ours")
    found: Any = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    return found


def about() -> dict[str, str]:
    """Return what a caller has to know of this host at once."""
    return {"cache": str(cache_dir()), "code": PACKAGE_PARENT, "processor": platform.machine()}


def emit(event: str, **fields: object) -> None:
    """Send one line to the caller."""
    data = json.dumps({"event": event, **fields}).encode() + b"\n"
    with _emitting, suppress(BrokenPipeError):  # a caller that no longer reads is noticed where requests come from
        while data:
            data = data[os.write(sys.stdout.fileno(), data) :]


_emitting = threading.Lock()


def main() -> None:
    """Serve one caller."""
    agent = Agent()

    def pass_on(event: events.Event) -> None:
        if isinstance(event, events.Note):
            emit("note", text=event.text, level=event.level)

    with events.listening(pass_on):
        emit("agent", **about())
        for line in sys.stdin.buffer:
            if line.strip():
                request = json.loads(line)
                if request["do"] == "each":  # in the order in which they come, and each done in no time
                    agent.serve(request)
                else:
                    threading.Thread(target=agent.serve, args=(request,), daemon=True).start()
        agent.close()
    sys.stdout.flush()
    os._exit(0)  # threads that wait for what the caller no longer wants are no reason to stay
