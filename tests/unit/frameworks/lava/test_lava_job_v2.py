"""A multinode job of LAVA's second version, and what is refused with one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmtasks.errors import UsageError
from vmtasks.frameworks.lava.group import is_lava_job
from vmtasks.frameworks.lava.group_job import BootStep, LavaGroupJob, ShellStep
from vmtasks.frameworks.lava.job_file import load_job

JOB = """
job_name: ask and answer
timeouts:
  job: {minutes: 30}
  action: {minutes: 5}
  connection: {minutes: 2}
visibility: public
metadata: {source: here}
protocols:
  lava-multinode:
    roles:
      server:
        device_type: qemu
        context: {arch: amd64, memory: 512}
        essential: true
        environment: {PORT: 80}
      client:
        device_type: qemu
        count: 2
    timeout: {minutes: 6, seconds: 30}
actions:
- deploy:
    role: [server, client]
    timeout: {minutes: 5}
    to: tmpfs
    images:
      rootfs: {image_arg: '-drive format=raw,file={rootfs}', url: 'http://images.example.org/a.img.gz', compression: gz}
    root_partition: 1
- boot:
    role: [server, client]
    method: qemu
    media: tmpfs
    auto_login: {login_prompt: 'login:', username: root}
    prompts: ['root@debian:']
- test:
    role: [client]
    timeout: {minutes: 10}
    definitions:
    - from: git
      repository: https://git.example.org/tests.git
      path: multinode/client.yaml
      name: client
      revision: v2
      parameters: {FULL: no}
      skip_install: [deps]
- test:
    role: server
    definitions:
    - from: inline
      path: inline/server.yaml
      name: serve
      repository:
        metadata: {format: Lava-Test Test Definition 1.0, name: other}
        run:
          steps: ['lava-send ready']
"""
MAPPING = """
[images]
"http://images.example.org" = "bookworm"
[paths]
"https://git.example.org/" = "repositories"
"""


def load(tmp_path: Path, text: str = JOB, mapping: str = MAPPING) -> LavaGroupJob:
    (tmp_path / "lava.toml").write_text(mapping)
    path = tmp_path / "job.yaml"
    path.write_text(text)
    assert is_lava_job(path)
    return load_job(path)


def test_a_whole_job(tmp_path: Path) -> None:
    job = load(tmp_path)
    server, client = job.group.roles
    assert (server.name, server.image, server.count, server.memory_mib) == ("server", "bookworm", 1, 512)
    assert (client.name, client.image, client.count, client.memory_mib) == ("client", "bookworm", 2, None)
    assert (server.essential, client.essential) == (True, False)
    assert (job.group.group.timeout_s, job.group.group.wait_timeout_s) == (1800, 390)
    assert (job.name, job.host_role, job.goes_on) == ("ask and answer", "", False)
    assert job.environment == {"server": {"PORT": "80"}, "client": {}}
    boot, shell = job.course["client"]
    assert isinstance(boot, BootStep)
    assert isinstance(shell, ShellStep)
    (source,) = shell.sources
    assert (source.repository, source.file) == (tmp_path / "repositories/tests.git", Path("multinode/client.yaml"))
    assert (source.revision, source.params, source.skip_install) == ("v2", {"FULL": "False"}, ("deps",))
    assert shell.timeout_s == 600
    _, shell = job.course["server"]
    assert isinstance(shell, ShellStep)
    assert shell.timeout_s == 300
    (source,) = shell.sources
    assert source.definition is not None
    assert (source.name, source.definition.steps, source.definition.is_alone) == ("serve", ("lava-send ready",), True)
    assert job.notes == ()


def test_a_role_that_is_an_existing_host_may_be_deployed_and_booted_as_a_board(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # so the mapping is the user's
    board = "- deploy: {role: board, to: tftp, kernel: {url: 'http://x/k'}}\n- boot: {role: board, method: u-boot}\n"
    text = JOB.replace("      client:", "      board: {device_type: bbb, context: {arch: arm64}}\n      client:")
    text = text.replace("actions:\n", f"actions:\n{board}").replace("role: server", "role: [server, board]")
    job = load(tmp_path, text, f'[devices]\nbbb = "ssh://board"\n{MAPPING}')
    _, board_role, client = job.group.roles
    assert (board_role.on, board_role.image, client.on) == ("ssh://board", "", "")
    assert [type(step) for step in job.course["board"]] == [BootStep, ShellStep]
    assert [note.partition(": actions")[2] or note.rpartition("roles.")[2] for note in job.notes] == [
        "board.context: key 'arch' counts for nothing here: ssh://board is what it is",
        "[0].deploy: nothing is deployed to the role 'board': ssh://board stands for it, and is used as it is",
    ]


@pytest.mark.parametrize("arch", ["arm64", "aarch64"])
def test_a_role_for_arm64_has_an_image_that_is(tmp_path: Path, arch: str) -> None:
    arm64 = MAPPING.replace('= "bookworm"', '= "bookworm-arm64"')
    job = load(tmp_path, JOB.replace("arch: amd64", f"arch: {arch}"), arm64)
    assert job.group.roles[0].image == "bookworm-arm64"
    with pytest.raises(UsageError, match="asks for 'amd64', and the image 'bookworm-arm64' is for arm64"):
        load(tmp_path, JOB, arm64)


def test_the_words_for_a_nul_are_none(tmp_path: Path) -> None:
    step = r"printf '\u0000' | grep -q ."
    job = load(tmp_path, JOB.replace("'lava-send ready'", f'"{step}"'.replace("\\", "\\\\")))
    shell = job.course["server"][1]
    assert isinstance(shell, ShellStep)
    assert shell.sources[0].definition is not None
    assert shell.sources[0].definition.steps == (step,)
    with pytest.raises(UsageError, match="it has a NUL"):
        load(tmp_path, JOB.replace("'lava-send ready'", f'"{step}"'))


def test_a_revision_may_look_like_a_number(tmp_path: Path) -> None:
    job = load(tmp_path, JOB.replace("revision: v2", "revision: 0000000\n      branch: main"))
    shell = job.course["client"][1]
    assert isinstance(shell, ShellStep)
    assert shell.sources[0].revision == "0"


def test_what_counts_for_nothing_is_told(tmp_path: Path) -> None:
    text = JOB.replace("visibility: public", "priority: medium\nnotify: {criteria: {status: finished}}")
    text = text.replace("arch: amd64", "arch: x86_64, no_kvm: true").replace("count: 2", "tags: [usb]")
    told = [note.partition("key ")[2].partition(" counts")[0] for note in load(tmp_path, text).notes]
    assert told == ["'priority'", "'notify'", "'no_kvm'", "'tags'"]


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("count: 2", "count: 0", "roles.client: key 'count' must be a whole number of at least 1"),
        ("count: 2", "cuont: 2", "roles.client: unknown key 'cuont'; did you mean 'count'?"),
        ("count: 2", "connection: ssh", "roles.client: key 'connection' is LAVA's, and not supported"),
        ("      client:\n", "      server:\n", "key 'server' is given twice"),
        ("role: [client]", "role: [cliet]", "no machine of the group has the role 'cliet'; did you mean 'client'?"),
        ("    role: [client]\n", "", "actions[2].test: key 'role' is missing; it must be a list of roles"),
        ("    role: [server, client]\n    timeout", "    role: [server]\n    timeout", "'client' has no image"),
        ("device_type: qemu\n        count", "count", "roles.client: key 'device_type' is missing"),
        ("{PORT: 80}", "{-S: 80}", "roles.server.environment: '-S' cannot be a variable of the shell"),
        (
            "    timeout: {minutes: 10}\n", "    protocols: {lava-multinode: [{request: lava-sync}]}\n",
            "actions[2].test.protocols.lava-multinode[0]: key 'messageID' must be one word without an equals sign, not",
        ),
        ("arch: amd64", "arch: armhf", "key 'arch' cannot be 'armhf': there is no image of that architecture yet"),
        ("arch: amd64", "arch: arm64", "context asks for 'arm64', and the image 'bookworm' is for amd64"),
        ("memory: 512", "memory: 5", "key 'memory' must be a whole number of at least 64"),
        ("job_name:", "job_nmae:", "unknown key 'job_nmae'; did you mean 'job_name'?"),
        ("  lava-multinode:", "  lava-lxc: {}\n  lava-multinode:", "protocol 'lava-lxc' is LAVA's"),
        ("  lava-multinode:", "  lava-multinod:", "did you mean 'lava-multinode'?"),
        ("    roles:\n", "    target_group: x\n    roles:\n", "key 'target_group' is LAVA's"),
        ("to: tmpfs\n", "to: tftp\n", "actions[0].deploy: key 'to' cannot be 'tftp': it is for boards"),
        ("      rootfs:", "      rootsf:", "unknown key 'rootsf'; did you mean 'rootfs'?"),
        ("      rootfs:", "      kernel:", "key 'rootfs' is missing"),
        ("url: 'http://images.example.org/a.img.gz', ", "", "images.rootfs: key 'url' is missing"),
        ("url: 'http://images.example.org/a.img.gz', ", "url: '', ", "images.rootfs: key 'url' is empty"),
        ("method: qemu", "method: u-boot", "actions[1].boot: key 'method': unknown method 'u-boot'"),
        ("media: tmpfs", "commands: nfs", "key 'commands' is LAVA's"),
        ("- boot:", "- command:", "action 'command' is LAVA's"),
        ("- boot:", "- boots:", "unknown action 'boots'; did you mean 'boot'?"),
        ("- boot:", "- boot: {}\n  test:", "actions[1] must be a mapping with one key: deploy, boot, test"),
        ("minutes: 30", "minutes: x", "timeouts.job: key 'minutes' must be a number"),
        ("minutes: 30", "minuts: 3", "timeouts.job: unknown key 'minuts'; did you mean 'minutes'?"),
        ("minutes: 30", "minutes: 0", "timeouts.job must be from a second to a year"),
        ("from: git", "from: got", "key 'from': unknown kind of place 'got'"),
        ("from: git", "from: bzr", "kind of place 'bzr' is LAVA's"),
        ("name: serve", "name: client", "two definitions are called 'client'"),
        ("name: serve", "name: a b", "key 'name' must be a text of letters"),
        ("path: multinode/client.yaml", "path: ../x", "'../x' must be a path below the repository"),
        ("skip_install: [deps]", "skip_install: [dep]", "unknown part of install 'dep'; did you mean 'deps'?"),
        ("steps:", "stpes:", "definitions[0].repository: unknown key 'stpes' in [run]; did you mean 'steps'?"),
        ("https://git.example.org/tests.git", "https://x.org/t", 'line `"https://x.org/t" = "PATH"` under [paths] of'),
        ("http://images.example.org/a", "http://x/a", 'the line `"http://x/a.img.gz" = "bookworm"` under [images] of'),
        ("  lava-multinode:", "  lava-multinode: &a {x: *a}\n  y:", "contains itself"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_one_sentence(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    assert old in JOB
    with pytest.raises(UsageError) as refusal:
        load(tmp_path, JOB.replace(old, new, 1))
    assert sentence in str(refusal.value)
    assert f"{tmp_path}/job.yaml" in str(refusal.value)
    assert "\n" not in str(refusal.value)


ONE = """
device_type: qemu
job_name: one machine
priority: medium
context: {arch: amd64, memory: 512}
environment: {COLOUR: blue}
actions:
- deploy: {to: tmpfs, images: {rootfs: {url: 'http://images.example.org/a.img.gz'}}}
- boot: {method: qemu, media: tmpfs, prompts: ['#']}
- test:
    definitions:
    - {from: inline, name: smoke, path: smoke.yaml, repository: {metadata: {name: smoke}, run: {steps: [lava-self]}}}
- boot: {method: qemu, media: tmpfs, prompts: ['#']}
"""


def test_a_job_for_one_device_has_one_role_that_it_need_not_name(tmp_path: Path) -> None:
    job = load(tmp_path, ONE)
    (role,) = job.group.roles
    assert (role.name, role.image, role.memory_mib, role.count) == ("device", "bookworm", 512, 1)
    assert job.environment == {"device": {"COLOUR": "blue"}}
    assert [type(step) for step in job.course["device"]] == [BootStep, ShellStep, BootStep]
    assert "counts for nothing" in " ".join(job.notes)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("device_type: qemu", "", "has neither roles, in protocols.lava-multinode, nor a device_type"),
        ("arch: amd64", "arch: mips", "job.yaml: context: key 'arch' cannot be 'mips'"),
        ("COLOUR", "a-b", "job.yaml: environment: 'a-b' cannot be a variable"),
        ("- boot: {", "- boot: {role: [server], ", "no machine of the group has the role 'server'; there are device"),
        ("job_name", "jobname", "unknown key 'jobname'; did you mean 'job_name'?"),
        ("priority: medium", "protocols: {lava-lxc: {}}", "protocol 'lava-lxc' is LAVA's, and not supported"),
        ("priority: medium", "protocols: {lava-multinode: {roles: {a: {}}}}", "in a job with roles it belongs to each"),
        ("to: tmpfs", "to: tftp, kernel: {url: k}", "key 'to' cannot be 'tftp': it is for boards"),
    ],
)
def test_what_is_wrong_with_a_job_for_one_device_is_said_in_its_own_keys(
    tmp_path: Path, old: str, new: str, sentence: str
) -> None:
    assert old in ONE
    with pytest.raises(UsageError) as refusal:
        load(tmp_path, ONE.replace(old, new, 1))
    assert sentence in str(refusal.value)


def test_a_few_lines_are_not_let_grow_beyond_all_memory(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(UsageError, match="it has more than 100000 values, with those of its aliases"):
        load(tmp_path, "\n".join(lines))
