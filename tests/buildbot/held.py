"""What worker_machine is, but for the machine: a worker in a directory, which does what `behaviour` says.

``slot`` never has a machine, ``silent`` has one whose worker never calls; ``usage``, ``host`` and ``boot`` fail, the
first after more than the hasty worker's limit; with all others the worker runs, and builds see them as $BEHAVIOUR.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from vmtasks.integrations.buildbot.worker_machine import WorkerConfig


def main() -> None:
    home = Path(sys.argv[1])
    config = WorkerConfig(**json.loads(sys.stdin.readline()))
    told = home / "vmtasks/behaviour"
    behaviour, _, rest = told.read_text().partition(" ")
    told.write_text(rest or behaviour)
    machine = home / f"machines/{os.getpid()}"
    (machine / "worker").mkdir(parents=True)
    try:
        sys.stderr.write("12:00:00 bookworm  * waiting for a slot behind others\n")
        ended = [sys.stdin]
        if behaviour == "usage":
            select.select(ended, [], [], 1.5)
        if behaviour in {"usage", "host", "boot"}:
            say("failed", outcome=behaviour, message=f"cannot boot: {behaviour}")
        elif behaviour == "slot":
            select.select(ended, [], [])
        else:
            say("started")
            if behaviour == "silent":
                select.select(ended, [], [])
            else:
                run(config, machine / "worker", behaviour)
    finally:
        shutil.rmtree(machine)


def run(config: WorkerConfig, directory: Path, behaviour: str) -> None:
    """Run the worker until it ends or our standard input does."""
    (directory / "buildbot.tac").write_text(at_socket(config))
    argv = [Path(sys.executable).with_name("buildbot-worker"), "start", "--nodaemon", directory]
    environ = {**os.environ, "BEHAVIOUR": behaviour}
    with subprocess.Popen(argv, env=environ, stdin=subprocess.DEVNULL, stdout=2) as worker:
        (directory / "pid").write_text(str(worker.pid))
        end = os.pidfd_open(worker.pid)
        select.select([sys.stdin, end], [], [])
        os.close(end)
        worker.kill()


def at_socket(config: WorkerConfig) -> str:
    """Return a worker's configuration for the master's UNIX socket itself: no ssh leads a directory there."""
    tac = config.tac(1).replace("'127.0.0.1', 1,", "None, None,")
    return tac.replace("protocol='pb'", f"protocol='pb', connection_string='unix:{config.master}'")


def say(event: str, **more: str) -> None:
    with suppress(BrokenPipeError):  # a master that was killed
        print(json.dumps({"event": event, **more}), flush=True)  # noqa: T201 - what it is for


main()
