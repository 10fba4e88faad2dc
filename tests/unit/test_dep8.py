"""debian/tests/control, read."""

from __future__ import annotations

import pytest

from vmtasks import UsageError, dep8

WHERE = "debian/tests/control"


def test_a_paragraph_names_several_tests_that_share_the_rest() -> None:
    one, two = dep8.parse(
        "Tests: one, two\nDepends: @, curl | wget,\n  python3 (>= 3.9)\nRestrictions: needs-root\n", WHERE
    )
    assert (one.name, one.command) == ("one", "exec debian/tests/one")
    assert (two.name, two.command) == ("two", "exec debian/tests/two")
    assert one.depends == two.depends == ("@", "curl | wget", "python3 (>= 3.9)")
    assert one.restrictions == {"needs-root"}


def test_what_is_not_said_has_its_default() -> None:
    (test,) = dep8.parse("Tests: one", WHERE)
    assert (test.depends, test.restrictions, test.unsupported) == (("@",), frozenset(), ())
    (alone,) = dep8.parse("Tests: one\nDepends:\n", WHERE)
    assert alone.depends == ()


def test_tests_may_lie_elsewhere() -> None:
    (test,) = dep8.parse("Tests: one\nTests-Directory: t/installed\n", WHERE)
    assert test.command == "exec t/installed/one"


def test_a_command_is_a_test_and_may_have_a_name() -> None:
    first, named = dep8.parse(
        "Test-Command: foo --config=a:b\n\nTest-Command: bar\nFeatures: x, test-name=of-bar\n", WHERE
    )
    assert (first.name, first.command) == ("command1", "foo --config=a:b")
    assert (named.name, named.command) == ("of-bar", "bar")


def test_comments_and_blank_lines_say_nothing() -> None:
    text = (
        "# about\n\n\nTests: one\n# between\nRestrictions: allow-stderr,\n# in a list\n flaky\n  \n\t\nTests: two\n\n"
    )
    one, two = dep8.parse(text, WHERE)
    assert one.restrictions == {"allow-stderr", "flaky"}
    assert two.name == "two"
    assert dep8.parse("", WHERE) == dep8.parse("\n# nothing\n", WHERE) == ()


def test_names_of_fields_have_no_case() -> None:
    (test,) = dep8.parse("tests: one\nRESTRICTIONS: breaks-testbed\n", WHERE)
    assert test.needs_own_machine


def test_what_we_cannot_honour_is_told() -> None:
    (test,) = dep8.parse("Tests: one\nRestrictions: needs-root needs-reboot allow-stderr build-needed\n", WHERE)
    assert test.unsupported == ("build-needed", "needs-reboot")
    (trigger,) = dep8.parse("Tests: one\nRestrictions: hint-testsuite-triggers\n", WHERE)
    assert trigger.unsupported == ("hint-testsuite-triggers",)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Depends: @\n", "a paragraph has neither 'Tests' nor 'Test-Command'"),
        ("Tests: one\n\nRestrictions: flaky\n", "a paragraph has neither 'Tests' nor 'Test-Command'"),
        ("Tests one\n", "a line must be like 'Field: value', not 'Tests one'"),
    ],
)
def test_what_names_no_test_is_refused(text: str, says: str) -> None:
    with pytest.raises(UsageError) as refusal:
        dep8.parse(text, WHERE)
    assert refusal.value.sentence == f"{WHERE}: {says}"


@pytest.mark.parametrize("name", ["../../evil", "/etc/evil", "evil\x1b[2J", "evil\x9b", "turned\u202eround"])
def test_what_could_lead_elsewhere_or_speak_to_a_terminal_is_no_name(name: str) -> None:
    for control in (f"Tests: fine {name}", f"Test-Command: true\nFeatures: test-name={name}"):
        with pytest.raises(UsageError, match="debian/tests/control: a test cannot be called '"):
            dep8.parse(control, WHERE)
    (test,) = dep8.parse("Tests: usual-name_1.2+b~c:d", WHERE)
    assert test.name == "usual-name_1.2+b~c:d"
