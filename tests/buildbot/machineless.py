"""A checkout's tasks: test-in-vm without a machine, which does what the file `behaviour` says.

With ``machine`` it has one of the fake QEMU's, in turn with all others in the queue `$QUEUE`, until there is a file of
the project's name beside that; with ``wait``, until it is ended. $BEHAVIOUR goes over the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.process.supervised import plan_in
from vmtasks import HostError, Run, TestFailed, events, recipe
from vmtasks.config.settings import HostSettings
from vmtasks.deadline import Deadline
from vmtasks.supervisor.client import supervised
from vmtasks.supervisor.watch import MachineWatch


@recipe
def test_in_vm(run: Run, source: str = ".", image: str = "") -> None:  # noqa: PT028 - a recipe's options
    """Behave.

    :param source: the project's directory.
    :param image: the image.
    """
    told = Path("behaviour")
    behaviour, _, rest = told.read_text().partition(" ")
    told.write_text(rest or behaviour)
    behaviour = os.environ.get("BEHAVIOUR", behaviour)
    console = run.directory / "test-console.log"
    log = run.directory / "test-01-make_check.log"
    console.write_text("Linux version 6.1 \N{GREEK SMALL LETTER ALPHA}\n" * 40_000)
    with ExitStack() as machine:
        if behaviour in {"machine", "wait"}:
            news = machine.enter_context(a_machine(run, run.project(source).name))
        while behaviour == "machine" and not Path(os.environ["QUEUE"]).with_name(run.project(source).name).exists():
            news.watch(0.1)
        with events.phase("boot", machine="test", detail=image):
            while behaviour == "wait":
                news.watch(0.1)
            if behaviour == "host":
                raise HostError("cannot make a disk: no room")
    with run.case("test"):
        assert (Path(source) / "README").read_text() == "a project\n"
        log.write_text("all is well\n")
        if behaviour == "fail":
            raise TestFailed("`make check` on test ended with status 1")
    artifact = run.output_dir("") / "hello.tar.gz"
    artifact.write_text("an artifact")
    run.artifact(artifact)


@contextmanager
def a_machine(run: Run, name: str) -> Iterator[MachineWatch]:
    """Wait for a slot, and have a machine in it."""
    plan = plan_in(run.directory.absolute())
    limit = HostSettings.load().machines
    slot = plan.slot._replace(directory=os.environ["QUEUE"], machines=limit, purpose=f"{run.recipe} of {name}")
    plan = plan._replace(slot=slot)
    with supervised(plan, log=run.directory / "supervisor.log") as client:
        news = MachineWatch(client, "test", Path(plan.console or os.devnull))
        with events.phase("slot", machine="test"):
            news.wait_for("admitted", Deadline.after(None))
        news.wait_for("started", Deadline.after(None))
        yield news
