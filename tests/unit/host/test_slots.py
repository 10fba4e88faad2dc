"""The queue's rules and its manners towards what others leave in its directory; no other process takes part."""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vmtasks.host import slots
from vmtasks.host.slots import Claim, ClaimTooLargeError, Limits, SlotsUnavailableError, tickets

ONE = Limits(machines=1, memory_mib=1000)
TWO = Limits(machines=2, memory_mib=1000)


@pytest.fixture
def queue(tmp_path: Path) -> str:
    return str(tmp_path / "queue")


@contextmanager
def locked(path: Path | str) -> Iterator[None]:
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def names(claimed: tuple[slots.Ticket, ...]) -> list[str]:
    return [f"{ticket.purpose} {ticket.state}" for ticket in claimed]


def test_limits_that_let_nothing_run_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot share out 0 machines"):
        Limits(machines=0, memory_mib=1000)


def test_first_claim_is_admitted_at_once_and_says_who_it_is(queue: str) -> None:
    with Claim("bookworm", 600, ONE, directory=queue) as claim:
        assert claim.poll() == ()
        (ticket,) = tickets(queue)
    assert (ticket.state, ticket.purpose, ticket.memory_mib) == ("running", "bookworm", 600)
    assert (ticket.uid, ticket.pid) == (os.getuid(), os.getpid())
    assert str(ticket) == f"bookworm of {ticket.user} (running, 600 MiB, pid {os.getpid()})"
    assert tickets(queue) == ()


def test_second_claim_waits_behind_the_first(queue: str) -> None:
    with Claim("first", 100, ONE, directory=queue) as first, Claim("second", 100, ONE, directory=queue) as second:
        assert names(second.poll()) == ["first running"]
        assert names(tickets(queue)) == ["first running", "second waiting"]
        first.release()
        assert second.poll() == ()
        assert names(tickets(queue)) == ["second running"]


def test_claims_within_the_limits_run_together(queue: str) -> None:
    with Claim("first", 500, TWO, directory=queue), Claim("second", 500, TWO, directory=queue) as second:
        assert second.poll() == ()


def test_memory_bounds_as_well_as_number(queue: str) -> None:
    with Claim("first", 600, TWO, directory=queue) as first, Claim("second", 401, TWO, directory=queue) as second:
        assert names(second.poll()) == ["first running"]
        first.release()
        assert second.poll() == ()


def test_small_claim_does_not_overtake_a_large_one(queue: str) -> None:
    with (
        Claim("first", 600, TWO, directory=queue) as first,
        Claim("large", 600, TWO, directory=queue) as large,
        Claim("small", 100, TWO, directory=queue) as small,
    ):
        assert names(small.poll()) == ["first running", "large waiting"]
        first.release()
        assert names(small.poll()) == ["large waiting"], "a free slot is the next one's in order, however slow it is"
        assert large.poll() == ()
        assert small.poll() == ()


def test_claim_behind_one_that_gave_up_goes_on(queue: str) -> None:
    with (
        Claim("first", 600, TWO, directory=queue),
        Claim("large", 600, TWO, directory=queue) as large,
        Claim("small", 100, TWO, directory=queue) as small,
    ):
        large.release()
        assert small.poll() == ()


def test_newcomer_queues_behind_all_even_when_numbers_have_become_free(queue: str) -> None:
    with (
        Claim("first", 100, ONE, directory=queue) as first,
        Claim("second", 100, ONE, directory=queue) as second,
    ):
        first.release()
        with Claim("third", 100, ONE, directory=queue) as third:
            assert names(third.poll()) == ["second waiting"]
            assert second.poll() == ()


def test_claim_larger_than_all_there_is_is_refused_at_once(queue: str) -> None:
    with pytest.raises(ClaimTooLargeError, match=r"cannot run huge with 1001 MiB: .* 1000 MiB together") as one:
        Claim("huge", 1001, ONE, directory=queue)
    with pytest.raises(ClaimTooLargeError, match=r"cannot run a and 2 beside it with 1200 MiB: .*together") as group:
        Claim("a", 400, ONE, directory=queue, beside=[("b", 400), ("c", 400)])
    assert all("VMTASKS_SLOTS_MEMORY_MIB" in str(refusal.value) for refusal in (one, group))
    assert not Path(queue).exists()


def test_releasing_twice_is_releasing_once(queue: str) -> None:
    with Claim("first", 100, ONE, directory=queue) as first:
        first.release()
        with Claim("second", 100, ONE, directory=queue):
            first.release()
            assert names(tickets(queue)) == ["second running"]


def test_wait_tells_only_of_changes_and_then_returns(queue: str) -> None:
    told: list[list[str]] = []
    with (
        Claim("first", 100, ONE, directory=queue) as first,
        Claim("second", 100, ONE, directory=queue) as second,
        Claim("third", 100, ONE, directory=queue) as third,
    ):
        steps = iter([lambda: None, first.release, second.poll, lambda: None, second.release])
        third.wait(lambda ahead: told.append(names(ahead)), pause=lambda _: next(steps)())
        assert third.poll() == ()
    assert told == [["first running", "second waiting"], ["second waiting"], ["second running"]]


def test_wait_ends_with_what_its_pause_raises(queue: str) -> None:
    def pause(_: float) -> None:
        raise EOFError

    with Claim("first", 100, ONE, directory=queue):
        with pytest.raises(EOFError), Claim("second", 100, ONE, directory=queue) as second:
            second.wait(pause=pause)
        assert names(tickets(queue)) == ["first running"]


def test_directory_and_tickets_are_for_all_users_whatever_the_umask(queue: str) -> None:
    umask = os.umask(0o077)
    try:
        with Claim("bookworm", 100, ONE, directory=queue):
            (ticket,) = Path(queue).iterdir()
            assert stat.S_IMODE(ticket.stat().st_mode) == 0o644
        assert stat.S_IMODE(Path(queue).stat().st_mode) == 0o1777
    finally:
        assert os.umask(umask) == 0o077


def test_looking_at_a_queue_that_is_not_there_does_not_make_it(queue: str) -> None:
    assert tickets(queue) == ()
    assert not Path(queue).exists()


def test_dead_tickets_are_swept_when_asked_and_living_ones_stay(queue: str) -> None:
    assert slots.sweep(queue) == ()
    with Claim("dead", 1000, ONE, directory=queue):
        (ticket,) = Path(queue).iterdir()
        content = ticket.read_bytes()
    ticket.write_bytes(content)
    with Claim("living", 1000, ONE, directory=queue) as living:  # which sweeps as well
        dead = Path(queue, "000000000009")
        dead.write_bytes(content)
        assert slots.sweep(queue) == (str(dead),)
        assert not dead.exists()
        assert names(tickets(queue)) == ["living running"]
        assert living.poll() == ()


def test_dead_ticket_counts_for_nothing_and_is_swept_by_the_next_claim(queue: str) -> None:
    with Claim("dead", 1000, ONE, directory=queue):
        (ticket,) = Path(queue).iterdir()
        content = ticket.read_bytes()
    ticket.write_bytes(content)
    assert tickets(queue) == ()
    assert ticket.exists(), "looking changes nothing"
    with Claim("next", 1000, ONE, directory=queue) as claim:
        assert claim.poll() == ()
        assert len(list(Path(queue).iterdir())) == 1


SOUND: dict[str, object] = {"state": "running", "user": "mallory", "pid": 1, "what": "machine", "memory_mib": 1000}
UNSOUND: list[dict[str, object]] = [
    {"memory_mib": -1},
    {"memory_mib": "1"},
    {"memory_mib": 1e999},
    {"state": "dreaming"},
    {"state": []},
    {"what": [1]},
    {"user": None},
    {"pid": {}},
]


@pytest.mark.parametrize("held", [True, False], ids=["locked", "unlocked"])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\x00garbage",
        b"[" * 4096,
        b"9" * 5000,
        b"[]",
        b"null",
        b'"text"',
        *(json.dumps(SOUND | wrong).encode() for wrong in UNSOUND),
    ],
)
def test_garbage_in_a_ticket_is_no_ticket(queue: str, content: bytes, held: bool) -> None:
    Path(queue).mkdir()
    garbage = Path(queue, "000000000001")
    garbage.write_bytes(content)
    with locked(garbage if held else os.devnull), Claim("sound", 1000, ONE, directory=queue) as claim:
        assert claim.poll() == ()
        assert names(tickets(queue)) == ["sound running"]
        assert garbage.exists() == held, "it is swept when it is nobody's"


def test_what_the_garbage_is_compared_with_is_a_ticket(queue: str) -> None:
    Path(queue).mkdir()
    sound = Path(queue, "000000000001")
    sound.write_text(json.dumps(SOUND))
    with locked(sound), Claim("next", 1, ONE, directory=queue) as claim:
        assert names(claim.poll()) == ["machine running"]


def test_things_that_are_no_files_are_left_alone(queue: str) -> None:
    Path(queue).mkdir()
    Path(queue, "000000000001").mkdir()
    os.mkfifo(Path(queue, "000000000002"))
    os.mknod(Path(queue, "000000000003"), stat.S_IFSOCK | 0o644)
    Path(queue, "notes").write_text("not a ticket")
    with Claim("sound", 1000, ONE, directory=queue) as claim:
        assert claim.poll() == ()
        assert names(tickets(queue)) == ["sound running"]
    assert len(list(Path(queue).iterdir())) == 4


@pytest.mark.parametrize("exists", [True, False], ids=["to-a-file", "dangling"])
def test_links_in_the_place_of_tickets_are_not_followed(queue: str, tmp_path: Path, exists: bool) -> None:
    victim = tmp_path / "victim"
    if exists:
        victim.write_text("precious")
    Path(queue).mkdir()
    for number in (1, 2, 3):
        Path(queue, f"{number:012d}").symlink_to(victim)
    with Claim("sound", 1000, ONE, directory=queue) as claim:
        assert claim.poll() == ()
        (ticket,) = tickets(queue)
        assert (ticket.purpose, ticket.seq) == ("sound", 4)
    assert all(entry.is_symlink() for entry in Path(queue).iterdir())
    assert len(list(Path(queue).iterdir())) == 3
    assert victim.exists() == exists
    assert not exists or victim.read_text() == "precious"


@pytest.mark.parametrize("exists", [True, False], ids=["to-a-directory", "dangling"])
def test_link_in_the_place_of_the_directory_is_refused(queue: str, tmp_path: Path, exists: bool) -> None:
    target = tmp_path / "target"
    if exists:
        target.mkdir()
    Path(queue).symlink_to(target)
    with pytest.raises(SlotsUnavailableError, match=f"cannot queue for a slot in {queue}: .* not a link"):
        Claim("bookworm", 100, ONE, directory=queue)
    with pytest.raises(SlotsUnavailableError):
        tickets(queue)
    assert target.exists() == exists
    assert not exists or not list(target.iterdir())


def test_file_in_the_place_of_the_directory_is_refused(queue: str) -> None:
    Path(queue).touch()
    with pytest.raises(SlotsUnavailableError, match="Not a directory"):
        Claim("bookworm", 100, ONE, directory=queue)


def test_words_of_others_cannot_command_the_terminal(queue: str) -> None:
    with Claim("\x1b[2Jbook\nworm\ud800" + "x" * 9999, 100, ONE, directory=queue):
        (ticket,) = tickets(queue)
    assert ticket.purpose == ("?[2Jbook?worm?" + "x" * 9999)[:120]


def test_poll_never_waits_for_whoever_has_the_directory_locked(queue: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("it waits"))
    with Claim("first", 100, ONE, directory=queue) as first, Claim("second", 100, ONE, directory=queue) as second:
        first.release()
        with locked(queue):
            assert names(second.poll()) == ["first running"], "the last answer stands"
        assert second.poll() == ()


def test_directory_that_stays_locked_is_told_of(queue: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "_PATIENCE_S", 0.01)
    Path(queue).mkdir()
    with locked(queue):
        with pytest.raises(SlotsUnavailableError, match="kept it locked"):
            Claim("bookworm", 100, ONE, directory=queue)
        with pytest.raises(SlotsUnavailableError, match="kept it locked"):
            tickets(queue)


def test_claim_whose_ticket_was_removed_does_not_slip_in(queue: str) -> None:
    with Claim("first", 100, ONE, directory=queue), Claim("second", 100, ONE, directory=queue) as second:
        for ticket in Path(queue).iterdir():
            ticket.unlink()
        with pytest.raises(SlotsUnavailableError, match="has been removed"):
            second.poll()


def test_who_stands_aside_lets_others_run_and_comes_before_those_who_came_later(queue: str) -> None:
    with (
        Claim("group", 100, TWO, directory=queue, beside=[("more", 100)]) as group,
        Claim("other", 100, ONE, directory=queue) as other,
    ):
        assert names(other.poll()) == ["group running", "more running"]
        group.stand_aside()
        assert names(tickets(queue)) == ["group withheld", "more withheld", "other waiting"]
        assert other.poll() == ()
        assert names(group.poll()) == ["other running"]
        with Claim("late", 100, ONE, directory=queue) as late:
            other.release()
            assert names(late.poll()) == ["group waiting", "more waiting"]
            assert group.poll() == ()
            assert names(late.poll()) == ["group running", "more running"]


def test_claim_leaves_no_descriptors_behind(queue: str) -> None:
    before = list(Path("/proc/self/fd").iterdir())
    with Claim("first", 100, ONE, directory=queue), Claim("second", 100, ONE, directory=queue) as second:
        second.poll()
        tickets(queue)
    Path(queue).rmdir()
    Path(queue).touch()
    with pytest.raises(SlotsUnavailableError):
        Claim("bookworm", 100, ONE, directory=queue)
    assert list(Path("/proc/self/fd").iterdir()) == before


@pytest.mark.parametrize(
    ("open_to_all", "expected"),
    [
        ({"/run/lock"}, "/run/lock/vmtasks"),
        ({"/run/lock/vmtasks"}, "/run/lock/vmtasks"),
        (set(), "/tmp/vmtasks-slots"),
    ],
)
def test_default_directory(open_to_all: set[str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "_is_open_to_all", lambda path: path in open_to_all)
    assert slots.default_directory() == expected


@pytest.mark.parametrize(("mode", "expected"), [(0o1777, True), (0o777, False), (0o1755, False)])
def test_directory_is_open_to_all(tmp_path: Path, mode: int, expected: bool) -> None:
    tmp_path.chmod(mode)
    assert slots._is_open_to_all(str(tmp_path)) is expected
    assert not slots._is_open_to_all(str(tmp_path / "nothing"))
