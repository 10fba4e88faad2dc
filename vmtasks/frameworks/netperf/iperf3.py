"""iperf3: its command lines, and the figures in what its client prints. Pure functions.

A client that prints JSON ends with 0 whatever happened (iperf 3.12): whether it failed is told by the key ``error``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from vmtasks.errors import TestFailed, UsageError

PROGRAM = "iperf3"
PACKAGE = "iperf3"
CONNECT_LIMIT_MS = 10_000
_BITS = 1e6
_LINES = 15
_LONGEST_S = 24 * 3600
_MOST_STREAMS = 128
"""What iperf3 allows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What is sent, and for how long."""

    seconds: int = 10
    streams: int = 1
    """So many at the same time."""
    reverse: bool = False
    """Whether the server sends, and not the client."""
    udp_mbit_per_s: int = 0
    """What is sent as datagrams in a second, all streams together; 0: TCP, as fast as it goes."""

    def __post_init__(self) -> None:
        """See that it can be.

        :raise UsageError: it cannot.
        """
        if not 1 <= self.seconds <= _LONGEST_S:
            raise UsageError(f"cannot measure for {self.seconds} s: it is 1 to {_LONGEST_S}")
        if not 1 <= self.streams <= _MOST_STREAMS:
            raise UsageError(f"cannot have {self.streams} streams: iperf3 has 1 to {_MOST_STREAMS}")
        if self.udp_mbit_per_s < 0:
            raise UsageError(f"cannot send {self.udp_mbit_per_s} Mbit/s: it is 1 or more, or 0 for TCP")

    @property
    def protocol(self) -> str:
        """``tcp`` or ``udp``."""
        return "udp" if self.udp_mbit_per_s else "tcp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A number that was measured."""

    name: str
    value: float
    units: str

    @property
    def text(self) -> str:
        """The number as it is written down."""
        return f"{self.value:.3f}".rstrip("0").rstrip(".")


def server_argv(port: int, *, bind: str = "", pidfile: str = "") -> list[str]:
    """Return what serves on a port.

    :param bind: the address that alone is served; all of them by default.
    :param pidfile: have it go to the background, and write its number there.
    """
    argv = [PROGRAM, "--server", "--port", str(port)]
    argv += ["--bind", bind] if bind else []
    return argv + (["--daemon", "--pidfile", pidfile] if pidfile else ["--forceflush"])


def client_argv(address: str, port: int, traffic: Traffic) -> list[str]:
    """Return what measures, and prints one JSON document in the end."""
    argv = [PROGRAM, "--client", address, "--port", str(port), "--json", "--interval", "0"]
    argv += ["--connect-timeout", str(CONNECT_LIMIT_MS), "--time", str(traffic.seconds)]
    argv += ["--parallel", str(traffic.streams)] if traffic.streams > 1 else []
    argv += ["--reverse"] if traffic.reverse else []
    if traffic.udp_mbit_per_s:  # iperf3's is the rate of each stream
        argv += ["--udp", "--bitrate", str(traffic.udp_mbit_per_s * 1_000_000 // traffic.streams)]
    return argv


def figures_in(document: str, *, status: int = 0) -> tuple[Figure, ...]:
    """Return the figures in what a client has printed.

    :param status: its exit status.
    :raise TestFailed: it could not measure, or nothing has arrived.
    """
    from vmtasks.files.typed_json import NUMBER, parse

    rate = {"bits_per_second": NUMBER, "retransmits?": int}
    loss = {"bits_per_second": NUMBER, "jitter_ms": NUMBER, "lost_percent": NUMBER}
    shape = {"error?": str, "end?": {"sum_sent?": rate, "sum_received?": rate, "sum?": loss}}
    lines = tuple(document.splitlines()[-_LINES:])
    told: dict[str, Any] | None = parse(document, shape)
    if told is None:
        raise TestFailed(f"iperf3 ended with status {status} and no results in JSON", details=lines)
    if error := told.get("error", ""):
        raise TestFailed(f"iperf3 could not measure: {error}", details=lines)
    if status:
        raise TestFailed(f"iperf3 ended with status {status}, and does not say why", details=lines)
    found = tuple(_figures(told.get("end", {})))
    received = next((one for one in found if one.name == "received"), None)
    if received is None or not all(math.isfinite(one.value) for one in found):
        raise TestFailed("iperf3 has printed no figures", details=lines)
    if received.value <= 0:
        raise TestFailed("iperf3 has measured that nothing has arrived", details=lines)
    return found


def _figures(end: dict[str, Any]) -> list[Figure]:
    found = []
    loss = end.get("sum")
    if sent := end.get("sum_sent"):
        found.append(Figure(name="sent", value=sent["bits_per_second"] / _BITS, units="Mbit/s"))
    if received := end.get("sum_received"):
        found.append(Figure(name="received", value=received["bits_per_second"] / _BITS, units="Mbit/s"))
    elif loss:  # an older one has but the sum of what was sent, and how much of it is lost
        arrived = loss["bits_per_second"] * (1 - loss["lost_percent"] / 100)
        found.append(Figure(name="received", value=arrived / _BITS, units="Mbit/s"))
    if sent and "retransmits" in sent:
        found.append(Figure(name="retransmits", value=sent["retransmits"], units="segments"))
    if loss:
        found.append(Figure(name="jitter", value=loss["jitter_ms"], units="ms"))
        found.append(Figure(name="lost", value=loss["lost_percent"], units="%"))
    return found
