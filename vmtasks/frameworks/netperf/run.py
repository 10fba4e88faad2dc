"""The network between two machines of a run, measured: each figure is a case with a measurement and its units."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vmtasks import events
from vmtasks.errors import CommandFailed, Outcome, TestFailed, UsageError
from vmtasks.frameworks.netperf.iperf3 import PACKAGE, Figure, Traffic, client_argv, figures_in

if TYPE_CHECKING:
    from vmtasks.guest import Guest
    from vmtasks.run.run import Run

GUEST, HOST = "guest", "host"
_EXISTING = "ssh://"
_SPARE_S = 60.0
"""How much longer than it measures a client may take: it connects, and waits for the server's own figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ends:
    """The two ends of what is measured."""

    client: Guest
    client_name: str
    """What messages call it."""
    server: str
    """What messages call the other end."""
    address: str
    port: int


def run_netperf(
    run: Run, traffic: Traffic, *, image: str, server: str = GUEST, at_least_mbit_per_s: float = 0, target: Path
) -> tuple[Figure, ...]:
    """Measure the network between a clean machine and a server, or the two hosts of a pair, and return the figures.

    :param image: the image of the client, and of a server that is a machine as well; a pair is used as it is.
    :param server: ``guest``, ``host``, or an existing host: ``ssh://HOST``.
    :param at_least_mbit_per_s: what must arrive in a second, in Mbit.
    :param target: the directory for ``iperf3.json``, the client's own report.
    :raise UsageError: there is no such server.
    :raise TestFailed: it could not be measured, or is less.
    """
    with _between(run, image, server) as ends:
        with run.case(f"{traffic.protocol} to {ends.server}"):
            argv = client_argv(ends.address, ends.port, traffic)
            result = ends.client.run(argv, warn=True, timeout_s=traffic.seconds + _SPARE_S)
            run.write(target / "iperf3.json", result.stdout)
            try:
                figures = figures_in(result.stdout, status=result.exited)
            except TestFailed as problem:
                message = f"{problem} (from {ends.client_name} to {ends.server}, {ends.address} port {ends.port})"
                raise CommandFailed(message, details=problem.details or result.last_lines(), result=result) from problem
        return _told(ends, traffic, figures, at_least_mbit_per_s)


@contextmanager
def _between(run: Run, image: str, server: str) -> Iterator[_Ends]:
    """Yield the ends, the server's of which serves."""
    from vmtasks.frameworks.netperf.servers import HOST_ADDRESS, expect_here, serving_here, serving_in
    from vmtasks.group.roles import Role
    from vmtasks.providers.preparation import Preparation

    tools = Preparation.of_packages((PACKAGE,))
    pair = run.flags.pair
    if pair and server != GUEST:
        raise UsageError(
            f"cannot have {server} as the server of a pair: that is its first host, {pair[0]}",
            hint="leave out --server, or --pairs",
        )
    if server == HOST:
        if run.flags.network not in ("", "user"):
            raise UsageError(
                f"cannot measure against this host: with --network {run.flags.network} a machine does not reach it"
            )
        expect_here()
        with run.boot(image, name="client", prepare=tools) as client:
            if not client.is_local:
                raise UsageError(
                    f"cannot measure against this host: {client.name} runs elsewhere, and does not reach it",
                    hint="without --on, or with --server guest",
                )
            with serving_here(run.directory / "iperf3-server.log") as port:
                yield _Ends(client=client, client_name=client.name, server="this host", address=HOST_ADDRESS, port=port)
        return
    if server != GUEST and not server.startswith(_EXISTING):
        raise UsageError(f"there is no server '{server}': it is {GUEST}, {HOST} or {_EXISTING}HOST")
    clean = Role(image=image, prepare=tools)
    places = pair or ("" if server == GUEST else server, "")
    roles = {
        name: Role(on=on, prepare=tools) if on else clean for name, on in zip(("server", "client"), places, strict=True)
    }
    with run.group(roles) as group:
        member = next(one for one in group.members if one.role == "server")
        with serving_in(group["server"]) as port:
            yield _Ends(
                client=group["client"],
                client_name=places[1] or "client",
                server=places[0] or "server",
                address=group.address_of(member),
                port=port,
            )


def _told(ends: _Ends, traffic: Traffic, figures: tuple[Figure, ...], at_least_mbit_per_s: float) -> tuple[Figure, ...]:
    """Tell of each figure as a case.

    :raise TestFailed: less has arrived than there must.
    """
    received = next(one for one in figures if one.name == "received")
    is_enough = received.value >= at_least_mbit_per_s
    complaint = f"{received.text} Mbit/s have arrived, and {at_least_mbit_per_s:g} were asked for"
    for one in figures:
        is_well = is_enough or one is not received
        events.emit(
            events.CaseEnded(
                machine=ends.client.name,
                definition=f"netperf-{traffic.protocol}",
                case=one.name,
                outcome=Outcome.PASSED if is_well else Outcome.FAILED,
                duration_s=float(traffic.seconds),
                message="" if is_well else complaint,
                measurement=one.text,
                units=one.units,
            )
        )
    text = ", ".join(f"{one.name} {one.text} {one.units}" for one in figures)
    events.emit(events.Note(text=f"from {ends.client_name} to {ends.server}: {text}"))
    if not is_enough:
        raise TestFailed(f"from {ends.client_name} to {ends.server}, {complaint}")
    return figures
