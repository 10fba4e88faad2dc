"""A Buildbot: a master with the configuration of examples/buildbot, a worker, and what one asks over the REST API."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path
from typing import Any

from tests.waiting import LIMIT_S, until
from vmtasks.host.slots import tickets

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
RESULTS = ("success", "warnings", "failure", "skipped", "exception", "retry", "cancelled")


def make_checkout(directory: Path) -> None:
    """Make a checkout of vmtasks that has no machines."""
    directory.mkdir()
    (directory / "Makefile").write_text(
        "test-in-vm:\n\t@.venv/bin/inv test-in-vm --source '$(PROJECT)' --image '$(IMAGE)'\n"
        "build-deb:\n\t@if [ $(IMAGE) = bookworm ]; then echo no results; exit 3; fi; "
        "mkdir -p $$VMTASKS_RESULTS/latest; echo '{\"schema\": 2}' >$$VMTASKS_RESULTS/latest/result.json\n"
        "setup:\n\t@echo make setup >>asked\n"
    )
    inv = directory / ".venv/bin/inv"
    inv.parent.mkdir(parents=True)
    inv.write_text(f'#!/bin/sh\ncase $1 in images.*) echo "$@" >>asked ;; *) exec {BIN}/inv "$@" ;; esac\n')
    inv.chmod(0o755)
    (directory / "tasks.py").write_text(Path(__file__).with_name("machineless.py").read_text())


@dataclass(kw_only=True)
class Farm:
    """A master and workers below *home*, which run until they are told to stop.

    :param rest_s: how long a worker rests at first.
    :param environ: what they have in their environment besides.
    """

    home: Path
    config: Path = ROOT / "tests/buildbot/master.cfg"
    rest_s: float = 0.1
    environ: dict[str, str] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)

    def create(self) -> None:
        """Make the directories of a master and of a worker, a project, and a checkout of vmtasks without machines."""
        master = self.home / "master"
        _call(str(BIN / "buildbot"), "create-master", "--quiet", str(master))
        (master / "master.cfg").symlink_to(self.config)
        for name in ("password-big", "password-small", "web-password"):
            (master / name).touch(0o600)
            (master / name).write_text(f"secret of {name}\n")
        project = self.home / "project"
        project.mkdir()
        (project / "README").write_text("a project\n")
        git = ("git", "-C", str(project), "-c", "user.name=Me", "-c", "user.email=me@example.org")
        _call(*git, "init", "--quiet", "--initial-branch=master")
        _call(*git, "add", "README")
        _call(*git, "commit", "--quiet", "--message=begin")
        make_checkout(self.home / "vmtasks")

    @contextmanager
    def running(self, *, with_worker: bool = True, kill: bool = False) -> Iterator[Farm]:
        """Have it run for as long as the block lasts.

        :param kill: whether it is killed then, and not ended in order.
        """
        try:
            self.start_master()
            if with_worker:
                self.start_worker()
            yield self
        finally:
            for name in list(self.processes):
                self.end(name, kill=kill)

    def start_master(self) -> None:
        """Start the master, at the ports that it had before, and wait until it answers."""
        environ = {
            "PROJECT": str(self.home / "project"),
            "VMTASKS": str(self.home / "vmtasks"),
            "REST_S": str(self.rest_s),
            "PORT": f"tcp:{self.ports.get('BuildbotSite', 0)}:interface=127.0.0.1",
            "ARTIFACTS_URL": "http://artifacts.example",
        }
        log = self._start("master", "buildbot", environ)
        match = until("port", lambda: re.search(r"BuildbotSite starting on (\d+)", log()))
        self.ports["BuildbotSite"] = int(match[1])
        until("master that runs", lambda: "BuildMaster is running" in log())

    def start_worker(self, name: str = "big", **environ: str) -> None:
        """Start a worker, and wait until the master knows it."""
        worker = self.home / name
        if not worker.exists():
            _call(
                str(BIN / "buildbot-worker"),
                "create-worker",
                "--quiet",
                "--maxdelay=1",
                f"--connection-string=unix:{self.home}/master/workers.sock",
                str(worker),
                "localhost",
                name,
                f"secret of password-{name}",
            )
        self._start(name, "buildbot-worker", environ)
        until("worker", lambda: self.get(f"workers/{name}")[0]["connected_to"])

    def end(self, name: str, *, kill: bool = False) -> None:
        """End the process and wait for it."""
        process = self.processes.pop(name)
        (process.kill if kill else process.terminate)()
        process.wait(LIMIT_S)

    def get(self, path: str) -> list[dict[str, Any]]:
        """Return what the master says of *path*."""
        (found,) = (value for key, value in json.loads(self.text(path)).items() if key != "meta")
        return list(found)

    def text(self, path: str) -> str:
        """Return what the master has at *path*, as it is."""

        def read() -> list[str]:
            url = f"{self._api}/{path}"
            # Where something changes while it answers, a master says how long the answer is and breaks it off.
            with suppress(http.client.IncompleteRead), urllib.request.urlopen(url, timeout=LIMIT_S) as answer:  # noqa: S310
                return [answer.read().decode()]
            return []

        return until(f"an answer to {path}", read)[0]

    def control(self, path: str, method: str, *, login: bool = True, **parameters: Any) -> Any:
        """Have the master do something."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}).encode()
        headers = {"Content-Type": "application/json", "Cookie": self._session() if login else ""}
        request = urllib.request.Request(f"{self._api}/{path}", body, headers)  # noqa: S310 - our own master
        with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:  # noqa: S310
            return json.load(answer)["result"]

    def force(self, builder: str, behaviour: str = "", *, scheduler: str = "force", **properties: Any) -> int:
        """Ask for a build, and return the number of the request.

        :param behaviour: what the run is to do; see machineless.py.
        """
        self.behave(behaviour)
        (builderid,) = (one["builderid"] for one in self.get("builders") if one["name"] == builder)
        _, requests = self.control(f"forceschedulers/{scheduler}", "force", builderid=builderid, **properties)
        return int(*requests.values())

    def behave(self, behaviour: str) -> None:
        """Say what the next run does."""
        (self.home / "vmtasks/behaviour").write_text(behaviour)

    def builds(self, request: int) -> list[dict[str, Any]]:
        """Return the builds of a request, the first one first."""
        return self.get(f"builds?buildrequestid={request}&order=buildid")

    def ended(self, request: int) -> list[tuple[str, str]]:
        """Return the results of a request's builds, with what is said of each, once the request is complete."""
        until("end of the builds", lambda: self.get(f"buildrequests/{request}")[0]["complete"])
        return [(RESULTS[build["results"]], build["state_string"]) for build in self.builds(request)]

    def step(self, build: dict[str, Any], name: str = "test-in-vm") -> dict[str, Any]:
        """Return a step of a build; nothing where there is none so far."""
        steps = self.get(f"builds/{build['buildid']}/steps")
        return next((step for step in steps if step["name"] == name), {})

    def logs(self, step: dict[str, Any]) -> dict[str, str]:
        """Return the logs of a step by name."""
        logs = self.get(f"steps/{step['stepid']}/logs") if step else []
        return {log["name"]: self.text(f"logs/{log['logid']}/raw") for log in logs}

    def waits(self, request: int) -> dict[str, Any]:
        """Return the last build of a request, once its run has a machine that only a signal ends."""

        def waiting() -> dict[str, Any]:
            builds = self.builds(request)
            is_there = builds and "boot" in self.step(builds[-1]).get("state_string", "")
            return builds[-1] if is_there else {}

        build = until("run that waits", waiting)
        (lease,) = (json.loads(path.read_text()) for path in self._leases())
        assert {lease["supervisor_pid"], lease["qemu_pid"]} <= set(self._run_processes())
        assert tickets(str(self.queue))
        return build

    def runs(self) -> list[Path]:
        """Return the documents of the runs on the worker."""
        return sorted((self.home / "big").glob("*/vmtasks/*/latest/result.json"))

    @property
    def queue(self) -> Path:
        """The queue of the workers' host."""
        return Path(self.environ.get("QUEUE", self.home / "queue"))

    def left(self) -> list[Any]:
        """Return what there is of runs: their processes, their places in the queue, and their machines' directories."""
        return [*self._run_processes(), *tickets(str(self.queue)), *(path.parent for path in self._leases())]

    def _run_processes(self) -> list[int]:
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # somebody else's, or gone just now
                if f"VMTASKS_RESULTS={self.home}/".encode() in (process / "environ").read_bytes():
                    found.append(int(process.name))
        return found

    def _leases(self) -> list[Path]:
        # Unlike Path.glob, it does not mind a directory that goes as it looks into that.
        found = map(Path, glob(f"{self.home}/*/*/vmtasks/*/*/machine/lease.json"))  # noqa: PTH207
        return [path for path in found if "latest" not in path.parts]

    def _session(self) -> str:
        """Log in, and return the cookie that says so."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.ports["BuildbotSite"], timeout=LIMIT_S)) as browser:
            admin = b64encode(b"admin:secret of web-password").decode()
            browser.request("GET", "/auth/login", headers={"Authorization": f"Basic {admin}"})
            *_, cookie = browser.getresponse().headers.get_all("Set-Cookie")  # the one before is anybody's
            return str(cookie).partition(";")[0]

    @property
    def _api(self) -> str:
        return f"http://127.0.0.1:{self.ports['BuildbotSite']}/api/v2"

    def _start(self, name: str, program: str, environ: dict[str, str]) -> Callable[[], str]:
        """Start a process in its directory, and return what reads what it has logged since."""
        log = self.home / name / "twistd.log"
        begin = log.stat().st_size if log.exists() else 0
        self.processes[name] = process = subprocess.Popen(
            [BIN / program, "start", "--nodaemon", self.home / name],
            env={**os.environ, "QUEUE": str(self.queue), **self.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

        def output() -> str:
            text = log.read_bytes()[begin:].decode() if log.exists() else ""
            assert process.poll() is None, text
            return text

        return output


def _call(*argv: str) -> None:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
