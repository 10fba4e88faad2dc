"""Secrets: how they get into a command, and that they do not come out again."""

from __future__ import annotations

import random
import shutil
import subprocess
import time

import pytest

from vmtasks.errors import UsageError
from vmtasks.ssh.command import CommandSpec, remote_line
from vmtasks.ssh.secret import STARS, Mask, receiver, sent, values

TOKEN = b"tkn-0123456789"
KEY = b"-----BEGIN KEY-----\nc2VjcmV0\n  aW5kZW50ZWQ=\n=\n-----END KEY-----\n"
ODD = bytes(byte for byte in range(1, 256)) + b"\\0101%s\n\n"


def shown(secrets: list[bytes], *pieces: bytes) -> bytes:
    mask = Mask(secrets)
    return b"".join([*map(mask.take, pieces), mask.take(b"", final=True)])


# ---- in


def test_names_are_looked_up() -> None:
    assert values(["B", "A"], {"A": "1", "B": "zwei ü\udcff", "C": "3"}) == {"B": b"zwei \xc3\xbc\xff", "A": b"1"}


def test_a_name_that_is_not_set_is_a_sentence() -> None:
    with pytest.raises(UsageError, match="cannot hand on the variable TOKEN: it is not set here"):
        values(["TOKEN"], {})


def test_a_value_that_was_given_for_a_name_is_not_told() -> None:
    with pytest.raises(UsageError, match="cannot hand on a variable of the name 'TOKEN': none is called so") as error:
        values(["TOKEN=hush"], {})
    assert "hush" not in str(error.value)


@pytest.mark.parametrize("shell", ["dash", "bash"])
@pytest.mark.parametrize(
    "value", [b"", b"plain", b" blanks ", ODD, KEY], ids=["empty", "plain", "blanks", "odd", "key"]
)
def test_a_value_arrives_as_it_is_and_the_commands_own_input_behind_it(shell: str, value: bytes) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    given = {"ONE": value, "TWO": b"2"}
    words = [shell, *receiver(given)[1:], "sh", "-c", 'printf "%s|%s|" "$ONE" "$TWO"; cat']
    done = subprocess.run(words, input=sent(given) + b"its own", capture_output=True, check=True, timeout=30)
    assert done.stdout == value + b"|2|its own"


def test_the_status_is_the_commands_and_without_secrets_there_is_no_further_shell() -> None:
    assert subprocess.run([*receiver(["A"]), "sh", "-c", "exit 7"], input=b"x\n", check=False).returncode == 7
    assert receiver([]) == []


def test_a_command_whose_secrets_do_not_come_is_not_run() -> None:
    done = subprocess.run([*receiver(["A"]), "echo", "ran"], input=b"", capture_output=True, check=False)
    assert (done.stdout, done.returncode) == (b"", 1)


def test_the_line_that_goes_over_ssh_has_names_only() -> None:
    line = remote_line(CommandSpec(command="printf %s $TOKEN", cwd="/", env={"TOKEN": "other"}, env_from=("TOKEN",)))
    done = subprocess.run(["/bin/sh", "-c", line], input=sent({"TOKEN": TOKEN}), capture_output=True, check=True)
    assert done.stdout.partition(b"\n")[2] == TOKEN, "it goes over what env says"


# ---- out


def test_stars_stand_in_its_place() -> None:
    assert shown([TOKEN], b"it is " + TOKEN + b", or " + TOKEN + b"\n") == b"it is ***, or ***\n"
    assert shown([], b"nothing to hide") == b"nothing to hide"


def test_it_may_come_in_any_pieces() -> None:
    text = b"it is tk " + TOKEN + b" tkn-01"
    for cut in range(len(text)):
        assert shown([TOKEN], text[:cut], text[cut:]) == b"it is tk *** tkn-01"
    assert shown([TOKEN], *(bytes([byte]) for byte in text)) == b"it is tk *** tkn-01"


def test_only_what_may_be_its_beginning_is_held_back() -> None:
    mask = Mask([TOKEN])
    assert mask.take(b"$ ") == b"$ "
    assert mask.take(b"prompt: tk") == b"prompt: "
    assert mask.take(b"!") == b"tk!"


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_each_line_of_a_value_is_a_secret_too(end: bytes) -> None:
    log = b"".join(b"1 | " + line + end for line in KEY.splitlines())
    assert shown([KEY], log) == b"".join(b"1 | " + text + end for text in (STARS, STARS, b"  ***", b"=", STARS))
    assert shown([KEY], b"<" + KEY + b">") == b"<***\n>"


def test_what_is_shorter_than_a_word_is_shown() -> None:
    assert shown([b"on", b"1", b""], b"version 1.0 is on\n") == b"version 1.0 is on\n"


def test_secrets_that_overlap_are_both_hidden_in_whatever_pieces() -> None:
    chance = random.Random(1)  # noqa: S311 - the same texts each time

    def text(letters: bytes, least: int, most: int) -> bytes:
        return bytes(chance.choices(letters, k=chance.randint(least, most)))

    for _ in range(2000):
        secrets = [text(b"ab", 4, 7) for _ in range(3)]
        output = text(b"abc", 0, 40)
        pieces = []
        rest = output
        while rest:
            size = chance.randint(1, 9)
            pieces.append(rest[:size])
            rest = rest[size:]
        assert shown(secrets, *pieces).replace(STARS, b"") == without(secrets, output), (secrets, pieces)


def without(secrets: list[bytes], text: bytes) -> bytes:
    hidden = {
        at
        for secret in secrets
        for start in range(len(text))
        if text.startswith(secret, start)
        for at in range(start, start + len(secret))
    }
    return bytes(byte for at, byte in enumerate(text) if at not in hidden)


def test_no_more_than_a_secret_is_held_back_however_it_repeats_itself() -> None:
    mask = Mask([b"aaaa"])
    for _ in range(1000):
        mask.take(b"a" * 10)
        assert len(mask._held) < 4
    assert shown([b"aaaa"], b"a" * 10, b"aaa", b"!") == b"***!"


def test_much_output_costs_little() -> None:
    mask = Mask([KEY * 20])
    piece = b"x" * 65536
    began_s = time.process_time()
    for _ in range(160):
        mask.take(piece)
    assert time.process_time() - began_s < 5, "10 MiB"
