"""``boot()``: the one way to a machine, wherever it comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal, Never, TypeVar

from vmtasks import events
from vmtasks.config.settings import HostSettings, place
from vmtasks.errors import UsageError, renamed_options
from vmtasks.guest import Guest
from vmtasks.providers.base import BootOptions, Foresighted, MachineRequest, Provider
from vmtasks.providers.choice import Choices, is_choice, names_of
from vmtasks.providers.preparation import Preparation
from vmtasks.providers.preparation import prepare as do_prepare
from vmtasks.spec import LOCAL, AlarmPolicy, Checkpoint, Network

Member = TypeVar("Member")


@contextmanager
def boot(
    image: str | Checkpoint,
    *,
    name: str = "",
    on: str = "",
    kernel: str = "",
    memory_mib: int | None = None,
    cpus: int | None = None,
    network: Network | None = None,
    alarms: AlarmPolicy = "warn",
    accel: Literal["auto", "kvm", "tcg"] | None = None,
    attempts: int | None = None,
    cold: bool = False,
    forkable: bool = False,
    extra_args: tuple[str, ...] = (),
    prepare: Preparation | None = None,
    purpose: str = "",
    log_dir: Path | None = None,
    **renamed: Never,
) -> Iterator[Guest]:
    """Start a clean machine from an image, and be rid of it at the end of the block.

    The image is baked first if it is not there, and so is its template: the image booted once, which all further
    machines are copied from in a moment. Whatever is not given comes from the image's definition and from the
    host's settings.

    :param image: the name of an image, or what ``guest.checkpoint`` returned.
    :param name: what to call the machine; the image's name by default.
    :param on: where it is to run: see docs/providers.md; by default as the host's settings have it.
    :param alarms: what becomes of the block when the guest's kernel reports an error on the console: ``warn`` tells of
        it, ``fail`` raises :class:`vmtasks.TestFailed` at the end as well, and ``off`` does not look.
    :param kernel: another kernel than the image's: the name of a Debian package such as ``linux-image-rt-amd64``, the
        path of a package, tarball, built tree or image, or an address with its sum (see images/README.md); the image
        with it is baked once.
    :param cold: boot from the disk, whatever templates there are.
    :param forkable: whether ``guest.checkpoint`` is to serve; it costs some tenths of a second.
    :param extra_args: more arguments for QEMU; such a machine boots cold.
    :param prepare: work that the machine is to have behind it; it is done once and then kept, where that is possible.
    :param purpose: what it is for, for those who wait for a slot.
    :param log_dir: the directory for the console and for the output of each command.
    :param renamed: ``extra``, ``what`` and ``logs``, as three of these were called before 0.2.
    :raise UsageError: there is no such image.
    :raise HostError: the machine cannot be baked or run there.
    :raise BootError: it did not come up, in as many attempts as allowed.
    """
    given = renamed_options(renamed, {"extra": "extra_args", "what": "purpose", "logs": "log_dir"})
    options = BootOptions(
        name=name,
        on=on,
        kernel=kernel,
        memory_mib=memory_mib,
        cpus=cpus,
        network=network,
        alarms=alarms,
        accel=accel,
        attempts=attempts,
        cold=cold,
        forkable=forkable,
        extra_args=given.get("extra_args", extra_args),
    )
    request = MachineRequest(
        image=image,
        options=options,
        preparation=prepare,
        purpose=given.get("purpose", purpose),
        log_dir=given.get("log_dir", log_dir),
    )
    with machine(request) as guest:
        if prepare is not None:
            do_prepare(guest, prepare)
        yield guest


@contextmanager
def machine(request: MachineRequest) -> Iterator[Guest]:
    """Yield the guest of a machine from wherever it is to run; *request*'s preparation is the caller's to see to."""
    request = settled(request)
    on = where(request)
    purpose = (
        request.purpose or f"a machine from {request.image if isinstance(request.image, str) else request.image.name}"
    )
    with provider_of(on).machine(replace(request, purpose=purpose)) as guest:
        if request.options.alarms == "fail" and guest.console_log is None:
            text = 'alarms = "fail" counts for nothing here: no console of this machine is known'
            events.emit(events.Note(machine=guest.name, text=text, level="warning"))
        yield guest


def command_line(request: MachineRequest) -> tuple[str, ...]:
    """Return the command line that would start the machine, to be pasted into a terminal.

    :raise UsageError: a command line does not start machines where it is to run.
    """
    return provider_of(where(request)).command_line(request)


def settled(
    request: MachineRequest, choices: Choices | None = None, group: Sequence[MachineRequest] = ()
) -> MachineRequest:
    """Return a request that leaves no choice between hosts.

    :param choices: what was chosen before is chosen again.
    :param group: all requests that go to the same host at once, this one among them; nothing: it is alone.
    :raise UsageError: it names several hosts for the one machine.
    :raise HostError: no host of the choice can be had.
    """
    on = where(request)
    if "," in on:
        raise UsageError(
            f"cannot have one machine on several hosts: {on}",
            hint="with a comma, --on is a run on each; with --pairs, the two machines of run.group are a pair of hosts",
        )
    if _instead or not is_choice(on):
        return request
    return (Choices() if choices is None else choices).settled(request, on, group)


def settled_group(requests: Mapping[Member, MachineRequest], choices: Choices) -> dict[Member, MachineRequest]:
    """Return the requests of a group that leave no choice: members with the same choice go to one host, at once.

    :raise HostError: no host of the choice can be had.
    """
    by_place: dict[str, list[MachineRequest]] = {}
    for request in requests.values():
        by_place.setdefault(where(request), []).append(request)
    return {member: settled(one, choices, by_place[where(one)]) for member, one in requests.items()}


def where(request: MachineRequest) -> str:
    """Return where a machine is to run: where its checkpoint is, or as the options have it, or the settings."""
    if not isinstance(request.image, str):
        return request.image.on
    return place(request.options.on) or HostSettings.load().on or LOCAL


def provider_of(on: str) -> Provider:
    """Return the provider of machines at a place that ``--on`` names; empty is this host.

    :raise UsageError: there is none.
    """
    if _instead:
        return _instead[-1]
    if on.partition(":")[0] == "ec2":
        from vmtasks.providers.ec2.provider import Ec2

        return Ec2(on=on)
    if on.startswith("ssh://"):
        from vmtasks.providers.static_host.provider import StaticHost

        return StaticHost.at(on)
    from vmtasks.providers.qemu.provider import Qemu

    return Qemu(on=on or LOCAL)


def expect_place(on: str) -> None:
    """See that ``--on`` can name a place so, before anything is started; whether it can be reached shows then.

    :raise UsageError: it cannot.
    """
    from vmtasks.providers.qemu.provider import Qemu

    for name in names_of(on) if is_choice(on) else (on,):
        provider = provider_of(name)
        if isinstance(provider, Qemu) and provider.on != LOCAL:
            from vmtasks.remote.host import expect_name

            expect_name(provider.on)


def expect_possible(request: MachineRequest) -> None:
    """See that a machine can be as it is asked for, as far as that shows before anything is started.

    :raise UsageError: there is no such place, or it has no such machines.
    """
    on = where(request)
    expect_place(on)
    for name in names_of(on) if is_choice(on) else (on,):
        provider = provider_of(name)
        if isinstance(provider, Foresighted):
            provider.expect_possible(request)


_instead: list[Provider] = []


@contextmanager
def use_provider(provider: Provider) -> Iterator[None]:
    """Have *provider* give every machine that is asked for in the block, wherever it was to run."""
    _instead.append(provider)
    try:
        yield
    finally:
        _instead.pop()
