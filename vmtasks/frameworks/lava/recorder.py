"""What the tests of a machine tell, put down case by case while they run: signals, and what stands in their output.

Nothing is dropped for its form. LAVA loses a case whose name has a blank, one whose result is a word that it does not
know, the second of two with one name in some of its reports, and units without a measurement; here they all count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import repeat
from mimetypes import guess_type
from typing import NoReturn

from vmtasks import events
from vmtasks.errors import TestFailed
from vmtasks.frameworks.lava.cases import OWN, Attachment, CaseRow, OpenCase, result_of, titled
from vmtasks.frameworks.lava.definition import ParseSection, TestDefinition
from vmtasks.frameworks.lava.patterns import Groups, Patterns
from vmtasks.frameworks.lava.signals import Signal, parts_of
from vmtasks.ssh.command import short

_LONGEST_LINE = 64 * 1024
_MOST_CHARACTERS = 64 * 1024 * 1024
"""So much may the tests of a machine tell, by signals or by a pattern: all of it is kept, in the host's memory."""
MOST_CASES = 10_000
"""So many cases may the tests of a machine have, and so many events: each is a row of the run's report."""
MOST_ATTACHMENTS = 1000
"""So many files may they attach: each is a directory of its own, and a transfer."""
_OF_A_SIGNAL = 200
_UNTOLD = "it began, and told no result"


class TestsRaised(TestFailed):
    """A test has ended all tests, with lava-test-raise."""


class Recorder:
    """Hears the tests of one machine, emits an event for each case, and keeps the rows.

    :param machine: what the machine is called.
    :param definitions: those that run, by the names of their suites, in their order.
    """

    def __init__(self, machine: str, definitions: Mapping[str, TestDefinition]) -> None:
        self.rows: list[CaseRow] = []
        self.attachments: list[Attachment] = []
        self.metadata: dict[str, dict[str, str]] = {suite: {} for suite in definitions}
        """What tests told of themselves, by suite."""
        self.raised = ""
        """The message with which a test has ended all tests."""
        self._machine = machine
        self._definitions = definitions
        self._suite = ""
        self._set = ""
        self._ran: set[str] = set()
        """The suites of the definitions whose steps have come to an end, whichever."""
        self._has_matched = False
        """Whether the pattern of the definition that runs was found."""
        self._open: dict[str, OpenCase] = {}
        self._line = bytearray()
        self._line_count = 0
        self._left_events = MOST_CASES
        self._left_characters = _MOST_CHARACTERS
        self._patterns = Patterns(lambda text: self._note(text, level="warning"))
        self._meanings: Mapping[str, Callable[[str, str, str, str], object]] = {
            "STARTRUN": lambda suite, *_: self._begin(suite),
            "ENDRUN": self._end_of_run,
            "INSTALLFAIL": lambda _, status, *__: self._end(f"what it needs could not be installed: status {status}"),
            "STARTTC": lambda case, *_: self._start_case(case),
            "ENDTC": self._end_case,
            "TESTCASE": lambda case, word, number, unit: self._case(
                case, self._fixed(word), measurement=number, units=unit
            ),
            "TESTREFERENCE": lambda case, result, link, _: self._case(case, result, reference=link),
            "TESTSET": self._choose_set,
            "TESTRAISE": lambda message, *_: self._raise(message),
            "ATTACH": self._attach,
            "METADATA": lambda name, value, *_: self.metadata.setdefault(self._suite, {}).update({name: value}),
            "TESTEVENT": lambda text, *_: self._event(text),
            "TESTFEEDBACK": lambda *_: self._event("there is no other console to listen to", level="warning"),
        }

    @property
    def incomplete(self) -> tuple[str, ...]:
        """The suites of the definitions that could not run, were cut short or have ended all, or have not run yet.

        One whose own steps have ended it before their end is none of them, as in LAVA: it has failed.
        """
        return tuple(suite for suite in self._definitions if suite not in self._ran)

    def hear_output(self, data: bytes) -> None:
        """Take in what was printed: lines count when they are whole."""
        *lines, rest = (bytes(self._line) + data).split(b"\n")
        if len(rest) > _LONGEST_LINE:
            lines, rest = [*lines, rest], b""
        self._line = bytearray(rest)
        self._hear_lines(lines)

    def hear_signal(self, words: Sequence[str]) -> None:
        """Take in a signal: of a helper, of the runner, or one that stood in a line.

        :raise TestsRaised: it is the one with which a test ends them all.
        :raise TestFailed: they have told more than is kept.
        """
        kind, *texts = words
        self._count(texts)
        first, second, third, fourth, *_ = (*texts, "", "", "", "")
        if meaning := self._meanings.get(kind):
            meaning(first, second, third, fourth)

    def close(self) -> None:
        """Put down those definitions that have not ended, and what was expected of them.

        Why they have not is told by the run's own end: no event here tells it of the one that was running.
        """
        self._patterns.close()
        for suite in self._definitions:
            if not any(row.suite == OWN and row.name == suite for row in self.rows):
                is_running = suite == self._suite
                message = "it was cut short" if is_running else "it was not run"
                row = CaseRow(suite=OWN, name=suite, result="fail", message=message)
                self.rows.append(row)
                if is_running:
                    self._close_cases(is_told=False)
                else:
                    replace(row, result="skip").emit(self._machine)
                self._miss(suite)

    def _count(self, texts: Iterable[str]) -> None:
        """See that what is kept does not fill the host's memory.

        :raise TestFailed: it would.
        """
        self._left_characters -= _OF_A_SIGNAL + sum(map(len, texts))
        if self._left_characters < 0:
            raise TestFailed(f"the tests of {self._machine} tell more than {_MOST_CHARACTERS >> 20} MiB")

    def _hear_lines(self, lines: Iterable[bytes]) -> None:
        parted = [parts_of(line.decode(errors="replace").rstrip("\r")) for line in lines]
        texts = ["".join(part for part in parts if isinstance(part, str)) for parts in parted]
        pattern = self._parse.pattern if self._parse else ""
        found = self._patterns.search(pattern, texts) if pattern else repeat(())
        for parts, matches in zip(parted, found, strict=False):
            self._hear_line(parts, matches)

    @property
    def _parse(self) -> ParseSection | None:
        definition = self._definitions.get(self._suite)
        return definition.parse if definition else None

    def _hear_line(self, parts: Sequence[str | Signal], matches: Sequence[Groups]) -> None:
        """Take in a line, and what has been found of the definition's pattern up to its end."""
        self._line_count += 1
        for part in parts:
            if not isinstance(part, str):
                self.hear_signal(part)
                continue
            for case in self._open.values():
                case.hear(part, self._line_count)
        for groups in matches:
            self._has_matched = True
            self._count(groups.values())
            measured = {name: groups.get(name, "") for name in ("measurement", "units")}
            self._case(groups["test_case_id"], self._fixed(groups["result"]), **measured)

    def _fixed(self, word: str) -> str:
        """Return what the definition calls a result, if it says so."""
        return self._parse.fixupdict.get(word, word) if self._parse else word

    def _note(self, text: str, level: events.Level = "info") -> None:
        events.emit(events.Note(machine=self._machine, text=f"{self._suite}: {text}", level=level))

    def _event(self, text: str, level: events.Level = "info") -> None:
        self._left_events -= 1
        if self._left_events < 0:
            raise TestFailed(f"the tests of {self._machine} have more than {MOST_CASES} events")
        self._note(text, level)

    def _attach(self, case: str, path: str, mime_type: str, _: str) -> None:
        if len(self.attachments) >= MOST_ATTACHMENTS:
            raise TestFailed(
                f"the tests of {self._machine} attach more than {MOST_ATTACHMENTS} files",
                hint="have them attach archives (tar)",
            )
        mime_type = mime_type or guess_type(path)[0] or "application/octet-stream"
        number = len(self.attachments) + 1
        self.attachments.append(Attachment(suite=self._suite, case=case, path=path, mime_type=mime_type, number=number))

    def _choose_set(self, verb: str, name: str, *_: str) -> None:
        self._set = name if verb == "START" else ""

    def _raise(self, message: str) -> NoReturn:
        self.raised = message or "lava-test-raise"
        self._end(f"lava-test-raise: {message}")
        raise TestsRaised(message)

    def _begin(self, suite: str) -> None:
        self._suite, self._set, self._has_matched = suite, "", False
        self._patterns.begin()
        events.emit(events.CaseStarted(machine=self._machine, definition=OWN, case=suite))

    def _end_of_run(self, _: str, status: str, how: str, command: str) -> None:
        """Put down the end of a definition: the last line of its steps tells whether it is theirs, and no status."""
        last = f"; the last command was `{short(command)}`" if command else ""
        self._ran.add(self._suite)
        self._end("" if how == "ENDSTEPS" else f"its steps ended with status {status}, before their end{last}")

    def _end(self, complaint: str) -> None:
        """Put down how the definition that runs has ended; well, if there is no complaint."""
        self._hear_rest()
        if self._parse and not complaint:
            complaint = self._patterns.complaint(self._parse.pattern)
            if not (complaint or self._has_matched):
                self._note("its pattern was found in nothing that it printed", level="warning")
        self._close_cases(is_told=True)
        self._miss(self._suite)
        self._add(CaseRow(suite=OWN, name=self._suite, result="fail" if complaint else "pass", message=complaint))

    def _hear_rest(self) -> None:
        """Take a line for whole that will not be ended any more."""
        line, self._line = self._line, bytearray()
        if line:
            self._hear_lines([bytes(line)])

    def _close_cases(self, *, is_told: bool) -> None:
        for name, case in list(self._open.items()):
            if is_told:
                self._case(name, "unknown", message=_UNTOLD)
            else:
                del self._open[name]
                row = CaseRow(suite=self._suite, name=name, result="unknown", message=_UNTOLD, lines=case.lines)
                self.rows.append(replace(row, test_set=case.test_set))

    def _miss(self, suite: str) -> None:
        """Put down the cases that were expected of a definition and have not come."""
        come = {row.name for row in self.rows if row.suite == suite}
        for name in self._definitions[suite].expected if suite in self._definitions else ():
            if name not in come:
                self._add(CaseRow(suite=suite, name=name, result="fail", message="it was expected, and has not come"))

    def _start_case(self, name: str) -> None:
        if name not in self._open:
            self._expect_room()
            title = titled(self._set, name)
            self._open[name] = OpenCase(test_set=self._set, first_line=self._line_count + 1)
            events.emit(events.CaseStarted(machine=self._machine, definition=self._suite, case=title))

    def _expect_room(self) -> None:
        """See that there may be one more case.

        :raise TestFailed: there are too many.
        """
        if len(self.rows) + len(self._open) >= MOST_CASES:
            raise TestFailed(f"the tests of {self._machine} have more than {MOST_CASES} cases")

    def _end_case(self, name: str, *_: str) -> None:
        if name in self._open:
            self._open[name].end()

    def _case(
        self, name: str, word: str, *, measurement: str = "", units: str = "", reference: str = "", message: str = ""
    ) -> None:
        """Put down a case's result."""
        case = self._open.pop(name, None)
        if case:
            case.end()
        else:
            self._expect_room()
        result = result_of(word)
        row = CaseRow(
            suite=self._suite,
            name=name,
            result=result or "unknown",
            test_set=case.test_set if case else self._set,
            measurement=measurement,
            units=units,
            reference=reference,
            message=message if result else f"its result is '{word}', which is none of pass, fail, skip and unknown",
            details=tuple(case.printed) if case and result == "fail" else (),
            duration_s=(case.duration_s or 0.0) if case else 0.0,
            lines=case.lines if case else (0, 0),
        )
        expected = self._definitions[self._suite].expected if self._suite in self._definitions else ()
        if expected and name not in expected:
            row = replace(row, result="fail", message="the definition does not expect a case of this name")
        self._add(row)

    def _add(self, row: CaseRow) -> None:
        self.rows.append(row)
        row.emit(self._machine)
