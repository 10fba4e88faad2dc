"""build-deb as the recipes that call it see it, with a machine that does whatever it is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from recipes.build_deb import build_deb
from vmtasks import Result, Run
from vmtasks.flags import Flags

LIMIT_S = 5.0


class Obliging:
    """A guest in which every command succeeds and every file is there."""

    name = "build"

    def run(self, command: Any, **_: Any) -> Result:
        return Result(machine="build", command=str(command), exit_status=0, stdout="", stderr="", duration_s=0.0)

    def succeed(self, *_: Any, **__: Any) -> str:
        return ""

    query = put = succeed

    def glob(self, pattern: str) -> list[str]:
        return [pattern]

    def get(self, source: str, target: Path) -> list[Path]:
        path = target / source.rpartition("/")[2].replace("*", "x")
        path.touch()
        return [path]


class OneSlot(Run):
    """A run on a host that has room for one machine."""

    free = threading.Semaphore(1)

    @contextmanager
    def boot(self, image: Any, *, name: str = "", **_: Any) -> Iterator[Any]:
        assert self.free.acquire(timeout=LIMIT_S), f"{name} waits for a slot that its own run holds"
        try:
            yield Obliging()
        finally:
            self.free.release()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "debian").mkdir()
    (tmp_path / "debian" / "control").touch()
    (tmp_path / "debian" / "changelog").write_text(
        "thing (1) unstable; urgency=low\n\n -- N <n@example.org>  Thu, 01 Jan 2026 00:00:00 +0000\n"
    )
    return tmp_path


def test_what_is_done_meanwhile_can_wait_for_the_machines_own_slot(source: Path) -> None:
    run = OneSlot(recipe="build-deb", flags=Flags(), directory=source)
    seen: list[Path] = []

    def try_them(packages: list[Path]) -> None:
        with run.boot("bookworm", name="install"):
            seen.extend(packages)

    products = build_deb(run, source=str(source), meanwhile=try_them)
    assert seen == products
    assert sorted(path.name for path in products) == ["x.buildinfo", "x.changes", "x.deb"]
