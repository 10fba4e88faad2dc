"""Members of a group that a fake QEMU runs: supervisors, slots and the switch are real, and each guest is a fake sshd.

What goes into the same place in each machine, goes into a directory of each here.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import paramiko
import pytest

from tests import fake_qemu
from tests.keys import make_keys
from vmtasks.config.settings import HostSettings
from vmtasks.frameworks.lava import group_run
from vmtasks.group import boot, channel
from vmtasks.group.channel import MemberChannel
from vmtasks.group.guest_programs import GuestPaths
from vmtasks.group.roles import GroupMember
from vmtasks.host import slots
from vmtasks.image.baked import BakedImage, images_dir
from vmtasks.image.definition import Definition
from vmtasks.kernel.header import release_of
from vmtasks.machine import lifecycle
from vmtasks.machine.launch import BootSource, LaunchConfig
from vmtasks.process.landlock import Reach
from vmtasks.providers.base import MachineRequest
from vmtasks.providers.qemu import provider as qemu
from vmtasks.providers.static_host import visit as static_host
from vmtasks.spec import GroupCard, Machine
from vmtasks.supervisor.plan import Plan
from vmtasks.testing.fake_sshd import FakeSshd

_QEMU = '#!/bin/sh\nexec {python} -I -S {fake} -script "{{}}" "$@"\n'
_SERIAL = f"-{'0' * 16}-0"
"""What the names of bakes end with."""
_QEMU_IMG = '#!/bin/sh\nfor overlay; do :; done\n: >"$overlay"\n'
_USER = "" if os.getuid() else "nobody"


class GuestSshd(FakeSshd):
    """The guest of a machine, which says of its kernel what QEMU was given."""

    def __init__(self, home: Path, release: str) -> None:
        super().__init__(home, _USER)
        self._release = release

    def execute(self, channel: paramiko.Channel, command: str) -> None:
        """Run a command, or answer the question for the kernel."""
        super().execute(channel, f"echo $$; echo {self._release}" if "uname --kernel-release" in command else command)


@dataclass(kw_only=True)
class Rehearsal:
    """The machines that were started."""

    top: Path
    plans: dict[str, Plan] = field(default_factory=dict)
    """What the supervisor of each was told, by the machine's name."""

    @property
    def queue(self) -> str:
        """The directory of this host's queue for slots."""
        return str(self.top / "queue")

    def member(self, name: str) -> Path:
        """Return the directory for what is in the same place in each machine; an existing host is called ``host``."""
        return self.top / "members" / name

    def option(self, name: str, option: str) -> str:
        """Return the word behind an option of the QEMU of a machine."""
        argv = self.plans[name].argv
        return argv[argv.index(option) + 1]

    def kernel_of(self, name: str) -> str:
        """Return the image whose kernel the QEMU of a machine was given."""
        return Path(self.option(name, "-kernel")).parent.name.removesuffix(_SERIAL)


@contextmanager
def rehearsal_in(top: Path, *, machines: int = 4) -> Iterator[Rehearsal]:
    """Have groups of such machines in the block.

    :param top: a directory that every user may enter.
    :param machines: how many may run at once.
    """
    found = Rehearsal(top=top)
    plan_of, ready_of = lifecycle.plan_of, qemu.Qemu.ready
    guests = ExitStack()

    def plan(machine: Machine, *circumstances: Any, **files: Any) -> Plan:
        plan = plan_of(machine, *circumstances, **files)
        found.plans[machine.name] = plan
        return plan._replace(reach=plan.reach | Reach((*fake_qemu.FILES, str(top / "programs")), ()))

    def ready(
        self: qemu.Qemu, request: MachineRequest, card: GroupCard | None = None
    ) -> tuple[Machine, LaunchConfig, BootSource]:
        request = replace(request, options=replace(request.options, cold=True))
        machine, launch, source = ready_of(self, request, card)
        return machine, replace(launch, has_transfer_disk=False), source

    def connection(_: object, machine: Machine, *__: object) -> object:
        home = top / "guests" / machine.name
        home.mkdir(parents=True, exist_ok=True)
        home.chmod(0o777)
        release = release_of(machine.boot.kernel) if machine.boot else ""
        return guests.enter_context(closing(GuestSshd(home, release))).connect()

    def serve(member: GroupMember, *arguments: Any, has_network: bool) -> MemberChannel:
        """Serve a member without touching the network and the names of this host."""
        if member.on:
            return MemberChannel(member, *arguments, has_network=has_network)
        own = found.member(member.name)
        own.mkdir(parents=True, exist_ok=True)
        own.chmod(0o777)
        return _Served(member, *arguments, paths=paths_in(own), has_network=False)

    with guests, pytest.MonkeyPatch.context() as patch:
        _install(top / "programs", patch)
        patch.setenv("VMTASKS_CACHE", str(top / "cache"))
        patch.setenv("VMTASKS_ACCEL", "tcg")
        patch.setenv("VMTASKS_SLOTS", str(machines))
        patch.setattr(slots, "default_directory", lambda: found.queue)
        patch.setattr(qemu, "ensure_baked", baked)
        patch.setattr(qemu.Qemu, "ready", ready)
        patch.setattr(lifecycle, "plan_of", plan)
        patch.setattr(lifecycle, "_first_connection", connection)
        patch.setattr(boot, "MemberChannel", serve)
        patch.setattr(group_run, "GUEST_HOME", f"{top}/members/{{member}}/lava")
        patch.setattr(channel, "EXISTING_HOST", paths_in(found.member("host")))
        patch.setattr(static_host, "OURS", tuple(str(found.member("host") / name) for name in ("bin", "run", "lava")))
        cache = f"{paths_in(found.member('host')).cache}_cache.txt"
        patch.setattr(static_host, "SCRATCH", (cache, cache.replace("_cache", "_network_cache")))
        yield found


def paths_in(directory: Path) -> GuestPaths:
    """Return where things are in a member to which a directory is all there is."""
    return GuestPaths(verbs=f"{directory}/bin", socket=f"{directory}/run/socket", cache=f"{directory}/lava_multi_node")


class _Served(MemberChannel):
    def join(self) -> None:
        super().join()
        self._guest.find_programs_in(self._paths.verbs)  # what all machines have in their PATH


def _install(programs: Path, patch: pytest.MonkeyPatch) -> None:
    programs.mkdir()
    qemu_text = _QEMU.format(python=sys.executable, fake=Path(fake_qemu.__file__).resolve())
    for name, text in (("qemu-system-x86_64", qemu_text), ("qemu-img", _QEMU_IMG)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    patch.setenv("PATH", f"{programs}:{os.environ['PATH']}")


_baking = threading.Lock()


def baked(definition: Definition, *, settings: HostSettings | None = None) -> BakedImage:
    """Return a bake of an image that is none, but for a kernel whose release is the image's name."""
    manifest = {"name": definition.name, "key": definition.name, "parent": None, "kernel": True, "baked_s": 0.0}
    image = BakedImage(directory=images_dir() / f"{definition.name}{_SERIAL}", manifest=manifest)
    with _baking:
        if not image.directory.exists():
            image.directory.mkdir(parents=True)
            make_keys(image.directory)
            image.disk.write_bytes(b"QFI\xfb")
            image.initrd.write_bytes(b"an initrd")
            image.in_use.touch()
            (image.directory / "manifest.json").write_text(json.dumps(manifest))
            (image.directory / "vmlinuz").write_bytes(kernel(definition.name))
    return image


def kernel(release: str) -> bytes:
    """Return the beginning of a kernel that calls itself so; see :func:`vmtasks.kernel.header.release_of`."""
    header = bytearray(0x400)
    header[0x202:0x206] = b"HdrS"
    header[0x20E:0x210] = (0x10).to_bytes(2, "little")
    header[0x210 : 0x210 + len(release)] = release.encode()
    return bytes(header)
