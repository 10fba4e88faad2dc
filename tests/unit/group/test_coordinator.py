"""Messages between members: who gets what, who waits for whom, and what no longer can be waited for."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable
from typing import Any

import pytest

from vmtasks.group import coordinator
from vmtasks.group.coordinator import (
    FAILED,
    LONGEST_CHARACTERS,
    LONGEST_NAMES_CHARACTERS,
    LONGEST_WORD,
    MOST_CHARACTERS,
    MOST_WAITING,
    WAITED,
    WITHDRAWN,
    Answer,
    Coordinator,
    MessageCall,
    Verb,
)
from vmtasks.group.roles import HOST, Role, members_of

MEMBERS = members_of({"server": Role(image="x"), "client": Role(image="x", count=2)})


class Talk:
    """A coordinator, with the words of a test."""

    def __init__(self) -> None:
        self.coordinator = Coordinator(MEMBERS)
        self._serials = itertools.count()

    def __call__(
        self,
        member: str,
        verb: Verb,
        name: str,
        role: str = "",
        *,
        at_s: float = 0.0,
        timeout_s: float = 100.0,
        **pairs: str,
    ) -> list[Answer]:
        call = MessageCall(
            serial=next(self._serials),
            member=member,
            verb=verb,
            id=name,
            role=role,
            at_s=at_s,
            timeout_s=timeout_s,
            pairs=pairs,
        )
        return self.coordinator.call(call)


@pytest.fixture
def talk() -> Talk:
    return Talk()


def ends(answers: Iterable[Answer]) -> list[tuple[str, str, str]]:
    return sorted((one.call.member, one.call.verb, one.outcome) for one in answers)


def test_a_message_goes_to_all_the_sender_too_and_stays(talk: Talk) -> None:
    assert ends(talk("client1", "wait", "ready")) == []
    assert ends(talk("server", "send", "ready", port="80")) == [
        ("client1", "wait", WAITED),
        ("server", "send", WAITED),
    ]
    for member in ("server", "client1", "client2", HOST, "client2"):
        (answer,) = talk(member, "wait", "ready")
        assert answer.messages == {"server": {"port": "80"}}


def test_a_second_message_of_a_sender_replaces_the_first_and_others_stay(talk: Talk) -> None:
    talk("server", "send", "a", x="1", y="2")
    talk("client1", "send", "a", x="3")
    talk("server", "send", "a", x="4")
    (answer,) = talk("client2", "wait", "a")
    assert answer.messages == {"server": {"x": "4"}, "client1": {"x": "3"}}


def test_the_host_may_send_and_is_no_member(talk: Talk) -> None:
    assert ends(talk("client1", "wait", "go")) == []
    assert ("client1", "wait", WAITED) in ends(talk(HOST, "send", "go", by="host"))
    assert ends(talk(HOST, "wait-all", "go")) == []
    talk("server", "send", "go")
    talk("client1", "send", "go")
    (*_, answer) = talk("client2", "send", "go")
    assert (answer.call.member, answer.outcome, [*answer.messages]) == (
        HOST, WAITED, ["host", "server", "client1", "client2"]
    )  # fmt: skip


def test_wait_all_is_for_all_members_the_caller_too(talk: Talk) -> None:
    talk("server", "send", "up")
    talk("client2", "send", "up", load="1")
    assert ends(talk("client1", "wait-all", "up")) == []
    answers = talk("client1", "send", "up")
    assert ends(answers) == [("client1", "send", WAITED), ("client1", "wait-all", WAITED)]
    assert answers[1].waited_for == ("client1",)


def test_wait_all_of_a_role_is_for_that_role_and_brings_all_there_is(talk: Talk) -> None:
    talk("server", "send", "up", s="1")
    talk("client1", "send", "up")
    assert ends(talk("server", "wait-all", "up", "client", at_s=5.0)) == []
    answers = talk("client2", "send", "up", at_s=7.5)
    (waited,) = (one for one in answers if one.call.verb == "wait-all")
    assert (waited.waited_for, waited.duration_s) == (("client2",), 2.5)
    assert [*waited.messages] == ["server", "client1", "client2"]


def test_nobody_need_have_sent_before_one_waits(talk: Talk) -> None:
    """LAVA refuses that."""
    assert ends(talk("server", "wait-all", "new")) == []


def test_a_barrier_opens_when_all_have_come_and_then_is_there_anew(talk: Talk) -> None:
    for _ in range(3):
        assert ends(talk("server", "sync", "start")) == []
        assert ends(talk("client2", "sync", "start")) == []
        assert ends(talk("client1", "sync", "other")) == []
        answers = talk("client1", "sync", "start")
        assert ends(answers) == [(name, "sync", WAITED) for name in ("client1", "client2", "server")]
        assert [dict(one.messages) for one in answers] == [{}] * 3
        talk.coordinator.withdraw(max(talk.coordinator._waiting), 0.0)


def test_two_calls_of_a_member_do_not_stand_for_two_members(talk: Talk) -> None:
    talk("server", "sync", "start")
    talk("client1", "sync", "start")
    assert ends(talk("client1", "sync", "start")) == []
    assert len(talk("client2", "sync", "start")) == 4


@pytest.mark.parametrize(
    ("verb", "role", "gone", "is_over"),
    [
        ("wait-all", "", "client2", True),
        ("wait-all", "client", "client2", True),
        ("wait-all", "client", "server", False),
        ("sync", "", "client2", True),
        ("wait", "", "client2", False),
        ("wait", "", "client2 server", False),  # the host's side may send it
        ("wait", "", "client2 host", False),
        ("wait", "", "host client2 server", True),
        ("wait", "", "server client2 host", True),
    ],
)
def test_a_wait_for_one_that_is_gone_ends_unless_its_message_is_there(
    talk: Talk, verb: Verb, role: str, gone: str, is_over: bool
) -> None:
    talk("client1", verb, "x", role)
    answers = [
        one for name in gone.split() for one in talk.coordinator.gone(name, f"the kernel of {name} panicked", 3.0)
    ]
    assert ends(answers) == ([("client1", verb, FAILED)] if is_over else [])
    if is_over:
        assert answers[0].error.startswith(f"{verb} x{f' {role}' if role else ''} cannot be met any more: ")
        assert "the kernel of client2 panicked" in answers[0].error
        # Whoever comes later learns the same, at once.
        assert ends(talk("client1", verb, "x", role)) == [("client1", verb, FAILED)]


def test_the_hosts_side_may_send_until_it_is_over_and_its_end_needs_no_reason(talk: Talk) -> None:
    talk.coordinator.gone("client2", "client2 panicked", 0.0)
    talk.coordinator.gone("server", "server panicked", 0.0)
    assert ends(talk("client1", "wait", "go")) == []
    assert ends(talk(HOST, "send", "go")) == [("client1", "wait", WAITED), (HOST, "send", WAITED)]
    assert ends(talk("client1", "wait", "more")) == []
    (answer,) = talk.coordinator.gone(HOST, "", 1.0)
    assert answer.error == "wait more cannot be met any more: server panicked; client2 panicked"
    (answer,) = talk("client1", "wait-all", "more", "client")
    assert answer.error == "wait-all more client cannot be met any more: client2 panicked"


def test_the_hosts_side_waits_for_members_alone(talk: Talk) -> None:
    for name in ("client1", "client2"):
        talk.coordinator.gone(name, f"{name} panicked", 0.0)
    assert ends(talk(HOST, "wait", "go")) == []
    assert ends(talk.coordinator.gone("server", "server panicked", 0.0)) == [(HOST, "wait", FAILED)]


def test_one_that_is_alone_in_its_group_may_send_to_itself() -> None:
    talk = Talk()
    talk.coordinator = Coordinator(members_of({"server": Role(image="x")}))
    talk.coordinator.gone(HOST, "", 0.0)
    assert ends(talk("server", "wait", "x")) == []


def test_a_message_of_one_that_is_gone_is_still_there(talk: Talk) -> None:
    talk("client2", "send", "x", a="1")
    talk.coordinator.gone("client2", "it powered itself off", 0.0)
    (answer,) = talk("client1", "wait", "x")
    assert answer.messages == {"client2": {"a": "1"}}
    talk("server", "wait-all", "x", "client")
    assert ends(talk("client1", "send", "x"))[-1] == ("server", "wait-all", WAITED)


def test_what_a_member_waits_for_goes_with_it(talk: Talk) -> None:
    talk("client1", "wait", "x")
    talk("client1", "sync", "y")
    assert ends(talk.coordinator.gone("client1", "gone", 1.0)) == [
        ("client1", "sync", WITHDRAWN),
        ("client1", "wait", WITHDRAWN),
    ]
    assert talk.coordinator.waits(1.0) == []


@pytest.mark.parametrize(
    ("verb", "error"),
    [
        ("wait", "wait x was not met within 5 s: nobody has sent it"),
        ("wait-all", "wait-all x was not met within 5 s: server, client2 have not sent it"),
        ("sync", "sync x was not met within 5 s: server, client2 have not come"),
    ],
)
def test_a_deadline_ends_a_wait_and_says_who_is_missing(talk: Talk, verb: Verb, error: str) -> None:
    talk("client1", "send", "x")
    if verb == "wait":
        talk.coordinator = Coordinator(MEMBERS)
    talk("client1", verb, "x", at_s=10.0, timeout_s=5.0)
    assert talk.coordinator.next_deadline_s() == 15.0
    assert talk.coordinator.passed(14.9) == []
    (answer,) = talk.coordinator.passed(15.0)
    assert (answer.outcome, answer.error, answer.duration_s) == (FAILED, error, 5.0)
    assert talk.coordinator.next_deadline_s() == float("inf")


def test_who_waits_for_what_can_be_told(talk: Talk) -> None:
    talk("server", "send", "x")
    talk("server", "wait-all", "x", "client", at_s=1.0)
    talk("client1", "sync", "start", at_s=2.0)
    assert talk.coordinator.waits(4.0) == [
        "server has waited in wait-all x client for 3.0 s: client1, client2 have not sent it",
        "client1 has waited in sync start for 2.0 s: server, client2 have not come",
    ]


@pytest.mark.parametrize(
    ("verb", "name", "role", "sentence"),
    [
        ("wait-all", "x", "cilent", "there is no role 'cilent' in the group; there are server, client"),
        ("send", "a=b", "", "is no id of a message"),
        ("send", "", "", "is no id of a message"),
        ("sync", "two words", "", "is no id of a message"),
    ],
)
def test_what_cannot_be_is_refused_at_once(talk: Talk, verb: Verb, name: str, role: str, sentence: str) -> None:
    (answer,) = talk("server", verb, name, role)
    assert answer.outcome == FAILED
    assert sentence in answer.error


def test_the_host_comes_to_no_barrier(talk: Talk) -> None:
    assert talk(HOST, "sync", "x")[0].error == "only members come to a sync"


def test_guests_do_not_fill_the_memory_of_the_host(talk: Talk) -> None:
    value = "y" * LONGEST_CHARACTERS
    for answers in (talk("server", "send", "x", a=f"{value}y"), talk("server", "send", "x", a=value, b="y")):
        (answer,) = answers
        assert answer.error == "a message carries at most 1048576 characters, its values together"
    names: dict[str, Any] = {"n" * (LONGEST_NAMES_CHARACTERS + 1): ""}
    assert "the names of a message's values have at most" in talk("server", "send", "x", **names)[0].error
    for number in range(MOST_CHARACTERS // LONGEST_CHARACTERS - 1):
        assert talk("server", "send", f"x{number}", a=value)[0].outcome == WAITED
        assert talk("server", "send", "x0", a=value)[0].outcome == WAITED, "what replaces another counts once"
    assert "together" in talk("server", "send", "more", a=value)[0].error
    assert talk("server", "wait", "x0")[0].outcome == WAITED
    for _ in range(MOST_WAITING):
        talk("server", "wait", "never")
    assert "wait at once" in talk("server", "wait", "never")[0].error
    assert talk("client1", "wait", "never") == []


@pytest.mark.parametrize("verb", ["send", "wait", "wait-all", "sync"])
def test_an_id_and_a_role_are_words_and_no_texts(talk: Talk, verb: Verb) -> None:
    word = "y" * (LONGEST_WORD + 1)
    for name, role in ((word, ""), ("x", word)):
        (answer,) = talk("server", verb, name, role)
        assert answer.error == f"the id of a message, and a role, have at most {LONGEST_WORD} characters"
    assert talk("server", "send", word[1:])[0].outcome == WAITED


@pytest.mark.parametrize("pairs", [{}, {f"{number}": "" for number in range(10_000)}])
def test_what_has_no_values_counts_as_well(talk: Talk, monkeypatch: pytest.MonkeyPatch, pairs: dict[str, str]) -> None:
    """An id takes memory, and so does each pair, and the message itself."""
    monkeypatch.setattr(coordinator, "MOST_CHARACTERS", 2_000_000)
    answers = (talk("server", "send", f"{'y' * 900}{number}", **pairs)[0] for number in range(2000))
    assert "together" in next(answer.error for answer in answers if answer.error)


def test_every_call_is_answered_once_whatever_comes_in_which_order() -> None:
    chance = random.Random(20261128)  # noqa: S311 - the same each time
    for _ in range(300):
        talk, answered, now_s, calls = Talk(), [], 0.0, 0
        alive = [member.name for member in MEMBERS]
        for _ in range(40):
            now_s += chance.random()
            if chance.random() < 0.05 and len(alive) > 1:
                answered += talk.coordinator.gone(alive.pop(), "gone", now_s)
            verb: Verb = chance.choice(("send", "wait", "wait-all", "sync"))
            role = chance.choice(("", "client")) if verb == "wait-all" else ""
            timeout_s = chance.choice((3.0, 1000.0))
            answered += talk(chance.choice(alive), verb, chance.choice("abc"), role, at_s=now_s, timeout_s=timeout_s)
            calls += 1
            answered += talk.coordinator.passed(now_s)
        for name in alive:
            answered += talk.coordinator.gone(name, "the end", now_s)
        serials = [one.call.serial for one in answered]
        assert sorted(serials) == list(range(calls))
        assert talk.coordinator.next_deadline_s() == float("inf")
