"""Named machines without a machine: the program as it is, keepers of the fake QEMU, and an sshd that plays the guest.

Called with ``call HOME WORD…``, this is ``vmtasks WORD…``; its keepers are called with ``keeper HOME …``. HOME has all
that they read and write; ``HOME/script`` is what the fake QEMU plays.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.fake_qemu import FILES, command
from tests.keys import make_keys
from vmtasks.cli.program import program
from vmtasks.config.settings import HostSettings
from vmtasks.host import slots
from vmtasks.host.accelerator import Choice
from vmtasks.image.baked import BakedImage
from vmtasks.machine import lifecycle
from vmtasks.machine.launch import BootSource, LaunchConfig
from vmtasks.machine.lifecycle import FROM_DISK
from vmtasks.named import calls, keeper
from vmtasks.process.landlock import Reach
from vmtasks.providers.base import MachineRequest
from vmtasks.providers.qemu.provider import Qemu
from vmtasks.spec import Machine
from vmtasks.ssh.connect import Address
from vmtasks.supervisor.plan import Plan
from vmtasks.testing.fake_sshd import FakeSshd

ROOT = Path(__file__).resolve().parents[3]
BOOT_LIMIT_S = 30.0
_PROGRAM = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tests.process.named.played import main; main()"
_PLAYED = [sys.executable, "-W", "error", "-c", _PROGRAM]


def lay_out(home: Path) -> None:
    """Make what machines start from: programs, and an image with keys."""
    (home / "guest").mkdir()
    programs = home / "bin"
    programs.mkdir()
    fake = " ".join(command()[:-1])
    script = home / "script"
    script.write_text(command()[-1])
    qemu = f'#!/bin/sh\nexec {fake} "$(/bin/cat {script})" "$@"\n'
    for name, text in (
        ("qemu-system-x86_64", qemu),
        ("qemu-img", '#!/bin/sh\nfor overlay; do :; done\n: >"$overlay"\n'),
    ):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    image = home / "image"
    image.mkdir()
    (image / "disk.qcow2").write_bytes(b"QFI\xfb")
    make_keys(image)
    (image / "id_ed25519").chmod(0o600)


def argv(home: Path, *words: str) -> list[str]:
    """Return the command line of a call."""
    return [*_PLAYED, "call", str(home), *words]


def environ(home: Path) -> dict[str, str]:
    """Return the environment of a call."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("VMTASKS_")}
    return own | {"PATH": f"{home}/bin:{os.environ['PATH']}", "VMTASKS_CACHE": str(home / "cache")}


def _sshd(home: Path) -> int:
    """Serve an sshd, whose host key becomes the image's; return its port."""
    sshd = FakeSshd(home / "guest")
    (home / "image/known_hosts").write_text(f"vmtasks {sshd.key.get_name()} {sshd.key.get_base64()}\n")
    server = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            sshd.serve(server.accept()[0])

    threading.Thread(target=accept, daemon=True).start()
    return int(server.getsockname()[1])


def _ready(home: Path, _: Qemu, request: MachineRequest) -> tuple[Machine, LaunchConfig, BootSource]:
    baked = BakedImage(directory=home / "image", manifest={"key": "0123"})
    launch = LaunchConfig(
        image=str(request.image),
        baked=baked,
        access=baked.access,
        choice=Choice(accelerator="tcg", reason="a test"),
        settings=HostSettings(machines=2, memory_mib=1000, attempts=1, boot_timeout_s=BOOT_LIMIT_S),
        purpose=request.purpose,
        lifetime_s=request.lifetime_s,
    )
    return Machine(name=request.name, disk=baked.disk, memory_mib=64), launch, FROM_DISK


def _keep(home: Path) -> None:
    port = _sshd(home)
    plan_of, started = lifecycle.plan_of, lifecycle._wait_until_started

    def plan(*circumstances: Any, **files: Any) -> Plan:
        plan = plan_of(*circumstances, **files)
        slot = plan.slot._replace(directory=str(home / "queue"))
        return plan._replace(slot=slot, reach=plan.reach | Reach(FILES, (str(home),)))

    def wait(*circumstances: Any) -> tuple[Address, int]:
        address, _ = started(*circumstances)
        return replace(address, port=port), port  # the fake QEMU forwards to nobody

    with ExitStack() as stack:
        stack.enter_context(patch.object(lifecycle, "plan_of", plan))
        stack.enter_context(patch.object(lifecycle, "_wait_until_started", wait))
        stack.enter_context(patch.object(Qemu, "ready", lambda *asked: _ready(home, *asked)))
        keeper.main()


def _call(home: Path, words: list[str]) -> None:
    sys.argv = ["vmtasks", *words]
    with ExitStack() as stack:
        own = [*_PLAYED, "keeper", str(home)]
        stack.enter_context(patch.object(calls, "keeper_argv", lambda: own))
        stack.enter_context(patch.object(slots, "default_directory", lambda: str(home / "queue")))
        program().run()


def main() -> None:
    """Be a call, or a keeper."""
    what, home, *words = sys.argv[1:]
    if what == "call":
        _call(Path(home), words)
    else:
        sys.argv = [sys.argv[0], *words]
        _keep(Path(home))
