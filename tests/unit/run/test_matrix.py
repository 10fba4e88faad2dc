"""What a matrix consists of, how each of its runs is called, and what all of them come to."""

from __future__ import annotations

from inspect import signature

import pytest
from invoke.context import Context

from vmtasks import HostError, Run, UsageError, errors, recipe
from vmtasks.errors import Outcome
from vmtasks.run import fan_out, task
from vmtasks.run.matrix import Combination, combinations, is_matrix, verdict
from vmtasks.run.options import RecipeOptions


def names(**options: object) -> list[str]:
    return [one.name for one in combinations(options)]


@pytest.mark.parametrize(
    ("options", "is_one"),
    [
        ({"image": "bookworm", "on": ""}, False),
        ({"image": "", "on": "alice@big"}, False),
        ({"on": "local"}, False),
        ({"image": ["a,b"], "on": ""}, False),
        ({"image": "bookworm,trixie", "on": ""}, True),
        ({"on": "ssh://a,ssh://b"}, True),
        ({"image": "bookworm,", "on": ""}, True),
    ],
)
def test_a_comma_makes_a_matrix(options: dict[str, object], is_one: bool) -> None:
    assert is_matrix(options) == is_one


def test_it_is_the_product_of_what_has_several_names() -> None:
    assert names(image="bookworm, trixie", on="") == ["bookworm", "trixie"]
    assert names(image="trixie", on="local,alice@big") == ["local", "alice@big"]
    assert names(image="bookworm,trixie", on="local,alice@big") == [
        "bookworm-on-local",
        "bookworm-on-alice@big",
        "trixie-on-local",
        "trixie-on-alice@big",
    ]


@pytest.mark.parametrize(
    ("on", "name"),
    [
        ("ssh://root@board:2222", "ssh-root@board-2222"),
        ("ssh://[fe80::1]:22", "ssh-fe80-1-22"),
        ("../../etc", "etc"),
        ("..", "_"),
        ("ec2:eu-west-1", "ec2-eu-west-1"),
    ],
)
def test_a_name_is_a_clean_files(on: str, name: str) -> None:
    assert names(on=f"local,{on}") == ["local", name]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": "bookworm,"}, "--image bookworm, has an empty name"),
        ({"on": ",local"}, "--on ,local has an empty name"),
        ({"image": "sid,bookworm, sid"}, "--image names sid twice"),
        ({"on": "ssh://a,ssh-a"}, "the results of both would go to ssh-a"),
        ({"image": "bookworm,trixie", "shell": True}, "--shell is for one run"),
        ({"image": "bookworm,trixie", "keep": True}, "--keep is for one run"),
    ],
)
def test_what_cannot_be_is_a_usage(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        combinations(options)


# ---- pairs

FOUR = "ssh://a, ssh://root@b:2222,ssh://c,ssh://d"


def test_pairs_are_formed_in_the_order_of_the_hosts() -> None:
    found = combinations({"on": FOUR, "pairs": True})
    assert [(one.name, one.on) for one in found] == [
        ("ssh-a-and-ssh-root@b-2222", "ssh://a,ssh://root@b:2222"),
        ("ssh-c-and-ssh-d", "ssh://c,ssh://d"),
    ]
    assert names(on=FOUR, image="bookworm,trixie", pairs=True)[3] == "trixie-on-ssh-c-and-ssh-d"
    assert names(on="ssh://a,ssh://b", image="bookworm,trixie", pairs=True) == ["bookworm", "trixie"]


def test_one_pair_is_one_run() -> None:
    assert not is_matrix({"on": "ssh://a,ssh://b", "pairs": True})
    assert is_matrix({"on": "ssh://a,ssh://b", "pairs": False})
    assert is_matrix({"on": "ssh://a,ssh://b", "image": "bookworm,trixie", "pairs": True})
    assert is_matrix({"on": FOUR, "pairs": True})


def test_a_run_knows_its_pair() -> None:
    assert RecipeOptions(on="ssh://a, ssh://b").pair == ("ssh://a", "ssh://b")
    assert RecipeOptions(on="ssh://a").pair == ()
    assert RecipeOptions().pair == ()


@pytest.mark.parametrize(
    ("on", "message"),
    [
        ("", "--pairs needs hosts, and --on names none"),
        ("ssh://a", "--pairs needs an even number of hosts, and --on names 1: ssh://a has no partner"),
        ("ssh://a,ssh://b,ssh://c", "--pairs needs an even number of hosts, and --on names 3: ssh://c has no partner"),
        ("ssh://a,alice@big", "--pairs is for existing hosts, and alice@big is none"),
        ("ssh://a,ssh://b,", "has an empty name"),
        ("ssh://a,ssh://b,ssh://a,ssh://c", "--on names ssh://a twice"),
    ],
)
def test_what_is_no_pair_is_a_usage(on: str, message: str) -> None:
    for options in ({"on": on, "pairs": True}, {"on": on, "image": "bookworm,trixie", "pairs": True}):
        with pytest.raises(UsageError, match=message):
            combinations(options)
    with pytest.raises(UsageError, match=message):
        is_matrix({"on": on, "pairs": True})


@recipe(pairs=True)
def measure(run: Run, image: str = "bookworm") -> None:
    """Have a server and a client."""
    pytest.fail("it is not called")


def test_a_recipe_of_a_server_and_a_client_has_the_option_and_no_other_has() -> None:
    assert "pairs" in signature(measure.body).parameters
    assert "two by two" in measure.help["pairs"]
    assert "pairs" not in signature(several.body).parameters
    assert "pairs" not in several.help


def test_the_run_of_a_pair_is_called_with_the_option() -> None:
    options = {"image": "bookworm", "on": FOUR, "pairs": True}
    (_, other) = combinations(options)
    words = other.words(options, signature(measure.body))
    assert sorted(words) == sorted(["--on", "ssh://c,ssh://d", "--pairs"])


def test_hosts_of_a_pair_that_cannot_be_are_found_before_anything_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fan_out, "run_recorded", lambda *_, **__: pytest.fail("something was started"))
    every = {name: one.default for name, one in signature(measure.body).parameters.items() if name != "run"}
    with pytest.raises(UsageError, match="cannot work as 'alice' at d"):
        measure(Context(), **{**every, "on": "ssh://a,ssh://b,ssh://c,ssh://alice@d", "pairs": True})
    monkeypatch.setattr(task, "run_recorded", lambda *_, **__: pytest.fail("something was started"))
    with pytest.raises(UsageError, match="ssh://a has no partner"):
        measure(Context(), **{**every, "on": "ssh://a", "pairs": True})


@recipe(iterable=("debs",))
def kinds(run: Run, debs: list[str], source: str = ".", image: str = "bookworm") -> None:
    """Have options of all kinds, with those of every recipe."""


SIGNATURE = signature(kinds.body)
PLAIN = {
    "debs": [],
    "source": ".",
    "image": "bookworm,trixie",
    "cpus": "",
    "keep_for_s": "1800",
    "cold": False,
    "on": "",
}


def test_a_run_is_called_with_the_options_of_all_and_its_own_names() -> None:
    assert Combination(image="bookworm").words(PLAIN, SIGNATURE) == ["--image", "bookworm"]
    changed = {**PLAIN, "source": "-x y", "debs": ["a", "b"], "cpus": "2", "cold": True, "attempts": "1"}
    assert Combination(image="trixie", on="alice@big").words(changed, SIGNATURE) == [
        *("--debs", "a", "--debs", "b", "--source", "-x y", "--image", "trixie", "--cpus", "2", "--cold"),
        *("--on", "alice@big", "--attempts", "1"),
    ]


def test_a_flag_that_is_set_by_itself_can_be_taken_back() -> None:
    def task(*, quick: bool = True, image: str = "") -> None:
        """Have a flag."""

    words = Combination(image="sid").words({"quick": False, "image": "sid,trixie"}, signature(task))
    assert words == ["--no-quick", "--image", "sid"]


@pytest.mark.parametrize(
    ("outcomes", "worst"),
    [
        ([Outcome.PASSED, Outcome.SKIPPED], Outcome.SKIPPED),
        ([Outcome.SKIPPED, Outcome.HOST], Outcome.HOST),
        ([Outcome.HOST, Outcome.INTERNAL], Outcome.INTERNAL),
        ([Outcome.BOOT, Outcome.USAGE], Outcome.USAGE),
        ([Outcome.CONNECTION_LOST, Outcome.TIMEOUT], Outcome.TIMEOUT),
        ([Outcome.HOST, Outcome.FAILED, Outcome.TIMEOUT, Outcome.USAGE], Outcome.FAILED),
    ],
)
def test_the_worst_counts_and_the_project_goes_before_the_machinery(outcomes: list[Outcome], worst: Outcome) -> None:
    for order in (outcomes, outcomes[::-1]):
        ended = verdict({str(number): outcome for number, outcome in enumerate(order)})
        assert ended is not None
        assert errors.outcome_of(ended) is worst
        assert ended.code == worst.exit_code


def test_a_matrix_that_passed_ends_with_nothing() -> None:
    assert verdict({"bookworm": Outcome.PASSED, "trixie": Outcome.PASSED}) is None


def test_every_outcome_has_its_place() -> None:
    assert {kind.outcome for kind in errors.WORST_FIRST} == set(Outcome) - {Outcome.PASSED}


def test_those_that_did_not_pass_are_named() -> None:
    ended = verdict({"bookworm": Outcome.PASSED, "trixie": Outcome.HOST, "sid": Outcome.BOOT})
    assert isinstance(ended, HostError)
    assert str(ended) == "2 of 3 runs did not pass: trixie (host), sid (boot)"


@recipe
def several(run: Run, image: str = "", times: int = 1) -> None:
    """Take an image.

    :param image: the image to boot.
    """


def test_the_help_of_the_options_says_so() -> None:
    assert several.help["image"] == "the image to boot; with several (bookworm,trixie), a run for each"
    assert "(local,alice@big), a run for each" in several.help["on"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": "bookworm,trixi"}, "there is no image 'trixi'; did you mean 'trixie'"),
        ({"on": "local,a b"}, "cannot have machines on 'a b'"),
        ({"on": "local,ssh://alice@board"}, "cannot work as 'alice' at board"),
        ({"image": "bookworm,trixie", "accel": "xen"}, "there is no accelerator 'xen'"),
        ({"image": "bookworm,trixie", "network": "lan"}, "there is no network 'lan'"),
        ({"image": "bookworm,trixie", "cpus": "0"}, "--cpus must be a number"),
        ({"image": "bookworm,trixie", "times": "x"}, "--times must be a whole number"),
    ],
)
def test_a_wrong_name_is_found_before_anything_is_started(
    options: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fan_out, "run_recorded", lambda *_, **__: pytest.fail("something was started"))
    every = {name: one.default for name, one in signature(several.body).parameters.items() if name != "run"}
    with pytest.raises(UsageError, match=message):
        several(Context(), **{**every, **options})


@pytest.mark.parametrize(
    ("argv", "called"),
    [
        (["test-in-vm", "--image", "a,b"], ["test-in-vm"]),
        (["-r", "../tools", "test-in-vm", "--image=a,b"], ["-r", "../tools", "test-in-vm"]),
        (["--search-root=test-in-vm", "-e", "ci.test-in-vm"], ["--search-root=test-in-vm", "-e", "ci.test-in-vm"]),
        (["test", "--image", "a,b"], ["test-in-vm"]),
        (["images.list", "test-in-vm", "--source", "x.test-in-vm"], ["test-in-vm"]),
        (["-c", "mine", "test-in-vm", "--image", "a,b", "--", "-r", "x"], ["-c", "mine", "test-in-vm"]),
    ],
)
def test_a_run_is_called_as_the_whole_was(monkeypatch: pytest.MonkeyPatch, argv: list[str], called: list[str]) -> None:
    monkeypatch.setattr("sys.argv", ["inv", *argv])
    assert fan_out._called("test-in-vm") == called


def test_the_options_of_a_run_are_not_those_of_another() -> None:
    options = {"image": "bookworm,trixie", "on": "", "out": "out"}
    first = Combination(image="bookworm").over(options)
    first.pop("image")
    assert Combination(image="trixie").over(options) == {"image": "trixie", "on": "", "out": "out/trixie"}
