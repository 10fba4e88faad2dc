"""How commands on the host find the guest, as ssh itself reads it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from vmtasks.integrations.runvm.ssh_config import environment, ssh_config
from vmtasks.spec import Access
from vmtasks.ssh.connect import Address

ADDRESS = Address(port=2301, access=Access(user="buildbot", known_hosts=Path("/a machine/known_hosts")))


def resolved(config: Path, *words: str) -> dict[str, str]:
    """Return what ssh itself makes of a configuration."""
    output = subprocess.check_output(["ssh", "-G", "-F", config, *words], text=True)
    return dict(line.split(" ", 1) for line in output.splitlines() if " " in line)


def written(tmp_path: Path, address: Address) -> Path:
    config = tmp_path / "config"
    config.write_text(ssh_config(address))
    return config


@pytest.mark.parametrize(
    "words", [("guest",), ("-p", "2301", "localhost"), ("-p", "2301", "127.0.0.1"), ("-p2301", "buildbot@localhost")]
)
def test_the_guest_has_a_name_and_its_port_leads_there(tmp_path: Path, words: tuple[str, ...]) -> None:
    found = resolved(written(tmp_path, ADDRESS), *words)
    assert found["hostname"] in {"127.0.0.1", "localhost"}
    assert (found["port"], found["user"], found["hostkeyalias"]) == ("2301", "buildbot", "vmtasks")
    assert found["userknownhostsfile"] == "/a machine/known_hosts"
    assert found["stricthostkeychecking"] == "true"
    assert found["identitiesonly"] == "no", "the agent's keys are offered"


@pytest.mark.parametrize("words", [("localhost",), ("-p", "2302", "localhost"), ("elsewhere",), ("-p", "2301", "else")])
def test_all_other_hosts_are_as_they_were(tmp_path: Path, words: tuple[str, ...]) -> None:
    found = resolved(written(tmp_path, ADDRESS), *words)
    assert "hostkeyalias" not in found
    assert found["userknownhostsfile"] != "/a machine/known_hosts"


def test_the_command_line_goes_over_the_configuration(tmp_path: Path) -> None:
    options = ["-o", "UserKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=no", "-o", "User=root"]
    found = resolved(written(tmp_path, ADDRESS), *options, "guest")
    assert (found["userknownhostsfile"], found["stricthostkeychecking"]) == ("/dev/null", "false")
    assert found["user"] == "root"


def test_an_image_of_ours_is_entered_with_its_own_key_alone(tmp_path: Path) -> None:
    access = Access(identity=tmp_path / "my key", known_hosts=tmp_path / "known_hosts")
    found = resolved(written(tmp_path, Address(port=2301, access=access)), "guest")
    assert (found["user"], found["identitiesonly"]) == ("root", "yes")
    assert found["identityfile"] == str(tmp_path / "my key")


def test_commands_on_the_host_find_the_port_the_configuration_and_programs_that_read_it(tmp_path: Path) -> None:
    env = environment(ADDRESS, tmp_path)
    assert env["VMTASKS_PORT"] == "2301"
    assert Path(env["VMTASKS_SSH_CONFIG"]).read_text() == ssh_config(ADDRESS)
    assert env["PATH"].split(os.pathsep, 1)[1] == os.environ["PATH"]
    line = "ssh -G guest; scp -h 2>&1 | head -n 1; command -v sftp"
    output = subprocess.check_output(["/bin/sh", "-c", line], env=os.environ | env, text=True)
    assert "hostkeyalias vmtasks" in output
    assert "usage" in output.lower() or "unknown option" in output
    assert output.endswith(f"{tmp_path}/bin/sftp\n")
