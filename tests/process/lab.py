"""A lab for jobs of LAVA's: a job and its definitions in a directory, and what came of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from recipes.group import group
from vmtasks import VmtasksError, events
from vmtasks.run.options import RecipeOptions
from vmtasks.run.run import Run

MAPPING = """
[devices]
arndale = "bookworm"
kvm = "bookworm"
qemu = "bookworm"
[paths]
"https://git.example.org/tests.git" = "tests"
"""


class Lab:
    """A job, and what came of it."""

    def __init__(self, path: Path, mapping: str = MAPPING) -> None:
        self.path = path
        self.heard: list[events.Event] = []
        self.tests = path / "tests"
        self.tests.mkdir()
        (path / "lava.toml").write_text(mapping)

    def definition(self, name: str, *steps: str) -> None:
        text = yaml.safe_dump({"metadata": {"name": name}, "run": {"steps": list(steps)}})
        (self.tests / f"{name}.yaml").write_text(text)

    def run(self, text: str, name: str = "job.json", **options: str) -> VmtasksError | None:
        job = self.path / name
        job.write_text(text)
        directory = self.path / "run"
        directory.mkdir()
        run = Run(recipe="group", flags=RecipeOptions(), directory=directory, home=self.path)
        with events.listening(self.heard.append):
            try:
                group(run, str(job), out=str(self.path / "out"), **options)
            except VmtasksError as problem:
                return problem
        return None

    @property
    def rows(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = yaml.safe_load((self.path / "out/lava-results.yaml").read_text())
        return found

    @property
    def cases(self) -> set[tuple[str, str, str, str]]:
        """The machine, the suite, the name and the result of each case."""
        return {(one["metadata"].get("machine", ""), one["suite"], one["name"], one["result"]) for one in self.rows}

    @property
    def ended(self) -> set[tuple[str, str, str, str]]:
        found = (one for one in self.heard if isinstance(one, events.CaseEnded))
        return {(one.machine, one.definition, one.case, one.outcome) for one in found}

    @property
    def calls(self) -> list[tuple[str, str, str, str]]:
        found = (one for one in self.heard if isinstance(one, events.GroupCall))
        return [(one.machine, one.verb, one.id, one.outcome) for one in found]


def v1(*actions: dict[str, Any], **vm_group: Any) -> str:
    """Return a job with a host and two guests."""
    deploy = {"command": "deploy_linaro_image", "parameters": {"image": "file:///lab/image.img"}}
    vms = [{"device_type": "kvm", "role": "server"}, {"device_type": "kvm", "role": "client"}]
    found = {"host": {"device_type": "arndale", "role": "host"}, "vms": vms, **vm_group}
    return json.dumps({"timeout": 60, "job_name": "x", "vm_group": found, "actions": [deploy, *actions]})


def run_shell(*names: str, **parameters: Any) -> dict[str, Any]:
    repos = [{"git-repo": "https://git.example.org/tests.git", "testdef": f"{name}.yaml"} for name in names]
    return {"command": "lava_test_shell", "parameters": {"testdef_repos": repos, **parameters}}
