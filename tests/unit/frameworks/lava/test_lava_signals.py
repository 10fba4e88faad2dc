from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from vmtasks.errors import NothingTested, TestFailed
from vmtasks.frameworks.lava import recorder as recorder_module
from vmtasks.frameworks.lava.cases import CaseRow
from vmtasks.frameworks.lava.definition import TestDefinition, definition_of
from vmtasks.frameworks.lava.frames import Frames
from vmtasks.frameworks.lava.recorder import Recorder
from vmtasks.frameworks.lava.signals import parts_of
from vmtasks.frameworks.lava.verdict import judge


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("<LAVA_SIGNAL_TESTCASE TEST_CASE_ID=a RESULT=pass>", ("TESTCASE", "a", "pass", "", "")),
        ("<LAVA_SIGNAL_TESTCASE RESULT=fail TEST_CASE_ID=a b>", ("TESTCASE", "a b", "fail", "", "")),
        (
            "<LAVA_SIGNAL_TESTCASE TEST_CASE_ID=a=b RESULT=pass UNITS=per s MEASUREMENT=1.50>",
            ("TESTCASE", "a=b", "pass", "1.50", "per s"),
        ),
        ("12 % <LAVA_SIGNAL_TESTCASE TEST_CASE_ID=a>b RESULT=pass>\r", ("TESTCASE", "a>b", "pass", "", "")),
        ("<LAVA_SIGNAL_TESTCASE >", ("TESTCASE", "", "", "", "")),
        ("<LAVA_SIGNAL_STARTTC a b>", ("STARTTC", "a b")),
        ("<LAVA_SIGNAL_ENDTC a>", ("ENDTC", "a")),
        ("<LAVA_SIGNAL_TESTSET START one>", ("TESTSET", "START", "one")),
        ("<LAVA_SIGNAL_TESTSET STOP>", ("TESTSET", "STOP")),
        ("<LAVA_SIGNAL_TESTREFERENCE a b pass http://x/>", ("TESTREFERENCE", "a b", "pass", "http://x/")),
        ("<LAVA_SIGNAL_TESTREFERENCE a>", None),
        ("<LAVA_SIGNAL_TESTRAISE no such board>", ("TESTRAISE", "no such board")),
        ("<LAVA_SIGNAL_ENDRUN 0_x 0>", None),
        ("<LAVA_SIGNAL_ATTACH a ../../etc/passwd>", None),
        ("+ echo <LAVA_SIGNAL_ENDTC a>", None),
        ("<LAVA_SIGNAL_TESTCASE TEST_CASE_ID=a RES", None),
        ("LAVA_SIGNAL_ENDTC a", None),
        ("", None),
    ],
)
def test_signals_in_lines(line: str, words: Sequence[str] | None) -> None:
    signals = [part for part in parts_of(line) if not isinstance(part, str)]
    assert signals == ([words] if words else [])


TESTCASE = "<LAVA_SIGNAL_TESTCASE TEST_CASE_ID={} RESULT={}>"
A, B = TESTCASE.format("a", "pass"), TESTCASE.format("b", "fail")
OF_A, OF_B = ("TESTCASE", "a", "pass", "", ""), ("TESTCASE", "b", "fail", "", "")


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        (f"{B}[    3.1] eth0: <UP>", [OF_B, "[    3.1] eth0: <UP>"]),
        (f"{A}{B}", [OF_A, OF_B]),
        (f"1 {A} 2 {B} > 3", ["1 ", OF_A, " 2 ", OF_B, " > 3"]),
        ("<LAVA_SIGNAL_STARTTC a>hello<LAVA_SIGNAL_ENDTC a>", [("STARTTC", "a"), "hello", ("ENDTC", "a")]),
        (f"<LAVA_SIGNAL_TESTCASE TEST_CASE_ID=cut RES{A}", ["<LAVA_SIGNAL_TESTCASE TEST_CASE_ID=cut RES", OF_A]),
        (f"<LAVA_SIGNAL_ENDRUN 0_x 0>{A}", ["<LAVA_SIGNAL_ENDRUN 0_x 0>", OF_A]),
        (f"{TESTCASE.format('x>y', 'pass')} <z>", [("TESTCASE", "x>y", "pass", "", ""), " <z>"]),
        ("<LAVA_SIGNAL_TESTREFERENCE a>b pass http://x/>y>", [("TESTREFERENCE", "a>b", "pass", "http://x/"), "y>"]),
        (f"+ echo {A}", [f"+ echo {A}"]),
        ("", [""]),
    ],
)
def test_every_signal_of_a_line_counts_and_the_rest_is_output(line: str, parts: list[str | tuple[str, ...]]) -> None:
    assert parts_of(line) == parts


def test_a_long_line_of_a_guest_takes_no_long_time() -> None:
    began_s = time.process_time()
    for begin in ("<LAVA_SIGNAL_TESTCASE ", "<LAVA_SIGNAL_TESTREFERENCE ", "<LAVA_SIGNAL_STARTTC "):
        for piece in ("> ", ">", "a b", " RESULT=", " TEST_CASE_ID=>", begin, f"{begin}>"):
            parts_of(begin + piece * (60_000 // len(piece)))
    assert time.process_time() - began_s < 10


def definition(pattern: str) -> TestDefinition:
    document = {"metadata": {"name": "x"}, "parse": {"pattern": pattern}, "run": {"steps": ["true"]}}
    return definition_of(document, Path("x.yaml"))


def test_the_text_around_signals_is_that_of_the_cases_that_are_open_and_of_the_pattern() -> None:
    recorder = Recorder("m", {"0_x": definition(r"(?P<test_case_id>\w+): (?P<result>OK|pass)")})
    recorder.hear_signal(["STARTRUN", "0_x"])
    recorder.hear_output(b"<LAVA_SIGNAL_STARTTC a>why<LAVA_SIGNAL_TESTCASE TEST_CASE_ID=a RESULT=fail>\n")
    recorder.hear_output(TESTCASE.format("c: pass", "fail").encode() + b" by pattern: pass\n")
    recorder.hear_signal(["ENDRUN", "0_x", "0", "ENDSTEPS"])
    recorder.close()
    assert [(row.name, row.result, row.details) for row in recorder.rows] == [
        ("a", "fail", ("why",)),
        ("c: pass", "fail", ()),
        ("pattern", "pass", ()),
        ("0_x", "pass", ()),
    ]


def frame(kind: str, data: bytes) -> bytes:
    return b"%s %d\n%s" % (kind.encode(), len(data), data)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_frames_come_in_pieces_of_any_size(size: int) -> None:
    sent = frame("O", b"one\nS 3\n") + frame("S", b"A\0b c\0") + frame("O", b"") + frame("S", b"B") + frame("O", b"two")
    story: list[object] = []
    frames = Frames(lambda data: story.append(bytes(data)), story.append)
    shown = bytearray()
    for start in range(0, len(sent), size):
        frames.take(sent[start : start + size], shown.extend)
    joined: list[object] = []
    for part in story:
        if isinstance(part, bytes) and joined and isinstance(joined[-1], bytes):
            joined[-1] += part
        elif part:
            joined.append(part)
    assert joined == [b"one\nS 3\n", ["A", "b c", ""], ["B"], b"two"]
    assert bytes(shown) == b"one\nS 3\ntwo"


@pytest.mark.parametrize(
    "data",
    [b"O " + b"1" * 5000 + b"\n", b"hello\n", b"O\n", b"O -1\n", b"X 1\n", b"S 99999999999\n", b"O 1" * 20, b"\n"],
)
def test_what_is_no_frame_is_the_guests_failure(data: bytes) -> None:
    frames = Frames(lambda _: None, lambda _: None)
    with pytest.raises(TestFailed, match="came instead of a frame"):
        frames.take(data, lambda _: None)


@pytest.mark.parametrize("words", [[], [""], ["ENDTC"], ["TESTCASE"], ["NEW", "a"], ["ATTACH"], ["STARTTC", "a", "b"]])
def test_a_signal_of_another_form_breaks_nothing(words: list[str]) -> None:
    recorder = Recorder("m", {})
    recorder.hear_signal(words or [""])
    recorder.close()
    assert {row.result for row in recorder.rows} <= {"unknown"}


def test_what_is_told_without_end_is_not_kept_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "_MOST_CHARACTERS", 1 << 20)
    recorder = Recorder("m", {})
    for number in range(51):
        recorder.hear_signal(["METADATA", f"{number}", "x" * 20_000])
    with pytest.raises(TestFailed, match="the tests of m tell more than 1 MiB"):
        recorder.hear_signal(["METADATA", "51", "x" * 20_000])
    assert len(recorder.metadata[""]) == 51


@pytest.mark.parametrize(
    ("signal", "most", "complaint"),
    [
        (["TESTCASE", "@", "pass"], recorder_module.MOST_CASES, "have more than 10000 cases"),
        (["STARTTC", "@"], recorder_module.MOST_CASES, "have more than 10000 cases"),
        (["ATTACH", "", "@"], recorder_module.MOST_ATTACHMENTS, "attach more than 1000 files"),
        (["TESTEVENT", "@"], recorder_module.MOST_CASES, "have more than 10000 events"),
        (["TESTFEEDBACK", "@"], recorder_module.MOST_CASES, "have more than 10000 events"),
    ],
)
def test_tests_have_cases_and_files_by_the_thousand_and_no_more(signal: list[str], most: int, complaint: str) -> None:
    recorder = Recorder("m", {})
    for number in range(most):
        recorder.hear_signal([word.replace("@", str(number)) for word in signal])
    if signal[0] == "STARTTC":  # what has begun may end
        recorder.hear_signal(["TESTCASE", "0", "pass"])
    with pytest.raises(TestFailed, match=f"the tests of m {complaint}"):
        recorder.hear_signal([word.replace("@", "more") for word in signal])
    recorder.close()
    assert len(recorder.rows) <= most
    assert len(recorder.attachments) <= recorder_module.MOST_ATTACHMENTS


def row(name: str, result: str, suite: str = "0_x") -> CaseRow:
    return CaseRow(suite=suite, name=name, result=result, details=("said why",))  # type: ignore[arg-type]


def test_the_verdict() -> None:
    judge([row("a", "pass"), row("b", "skip")], [])
    judge([row("0_x", "pass", "lava")], [])
    with pytest.raises(TestFailed, match=r"^complete, and not passed: of 2 cases 1 passed, 1 failed \(0_x/b\)$"):
        judge([row("a", "pass"), row("b", "fail")], [])
    with pytest.raises(TestFailed, match=r"^not complete \(0_x\): of 1 cases 1 passed$"):
        judge([row("a", "pass"), row("0_x", "fail", "lava")], ["0_x"])
    with pytest.raises(NothingTested):
        judge([row("a", "skip")], [])
    with pytest.raises(TestFailed, match="and 5 more") as caught:
        judge([row(str(number), "fail") for number in range(15)], [])
    assert len(caught.value.details) == 15
