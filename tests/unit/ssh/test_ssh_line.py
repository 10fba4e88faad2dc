"""The command line of an ordinary ssh into a guest, as ssh itself reads it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from vmtasks.spec import Access
from vmtasks.ssh.connect import Address, ssh_line


@pytest.mark.parametrize("name", ["plain", "with blank", "100%", "%h", "a'b"])
def test_the_key_is_found_whatever_its_directory_is_called(tmp_path: Path, name: str) -> None:
    home = tmp_path / name
    home.mkdir()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home / "key"], check=True)
    line = ssh_line(Address(port=1, access=Access(user="root", known_hosts=home / "known", identity=home / "key")))
    call = [*line[:1], "-v", "-o", "ProxyCommand=false", *line[1:]]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert f"identity file {home / 'key'} type 3" in done.stderr.replace("type 2", "type 3")
    assert "percent" not in done.stderr
