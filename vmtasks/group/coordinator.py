"""Who has sent what to whom, and who waits for it: the messages of a group, as a state machine without a clock.

The rules are those of LAVA's MultiNode. A message has an id, pairs of words and a sender; it goes to everybody, the
sender included, and stays. Another one of the same id and sender takes its place. Where LAVA has a caller wait in vain,
the call ends here, with a sentence: when one whose message is needed is gone, when there is no such role, when the
deadline has passed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from vmtasks.group.roles import HOST, GroupMember

Verb = Literal["send", "wait", "wait-all", "sync"]
Pairs = Mapping[str, str]
WAITED, FAILED, WITHDRAWN = "passed", "failed", "withdrawn"
LONGEST_CHARACTERS = 1024 * 1024
"""How much one message may carry: its values together."""
LONGEST_NAMES_CHARACTERS = 64 * 1024
"""How long the names of its values may be together."""
MOST_CHARACTERS = 65 * LONGEST_CHARACTERS
"""How much all that were sent may hold: guests must not fill the host's memory."""
LONGEST_WORD = 1000
"""How many characters an id and a role may have."""
_OF_A_MESSAGE = 500
_OF_A_PAIR = 100
"""What is kept of each beside its text, in characters: of the smallest ones, many more would fit than memory holds."""
TOO_LONG = f"a message carries at most {LONGEST_CHARACTERS} characters, its values together"
MOST_WAITING = 1000
_OF_A_MESSAGE = 500
_OF_A_PAIR = 100
"""What is kept of each beside its text, in characters: of the smallest ones, many more would fit than memory holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageCall:
    """A member, or the host, that sends something or waits for something."""

    serial: int
    """By which it is told from all others."""
    member: str
    verb: Verb
    id: str
    pairs: Pairs = field(default_factory=dict)
    role: str = ""
    """Whose messages ``wait-all`` waits for; empty: everybody's."""
    at_s: float
    timeout_s: float = float("inf")
    """How long it may wait."""

    @property
    def deadline_s(self) -> float:
        """When it has waited too long."""
        return self.at_s + self.timeout_s

    def __str__(self) -> str:
        return f"{self.verb} {self.id}{f' {self.role}' if self.role else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The end of a call."""

    call: MessageCall
    outcome: str
    """:data:`WAITED`, :data:`FAILED` or :data:`WITHDRAWN`."""
    error: str = ""
    """A sentence, if it failed."""
    messages: Mapping[str, Pairs] = field(default_factory=dict)
    """What was waited for: pairs by their senders."""
    waited_for: tuple[str, ...] = ()
    """The members whose messages were missing when it began to wait."""
    duration_s: float = 0.0


@dataclass(slots=True)
class _Waiting:
    call: MessageCall
    waited_for: tuple[str, ...]


class Coordinator:
    """The messages of one group.

    Each method takes the time in seconds, of a clock that never goes back, and returns the answers that are due.

    :param members: who is in the group.
    :param host: what the host's side is called, which sends and waits as well.
    """

    def __init__(self, members: Sequence[GroupMember], host: str = HOST) -> None:
        self._roles = {member.name: member.role for member in members}
        self._host = host
        self._gone: dict[str, str] = {}
        """Why each sender that sends no more does not; nothing to tell of a host's side that never had anything to."""
        self._sent: dict[str, dict[str, Pairs]] = {}
        """By id, by sender."""
        self._waiting: dict[int, _Waiting] = {}
        self._characters = 0

    def call(self, call: MessageCall) -> list[Answer]:
        """Take in a call."""
        if error := self._refusal(call):
            return [Answer(call=call, outcome=FAILED, error=error)]
        if call.verb == "send":
            self._characters += self._growth(call)
            self._sent.setdefault(call.id, {})[call.member] = dict(call.pairs)
            return [Answer(call=call, outcome=WAITED), *self._settled(call.at_s)]
        self._waiting[call.serial] = waiting = _Waiting(call, ())
        waiting.waited_for = tuple(self._missing(call))
        return self._settled(call.at_s)

    def withdraw(self, serial: int, now_s: float) -> list[Answer]:
        """Forget a call whose caller no longer waits."""
        waiting = self._waiting.pop(serial, None)
        return [self._answer(waiting, now_s, WITHDRAWN, "its caller has gone")] if waiting else []

    def gone(self, member: str, reason: str, now_s: float) -> list[Answer]:
        """Take note that a member, or the host's side, sends no more, and of the sentence why.

        Those that wait for it wait in vain. A message of anybody's is waited for until all others send no more.
        """
        self._gone.setdefault(member, reason)
        own = [one for one in self._waiting.values() if one.call.member == member]
        for one in own:
            del self._waiting[one.call.serial]
        return [*(self._answer(one, now_s, WITHDRAWN, reason) for one in own), *self._settled(now_s)]

    def passed(self, now_s: float) -> list[Answer]:
        """End the calls whose deadlines have passed."""
        late = [one for one in self._waiting.values() if one.call.deadline_s <= now_s]
        answers = []
        for one in late:
            error = f"{one.call} was not met within {one.call.timeout_s:g} s: {self._lack(one.call)}"
            del self._waiting[one.call.serial]
            answers.append(self._answer(one, now_s, FAILED, error))
        return answers

    def next_deadline_s(self) -> float:
        """Return when :meth:`passed` has something to do, if nothing happens until then."""
        return min((one.call.deadline_s for one in self._waiting.values()), default=float("inf"))

    def waits(self, now_s: float) -> list[str]:
        """Say who waits for what, and how long already."""
        return [
            f"{one.call.member} has waited in {one.call} for {now_s - one.call.at_s:.1f} s: {self._lack(one.call)}"
            for one in self._waiting.values()
        ]

    def _refusal(self, call: MessageCall) -> str:
        """Return why a call cannot be; nothing if it can."""
        if len(call.id) > LONGEST_WORD or len(call.role) > LONGEST_WORD:  # which no sentence repeats
            return f"the id of a message, and a role, have at most {LONGEST_WORD} characters"
        roles = [*dict.fromkeys(self._roles.values())]
        waiting = sum(one.call.member == call.member for one in self._waiting.values())
        wrong = {
            f"'{call.id}' is no id of a message: that is one word, and has no equals sign": not is_id(call.id),
            f"there is no role '{call.role}' in the group; there are {', '.join(roles)}": (
                call.role not in ("", *roles)
            ),
            TOO_LONG: sum(map(len, call.pairs.values())) > LONGEST_CHARACTERS,
            f"the names of a message's values have at most {LONGEST_NAMES_CHARACTERS} characters together": (
                sum(map(len, call.pairs)) > LONGEST_NAMES_CHARACTERS
            ),
            f"the messages of a group have at most {MOST_CHARACTERS} characters together": (
                call.verb == "send" and self._characters + self._growth(call) > MOST_CHARACTERS
            ),
            f"at most {MOST_WAITING} calls of a member wait at once": waiting >= MOST_WAITING,
            "only members come to a sync": call.verb == "sync" and call.member not in self._roles,
        }
        return next((sentence for sentence, is_so in wrong.items() if is_so), "")

    def _growth(self, call: MessageCall) -> int:
        """Return by how much a message adds to what all of them hold; another of its id and sender goes for it."""
        before = self._sent.get(call.id, {}).get(call.member)
        return _size(call.id, call.pairs) - (0 if before is None else _size(call.id, before))

    def _settled(self, now_s: float) -> list[Answer]:
        """Return the answers to all calls that have what they waited for, or cannot have it any more."""
        found: list[Answer] = []
        while answers := [*self._round(now_s)]:
            found += answers
        return found

    def _round(self, now_s: float) -> Iterator[Answer]:
        for waiting in [*self._waiting.values()]:
            call = waiting.call
            if call.serial not in self._waiting:  # a barrier took it along
                continue
            if not self._missing(call):
                if call.verb == "sync":
                    yield from self._through(call.id, now_s)
                else:
                    del self._waiting[call.serial]
                    yield self._answer(waiting, now_s, WAITED)
            elif never := self._never(call):
                del self._waiting[call.serial]
                yield self._answer(waiting, now_s, FAILED, never)

    def _through(self, barrier: str, now_s: float) -> Iterator[Answer]:
        """Let all members through a barrier, which then is there anew."""
        through = [one for one in self._waiting.values() if one.call.verb == "sync" and one.call.id == barrier]
        for one in through:
            del self._waiting[one.call.serial]
        yield from (self._answer(one, now_s, WAITED) for one in through)

    def _missing(self, call: MessageCall) -> list[str]:
        """Return the members on whom a call waits."""
        if call.verb == "sync":
            there = {
                one.call.member for one in self._waiting.values() if one.call.verb == "sync" and one.call.id == call.id
            }
            return [name for name in self._roles if name not in there]
        senders = self._sent.get(call.id, {})
        if call.verb == "wait":
            return [] if senders else [*self._roles]
        return [name for name, role in self._roles.items() if name not in senders and call.role in ("", role)]

    def _never(self, call: MessageCall) -> str:
        """Return why a call waits in vain; nothing if it may still be met."""
        if call.verb == "wait":  # any sender will do there
            needed = [name for name in (*self._roles, self._host) if name != call.member]
            lost = needed if all(name in self._gone for name in needed) and self._roles.keys() != {call.member} else []
        else:
            lost = [name for name in self._missing(call) if name in self._gone]
        reasons = "; ".join(filter(None, (self._gone[name] for name in lost)))
        return f"{call} cannot be met any more: {reasons}" if lost else ""

    def _lack(self, call: MessageCall) -> str:
        """Say what a call still waits for."""
        if call.verb == "wait":
            return "nobody has sent it"
        missing = self._missing(call)
        have = f"{', '.join(missing)} {'has' if len(missing) == 1 else 'have'} not"
        return f"{have} come" if call.verb == "sync" else f"{have} sent it"

    def _answer(self, waiting: _Waiting, now_s: float, outcome: str, error: str = "") -> Answer:
        call = waiting.call
        return Answer(
            call=call,
            outcome=outcome,
            error=error,
            messages=dict(self._sent.get(call.id, {})) if outcome == WAITED and call.verb != "sync" else {},
            waited_for=waiting.waited_for,
            duration_s=now_s - call.at_s,
        )


def _size(name: str, pairs: Pairs) -> int:
    """Return how much a message takes, in characters."""
    return _OF_A_MESSAGE + len(name) + sum(_OF_A_PAIR + len(key) + len(value) for key, value in pairs.items())


def is_id(text: str) -> bool:
    """Tell whether a message or a barrier can be called so."""
    return "=" not in text and text.split() == [text]
