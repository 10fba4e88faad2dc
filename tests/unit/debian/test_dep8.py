"""Which tests debian/tests/control lists."""

from __future__ import annotations

import pytest

from vmtasks.debian import dep8


def names(control: str) -> list[str]:
    return [one.name for one in dep8.listed(control)]


@pytest.mark.parametrize(
    ("control", "expected"),
    [
        ("", []),
        ("\n# nothing\n", []),
        ("Tests: one, two\nDepends: @, curl | wget,\n  python3 (>= 3.9)\nRestrictions: needs-root\n", ["one", "two"]),
        ("Tests: one\n  two,three\n", ["one", "two", "three"]),
        ("tests: one\nRESTRICTIONS: breaks-testbed\n", ["one"]),
        ("Test-Command: a --b=c:d\n\nTest-Command: e\nFeatures: x, test-name=of-e\n", ["command1", "of-e"]),
        # Only commands without a name of their own are counted.
        ("Test-Command: a\nFeatures: test-name=a\n\nTest-Command: b\n", ["a", "command1"]),
        ("# about\n\nTests: one\n# between\nRestrictions: a,\n# in a list\n b\n  \n\t\nTests: two\n", ["one", "two"]),
        ("Tests: one # and no other\nDepends: @, # all\n jq\n", ["one"]),
        ("Tests: one\nRestriction: flaky\n", ["one"]),
        ("Tests: one\n\nTests: one\nArchitecture: i386\n", ["one"]),
        ("Tests: one\r\n\r\nTests: two\r\n", ["one", "two"]),
        ("Depends: @\n", []),
    ],
)  # fmt: skip
def test_names_come_in_their_order_and_once(control: str, expected: list[str]) -> None:
    assert names(control) == expected


def test_those_that_want_the_tree_built_are_known() -> None:
    control = "Tests: one\n\nTests: two, three\nRestrictions: a,\n build-needed\n\nTests: four\nClasses: build-needed\n"
    assert [one.name for one in dep8.listed(control) if one.needs_build] == ["two", "three"]


def test_which_failures_do_not_count_is_known() -> None:
    control = "Tests: one\nRestrictions: flaky\n\nTests: two\nRestrictions: skip-not-installable\n\nTests: three\n"
    listed = dep8.listed(control)
    assert [one.name for one in listed if one.is_excused(has_begun=True)] == ["one"]
    assert [one.name for one in listed if one.is_excused(has_begun=False)] == ["two"]


def test_of_tests_of_one_name_all_count() -> None:
    control = (
        "Tests: built\n\nTests: built\nRestrictions: build-needed\n\n"
        "Tests: partly\nRestrictions: flaky, skip-not-installable\n\nTests: partly\n\n"
        "Tests: wholly\nRestrictions: flaky\n\nTests: wholly\nArchitecture: i386\nRestrictions: flaky\n"
    )
    listed = dep8.listed(control)
    assert [(one.name, one.needs_build, one.is_flaky, one.may_lack_packages) for one in listed] == [
        ("built", True, False, False),
        ("partly", False, False, False),
        ("wholly", False, True, False),
    ]
