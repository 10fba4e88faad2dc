"""debian/tests/control in words that every autopkgtest understands."""

from __future__ import annotations

import pytest

from vmtasks.frameworks.autopkgtest.control import normalized


def seen(control: str, *recommends: str, can_build: bool = True) -> str:
    return normalized(control, recommends=recommends, can_build=can_build)


@pytest.mark.parametrize(
    "control",
    [
        "",
        "# about\n\nTests: one, two\nDepends: @, jq [linux-any] | busybox (>= 1)\nRestrictions: needs-root, flaky\n\n"
        "Test-Command: echo 'a < b > c' && depends: nothing\nFeatures: test-name=x\n",
        "Tests: one\nNo field at all\nRestriction: flaky\n",
    ],
)
def test_what_all_understand_stays(control: str) -> None:
    assert seen(control) == control


@pytest.mark.parametrize(
    ("depends", "expected"),
    [
        ("@, hello <nocheck>", "@"),
        ("@, hello <!nocheck>", "@, hello"),
        ("a <nocheck> | b (>= 1) [amd64], c", "b (>= 1) [amd64], c"),
        ("a <!nocheck !cross> <stage1>", "a"),
        ("a <cross> <!stage1>", "a"),
        ("a <nocheck>", ""),
        ("a, # why\n # more\n b", "a, b"),
        ("@, @recommends@", "@, sl, x | y"),
        ("@recommends@ <nocheck>", ""),
    ],
)
def test_dependencies(depends: str, expected: str) -> None:
    assert seen(f"Tests: t\nDepends: {depends}\n", "sl", "x | y") == f"Tests: t\nDepends: {expected}\n"


def test_recommends_that_are_asked_for_as_a_restriction_come_with_all_packages() -> None:
    assert seen("Tests: t\nRestrictions: needs-recommends, flaky\n", "sl") == (
        "Tests: t\nRestrictions: flaky\nDepends: @, sl\n"
    )
    assert seen("Tests: t\nDepends: jq\nRestrictions: needs-recommends\n", "sl") == "Tests: t\nDepends: jq, sl\n"


@pytest.mark.parametrize("word", ["needs-recommends", "skip-foreign-architecture", "", "# nothing"])
@pytest.mark.parametrize("more", ["Depends: @", "Depends: @\nFeatures: test-name=x"])
def test_a_field_that_goes_leaves_no_empty_line_which_would_end_the_paragraph(word: str, more: str) -> None:
    assert seen(f"Test-Command: true\nRestrictions: {word}\n{more}\n") == f"Test-Command: true\n{more}\n"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("test -e /run/x || /tmp/autopkgtest-reboot x", "test -e /run/x || /tmp/autopkgtest-reboot x; exit $?"),
        ("a;", "a; exit $?"),
        ("a &", "a & exit $?"),
    ],
)
def test_a_command_that_reboots_stays_the_shell_that_autopkgtest_looks_for(command: str, expected: str) -> None:
    for restrictions in ("needs-reboot, needs-root", "needs-root"):
        control = f"Test-Command: {command}\nRestrictions: {restrictions}\n"
        wanted = expected if "reboot" in restrictions else command
        assert seen(control) == f"Test-Command: {wanted}\nRestrictions: {restrictions}\n"


def test_packages_that_recommend_nothing_leave_nothing() -> None:
    assert seen("Tests: t\nDepends: @, @recommends@\n") == "Tests: t\nDepends: @\n"


def test_our_machines_are_native_and_what_cannot_be_built_counts_as_built() -> None:
    control = (
        "Tests: t\nRestrictions: skip-foreign-architecture needs-root\n\nTests: u\nRestrictions: build-needed, flaky\n"
    )
    assert seen(control) == "Tests: t\nRestrictions: needs-root\n\nTests: u\nRestrictions: build-needed, flaky\n"
    assert "build-needed" not in seen(control, can_build=False)
