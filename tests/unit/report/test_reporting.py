from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import pytest

import vmtasks
from vmtasks import events as e
from vmtasks.report import reporting


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(directory: Path | None) -> None:
    e.emit(e.RunStarted(recipe="tarbake", directory=directory or Path(), rerun="inv tarbake"))
    with e.phase("boot", machine="m"):
        e.emit(e.Output(machine="m", stream="stdout", text="guest\n"))
        e.emit(e.Artifact(path=Path("/runs/hello-1.0.tar.gz")))
    e.emit(e.RunEnded(outcome="passed"))


@pytest.mark.parametrize(
    ("stream", "term", "is_drawn"),
    [(Terminal, "xterm", True), (Terminal, "dumb", False), (io.StringIO, "xterm", False)],
)
def test_the_display_fits_where_it_goes(stream: type[io.StringIO], term: str, is_drawn: bool) -> None:
    stderr, stdout = stream(), io.StringIO()
    with reporting(None, stderr=stderr, stdout=stdout, environ={"TERM": term}):
        run(None)
    assert ("\x1b" in stderr.getvalue()) == is_drawn
    assert "guest" in stderr.getvalue()
    assert stdout.getvalue() == "/runs/hello-1.0.tar.gz\n"


def test_the_plain_display_does_without_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(("vmtasks.report", "rich"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setattr(vmtasks, "report", None)
    from vmtasks.report import reporting as afresh

    stderr = io.StringIO()
    with afresh(None, stderr=stderr, stdout=io.StringIO()):
        run(None)
    assert "passed" in stderr.getvalue()
    with pytest.raises(ImportError), afresh(None, stderr=Terminal(), environ={"TERM": "xterm"}):
        pytest.fail("drawn without rich")


def test_the_records_are_kept(tmp_path: Path) -> None:
    directory = tmp_path / "build" / "run"
    directory.mkdir(parents=True)
    (directory / "junit.xml").write_text("of an earlier run", encoding="utf-8")
    with reporting(directory, stderr=io.StringIO(), stdout=io.StringIO(), environ={}):
        assert not (directory / "junit.xml").exists()
        run(directory)
    result = json.loads((directory / "result.json").read_text(encoding="utf-8"))
    assert result["outcome"] == "passed"
    assert 'name="tarbake"' in (directory / "junit.xml").read_text(encoding="utf-8")


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_everything_is_detached_whatever_happens(
    tmp_path: Path, stream: type[io.StringIO], error: type[BaseException]
) -> None:
    stderr, stdout = stream(), io.StringIO()

    def break_off() -> None:
        with reporting(tmp_path, stderr=stderr, stdout=stdout, environ={"TERM": "xterm"}):
            e.emit(e.PhaseStarted(phase="boot"))
            e.emit(e.Output(machine="m", stream="stdout", text="no end"))
            raise error

    with pytest.raises(error):
        break_off()
    assert "no end" in stderr.getvalue()
    assert stderr.getvalue().rfind("\x1b[?25h") >= stderr.getvalue().rfind("\x1b[?25l")
    silence = stderr.getvalue()
    e.emit(e.Note(text="nobody hears this"))
    e.emit(e.Artifact(path=Path("nor this")))
    assert (stderr.getvalue(), stdout.getvalue()) == (silence, "")
    assert not e._listeners


def test_readers_that_went_away_do_not_end_the_run(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with io.TextIOWrapper(os.fdopen(writer, "wb"), encoding="utf-8") as gone:
        with reporting(tmp_path, stderr=gone, stdout=gone, environ={}):
            run(tmp_path)
        gone.flush()
    assert json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))["outcome"] == "passed"


def test_the_standard_streams_are_those_of_the_moment(capsys: pytest.CaptureFixture[str]) -> None:
    with reporting(None):
        run(None)
    captured = capsys.readouterr()
    assert captured.out == "/runs/hello-1.0.tar.gz\n"
    assert "tarbake passed" in captured.err
