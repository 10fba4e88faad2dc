"""A job of LAVA's first version: the group of the page about VM groups, and what is refused with one sentence."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.lava_page import PAGE
from vmtasks.errors import UsageError
from vmtasks.frameworks.lava.group import is_lava_job
from vmtasks.frameworks.lava.group_job import BootStep, LavaGroupJob, ShellStep
from vmtasks.frameworks.lava.job_file import load_job

MAPPING = """
[devices]
kvm-arm = "trixie"
[images]
"file:///path/to/host.img" = "bookworm"
[kernels]
"http://images.example.org/rt/" = "linux-image-rt-amd64"
[paths]
"file:///path/to" = "tests"
"https://git.example.org/tests.git" = "tests"
"""
HOST_LINE = 'arndale = "ssh://root@board"\n[images]'
Change = Callable[[dict[str, Any]], object]


def load(tmp_path: Path, change: Change = lambda _: None, mapping: str = MAPPING) -> LavaGroupJob:
    document = copy.deepcopy(PAGE)
    change(document)
    (tmp_path / "lava.toml").write_text(mapping)
    path = tmp_path / "job.json"
    path.write_text(json.dumps(document))
    assert is_lava_job(path)
    return load_job(path)


def act(command: str, **parameters: object) -> Change:
    """Return what gives a job one more action."""
    return lambda job: job["actions"].append({"command": command, "parameters": parameters})


def shells(job: LavaGroupJob, role: str) -> list[ShellStep]:
    return [step for step in job.course[role] if isinstance(step, ShellStep)]


def test_the_job_of_the_page(tmp_path: Path) -> None:
    job = load(tmp_path)
    assert (job.name, job.host_role, job.auto_start) == ("a group", "host", True)
    assert {role.name: (role.image, role.count) for role in job.group.roles} == {
        "host": ("bookworm", 1),
        "server": ("bookworm", 1),
        "client": ("bookworm", 1),
    }
    assert job.group.group.wait_timeout_s == 18000
    for role in ("host", "server", "client"):
        (shell,) = shells(job, role)
        assert [one.file for one in shell.sources] == [tmp_path / "tests/mytestdef.yaml"]
        assert shell.timeout_s == 18000
    assert job.notes == ()


def test_a_device_type_stands_for_an_image_where_no_url_does(tmp_path: Path) -> None:
    mapping = MAPPING.replace('"file:///path/to/host.img" = "bookworm"', "").replace(
        "[devices]", '[devices]\narndale = "sid"'
    )
    job = load(tmp_path, mapping=mapping)
    assert {role.name: role.image for role in job.group.roles} == {
        "host": "sid",
        "server": "trixie",
        "client": "trixie",
    }


def test_an_action_is_for_one_role_or_for_all_and_keeps_its_place(tmp_path: Path) -> None:
    def change(job: dict[str, Any]) -> None:
        act("lava_command_run", commands=["true"], role="client", timeout=7, iterations=2)(job)
        act("boot_linaro_image", role="client")(job)
        act("lava_test_shell", role="host", repeat=3, skip_install="deps", testdef_repos=[REPO])(job)
        act("submit_results", server="https://lab.example.org/RPC2/", stream="/anonymous/")(job)

    job = load(tmp_path, change)
    first, commands, boot = job.course["client"]
    assert isinstance(commands, ShellStep)
    assert (commands.timeout_s, commands.is_of_commands, isinstance(boot, BootStep)) == (7, True, True)
    (source,) = commands.sources
    assert source.definition is not None
    assert source.definition.is_alone
    assert len(source.definition.steps) == 2
    assert job.course["server"] == (first,)
    own, *again = shells(job, "host")
    assert own == first
    assert len(again) == 3
    (repository,) = again[0].sources
    assert (repository.repository, repository.file) == (tmp_path / "tests", Path("smoke.yaml"))
    assert (repository.revision, repository.params, repository.skip_install) == ("v1", {"N": "False"}, ("deps",))
    (note,) = job.notes
    assert "actions[7].parameters: nothing is submitted to https://lab.example.org/RPC2/" in note


REPO = {
    "git-repo": "https://git.example.org/tests.git",
    "testdef": "smoke.yaml",
    "revision": "v1",
    "parameters": {"N": False},
}


def test_the_image_may_be_that_of_the_vm_and_a_role_may_be_several(tmp_path: Path) -> None:
    def change(job: dict[str, Any]) -> None:
        url = "file:///path/to/host.img"
        job["vm_group"]["vms"][0] |= {"image": url, "count": 2, "shell_prompt": "#", "tags": ["usb"]}
        del job["actions"][2]

    job = load(tmp_path, change)
    assert {role.name: (role.image, role.count) for role in job.group.roles}["server"] == ("bookworm", 2)
    assert len(job.notes) == 2


def test_a_kernel_apart_is_a_package(tmp_path: Path) -> None:
    def change(job: dict[str, Any]) -> None:
        parameters = job["actions"][2]["parameters"]
        parameters["rootfs"] = parameters.pop("image")
        parameters |= {
            "kernel": "http://images.example.org/rt/vmlinuz",
            "ramdisk": "http://x/initrd",
            "dtb": "http://x/d",
        }
        job["actions"][2]["command"] = "deploy_linaro_kernel"

    job = load(tmp_path, change)
    server = job.group.as_roles()["server"]
    assert (server.image, server.kernel) == ("bookworm", "linux-image-rt-amd64")
    assert [note.partition("key ")[2].partition(" ")[0] for note in job.notes] == ["'ramdisk'", "'dtb'"]


def at(*keys: Any, to: object = ...) -> Change:
    """Return what sets a key, or removes it."""

    def change(job: Any) -> None:
        for key in keys[:-1]:
            job = job[key]
        if to is ...:
            del job[keys[-1]]
        else:
            job[keys[-1]] = to

    return change


def renamed(job: dict[str, Any]) -> None:
    job["vm_group"]["vms"][0]["role"] = job["actions"][2]["parameters"]["role"] = "Server"


VMS = ("vm_group", "vms")
DEPLOY = ("actions", 0, "parameters")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (at(*VMS, 1, "role", to="server"), "vm_group.vms[1] has the role 'server', and so has another of them"),
        (at(*VMS, 1, "role", to="host"), "vm_group.vms[1] has the role 'host', and so has the host"),
        (at(*DEPLOY, "role", to="hots"), "actions[0].parameters.role: no machine of the group has the role 'hots'; "),
        (at(*DEPLOY, "role", to=["host"]), "key 'role' must be a text: an action is for one role, or for all"),
        (at(*DEPLOY, "role", to=""), "actions[0].parameters.role: no machine of the group has the role ''; "),
        (at(*DEPLOY, "role", to=None), "key 'role' is null; an action without the key is for all roles"),
        (at(*DEPLOY, "image", to=""), "actions[0].parameters: key 'image' is empty"),
        (at(*VMS, 0, "image", to=""), "vm_group.vms[0]: key 'image' is empty; it must be a URL, or not be there"),
        (act("deploy_linaro_kernel", kernel="", rootfs="x"), "key 'kernel' is empty; it must be a URL, or not be"),
        (act("lava_test_shell"), "keys 'testdef_urls' and 'testdef_repos' are missing, or empty: nothing would run"),
        (act("lava_test_shell", testdef_urls=[], testdef_repos=[]), "are missing, or empty: nothing would run"),
        (at("vm_group", "host", "role"), "key 'role' in [vm_group.host] is missing"),
        (at("actions", 0), "the role 'host' has no image: no deploy action is for it"),
        (at(*VMS, 0, "count", to=0), "key 'count' in [[vm_group.vms]] number 1 must be a whole number of at least 1"),
        (at(*VMS, 0, "count", to="2"), "must be a whole number of at least 1"),
        (at(*VMS, 0, "launch_with", to=["qemu"]), "vm_group.vms[0]: key 'launch_with' is LAVA's, and not supported"),
        (at(*VMS, 0, "launch_with", to="qemu"), "started by vmtasks beside its host, and by no commands"),
        (at(*VMS, 0, "cuont", to=1), "unknown key 'cuont' in [[vm_group.vms]] number 1; did you mean 'count'?"),
        (renamed, "cannot have a role 'Server'"),
        (at("tiemout", to=1), "unknown key 'tiemout'; did you mean 'timeout'?"),
        (at("timeout"), "key 'timeout' is missing"),
        (at("timeout", to="5"), "key 'timeout' must be a whole number"),
        (at("timeout", to=0), "key 'timeout' must be a whole number of at least 1"),
        (at("logging_level", to="LOUD"), "key 'logging_level' must be one of"),
        (at("vm_group", "auto_start_vms", to="false"), "must be true or false"),
        (at("vm_group"), "key 'vm_group' is missing"),
        (at("vm_group", to=[]), "key 'vm_group' must be a mapping"),
        (at(*VMS, to={}), "key 'vms' must be a list"),
        (at(*VMS, 0, to=1), "key 'vms' must be a list of mappings"),
        (at("device_group", to=[]), "key 'device_group' is LAVA's, and not supported"),
        (at("group_size", to=3), "key 'group_size' is LAVA's, and not supported: LAVA sets it"),
        (at("actions"), "key 'actions' is missing"),
        (at("actions", 0, to="deploy"), "actions[0] must be a mapping with the key 'command'"),
        (at("actions", 0, "role", to="host"), "actions[0]: unknown key 'role'"),
        (at("actions", 0, "command", to="deploy_linaro_imag"), "unknown command 'deploy_linaro_imag'; did you mean"),
        (at("actions", 0, "command", to="dummy_deploy"), "command 'dummy_deploy' is LAVA's, and not supported"),
        (at(*DEPLOY, "hwpack", to="x"), "key 'hwpack' is LAVA's"),
        (at(*DEPLOY, "imgae", to="x"), "actions[0].parameters: unknown key 'imgae'; did you mean 'image'?"),
        (at(*DEPLOY, "image", to="http://x/y.img"), 'the line `"http://x/y.img" = "bookworm"` under [images] of'),
        (act("deploy_linaro_image", image="http://z", role="host"), "has an image from actions[0].parameters.image"),
        (act("deploy_linaro_kernel", kernel="http://z"), "key 'rootfs' is missing: a machine here starts from a disk"),
        (act("boot_linaro_image", boot_cmds=["x"]), "key 'boot_cmds' is LAVA's"),
        (act("boot_linaro_image", repeat=0), "key 'repeat' must be a whole number from 1 to 1000, not the number 0"),
        (act("boot_linaro_image", repeat="2"), "key 'repeat' must be a whole number"),
        (act("lava_test_shell", testdef_urls=["http://x/t.yaml"]), 'line `"http://x/t.yaml" = "PATH"` under [paths]'),
        (act("lava_test_shell", testdef_urls=["file:///path/to/../x"]), "leads out of what"),
        (act("lava_test_shell", skip_install="dep"), "unknown part of install 'dep'; did you mean 'deps'?"),
        (act("lava_test_shell", lava_test_dir="/x"), "key 'lava_test_dir' is LAVA's"),
        (act("lava_test_shell", testdef_repos=[{}]), "testdef_repos[0] must have one of git-repo and url"),
        (act("lava_test_shell", testdef_repos=[REPO | {"testdef": "../x"}]), "'../x' must be a path below the"),
        (act("lava_test_shell", testdef_repos=[{"bzr-repo": "lp:x"}]), "key 'bzr-repo' is LAVA's"),
        (act("lava_command_run", commands=[]), "key 'commands' must be a list of lines"),
        (act("lava_command_run", commands=["x" * 10_000], iterations=1000), "1000 times, have more than 8388608 char"),
        (act("lava_command_run", commands=["x"], parser="("), "no regular expression"),
        (act("lava_command_run", commands=["x"], fixupdict=["a:pass"]), "does nothing without 'parser'"),
        (act("submit_results", sever="x"), "unknown key 'sever'; did you mean 'server'?"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_one_sentence(tmp_path: Path, change: Change, sentence: str) -> None:
    with pytest.raises(UsageError) as refusal:
        load(tmp_path, change)
    assert sentence in str(refusal.value)
    assert str(refusal.value).startswith((f"{tmp_path}/job.json: ", f"cannot read {tmp_path}/job.json: "))
    assert "\n" not in str(refusal.value)


def test_another_architecture_needs_a_line_of_its_own(tmp_path: Path) -> None:
    line = r"i386 and arm64: the line `kvm-arm = \"bookworm-arm64\"` under \[devices\]"
    with pytest.raises(UsageError, match=line) as no:
        load(tmp_path, mapping=MAPPING.replace("kvm-arm", "kvm"))
    assert "a line for its image's URL is not enough" in no.value.hint


def test_a_device_may_be_an_existing_host_to_which_nothing_is_deployed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # so the mapping is the user's
    job = load(tmp_path, mapping=f"{MAPPING.replace('[images]', HOST_LINE)}")
    host, server, _ = job.group.roles
    assert (host.name, host.on, host.image) == ("host", "ssh://root@board", "")
    assert (server.on, server.image) == ("", "bookworm")
    (note,) = job.notes
    assert note.endswith("nothing is deployed to the role 'host': ssh://root@board stands for it, and is used as it is")
    without = load(tmp_path, lambda page: page["actions"].pop(0), f"{MAPPING.replace('[images]', HOST_LINE)}")
    assert (without.group.roles[0].on, without.notes) == ("ssh://root@board", ())


def test_several_of_an_existing_host_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # so the mapping is the user's
    with pytest.raises(UsageError, match="role 'server' cannot have 2 machines at board: it is one machine"):
        load(
            tmp_path,
            lambda page: page["vm_group"]["vms"][0].update(device_type="arndale", count=2),
            MAPPING.replace("[images]", HOST_LINE),
        )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "it is not valid JSON"),
        ("[]", "it is no object with keys"),
        ('{"timeout": 1, "timeout": 2}', "key 'timeout' is given twice"),
        ('{"timeout": 1, "job_name": "\\ud800"}', "it has a NUL, or half a character"),
        ('{"timeout": 1, "job_name": "\\u0000"}', "it has a NUL, or half a character"),
        ("[" * 100_000, "nested too deep"),
        ('{"a":' * 5000 + "1" + "}" * 5000, "nested too deep"),
        ("", "it is not valid JSON"),
    ],
)
def test_what_is_no_job_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "job.json"
    path.write_text(text)
    with pytest.raises(UsageError) as refusal:
        load_job(path)
    assert sentence in str(refusal.value)
