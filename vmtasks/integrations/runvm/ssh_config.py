"""How commands on the host get into the guest: ``scp FILE guest:`` works, and so do the forms of older callers."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

from vmtasks.ssh.connect import Address, host_block, ssh_options

_PROGRAMS = ("ssh", "scp", "sftp")


def ssh_config(address: Address) -> str:
    """Return a configuration file that knows the guest by the name ``guest``, and as ``localhost`` on its port.

    All else is as the user's own file and the host's have it. Source: ssh_config(5).
    """
    access = address.access
    blocks: dict[str, dict[str, object]] = {
        f'Match originalhost localhost,127.0.0.1 exec "test %p = {address.port}"': {
            "User": access.user,
            **ssh_options(access),
        },
        "Match all": {"Include": "~/.ssh/config /etc/ssh/ssh_config"},
    }
    return host_block("guest", address) + "".join(
        f"{block}\n" + "".join(f"  {name} {value}\n" for name, value in options.items())
        for block, options in blocks.items()
    )


def environment(address: Address, directory: Path) -> dict[str, str]:
    """Return what commands on the host find in their environment; *directory* receives the files that it names.

    ssh, scp and sftp come from there, and do nothing but to read our configuration: so do git, rsync and all else
    that calls one of them.
    """
    config = directory / "ssh_config"
    config.write_text(ssh_config(address))
    programs = directory / "bin"
    programs.mkdir()
    for name in _PROGRAMS:
        if real := shutil.which(name):
            program = programs / name
            program.write_text(f'#!/bin/sh\nexec {shlex.join([real, "-F", str(config)])} "$@"\n')
            program.chmod(0o755)
    return {
        "VMTASKS_PORT": str(address.port),
        "VMTASKS_SSH_CONFIG": str(config),
        "PATH": os.pathsep.join([str(programs), os.environ.get("PATH", os.defpath)]),
    }
