"""Jobs of LAVA's in real machines: a host and its guest, as the page about VM groups has them; and one device."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.results import machines_of

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 900.0
"""Waiting for slots behind somebody else's machines is part of it."""
STEPS = {
    "work": [
        "lava-start-vms",
        "lava-test-case peer --shell getent hosts server",
        "lava-wait server-up",
        "lava-test-case port --shell grep ^server:port=80$ /tmp/lava_multi_node_cache.txt",
        "lava-wait-vms",
    ],
    "serve": [
        "lava-wait lava_vm_start",
        "lava-test-case host --shell grep ^host:host_ip=198.18.0.1$ /tmp/lava_multi_node_cache.txt",
        "lava-send server-up port=80",
        "sleep 2; lava-send gone",
    ],
    "clean": ["lava-test-case after-all --shell lava-wait gone"],
}


def shell(name: str, role: str) -> dict[str, object]:
    parameters = {"testdef_urls": [f"http://lab.example.org/{name}.yaml"], "role": role}
    return {"command": "lava_test_shell", "parameters": parameters}


def rows_of(job: str, directory: Path) -> list[dict[str, Any]]:
    """Run a job that passes, and return the rows of its results."""
    argv = [str(Path(sys.executable).with_name("inv")), "-r", str(ROOT), "group", "--job", job]
    options = ["--memory-mib", "512", "--network", "none", "--out", "out"]
    done = subprocess.run(
        [*argv, *options], cwd=directory, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, Any]] = yaml.safe_load((directory / "out/lava-results.yaml").read_text())
    return rows


def test_a_host_starts_its_guest_and_looks_after_its_end(tmp_path: Path) -> None:
    for name, steps in STEPS.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({"metadata": {"name": name}, "run": {"steps": steps}}))
    (tmp_path / "lava.toml").write_text(
        '[images]\n"file:///path/to/host.img" = "bookworm"\n[devices]\nkvm-arm = "bookworm"\n'
        '[paths]\n"http://lab.example.org/" = "."\n'
    )
    host, guest = {"device_type": "arndale", "role": "host"}, {"device_type": "kvm-arm", "role": "server"}
    deploy = {"command": "deploy_linaro_image", "parameters": {"image": "file:///path/to/host.img"}}
    job = {
        "timeout": 300,
        "vm_group": {"host": host, "auto_start_vms": False, "vms": [guest]},
        "actions": [deploy, shell("work", "host"), shell("serve", "server"), shell("clean", "host")],
    }
    (tmp_path / "job.json").write_text(json.dumps(job))
    rows = rows_of("job.json", tmp_path)
    assert {(one["metadata"].get("machine", ""), one["suite"], one["name"], one["result"]) for one in rows} == {
        ("host", "0_work", "peer", "pass"),
        ("host", "0_work", "port", "pass"),
        ("server", "0_serve", "host", "pass"),
        ("host", "1_clean", "after-all", "pass"),
        *((machine, "lava", suite, "pass") for machine, suite in (("host", "0_work"), ("host", "1_clean"))),
        ("server", "lava", "0_serve", "pass"),
        ("", "lava", "job", "pass"),
    }
    result = json.loads((tmp_path / "build/vmtasks/latest/result.json").read_text())
    calls = {(one["machine"], one["verb"], one["id"], one["outcome"]) for one in result["messages"]}
    assert {
        ("host", "send", "lava_vm_start", "passed"),
        ("server", "wait", "lava_vm_start", "passed"),
        ("server", "send", "lava_vm_stop", "passed"),
        ("host", "wait-all", "lava_vm_stop", "passed"),
    } <= calls
    assert {one["machine"]: one["start"] for one in machines_of(result)} == {"host": "clone", "server": "clone"}


def test_a_job_for_one_device_boots_it_again_between_its_tests(tmp_path: Path) -> None:
    def tests(name: str, step: str) -> dict[str, object]:
        inline = {"metadata": {"name": name}, "run": {"steps": [step]}}
        definition = {"from": "inline", "name": name, "path": f"{name}.yaml", "repository": inline}
        return {"test": {"definitions": [definition]}}

    boot = {"boot": {"method": "qemu", "media": "tmpfs", "prompts": ["root@debian:"]}}
    deploy = {"deploy": {"to": "tmpfs", "images": {"rootfs": {"url": "http://images.example.org/stretch.img.gz"}}}}
    actions = [
        deploy,
        boot,
        tests("before", "touch /run/before && lava-test-case colour --shell test blue = $COLOUR"),
        boot,
        tests("after", "lava-test-case rebooted --shell test ! -e /run/before"),
    ]
    job = {"device_type": "qemu", "job_name": "reboot", "environment": {"COLOUR": "blue"}, "actions": actions}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    (tmp_path / "lava.toml").write_text('[devices]\nqemu = "bookworm"\n')
    assert {(one["suite"], one["name"], one["result"]) for one in rows_of("job.yaml", tmp_path)} == {
        ("0_before", "colour", "pass"),
        ("1_after", "rebooted", "pass"),
        *(("lava", name, "pass") for name in ("0_before", "1_after", "job")),
    }
