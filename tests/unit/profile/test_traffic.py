"""Traffic of a guest, as the guest tells it, which may tell anything."""

from __future__ import annotations

import pytest

from tests.samples import sample
from vmtasks.profile.table import table
from vmtasks.profile.traffic import NetworkTraffic, between, parse_traffic
from vmtasks.profile.usage import Ending, usage_of

ANSWER = """\
0b1c2d3e-0000-4000-8000-000000000000
Inter-|   Receive                            |  Transmit
 face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed
    lo:     100    1    0    0    0     0     0         0     100    1    0    0    0     0       0          0
  eth0: 2000000 1500    0    0    0     0     0         0  300000 1000    0    0    0     0       0          0
"""


def test_cards_without_the_loopback() -> None:
    found = parse_traffic(ANSWER)
    assert found == NetworkTraffic(boot_id="0b1c2d3e-0000-4000-8000-000000000000", cards={"eth0": (2_000_000, 300_000)})


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "x\n",
        ANSWER.replace("2000000", "many"),
        ANSWER + "no card\n",
        ANSWER.replace("2000000", "9" * 5000),
        ANSWER.replace("2000000", "9" * 400),
        ANSWER.replace("2000000", str(1 << 64)),
        ANSWER.replace("300000", "-1"),
        ANSWER.replace("eth0", "e" * 16),
    ],
)
def test_what_is_no_answer(answer: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever int() and unpacking say
        parse_traffic(answer)


def test_the_largest_counter_makes_a_table() -> None:
    most = (1 << 64) - 1
    found = parse_traffic(ANSWER.replace("2000000", str(most)))
    network = between(NetworkTraffic(boot_id=found.boot_id, cards={}), found)
    assert "17592186044416.0 MiB received" in table("m", usage_of((sample(0), sample(1)), Ending(network=network)))


def test_a_name_cannot_move_the_cursor() -> None:
    assert [*parse_traffic(ANSWER.replace("eth0", "\x1b[2J")).cards] == ["?[2J"]


def test_no_more_cards_than_anybody_has() -> None:
    line = ANSWER.splitlines()[-1]
    many = "".join(line.replace("eth0", f"eth{number}") + "\n" for number in range(1000))
    assert len(parse_traffic(ANSWER + many).cards) < 100


def test_the_difference() -> None:
    before = NetworkTraffic(boot_id="a", cards={"eth0": (100, 10), "gone": (1, 1)})
    after = NetworkTraffic(boot_id="a", cards={"eth0": (150, 30), "new": (5, 6)})
    assert between(before, after) == {
        "eth0": {"received_bytes": 50, "sent_bytes": 20},
        "new": {"received_bytes": 5, "sent_bytes": 6},
    }


def test_a_card_that_counts_anew_has_what_it_counted_since() -> None:
    before, after = (
        NetworkTraffic(boot_id="a", cards={"eth0": (100, 10)}),
        NetworkTraffic(boot_id="a", cards={"eth0": (20, 30)}),
    )
    assert between(before, after) == {"eth0": {"received_bytes": 20, "sent_bytes": 30}}


def test_another_boot_is_no_difference() -> None:
    assert between(NetworkTraffic(boot_id="a", cards={}), NetworkTraffic(boot_id="b", cards={})) is None
