"""What goes between the verbs in a guest and its host: frames, and the words in them.

A frame is a number, by which an answer finds its verb, and some bytes: both numbers in four bytes, the highest first.
A verb sends its name and its arguments, a NUL between them, which no argument can have; nothing at all when it has
gone. What it gets is an exit status, what to print on standard output and standard error, and what to do with the
cache file: ``keep``, ``drop`` or ``write``, and its text.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from vmtasks.group.coordinator import TOO_LONG, Answer, Pairs, Verb
from vmtasks.group.roles import GroupMember

LONGEST_BYTES = 8 * 1024 * 1024
"""More than the kernel lets a program have of arguments, and than a message may carry: the verbs send no more."""
_LONGEST_LEFT_OUT_BYTES = 8 * LONGEST_BYTES
"""A guest that sends more at once is not to be heard any longer."""
_NUMBERS_BYTES = 8

VERBS: Mapping[str, Verb] = {
    "lava-send": "send",
    "lava-wait": "wait",
    "lava-wait-all": "wait-all",
    "lava-sync": "sync",
}
"""The verbs that are calls of the coordinator."""
ALL_VERBS = ("lava-self", "lava-role", "lava-group", *VERBS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """How a verb ends."""

    status: int = 0
    stdout: str = ""
    stderr: str = ""
    cache: Literal["keep", "drop", "write"] = "keep"
    content: str = ""
    """Of the cache file."""

    def encoded(self) -> bytes:
        """Return what the verb reads."""
        words = (str(self.status), self.stdout, self.stderr, self.cache, self.content)
        return b"\0".join(os.fsencode(word) for word in words)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a verb asks the coordinator for."""

    verb: Verb
    id: str
    role: str = ""
    pairs: Pairs = field(default_factory=dict)
    complaint: str = ""
    """What is wrong with it, though not enough to refuse it."""


def frame(serial: int, data: bytes) -> bytes:
    """Return a frame."""
    return serial.to_bytes(4, "big") + len(data).to_bytes(4, "big") + data


class FrameReader:
    """Takes frames out of a stream that comes in pieces of any size."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._left_out_bytes = 0
        """How much of a frame that is too long is still to come."""

    def take(self, data: bytes) -> Iterator[tuple[int, bytes | None]]:
        """Yield the frames that have come with *data*; None is in the place of one that is too long, which is left out.

        :raise ValueError: one is so long that there is no use in waiting for its end.
        """
        self._received += data
        while True:
            left_out = min(self._left_out_bytes, len(self._received))
            del self._received[:left_out]
            self._left_out_bytes -= left_out
            if len(self._received) < _NUMBERS_BYTES:
                return
            serial = int.from_bytes(self._received[:4], "big")
            size = int.from_bytes(self._received[4:_NUMBERS_BYTES], "big")
            if size > _LONGEST_LEFT_OUT_BYTES:
                raise ValueError(f"a frame of {size} bytes")
            end = _NUMBERS_BYTES + size
            if size > LONGEST_BYTES:
                self._left_out_bytes = end
                yield serial, None
                continue
            if len(self._received) < end:
                return
            frame = bytes(self._received[_NUMBERS_BYTES:end])
            del self._received[:end]
            yield serial, frame


def understood(data: bytes, member: GroupMember, members: Sequence[GroupMember]) -> Reply | Wish:
    """Return what a verb asks for, or its end where that is known at once."""
    verb, *words = (os.fsdecode(word) for word in data.split(b"\0"))
    found = _told(verb, words, member, members) or _wished(verb, words)
    return found or Reply(status=1, stderr=f"usage: {_USAGE.get(verb, verb)}\n")


def _told(verb: str, words: list[str], member: GroupMember, members: Sequence[GroupMember]) -> Reply | None:
    found: Reply | None = None
    match verb, words:
        case "lava-self", _:
            found = Reply(stdout=f"{member.name}\n")
        case "lava-role", []:
            found = Reply(stdout=member.role)
        case "lava-role", ["list"]:
            found = Reply(stdout="".join(f"{one.role}\n" for one in members))
        case "lava-group", []:
            found = Reply(stdout="".join(f"{one.name}\t{one.role}\n" for one in members))
        case "lava-group", [role]:
            names = [one.name for one in members if one.role == role]
            found = Reply(stdout="\n".join(names)) if names else Reply(status=1)
    return found


def _wished(verb: str, words: list[str]) -> Wish | None:
    match verb, words:
        case "lava-send", [name, *pairs]:
            good = [one.partition("=") for one in pairs if not one.startswith("=") and "=" in one]
            bad = [one for one in pairs if one.startswith("=") or "=" not in one]
            complaint = f"{' '.join(bad)}: left out, for a pair is KEY=VALUE" if bad else ""
            return Wish(verb="send", id=name, pairs={key: value for key, _, value in good}, complaint=complaint)
        case (("lava-wait" | "lava-sync" | "lava-wait-all"), [name]):
            return Wish(verb=VERBS[verb], id=name)
        case "lava-wait-all", [name, role]:
            return Wish(verb="wait-all", id=name, role=role)
    return None


_USAGE = {
    "lava-role": "lava-role [list]",
    "lava-group": "lava-group [ROLE]",
    "lava-send": "lava-send ID [KEY=VALUE]... [--file KEY=PATH]...",
    "lava-wait": "lava-wait ID",
    "lava-wait-all": "lava-wait-all ID [ROLE]",
    "lava-sync": "lava-sync ID",
}


REFUSAL = Reply(status=1, stderr=f"lava-send: {TOO_LONG}\n")
"""The answer to a frame that is too long."""


def reply_to(answer: Answer, complaint: str = "") -> Reply:
    """Return how the verb ends whose call was answered."""
    lines = [f"lava-{answer.call.verb}: {text}\n" for text in (complaint, answer.error) if text]
    pairs = "".join(
        f"{sender}:{key}={value}\n" for sender, sent in answer.messages.items() for key, value in sent.items()
    )
    return Reply(
        status=1 if answer.error else 0,
        stderr="".join(lines),
        cache="keep" if answer.call.verb == "send" else "write" if pairs else "drop",
        content=pairs,
    )
