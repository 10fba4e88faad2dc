"""The results of a runner among the files that came home."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmtasks.frameworks.suite.results import report_in
from vmtasks.frameworks.suite.runners import TAP


@pytest.mark.parametrize("root", ["out/suite", "link/suite"])
def test_results_are_found_below_any_name_of_their_directory(
    root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes home is named by its absolute path without links, and a user names the directory as he likes."""
    monkeypatch.chdir(tmp_path)
    tap = tmp_path / "out/suite/start-1" / TAP
    tap.parent.mkdir(parents=True)
    tap.write_text("1..1\nok 1 - it works\n")
    Path("link").symlink_to("out")
    report = report_in([tap.resolve()], Path(root))
    assert report is not None
    assert [case.name for case in report.cases] == ["it works"]
