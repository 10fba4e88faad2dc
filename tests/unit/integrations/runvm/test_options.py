"""runvm's command line: the grammar that callers rely on, and the defaults of the manual."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vmtasks.errors import UsageError
from vmtasks.integrations.runvm.options import Call, Options, described, parse

THE_MANUALS = {
    "port": 2222,
    "user": "",
    "memory": 2047,
    "smp": 2,
    "cpu": "",  # which qemu32,-nx is made of where the image is not ours
    "netdev": "virtio",
    "kvm": (),
    "initial-sleep": 0.0,  # 15 there: the one default that differs
    "startup-timeout": 300.0,
    "shutdown-timeout": 120.0,
    "kvm-retries": 3,
    "logfile": "",
    "base-image": "",
    "work-image": "",
    "windows": False,
}
OURS = {"port-timeout": 120.0, "command-timeout": 0.0, "stdin": False, "terminal": False, "exit-codes": "classic"}
SHORT = {"p": "port", "u": "user", "m": "memory", "c": "cpu", "l": "logfile", "b": "base-image"}
VALUES = {"exit-codes": "typed"}


def parsed(*words: str) -> Call:
    call = parse(words)
    assert call is not None, "it asks for help"
    return call


def options_of(*words: str) -> Options:
    return parsed(*words, "image.qcow2").options


def value_of(options: Options, name: str) -> Any:
    return getattr(options, name.replace("-", "_"))


def given(name: str, *, way: str) -> tuple[list[str], Any]:
    """Return the words that give an option another value, and that value."""
    default = (THE_MANUALS | OURS)[name]
    if default is False:
        return [way], True
    word = VALUES.get(name, "7")
    value = (word,) if default == () else type(default)(word)
    return [f"{way}={word}"], value


@pytest.mark.parametrize(("name", "default"), (THE_MANUALS | OURS).items())
def test_default_of_every_option(name: str, default: object) -> None:
    assert value_of(options_of(), name) == default


def test_no_option_is_missing_from_the_table_or_from_the_help() -> None:
    known = {field.replace("_", "-") for field in Options.__dataclass_fields__}
    assert known == {*THE_MANUALS, *OURS, "help"}
    text = "\n".join(described())
    assert all(f"--{name}" in text for name in known)


@pytest.mark.parametrize("name", [*THE_MANUALS, *OURS])
@pytest.mark.parametrize("dashes", ["-", "--"])
def test_every_option_has_one_dash_or_two(name: str, dashes: str) -> None:
    words, value = given(name, way=dashes + name)
    assert value_of(options_of(*words), name) == value


@pytest.mark.parametrize(("short", "name"), SHORT.items())
def test_short_options(short: str, name: str) -> None:
    words, value = given(name, way=f"-{short}")
    assert value_of(options_of(*words), name) == value
    assert value_of(options_of(f"-{short}", *words[0].partition("=")[2:]), name) == value


def beginnings(names: dict[str, Any]) -> list[tuple[str, str]]:
    """Return every beginning that one of *names* has and no other, with that name."""
    return [
        (name[:length], name)
        for name in names
        for length in range(2, len(name) + 1)
        if [other for other in names if other.startswith(name[:length])] == [name]
    ]


@pytest.mark.parametrize(("beginning", "name"), beginnings(THE_MANUALS))
def test_every_beginning_that_is_unique_in_the_manual_is_that_option(beginning: str, name: str) -> None:
    words, value = given(name, way=f"--{beginning}")
    assert value_of(options_of(*words), name) == value


def test_an_option_that_the_manual_does_not_have_may_be_cut_short_too() -> None:
    assert options_of("--command=7").command_timeout == 7.0


@pytest.mark.parametrize(
    ("words", "could_be"),
    [
        (["--s=1"], "--smp or --startup-timeout or --shutdown-timeout"),
        (["-w"], "--work-image or --windows"),
        (["--kv=-hdb"], "--kvm or --kvm-retries"),
    ],
)
def test_an_ambiguous_beginning_names_what_it_could_be(words: list[str], could_be: str) -> None:
    with pytest.raises(UsageError, match=f"option {words[0].partition('=')[0]} could be {could_be}$"):
        options_of(*words)


def test_a_name_that_begins_another_is_itself() -> None:
    assert options_of("--kvm=-hdb", "--port=1").kvm == ("-hdb",)


def test_case_does_not_matter() -> None:
    assert options_of("--Port=1", "-M", "512") == Options(port=1, memory=512)


def test_the_value_is_behind_the_equals_sign_or_the_next_word() -> None:
    assert options_of("--cpu=qemu64,+sse4.2", "--base-image=a=b.qcow2") == Options(
        cpu="qemu64,+sse4.2", base_image="a=b.qcow2"
    )
    assert options_of("--cpu", "host", "-user", "buildbot") == Options(cpu="host", user="buildbot")


def test_the_last_one_counts_but_qemus_arguments_add_up() -> None:
    assert options_of("--port=1", "--port=2").port == 2
    words = ["--kvm=-cdrom", "--kvm=my.iso", "--kvm", "-hdb", "-kvm", "vm-blank.qcow2"]
    assert options_of(*words).kvm == ("-cdrom", "my.iso", "-hdb", "vm-blank.qcow2")


def test_what_is_no_option_is_the_image_and_then_commands() -> None:
    script = "set -ex\ncd buildbot\nmake"
    call = parsed("--port=1", "image.qcow2", "= scp a localhost:", script, "", "!= true")
    assert call.image == Path("image.qcow2")
    assert call.commands == ("= scp a localhost:", script, "", "!= true")


def test_options_may_stand_behind_the_image_and_among_the_commands() -> None:
    call = parsed("image.qcow2", "--port=1", "true", "-u", "me", "false")
    assert (call.options.port, call.options.user) == (1, "me")
    assert call.commands == ("true", "false")


def test_two_dashes_end_the_options() -> None:
    call = parsed("--smp=1", "--", "-image.qcow2", "--version", "--")
    assert (call.image, call.commands) == (Path("-image.qcow2"), ("--version", "--"))


def test_one_dash_alone_is_no_option() -> None:
    assert parsed("image.qcow2", "-").commands == ("-",)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "no image is given"),
        (["--port=1"], "no image is given"),
        (["--colour=red", "i"], "there is no option --colour"),
        (["-p2222", "i"], "there is no option -p2222"),
        (["---", "i"], "there is no option ---"),
        (["--=1", "i"], "there is no option --"),
        (["i", "--user"], "option --user needs a value"),
        (["i", "--kvm"], "option --kvm needs a value"),
        (["--windows=no", "i"], "option --windows takes no value"),
        (["--port=ssh", "i"], "option --port needs a number, and not 'ssh'"),
        (["--port", "-1", "i"], "option --port needs a number, and not '-1'"),
        (["--memory=2.5", "i"], "option --memory needs a number, and not '2.5'"),
        (["--memory=2G", "i"], "option --memory needs a number, and not '2G'"),
        (["--smp=", "i"], "option --smp needs a number, and not ''"),
        (["--startup-timeout=inf", "i"], "option --startup-timeout needs a number, and not 'inf'"),
        (["--port=65536", "i"], "--port must be 65535 at most, and not 65536"),
        (["--exit-codes=other", "i"], "--exit-codes must be classic or typed, and not 'other'"),
    ],
)
def test_what_cannot_be_read_is_a_sentence(words: list[str], sentence: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse(words)
    assert str(raised.value) == sentence


def test_limits_may_be_fractions_of_a_second() -> None:
    assert options_of("--startup-timeout=0.5").startup_timeout == 0.5


@pytest.mark.parametrize("word", ["--help", "-help", "-h", "--he"])
def test_help_needs_no_image(word: str) -> None:
    assert parse([word]) is None
