from __future__ import annotations

import io
import re
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from vmtasks import events as e
from vmtasks.report.display.backlog import FLOODED_LINES, MOST_LINES, Backlog
from vmtasks.report.display.live import ASCII, FINE, Names, Running, row
from vmtasks.report.display.stream import SafeStream
from vmtasks.report.display.terminal import HANDED_OVER, Terminal, showing
from vmtasks.report.sanitize import sanitized

ENVIRON = {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True

    @property
    def text(self) -> str:
        return sanitized(self.getvalue())


def terminal(screen: Screen, **environ: str) -> Terminal:
    return Terminal(SafeStream(screen), {**ENVIRON, **environ})


def out(text: str) -> e.Output:
    return e.Output(machine="m", stream="stdout", text=text)


START = e.CommandStarted(machine="m", command="make", log=Path("/runs/make.log"))
END = e.CommandEnded(machine="m", command="make", exit_code=0, duration_s=1.0)


def drawn(*events: e.Event, **environ: str) -> Screen:
    screen = Screen()
    display = terminal(screen, **environ)
    for event in events:
        display(event)
    display.close()
    return screen


def lines(screen: Screen) -> list[str]:
    return [line.rstrip() for line in screen.text.split("\n")]


def test_output_stands_between_its_command_and_the_end_of_that() -> None:
    shown = lines(drawn(START, out("one\ntw"), out("o\nthree"), END))
    kept = [
        shown.index(line) for line in ("  m │ $ make", "  m │ one", "  m │ two", "  m │ three", "✔ m │ make  1.0 s")
    ]
    assert kept == sorted(kept)


def test_a_silent_command_is_one_line() -> None:
    assert "$ make" not in drawn(START, END).text


def test_guest_text_is_neither_markup_nor_control() -> None:
    screen = drawn(START, out("[bold red]no[/] :smile: [link=x]\x1b[2J\x1b]0;title\x07\n"), END)
    assert "  m │ [bold red]no[/] :smile: [link=x]" in lines(screen)
    assert "\x1b[2J" not in screen.getvalue()
    assert "\x1b]" not in screen.getvalue()


@pytest.mark.parametrize("text", ["[/]", "[bold", "\\[x", "[/nothing]"])
def test_markup_that_does_not_add_up_is_no_error_anywhere(text: str) -> None:
    screen = drawn(
        e.Note(text=text),
        e.PhaseStarted(phase=text, detail=text),
        e.PhaseEnded(phase=text, detail=text, duration_s=1, error=text),
        e.CommandStarted(machine=text, command=text),
        e.CaseEnded(case=text, outcome="host", duration_s=1, message=text),
        e.RunEnded(outcome="host", message=text, details=(text,), hint=text),
    )
    assert screen.text.count(text) >= 8


def colours(screen: Screen) -> list[str]:
    codes = [code for codes in re.findall(r"\x1b\[([0-9;]*)m", screen.getvalue()) for code in codes.split(";")]
    return [code for code in codes if re.fullmatch(r"[349][0-7]|10[0-7]|[34]8", code)]


def test_no_color_is_obeyed() -> None:
    events = (START, out("x\n"), END, e.PhaseEnded(phase="p", duration_s=1, error="bad"), e.RunEnded(outcome="host"))
    assert colours(drawn(*events))
    assert not colours(drawn(*events, NO_COLOR="1"))


def test_each_machine_has_a_colour_of_its_own_and_keeps_it() -> None:
    names = Names(FINE)
    first, second = names("a")[1], names("b")[1]
    assert first != second
    assert (names("a")[1], names("b")[1]) == (first, second)


def test_a_phase_ends_with_a_tick_or_a_cross() -> None:
    good = drawn(e.PhaseStarted(phase="boot"), e.PhaseEnded(phase="boot", duration_s=9.4))
    bad = drawn(e.PhaseStarted(phase="boot"), e.PhaseEnded(phase="boot", duration_s=9.4, error="panic\nat 0"))
    assert "✔ boot  9.4 s" in lines(good)
    assert "✘ boot  9.4 s  panic …" in lines(bad)


def test_the_cursor_is_hidden_only_while_something_runs() -> None:
    screen = Screen()
    display = terminal(screen)
    assert HIDE not in screen.getvalue()
    display(e.PhaseStarted(phase="boot"))
    assert screen.getvalue().rfind(HIDE) > screen.getvalue().rfind(SHOW)
    display(e.PhaseEnded(phase="boot", duration_s=1))
    assert screen.getvalue().rfind(SHOW) > screen.getvalue().rfind(HIDE)


def test_a_shell_has_the_terminal_for_itself() -> None:
    screen = Screen()
    display = terminal(screen)
    display(e.PhaseStarted(phase="session"))
    display(e.PhaseStarted(phase=HANDED_OVER, machine="m"))
    assert screen.getvalue().rfind(SHOW) > screen.getvalue().rfind(HIDE)
    display(e.PhaseEnded(phase=HANDED_OVER, machine="m", duration_s=1))
    assert screen.getvalue().rfind(HIDE) > screen.getvalue().rfind(SHOW)
    display.close()


def test_aside_takes_the_region_away_and_brings_it_back() -> None:
    screen = Screen()
    display = terminal(screen)
    display(e.PhaseStarted(phase="boot"))
    with display.aside():
        assert screen.getvalue().rfind(SHOW) > screen.getvalue().rfind(HIDE)
    assert screen.getvalue().rfind(HIDE) > screen.getvalue().rfind(SHOW)
    display.close()


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_whatever_ends_it_the_cursor_is_back_and_the_thread_gone(error: type[BaseException] | None) -> None:
    screen = Screen()

    def run() -> None:
        with showing(terminal(screen)) as display:
            display(e.PhaseStarted(phase="boot"))
            display(out("no end"))
            if error:
                raise error

    if error:
        with pytest.raises(error):
            run()
    else:
        run()
    assert screen.getvalue().rfind(SHOW) > screen.getvalue().rfind(HIDE)
    assert "no end" in screen.text
    assert "display" not in [thread.name for thread in threading.enumerate()]


def test_output_is_drawn_although_nothing_else_happens() -> None:
    screen = Screen()
    with showing(terminal(screen)) as display:
        display(START)
        display(out("alone\n"))
        until_s = time.monotonic() + 10
        while "│ alone" not in screen.text:
            assert time.monotonic() < until_s
            time.sleep(0.01)


def test_a_silent_guest_that_waits_at_a_prompt_is_seen_to() -> None:
    screen = Screen()
    display = terminal(screen)
    display(START)
    display(out("Continue? "))
    display(e.Heartbeat(machine="m", command="make", silent_s=60))
    with display.aside():
        assert "Continue?" in screen.text
    display.close()


def test_a_flood_is_cut_and_counted() -> None:
    chunk = "".join(f"line {i}\n" for i in range(5000))
    screen = drawn(START, *[out(chunk)] * 100, END)
    assert len(lines(screen)) < 200
    assert "499,980 lines left out; all are in /runs/make.log" in screen.text
    assert "line 4999" in screen.text


def test_a_backlog_loses_no_line_without_counting_it() -> None:
    backlog = Backlog()
    seen = left_out = 0
    for turn in range(200):
        backlog.add("m", "x\n" * (turn * 7 % 900 + 1))
        draught = backlog.take(turn * 0.1)
        seen += len(draught.lines)
        left_out += sum(draught.left_out.values())
    draught = backlog.take(0.0, everything=True)
    assert seen + len(draught.lines) + left_out + sum(draught.left_out.values()) == sum(
        turn * 7 % 900 + 1 for turn in range(200)
    )


def test_a_backlog_gives_all_of_a_burst_but_a_flood_only_now_and_then() -> None:
    backlog = Backlog()
    backlog.add("m", "x\n" * MOST_LINES)
    assert len(backlog.take(1.0).lines) == MOST_LINES
    backlog.add("m", "x\n" * (MOST_LINES + 1))
    flood = backlog.take(2.0)
    assert (len(flood.lines), flood.left_out) == (FLOODED_LINES, {"m": MOST_LINES + 1 - FLOODED_LINES})
    backlog.add("m", "x\n" * (MOST_LINES + 1))
    assert not backlog.take(2.9).lines
    assert backlog.take(3.1).lines


def test_a_line_of_a_megabyte_is_clipped() -> None:
    backlog = Backlog()
    backlog.add("m", "x" * 1_000_000 + "\n")
    ((_, line),) = backlog.take(0.0).lines
    assert len(line) < 3000


def running(**changes: object) -> Running:
    fields = {"machine": "m", "text": "copy", "began_s": 0.0, "heard_s": 0.0} | changes
    return Running(**fields)  # type: ignore[arg-type]


def test_a_row_has_a_bar_where_the_end_is_known() -> None:
    half = e.Progress(phase="copy", done=1 << 20, total=2 << 20, unit="bytes")
    text = row(running(progress=half), Names(FINE), FINE, now_s=72.4, width=100).plain
    assert text.endswith(f"m │ copy  {'━' * 10}{'─' * 10}  50%  1.0 of 2.0 MiB  1 min 12 s")
    assert row(running(progress=half), Names(ASCII), ASCII, now_s=72.4, width=100).plain.isascii()


def test_a_row_tells_of_silence() -> None:
    text = row(running(heard_s=10.0), Names(FINE), FINE, now_s=30.0, width=100).plain
    assert text.endswith("30 s  silent for 20 s")


@pytest.mark.parametrize("width", [10, 40, 80])
def test_a_row_never_wraps(width: int) -> None:
    half = e.Progress(phase="copy", done=1, total=2)
    for progress in (None, half):
        text = row(running(text="世界" * 100, progress=progress), Names(FINE), FINE, now_s=1.0, width=width)
        assert text.cell_len <= width - len("^C") - 1


def test_the_end_of_a_run_is_the_last_thing_on_the_screen() -> None:
    began = e.RunStarted(recipe="tarbake", directory=Path("/runs/1"), rerun="inv tarbake", at_s=1)
    screen = drawn(began, e.PhaseStarted(phase="boot"), e.RunEnded(outcome="boot", message="no answer", at_s=3))
    assert "✘ tarbake did not boot, after 2.0 s: no answer" in lines(screen)
    assert [line for line in lines(screen) if line][-1] == "  rerun   inv tarbake"


def test_cases_are_shown() -> None:
    shown = lines(
        drawn(
            e.CaseEnded(case="a", outcome="passed", duration_s=1),
            e.CaseEnded(case="b", outcome="test-failed", duration_s=1, message="no"),
            e.CaseEnded(case="c", outcome="skipped", duration_s=0, message="not here"),
            e.CaseEnded(case="d", outcome="passed", duration_s=1, definition="0_x", measurement="1.50", units="s"),
        )
    )
    assert shown[3] == "✔ case 0_x/d: 1.50 s  1.0 s"
    assert shown[:3] == ["✔ case a  1.0 s", "✘ case b  1.0 s  test-failed: no", "○ case c  skipped: not here"]


def test_what_a_kernel_reports_is_one_line_and_memory_has_a_note_of_its_own() -> None:
    oops = e.ConsoleAlarm(machine="m", type="oops", severity="error", message="BUG: x", lines=("a", "b"))
    memory = replace(oops, type="oom", severity="warning", message="Out of memory: Killed process 1")
    group = replace(memory, message="Memory cgroup out of memory: Killed process 1")
    assert [line for line in lines(drawn(oops, memory, group)) if "kernel" in line or "memory" in line] == [
        "! m │ its kernel reports (oops): BUG: x",
        "! m │ its kernel reports (oom): Memory cgroup out of memory: Killed process 1",
    ]
