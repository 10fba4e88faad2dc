"""``boot()``: the one way to a machine, wherever it comes from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from vmtasks.config.settings import HostSettings
from vmtasks.guest import Guest
from vmtasks.providers.base import Provider, Wishes
from vmtasks.providers.preparation import Provisioning
from vmtasks.spec import HERE, Checkpoint, Network


@contextmanager
def boot(
    image: str | Checkpoint,
    *,
    name: str = "",
    on: str = "",
    memory_mib: int | None = None,
    cpus: int | None = None,
    network: Network | None = None,
    accel: Literal["auto", "kvm", "tcg"] | None = None,
    attempts: int | None = None,
    cold: bool = False,
    forkable: bool = False,
    extra: tuple[str, ...] = (),
    what: str = "",
    logs: Path | None = None,
) -> Iterator[Guest]:
    """Start a clean machine from an image, and be rid of it at the end of the block.

    The image is baked first if it is not there, and so is its template: the image booted once, which all further
    machines are copied from in a moment. Whatever is not given comes from the image's definition and from the
    host's settings.

    :param image: the name of an image, or what ``guest.checkpoint`` returned.
    :param name: what to call the machine; the image's name by default.
    :param on: where it is to run: see docs/providers.md; where the host's settings say by default.
    :param cold: boot from the disk, whatever templates there are.
    :param forkable: whether ``guest.checkpoint`` is to serve; it costs some tenths of a second.
    :param extra: more arguments for QEMU; such a machine boots cold.
    :param what: what it is for, for those who wait for a slot.
    :param logs: the directory for the console and for the output of each command.
    :raise UsageError: there is no such image.
    :raise HostError: the machine cannot be baked or run there.
    :raise BootError: it did not come up, in as many attempts as allowed.
    """
    wishes = Wishes(
        name=name,
        on=on,
        memory_mib=memory_mib,
        cpus=cpus,
        network=network,
        accel=accel,
        attempts=attempts,
        cold=cold,
        forkable=forkable,
        extra=extra,
    )
    with boot_as(image, wishes, what=what, logs=logs) as guest:
        yield guest


@contextmanager
def boot_as(
    image: str | Checkpoint,
    wishes: Wishes,
    *,
    provisioning: Provisioning | None = None,
    what: str = "",
    logs: Path | None = None,
) -> Iterator[Guest]:
    """Start a clean machine as :func:`boot` does, from wishes that came as one.

    :param provisioning: what :func:`vmtasks.providers.preparation.provision` is to be called with first in the block; a
        machine that has it behind it is the one to start from. Not for a checkpoint, which is as it is.
    """
    on = where(image, wishes)
    what = what or f"a machine from {image if isinstance(image, str) else image.name}"
    with provider_of(on).machine(image, wishes, provisioning=provisioning, what=what, logs=logs) as guest:
        yield guest


def where(image: str | Checkpoint, wishes: Wishes) -> str:
    """Return where a machine is to run: where its checkpoint is, or as was wished for, or as the settings say."""
    return (wishes.on or HostSettings.load().on or HERE) if isinstance(image, str) else image.on


def provider_of(on: str) -> Provider:
    """Return whoever has machines at a place that ``--on`` names; empty is this host.

    :raise UsageError: nobody has.
    """
    if _instead:
        return _instead[-1]
    if on.partition(":")[0] == "ec2":
        from vmtasks.providers.ec2.provider import Ec2

        return Ec2(on=on)
    if on.startswith("ssh://"):
        from vmtasks.providers.static_host.provider import Standing

        return Standing.at(on)
    from vmtasks.providers.qemu.provider import Qemu

    return Qemu(on=on or HERE)


_instead: list[Provider] = []


@contextmanager
def machines_from(provider: Provider) -> Iterator[None]:
    """Have *provider* give every machine that is asked for in the block, wherever it was to run."""
    _instead.append(provider)
    try:
        yield
    finally:
        _instead.pop()
