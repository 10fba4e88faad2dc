"""What `make check-kvm` writes down."""

from __future__ import annotations

from tests.kvm.__main__ import Row, page, rows_of

JUNIT = """<testsuites><testsuite>
<testcase name="test_auto" time="1.4"/>
<testcase name="test_other[kernel]" time="0.1"><failure message="x"/></testcase>
</testsuite></testsuites>"""


def test_each_row_is_a_tests_own_sentence() -> None:
    assert list(rows_of(JUNIT)) == [
        Row(says='`accel = "auto"` chooses KVM after its trial', verdict="passed", duration_s=1.4),
        Row(says="a template that was made under another kernel is not taken", verdict="failed", duration_s=0.1),
    ]


def test_a_result_replaces_the_one_before_and_nothing_else() -> None:
    facts = {"date": "2026-01-02"}
    first = page("# Title\n\nProse.\n", facts, list(rows_of(JUNIT)))
    assert first.startswith("# Title\n\nProse.\n\n<!--")
    assert "- date: 2026-01-02\n" in first
    assert "| a template that was made under another kernel is not taken | failed | 0 |\n" in first
    assert page(first, facts, list(rows_of(JUNIT))) == first
