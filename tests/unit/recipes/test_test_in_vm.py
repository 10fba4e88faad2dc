"""What test-in-vm does with what its own parts have made: no machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import recipes.test_in_vm  # noqa: F401 - the package has the function by that name
from vmtasks import Run, events

MODULE = sys.modules["recipes.test_in_vm"]


def called(run: Run, root: Path, monkeypatch: pytest.MonkeyPatch, *made: str) -> list[Any]:
    """Run the recipe where a build makes these files, and return what install-test was called for."""
    (root / "debian").mkdir()
    (root / "debian/control").write_text("Source: thing\n")
    (root / "debian/changelog").write_text(
        "thing (1) unstable; urgency=low\n\n -- N <n@example.org>  Thu, 1 Jan 2026\n"
    )
    calls: list[Any] = []

    def build_deb(*_: Any, meanwhile: Any, **__: Any) -> None:
        meanwhile([root / name for name in made])

    monkeypatch.setattr(MODULE, "source_package", lambda *_, **__: [root / "thing_1.dsc"])
    monkeypatch.setattr(MODULE, "build_deb", build_deb)
    monkeypatch.setattr(MODULE, "install_test", lambda _, debs, **__: calls.append(debs))
    MODULE.test_in_vm(run, source=str(root))
    return calls


def test_the_packages_that_were_built_are_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(recipe="test-in-vm", directory=tmp_path)
    assert called(run, tmp_path, monkeypatch, "a.deb", "a.udeb", "a.changes") == [[str(tmp_path / "a.deb")]]


def test_a_build_of_udebs_alone_does_not_try_what_else_lies_around(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(recipe="test-in-vm", directory=tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stranger.deb").touch()
    ended: list[events.Event] = []
    with events.listening(ended.append):
        assert called(run, tmp_path, monkeypatch, "a.udeb", "a.changes") == []
    assert [(one.case, one.outcome) for one in ended if isinstance(one, events.CaseEnded)] == [("install", "skipped")]
