from __future__ import annotations

import json
import re

import pytest

from vmtasks.events import Output, Stream
from vmtasks.report.sanitize import LONGEST_PARTIAL, WholeLines, in_json, is_harmless, lines_of, one_line, sanitized


def out(text: str, *, machine: str = "m", stream: Stream = "stdout") -> Output:
    return Output(machine=machine, stream=stream, text=text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\twith tab\nand line", "plain\twith tab\nand line"),
        ("grüße, 世界 🎉", "grüße, 世界 🎉"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;a title\x07text", "text"),
        ("\x1b]8;;http://e.example\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b(Bcharset\x1bc", "charset"),
        ("\x1bP1$r0m\x1b\\device", "device"),
        ("10%\r20%\rdone\r\n", "10%\n20%\ndone\n"),
        ("pty\r\r\n", "pty\n"),
        ("bell\x07 back\x08 nul\x00", "bell␇ back␈ nul␀"),
        ("delete\x7f", "delete␡"),
        ("eight bits \x9b31m", "eight bits �31m"),
        ("turned \u202eround", "turned �round"),
        ("half \udc80", "half �"),
        ("\x1b", "␛"),
    ],
)
def test_harmless(text: str, shown: str) -> None:
    assert sanitized(text) == shown


def test_what_is_left_of_nested_sequences_is_no_sequence() -> None:
    assert "\x1b" not in sanitized("\x1b\x1b[m[31mred\x1b\x1b]0;x\x07]0;title\x07")


def test_no_control_character_survives() -> None:
    everything = "".join(map(chr, range(0x3000))) + "\ud800\udfff"
    left = re.findall(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", sanitized(everything))
    assert set(left) == {"\t", "\n"}


def test_an_unended_title_hides_no_text() -> None:
    assert sanitized("\x1b]0;all of this\nand this") == "0;all of this\nand this"


def test_one_line() -> None:
    assert one_line("\n  set -e\nmake\n") == "set -e …"
    assert one_line("make") == "make"
    assert one_line("\n \n") == ""


def test_lines_of_keeps_the_last_of_all_lines() -> None:
    assert lines_of(("one\ntwo", "three\r\n", "four"), at_most=3) == ["two", "three", "four"]
    assert lines_of((), at_most=3) == []


def test_lines_are_whole() -> None:
    lines = WholeLines()
    assert lines.add(out("one\ntw")) == "one\n"
    assert lines.add(out("o\nthree")) == "two\n"
    assert lines.rest("m") == "three\n"
    assert lines.rest("m") == ""


@pytest.mark.parametrize("mark", ["\u200e", "\u061c", "\u200b", "\u2060", "\ufeff", "\u202e", "\U000e0041", "\xad"])
def test_marks_that_reorder_or_hide_text_are_shown(mark: str) -> None:
    assert sanitized(f"a{mark}b") == "a\ufffdb"


@pytest.mark.parametrize(
    "mark", ["\n", "\t", "\x7f", "\x9b", "\udc9b", "\u202e", "\u200b", "\ufeff", "\U000e0041", "\xad"]
)
def test_a_name_that_is_not_what_it_shows_is_told(mark: str) -> None:
    assert not is_harmless(f"a{mark}b.deb")


@pytest.mark.parametrize("name", ["a b.deb", "grüße 世界.tar.gz", "\u0646\u200c\u0627", "caf\udce9"])
def test_a_name_is_what_it_shows_in_any_script(name: str) -> None:
    assert is_harmless(name)


@pytest.mark.parametrize("text", ["\x7f\x9b", "\u202e\u2066", "\xad\U000e0041", "plain 世界"])
def test_json_stays_what_it_is(text: str) -> None:
    document = in_json(json.dumps({text: text}, ensure_ascii=False))
    assert json.loads(document) == {text: text}
    assert sanitized(document) == document


def test_joiners_stay_for_the_scripts_that_need_them() -> None:
    assert sanitized("\u0646\u200c\u0627") == "\u0646\u200c\u0627"


def test_machines_and_streams_are_kept_apart() -> None:
    lines = WholeLines()
    lines.add(out("out of m"))
    lines.add(out("err of m", stream="stderr"))
    lines.add(out("out of n", machine="n"))
    assert lines.machines() == ["m", "n"]
    assert lines.rest("n") == "out of n\n"
    assert lines.rest("m") == "out of m\nerr of m\n"
    assert lines.machines() == []


def test_a_line_break_of_two_characters_in_two_chunks_is_one() -> None:
    lines = WholeLines()
    assert lines.add(out("one\r")) == ""
    assert lines.add(out("\ntwo\r\n")) == "one\ntwo\n"


def test_an_escape_sequence_in_two_chunks_is_one() -> None:
    lines = WholeLines()
    assert lines.add(out("\x1b[3")) + lines.add(out("1mred\n")) == "red\n"


def test_a_progress_that_only_returns_is_shown_as_it_goes() -> None:
    lines = WholeLines()
    assert lines.add(out("10%\r20%\r30")) == "10%\n20%\n"


def test_a_line_without_end_does_not_fill_the_memory() -> None:
    lines = WholeLines()
    kept = lines.add(out("x" * 100)) + lines.add(out("x" * LONGEST_PARTIAL))
    assert kept == "x" * (LONGEST_PARTIAL + 100) + "\n"
    assert lines.rest("m") == ""
