"""The kinds of runs that are struck."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path

from tests.torture.deck import Kind, Phase

_HERE = Path(__file__).resolve().parent
_BIN = _HERE.parents[1] / ".venv/bin"
_MACHINE = ("supervisor", "qemu")


_GROUP = (*_MACHINE, "switch")


def _make(to: str, recipe: str = "victim") -> str:
    options = {"boot": "--cold", "shell": "--shell"}.get(to, "")
    variables = (f"INV={_BIN}/inv", f"HERE={_HERE}", f"RECIPE={recipe}", f"TO={to}", f"OPTIONS={options}")
    return shlex.join(["make", "--no-print-directory", "-f", f"{_HERE}/victim.mk", *variables])


def _runvm(to: str) -> str:
    options = "--port=0 --kvm-retries=1 --base-image=$(echo ../cache/images/bookworm-*/disk.qcow2)"
    command = {"host command": "= sleep 60", "stop": "true"}.get(to, "sleep 60")
    return f"{shlex.quote(f'{_BIN}/runvm')} {options} image.qcow2 '{command}'"


INV = Kind(
    callers=("make", "inv"),
    line=_make,
    phases=(
        Phase(name="accelerator", usual_s=0.5, inside=()),  # without what is tried, a run goes on with the other one
        Phase(name="bake", usual_s=8.0, inside=("tool",)),
        Phase(name="template", usual_s=11.0, inside=_MACHINE, goes_on=True),
        Phase(name="slot", usual_s=1.0, inside=("supervisor",)),
        Phase(name="overlay", usual_s=0.05, inside=("supervisor",), goes_on=True),
        Phase(name="start", usual_s=0.1, inside=_MACHINE, goes_on=True),
        Phase(name="restore", usual_s=0.05, inside=_MACHINE, goes_on=True),
        Phase(name="ssh", usual_s=0.5, inside=_MACHINE, goes_on=True),
        Phase(name="boot", usual_s=8.0, inside=_MACHINE),
        Phase(name="ready", usual_s=0.5, inside=_MACHINE),
        Phase(name="command", usual_s=0.5, inside=_MACHINE),
        Phase(name="shell", usual_s=1.0, inside=(*_MACHINE, "tool")),
        Phase(name="upload", usual_s=0.6, inside=_MACHINE),
        Phase(name="download", usual_s=0.8, inside=_MACHINE),
        Phase(name="checkpoint", usual_s=0.15, inside=_MACHINE),
        Phase(name="stop", usual_s=0.1, inside=_MACHINE),
    ),
)
"""A recipe that make has called: ``sh -c 'make …'``."""

RUNVM = Kind(
    callers=("runvm",),
    line=_runvm,
    phases=(
        Phase(name="slot", usual_s=1.0, inside=("supervisor",), sign="* slot"),
        Phase(name="overlay", usual_s=0.05, inside=("supervisor",), sign="* overlay"),
        Phase(name="start", usual_s=0.1, inside=_MACHINE, sign="* start"),
        Phase(name="boot", usual_s=8.0, inside=_MACHINE, sign="* boot"),
        Phase(name="command", usual_s=0.5, inside=_MACHINE, sign="+ sleep"),
        Phase(name="host command", usual_s=0.5, inside=(*_MACHINE, "tool"), sign="= sleep"),
        Phase(name="stop", usual_s=3.0, inside=_MACHINE, sign="* stop"),
    ),
)
"""A call of runvm, whose image stays; ``tool`` is what it has its host commands run by."""

GROUP = Kind(
    callers=("make", "inv"),
    line=partial(_make, recipe="victim-group"),
    machines=2,
    phases=(
        Phase(name="slot", usual_s=1.0, inside=("switch",)),
        Phase(name="overlay", usual_s=0.1, inside=("supervisor", "switch"), goes_on=True),
        Phase(name="start", usual_s=0.2, inside=_GROUP, goes_on=True),
        Phase(name="restore", usual_s=0.1, inside=_GROUP, goes_on=True),
        Phase(name="ssh", usual_s=0.5, inside=_GROUP, goes_on=True),
        Phase(name="boot", usual_s=8.0, inside=_GROUP),
        Phase(name="ready", usual_s=0.5, inside=_GROUP),
        Phase(name="fault", usual_s=0.5, inside=_GROUP),
        Phase(name="message", usual_s=0.5, inside=_GROUP),
        Phase(name="stop", usual_s=0.1, inside=_GROUP),
    ),
)
"""The same with two machines on a network of their own, one of which is struck where a machine is."""
KINDS = {"inv": INV, "group": GROUP, "runvm": RUNVM}
