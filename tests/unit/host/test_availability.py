"""Whether a host takes machines: what was declared, what its settings say, and what that does to the queue."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from vmtasks.config.settings import HostSettings
from vmtasks.host import availability, declared, slots
from vmtasks.host.availability import ALWAYS, Availability, Rules, clock, file_of, rules_of
from vmtasks.host.slots import Claim, Limits, SlotsUnavailableError, tickets, waiting_for
from vmtasks.process.user import user_name

TWO = Limits(machines=2, memory_mib=1000)
CLOSED = ALWAYS._replace(usual="none")
FILE = file_of(os.geteuid())


@pytest.fixture
def queue(tmp_path: Path) -> str:
    return str(tmp_path / "queue")


def states(queue: str) -> list[str]:
    return [f"{ticket.purpose} {ticket.state}" for ticket in tickets(queue)]


def holds(rules: Rules, root: Path, *, machines: int = 0) -> str:
    return availability.now(None, rules, machines=machines, root=str(root)).state


# --- what is declared ------------------------------------------------------------------------------------------


def test_what_is_declared_holds_for_all_until_it_is_taken_back(queue: str) -> None:
    declared.declare("none", reason="a new disk", directory=queue)
    found = declared.current(ALWAYS, directory=queue)
    assert (found.state, found.reason, found.until_s, found.by) == ("none", "a new disk", None, user_name())
    assert (Path(queue) / FILE).stat().st_mode & 0o777 == 0o644
    declared.declare("reluctant", directory=queue)
    assert declared.current(ALWAYS, directory=queue).state == "reluctant"
    declared.take_back(directory=queue)
    declared.take_back(directory=queue)
    assert declared.current(ALWAYS, directory=queue) == Availability("eager", "", None, "", 0.0)
    assert os.listdir(queue) == []  # noqa: PTH208 - names are all that is asked for


def test_what_is_declared_goes_over_the_settings_until_its_time(queue: str) -> None:
    declared.declare("eager", until_s=time.time() + 60, directory=queue)
    assert declared.current(CLOSED, directory=queue).state == "eager"
    declared.declare("eager", until_s=time.time() - 1, directory=queue)
    assert declared.current(CLOSED, directory=queue).state == "none"


def says(queue: str, uid: int, state: str, *, at_s: float, until_s: float | None = None) -> None:
    """Have a user say something."""
    path = Path(queue) / file_of(uid)
    path.write_text(json.dumps({"state": state, "until_s": until_s, "reason": "", "user": f"{uid}"}))
    os.utime(path, (at_s, at_s))


@pytest.fixture
def owners(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each file be of the user whose number it has, as only root could."""
    real = os.fstat

    def fstat(fd: int) -> os.stat_result:
        about = real(fd)
        name = Path(f"/proc/self/fd/{fd}").readlink().name
        match = availability.FILE.fullmatch(name)
        return os.stat_result((*about[:4], int(match[1]), *about[5:])) if match else about

    monkeypatch.setattr(availability.os, "fstat", fstat)


@pytest.mark.usefixtures("owners")
def test_a_word_whose_time_has_passed_is_in_nobodys_way(queue: str) -> None:
    now_s = time.time()
    slots.make_queue(queue)
    says(queue, 4242, "none", at_s=now_s - 5, until_s=now_s - 1)
    assert declared.current(ALWAYS, directory=queue).state == "eager"
    declared.declare("reluctant", directory=queue)
    assert declared.current(ALWAYS, directory=queue).state == "reluctant"


@pytest.mark.usefixtures("owners")
def test_of_several_words_the_newest_counts_and_roots_before_all(queue: str) -> None:
    now_s = time.time()
    slots.make_queue(queue)
    says(queue, 4242, "none", at_s=now_s - 20)
    says(queue, 4243, "reluctant", at_s=now_s - 10)
    found = declared.current(ALWAYS, directory=queue)
    assert (found.state, found.by) == ("reluctant", "4243")
    says(queue, 4243, "reluctant", at_s=now_s - 10, until_s=now_s - 1)
    assert declared.current(ALWAYS, directory=queue).by == "4242"
    says(queue, 0, "eager", at_s=now_s - 30)
    assert declared.current(ALWAYS, directory=queue).by == "0"


def test_what_is_not_of_the_user_of_that_number_counts_for_nothing(queue: str) -> None:
    slots.make_queue(queue)
    for uid in (os.geteuid() + 1, os.geteuid() + 2):
        says(queue, uid, "none", at_s=time.time())
    assert declared.current(ALWAYS, directory=queue).state == "eager"


@pytest.mark.parametrize(("uid", "left"), [(0, []), (4242, [file_of(4243)])])
def test_root_takes_back_what_anybody_has_declared(
    queue: str, uid: int, left: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    slots.make_queue(queue)
    for other in (4242, 4243):
        says(queue, other, "none", at_s=time.time())
    monkeypatch.setattr(declared.os, "geteuid", lambda: uid)
    declared.take_back(directory=queue)
    assert os.listdir(queue) == left  # noqa: PTH208 - names are all that is asked for


def test_nobody_has_a_queue_yet(queue: str) -> None:
    assert declared.current(CLOSED, directory=queue).state == "none"
    assert not Path(queue).exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 4096,
        b"{",
        b"[" * 100_000,
        b'"none"',
        b'{"state": "none"}',
        b'{"state": "closed", "until_s": null, "reason": "", "user": ""}',
        b'{"state": "none", "until_s": "18:00", "reason": "", "user": ""}',
        b'{"state": "none", "until_s": 1e300, "reason": "", "user": ""}',
        b'{"state": "none", "until_s": null, "reason": "\\ud800", "user": ""}',
        json.dumps({"state": "none", "until_s": None, "reason": "x" * 10_000, "user": ""}).encode(),
    ],
)
def test_what_is_not_well_formed_counts_for_nothing(queue: str, content: bytes) -> None:
    slots.make_queue(queue)
    (Path(queue) / FILE).write_bytes(content)
    assert declared.current(ALWAYS, directory=queue).state == "eager"
    with Claim("first", 100, TWO, directory=queue) as claim:
        assert claim.poll() == ()


@pytest.mark.parametrize("kind", ["link", "directory", "fifo"])
def test_what_is_no_file_is_not_followed(queue: str, kind: str, tmp_path: Path) -> None:
    slots.make_queue(queue)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text('{"state": "none", "until_s": null, "reason": "", "user": ""}')
    path = Path(queue) / FILE
    match kind:
        case "link":
            path.symlink_to(elsewhere)
        case "directory":
            path.mkdir()
        case _:
            os.mkfifo(path)
    assert declared.current(ALWAYS, directory=queue).state == "eager"
    if kind == "directory":
        with pytest.raises(SlotsUnavailableError, match=r"cannot set the host's availability in .*: Is a directory"):
            declared.declare("none", directory=queue)
    else:
        declared.declare("none", directory=queue)
        assert not path.is_symlink()
        assert "none" in elsewhere.read_text()


def test_what_others_say_is_one_short_harmless_line(queue: str) -> None:
    declared.declare("none", reason="a\n\x1b[31m\u202e" + "x" * 1000, directory=queue)
    reason = declared.current(ALWAYS, directory=queue).reason
    assert reason.startswith("a??[31m?x")
    assert len(reason) == 200


def test_a_queue_that_is_none_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "queue").touch()
    with pytest.raises(SlotsUnavailableError, match="cannot queue for a slot in"):
        declared.declare("none", directory=str(tmp_path / "queue"))
    with pytest.raises(SlotsUnavailableError):
        declared.current(ALWAYS, directory=str(tmp_path / "queue"))


# --- what the settings say -------------------------------------------------------------------------------------


def test_a_host_of_which_nobody_says_anything_is_eager(tmp_path: Path) -> None:
    assert rules_of(HostSettings()) == ALWAYS
    assert holds(ALWAYS, tmp_path) == "eager"


def test_the_settings_are_the_rules() -> None:
    settings = HostSettings(
        availability="reluctant", eager_hours="Sat", eager_load=1.5, eager_users=0, availability_otherwise="reluctant"
    )
    assert rules_of(settings) == Rules("reluctant", "Sat", "1.5", "0", "reluctant")


def test_hours_say_until_when(tmp_path: Path) -> None:
    tomorrow = time.localtime(time.time() + 86400)
    day = time.strftime("%a", tomorrow)
    found = availability.now(None, ALWAYS._replace(hours=f"{day} 12:00-13:00"), root=str(tmp_path))
    noon_s = time.mktime((*tomorrow[:3], 12, 0, 0, 0, 0, -1))
    assert (found.state, found.until_s) == ("none", noon_s)
    assert str(found) == f"the host takes no new machines until {clock(noon_s)} (its hours are {day} 12:00-13:00)"


@pytest.mark.parametrize(
    ("load", "machines", "state"), [("3.99", 0, "eager"), ("4.01", 0, "none"), ("4.01", 1, "eager")]
)
def test_load_that_is_not_of_our_machines(tmp_path: Path, load: str, machines: int, state: str) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "loadavg").write_text(f"{load} 1.00 1.00 1/100 4711\n")
    assert holds(ALWAYS._replace(load="4"), tmp_path, machines=machines) == state


@pytest.mark.parametrize("content", [None, "", "much\n", "\0"])
def test_load_that_is_not_to_be_had_is_none(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "proc").mkdir()
        (tmp_path / "proc" / "loadavg").write_text(content)
    assert holds(ALWAYS._replace(load="0"), tmp_path) == "eager"


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ("UID=4242\nUSER=alice\nACTIVE=1\nSTATE=active\nCLASS=user\n", "reluctant"),
        ("UID=4242\nSTATE=active\nCLASS=user-early\n", "reluctant"),
        ("UID=4242\nSTATE=active\nCLASS=user-light\n", "reluctant"),
        ("UID=4242\nSTATE=closing\nCLASS=user\n", "eager"),
        ("UID=4242\nSTATE=active\nCLASS=manager\n", "eager"),
        (f"UID={os.getuid()}\nSTATE=active\nCLASS=user\n", "eager"),
        ("CLASS=user\n", "eager"),
        ("UID=alice\nCLASS=user\n", "eager"),
        ("\0\xff", "eager"),
    ],
)
def test_others_who_are_logged_in(tmp_path: Path, fields: str, state: str) -> None:
    sessions = tmp_path / "run" / "systemd" / "sessions"
    sessions.mkdir(parents=True)
    (sessions / "7").write_text(fields)
    os.mkfifo(sessions / "7.ref")
    session = os.open(sessions / "7.ref", os.O_RDWR)  # which it holds open until it ends
    assert holds(ALWAYS._replace(users="0", otherwise="reluctant"), tmp_path) == state
    assert holds(ALWAYS._replace(users="1", otherwise="reluctant"), tmp_path) == "eager"
    os.close(session)


# --- what that does to the queue -------------------------------------------------------------------------------


def test_a_claim_is_withheld_and_told_why_and_what_runs_goes_on(queue: str) -> None:
    with Claim("first", 100, TWO, directory=queue) as first:
        declared.declare("none", reason="a new disk", directory=queue)
        assert first.poll() == ()
        with Claim("second", 100, TWO, directory=queue) as second:
            says = waiting_for(second.poll())
            assert says == f": the host takes no new machines (a new disk; {user_name()} has set that)"
            assert waiting_for(second.poll()) == says
            assert states(queue) == ["first running", "second withheld"]
            declared.take_back(directory=queue)
            assert second.poll() == ()
            assert states(queue) == ["first running", "second running"]


def test_a_reluctant_host_serves(queue: str) -> None:
    declared.declare("reluctant", directory=queue)
    with Claim("first", 100, TWO, directory=queue) as claim:
        assert claim.poll() == ()


def test_what_ones_own_settings_withhold_is_in_nobodys_way(queue: str) -> None:
    with Claim("night", 100, TWO, directory=queue, rules=CLOSED) as night:
        assert waiting_for(night.poll()) == ": the host takes no new machines"
        with Claim("day", 100, TWO, directory=queue) as day:
            assert day.poll() == ()
            assert states(queue) == ["night withheld", "day running"]


def test_what_was_withheld_counts_those_that_went_ahead(queue: str) -> None:
    with (
        Claim("night", 600, TWO, directory=queue, rules=CLOSED) as night,
        Claim("day", 600, TWO, directory=queue) as day,
    ):
        declared.declare("eager", directory=queue)
        assert waiting_for(night.poll()).startswith(" for a slot behind day of ")
        assert states(queue) == ["night waiting", "day running"]
        with Claim("third", 100, TWO, directory=queue) as third:
            assert waiting_for(third.poll()).endswith(", and 1 more")  # it is behind both
        day.release()
        assert night.poll() == ()


def test_those_that_were_withheld_go_on_in_their_order(queue: str) -> None:
    declared.declare("none", directory=queue)
    with (
        Claim("first", 600, TWO, directory=queue) as first,
        Claim("second", 600, TWO, directory=queue) as second,
    ):
        declared.take_back(directory=queue)
        assert second.poll()
        assert first.poll() == ()
        assert waiting_for(second.poll()).startswith(" for a slot behind first of ")
        first.release()
        assert second.poll() == ()


def test_one_that_stays_withheld_is_in_nobodys_way(queue: str) -> None:
    declared.declare("none", directory=queue)
    with (
        Claim("night", 600, TWO, directory=queue, rules=CLOSED) as night,
        Claim("day", 600, TWO, directory=queue) as day,
    ):
        declared.take_back(directory=queue)
        day.wait(pause=lambda _: None)
        assert night.poll()
        assert states(queue) == ["night withheld", "day running"]


def test_a_group_is_withheld_as_a_whole(queue: str) -> None:
    declared.declare("none", directory=queue)
    with Claim("one", 100, TWO, directory=queue, beside=[("two", 100)]) as group:
        assert states(queue) == ["one withheld", "two withheld"]
        declared.take_back(directory=queue)
        assert group.poll() == ()
        assert states(queue) == ["one running", "two running"]
