"""The door's modules: each is imported when something of it is first used, whole, and is the same by both names."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import vmtasks
from vmtasks.debian import apt

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = vmtasks._Later("vmtasks.debian.apt")

IN_THREADS = """
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from vmtasks import {names}

modules = [{names}]
assert not [one.__name__ for one in modules if one.__name__ in sys.modules]
barrier = Barrier(8)

def names_of(_):
    barrier.wait(30)
    return [dir(one) for one in modules]

with ThreadPoolExecutor(8) as pool:
    found = list(pool.map(names_of, range(8)))
assert found == [[dir(sys.modules[one.__name__]) for one in modules]] * 8
"""


def test_a_module_is_whole_when_threads_use_it_first() -> None:
    program = IN_THREADS.format(names=", ".join(vmtasks._ROOMS))
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=60, check=True)


@pytest.mark.parametrize(("name", "home"), vmtasks._ROOMS.items())
def test_what_stands_for_a_module_hands_out_what_is_in_it(name: str, home: str) -> None:
    stand_in, real = vmtasks.__getattr__(name), import_module(f"vmtasks.{home}")
    public = [one for one in vars(real) if not one.startswith("_")]
    assert public
    assert all(getattr(stand_in, one) is getattr(real, one) for one in public)


def test_what_is_changed_by_one_name_is_changed_by_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    before = apt.install
    with monkeypatch.context() as patch:
        patch.setattr(STAND_IN, "install", print)
        assert apt.install is print
        patch.setattr(apt, "install", repr)
        assert STAND_IN.install is repr
        patch.setattr(STAND_IN, "another", repr, raising=False)
        assert apt.another is repr
    assert STAND_IN.install is apt.install is before
    assert not hasattr(apt, "another")


def test_a_name_that_is_not_there_is_told_as_the_modules_own() -> None:
    with pytest.raises(AttributeError, match=r"module 'vmtasks\.debian\.apt' has no attribute 'instal'"):
        STAND_IN.instal  # noqa: B018
