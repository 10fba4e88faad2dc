"""xUnit as pytest and avocado write it, and what is refused of a document that a guest has made."""

from __future__ import annotations

import pytest

from vmtasks.frameworks.suite.cases import SuiteCase
from vmtasks.frameworks.suite.xunit import UnreadableResults, parse_xunit

AVOCADO = b"""<?xml version="1.0" encoding="UTF-8"?>
<testsuite name="job" tests="4" errors="1" failures="1" skipped="1" time="0.383">
  <testcase classname="&lt;unknown&gt;" name="./bad.sh" time="0.024">
    <failure type="&lt;unknown&gt;" message="&lt;unknown&gt;"><![CDATA[<unknown>]]></failure>
    <system-out><![CDATA[[stderr] no
]]></system-out>
  </testcase>
  <testcase classname="&lt;unknown&gt;" name="./ok.sh" time="0.081"/>
  <testcase classname="One" name="./one.py:One.test_skip" time="0.034"><skipped/></testcase>
  <testcase classname="One" name="./one.py:One.test_err" time="0.030">
    <error type="ValueError" message="x&lt;y"><![CDATA[Traceback (most recent call last):
ValueError: x<y
]]></error>
  </testcase>
</testsuite>
"""
PYTEST = b"""<?xml version="1.0" encoding="utf-8"?><testsuites name="pytest tests"><testsuite name="pytest" errors="0"
failures="1" skipped="1" tests="3" time="0.090"><testcase classname="test_a" name="test_ok" time="0.001" /><testcase
classname="test_a" name="test_bad" time="0.001"><failure message="assert 1 == 2">&gt;   assert 1 == 2
E   assert 1 == 2

test_a.py:3: AssertionError</failure></testcase><testcase classname="test_a" name="test_s" time="0.000"><skipped
type="pytest.skip" message="r">test_a.py:4: r</skipped></testcase></testsuite></testsuites>"""
BOMB = """<?xml version="1.0"?><!DOCTYPE t [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<testsuite tests="1"><testcase name="&b;"/></testsuite>"""


def test_what_avocado_writes() -> None:
    report = parse_xunit(AVOCADO)
    assert report.complaint == ""
    assert report.cases == (
        SuiteCase(name="./bad.sh", verdict="failed", duration_s=0.024, message="[stderr] no", details=("[stderr] no",)),
        SuiteCase(name="./ok.sh", verdict="passed", duration_s=0.081),
        SuiteCase(name="./one.py:One.test_skip", verdict="skipped", duration_s=0.034),
        SuiteCase(
            name="./one.py:One.test_err",
            verdict="failed",
            duration_s=0.03,
            message="x<y",
            details=("Traceback (most recent call last):", "ValueError: x<y"),
        ),
    )


def test_what_pytest_writes() -> None:
    report = parse_xunit(PYTEST)
    assert report.complaint == ""
    assert [(case.name, case.verdict, case.message) for case in report.cases] == [
        ("test_a.test_ok", "passed", ""),
        ("test_a.test_bad", "failed", "assert 1 == 2"),
        ("test_a.test_s", "skipped", "r"),
    ]
    assert report.cases[1].details[-1] == "test_a.py:3: AssertionError"


def test_tests_that_began_and_told_no_result_are_missed() -> None:
    report = parse_xunit(b'<testsuite tests="2"><testcase name="a"/></testsuite>')
    assert report.complaint == "only 1 of 2 tests have told a result"


def test_a_suite_without_tests() -> None:
    report = parse_xunit(b'<testsuites><testsuite tests="0"/></testsuites>')
    assert (report.cases, report.complaint) == ((), "")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_document_type_is_refused_in_any_encoding(encoding: str) -> None:
    with pytest.raises(UnreadableResults, match="it has a document type"):
        parse_xunit(BOMB.encode(encoding))


def test_a_file_that_an_entity_names_is_never_read() -> None:
    text = '<!DOCTYPE t [<!ENTITY x SYSTEM "file:///etc/passwd">]><testsuite><testcase name="&x;"/></testsuite>'
    with pytest.raises(UnreadableResults, match="it has a document type"):
        parse_xunit(text.encode())


@pytest.mark.parametrize("length", [0, 1, 40, 200, len(AVOCADO) - 20])
def test_what_is_cut_off_is_refused(length: int) -> None:
    with pytest.raises(UnreadableResults, match="it is no XML, or cut off"):
        parse_xunit(AVOCADO[:length])


@pytest.mark.parametrize("document", [b"<html/>", b"<a><testsuite><testcase name='x'/></testsuite></a>"])
def test_other_xml_is_refused(document: bytes) -> None:
    with pytest.raises(UnreadableResults, match="it is XML of something else"):
        parse_xunit(document)


@pytest.mark.parametrize("encoding", ["bogus", "utf-7"])
def test_an_encoding_that_nobody_knows_is_refused(encoding: str) -> None:
    with pytest.raises(UnreadableResults):
        parse_xunit(f'<?xml version="1.0" encoding="{encoding}"?><testsuite/>'.encode())


@pytest.mark.parametrize("time", ["nan", "inf", "-1", "", "x"])
def test_a_time_that_is_none_is_0(time: str) -> None:
    (case,) = parse_xunit(f'<testsuite tests="1"><testcase name="a" time="{time}"/></testsuite>'.encode()).cases
    assert case.duration_s == 0.0


def test_a_deep_document_is_read() -> None:
    deep = b"<testsuite>" + b"<a>" * 50_000 + b"</a>" * 50_000 + b"</testsuite>"
    assert parse_xunit(deep).cases == ()
