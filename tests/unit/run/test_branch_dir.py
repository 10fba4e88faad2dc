"""The directory that each branch of `parallel` has of its own in a run's results."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from vmtasks import HostError, Run, UsageError, parallel
from vmtasks.run.options import RecipeOptions


@pytest.fixture
def run(tmp_path: Path) -> Run:
    (tmp_path / "run").mkdir()
    return Run(recipe="r", directory=tmp_path / "run", home=tmp_path)


def test_each_branch_has_a_directory_which_is_called_like_it(run: Run) -> None:
    def client() -> Path:
        return run.branch_dir()

    def check(_: object) -> Path:
        return run.branch_dir()

    board = SimpleNamespace(name="../my board")
    found = parallel(client, partial(check, board), lambda: Path(run.branch_dir()), client)
    branches = run.directory / "branches"
    assert found == tuple(branches / name for name in ("client-1", "check-..-my-board", "branch-3", "client-4"))
    assert all(one.is_dir() for one in found)


def test_it_is_made_when_it_is_used_and_stays_the_same(run: Run) -> None:
    def idle() -> None:
        assert not (run.directory / "branches").exists()

    def twice() -> None:
        assert run.branch_dir() == run.branch_dir()

    parallel(idle)
    parallel(idle, lambda: None)
    assert not (run.directory / "branches").exists()
    parallel(twice)
    assert [one.name for one in (run.directory / "branches").iterdir()] == ["twice"]


def test_outside_of_a_branch_it_is_the_runs(run: Run) -> None:
    assert run.branch_dir() == run.directory
    parallel(run.branch_dir)
    assert run.branch_dir() == run.directory


def test_a_branch_of_a_branch_is_in_its_directory(run: Run) -> None:
    def inner() -> Path:
        return run.branch_dir()

    def outer() -> tuple[Path, ...]:
        return (*parallel(inner, inner), run.branch_dir())

    (found,) = parallel(outer)
    outer_dir = run.directory / "branches/outer"
    assert found == (outer_dir / "inner-1", outer_dir / "inner-2", outer_dir)


def test_the_next_call_writes_over_nothing(run: Run) -> None:
    def logs() -> Path:
        return run.branch_dir()

    found = [parallel(logs)[0].name for _ in range(3)]
    assert found == ["logs", "logs-2", "logs-3"]


@pytest.mark.parametrize(("one", "other"), [("a b", "a-b"), ("..", "."), ("x" * 300, "x" * 301)])
def test_names_that_are_one_as_files_are_still_two_directories(run: Run, one: str, other: str) -> None:
    def named(name: str) -> Callable[[], Path]:
        def task() -> Path:
            return run.branch_dir()

        task.__name__ = name
        return task

    found = parallel(named(one), named(other))
    assert len(set(found)) == 2
    assert all(path.parent == run.directory / "branches" and path.is_dir() for path in found)


def test_threads_of_one_branch_agree(run: Run) -> None:
    together = threading.Barrier(8)

    def ask() -> Path:
        together.wait(20)
        return run.branch_dir().parent

    def all_ask() -> tuple[Path, ...]:
        return parallel(*[ask] * 8)

    (found,) = parallel(all_ask)
    assert set(found) == {run.directory / "branches/all_ask"}


def test_a_dry_run_makes_none(run: Run) -> None:
    run.flags = RecipeOptions(dry_run=True)
    (found,) = parallel(run.branch_dir)
    assert found == run.directory / "branches/branch_dir"
    assert not found.parent.exists()


def test_a_link_is_not_followed(run: Run, tmp_path: Path) -> None:
    (run.directory / "branches").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="is a link in the project"):
        parallel(run.branch_dir)


def test_what_cannot_be_made_is_the_hosts_fault(run: Run) -> None:
    (run.directory / "branches").write_text("")
    with pytest.raises(HostError, match=r"cannot make a directory for branch_dir in .*branches: Not a directory"):
        parallel(run.branch_dir)
