"""Machines on Amazon EC2: an instance for each, from an AMI that is given what our image has."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vmtasks import events
from vmtasks.config.settings import HostSettings
from vmtasks.deadline import Deadline
from vmtasks.errors import BootError, UsageError
from vmtasks.guest import Guest
from vmtasks.guest.announce import announce
from vmtasks.image.baked import key_of
from vmtasks.image.definition import Definition, find
from vmtasks.image.mmdebstrap import make_keys
from vmtasks.process.cleanup import remove_at_exit
from vmtasks.providers.apply_image import apply_image
from vmtasks.providers.base import MachineRequest, warn_ignored
from vmtasks.providers.ec2.ami import Ami, AmiCheckpointer
from vmtasks.providers.ec2.client import Ec2Client
from vmtasks.providers.ec2.instance import Instance, address_of
from vmtasks.providers.ec2.request import ResourceTags, ec2_of, image_request, instance_request, newest
from vmtasks.providers.ec2.watch import Watch
from vmtasks.spec import Access, Checkpoint
from vmtasks.ssh.connect import Address, connect, ssh_line
from vmtasks.ssh.session import Session

if TYPE_CHECKING:
    from vmtasks.ssh.connect import Connection

SSH_PORT = 22
_CLOUD_INIT = "if command -v cloud-init; then cloud-init status --wait; fi >/dev/null 2>&1; :"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ec2:
    """Machines on Amazon EC2."""

    on: str
    """``ec2`` or ``ec2:REGION``."""

    def account(self) -> Ec2Client:
        """Return the client to ask."""
        return Ec2Client.at(self.on)

    @contextmanager
    def machine(self, request: MachineRequest) -> Iterator[Guest]:
        """Yield the guest of a clean machine; see :class:`vmtasks.providers.base.Provider`."""
        image = request.image  # what it prepares is not kept here, and done in the block
        settings = HostSettings.load()
        definition = self.expect_possible(request)
        ec2_image = ec2_of(definition)
        name = request.name
        _warn(request, ec2_image.instance_type)
        claim = ResourceTags(name=name, purpose=request.purpose, until_s=time.time() + settings.ec2_ttl_s)
        account = self.account()
        limit = Deadline.after(settings.boot_timeout_s)
        with ExitStack() as stack:
            keys = stack.enter_context(_keys(name))
            with events.phase("instance", machine=name, detail=ec2_image.instance_type):
                wanted = {"ImageIds": [image.id]} if isinstance(image, Ami) else image_request(ec2_image)
                ami = newest(account.ask("describe_images", **wanted)["Images"], ec2_image)
                order = instance_request(definition, ami, claim, keys, settings)
                instance_id = stack.enter_context(account.running(order, name))
                watch = Watch(account, instance_id, claim)
                host = address_of(account, instance_id, watch, limit)
            access = Access(identity=keys / "id_ed25519", known_hosts=keys / "known_hosts")
            instance = Instance(account=account, id=instance_id, name=name, watch=watch, host=host)
            guest = self._guest(request, definition, instance, access, settings=settings, limit=limit)
            stack.callback(guest.close)
            announce(
                guest,
                image=definition.name,
                image_key=key_of(definition),
                manifest={"ami": ami["ImageId"], "ami_name": ami.get("Name", ""), "instance": instance_id},
                accelerator="ec2",
                accelerator_reason=f"{ec2_image.instance_type} in {account.region}",
                start_reason=f"from {ami['ImageId']}, until {claim.until} at the latest",
                host=self.on,
            )
            with events.phase("cloud-init", machine=name):
                guest.query(_CLOUD_INIT)  # which has a hand in sshd and apt until it is done
            if not isinstance(image, Ami):
                apply_image(guest, definition)
            yield guest

    def _guest(
        self,
        request: MachineRequest,
        definition: Definition,
        instance: Instance,
        access: Access,
        *,
        settings: HostSettings,
        limit: Deadline,
    ) -> Guest:
        """Connect to an instance, and return its guest."""
        watch = instance.watch
        address = Address(host=instance.host, port=SSH_PORT, access=access)
        connection = _first_connection(address, instance.name, watch, limit)

        def connect_again(deadline: Deadline) -> Connection:
            guest.address = there = replace(address, host=instance.host)
            guest.ssh_command = tuple(ssh_line(there))
            return connect(there, deadline, watch)

        session = Session(instance.name, connection, connect_again, watch, look=watch.look)
        checkpointer = AmiCheckpointer(
            account=instance.account,
            session=session,
            instance_id=instance.id,
            definition=definition,
            on=self.on,
            ttl_s=settings.ec2_ttl_s,
            forkable=request.options.forkable,
        )
        guest = Guest(
            session,
            save=checkpointer.checkpoint,
            log_dir=request.log_dir,
            heartbeat_s=settings.heartbeat_s,
            ssh_command=ssh_line(address),
            address=address,
            power=instance.power,
        )
        return guest

    def expect_possible(self, request: MachineRequest) -> Definition:
        """See that a machine can be as it is asked for, and return what it is made from.

        :raise UsageError: it would be dangerous, or useless, to go on without.
        """
        options, name = request.options, request.name
        definition = _definition(request.image)
        ec2_of(definition)
        if (network := options.network or definition.network) != "user":
            raise UsageError(f"cannot run {name} on ec2 with network '{network}': there it reaches the Internet")
        if options.extra_args:
            raise UsageError(f"cannot run {name} on ec2 with arguments for QEMU: there is none")
        if options.kernel:
            raise UsageError(f"cannot give {name} another kernel on ec2: its AMI has one")
        return definition

    def command_line(self, request: MachineRequest) -> tuple[str, ...]:
        """Refuse: EC2 takes requests.

        :raise UsageError: always.
        """
        raise UsageError(f"cannot print the command line of {request.name}: EC2 starts it")


def _definition(image: str | Checkpoint) -> Definition:
    if isinstance(image, str):
        return find(image)
    if isinstance(image, Ami):
        return image.definition
    raise UsageError(f"cannot start from {image.name}: it is no AMI")


def _warn(request: MachineRequest, instance_type: str) -> None:
    """Say which options count for nothing."""
    for names, reason in (
        (("memory_mib", "cpus", "accel"), f"{instance_type} is what the image's [ec2] says"),
        (("attempts",), "a machine that does not come up there is not tried again"),
    ):
        warn_ignored(request, names, place="ec2", reason=reason)


@contextmanager
def _keys(name: str) -> Iterator[Path]:
    """Yield a directory with the keys of one machine, which go with it."""
    with tempfile.TemporaryDirectory(prefix="vmtasks-ec2-") as directory:
        remove_at_exit(Path(directory))
        make_keys(Path(directory), name)
        yield Path(directory)


def _first_connection(address: Address, name: str, watch: Watch, limit: Deadline) -> Connection:
    """Return the connection that makes a machine ready."""
    with ExitStack() as phases:
        phases.enter_context(events.phase("boot", machine=name, detail=address.host))
        greeted = False

        def on_greeting() -> None:
            nonlocal greeted
            if not greeted:  # it may greet many a time before it lets us in
                greeted = True
                phases.close()
                phases.enter_context(events.phase("ssh", machine=name, detail="the first command"))

        try:
            connection = connect(address, limit, watch, on_greeting=on_greeting)
        except BootError as problem:
            if greeted or not limit.passed:
                raise
            hint = "does its security group let this host in on port 22? ec2_security_groups names others"
            raise BootError(f"{problem!s}, at {address.host}", hint=hint) from problem
        watch.answered = True
        return connection
