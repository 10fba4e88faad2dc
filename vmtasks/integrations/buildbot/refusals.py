"""What no machine of a worker can be, said before any build waits for one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from vmtasks.errors import UsageError
from vmtasks.image.definition import find
from vmtasks.integrations.buildbot.prepared_image import PreparedImage
from vmtasks.providers.base import BootOptions, MachineRequest
from vmtasks.providers.boot import expect_possible
from vmtasks.spec import Network

_AS_THEY_ARE = {"ssh": "an existing host is what it is", "ec2": "the image's [ec2] says which instance type is taken"}
"""Kinds of places whose machines have the size that they have, and why."""


def kind_of(on: str) -> str:
    """Return which kind of place ``--on`` names: ``ssh``, ``ec2``, or anything else where QEMU runs the machines."""
    return on.partition(":")[0]


def refusals(
    image: str | PreparedImage,
    *,
    on: str,
    network: str,
    memory_mib: int | None = None,
    cpus: int | None = None,
) -> Iterator[str]:
    """Yield, as sentences, what is wrong with the configuration of a worker's machine."""
    if not isinstance(image, str | PreparedImage):
        yield (
            f"image must be the name of an image, or a util.PreparedImage, and not {image!r}: a checkpoint is found "
            "by what the machine has behind it"
        )
        return
    prepared = PreparedImage.of(image)
    yield from _of_a_list(prepared)
    size = {"memory_mib": memory_mib, "cpus": cpus}
    if (reason := _AS_THEY_ARE.get(kind_of(on))) and (given := [name for name, value in size.items() if value]):
        yield f"{' and '.join(given)} cannot be had on {on}: {reason}"
    if network not in get_args(Network):
        yield f"network must be one of {', '.join(get_args(Network))}, and not {network!r}"
        return
    if prepared.packages and network != "user":
        yield f"cannot install packages in a machine with network {network!r}: have them in the image"
    if not on:
        yield "on is empty: 'local' is the master's own host"
        return
    try:
        find(prepared.image)
        options = BootOptions(on=on, network=network)  # type: ignore[arg-type] # which has just been seen
        expect_possible(MachineRequest(image=prepared.image, options=options))
    except UsageError as problem:
        yield str(problem)


def _of_a_list(prepared: PreparedImage) -> Iterator[str]:
    """Yield what is wrong with that which is to be a list: a text would be one of letters."""
    for name in ("packages", "commands"):
        if isinstance(getattr(prepared, name), str):
            yield f"{name} of a PreparedImage must be a list, and not {getattr(prepared, name)!r}"
