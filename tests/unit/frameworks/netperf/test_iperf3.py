"""iperf3: command lines, and the figures in what its client prints."""

from __future__ import annotations

import json
from typing import Any

import pytest

from vmtasks.errors import TestFailed, UsageError
from vmtasks.frameworks.netperf.iperf3 import Traffic, client_argv, figures_in, server_argv

# What iperf3 3.12 has printed, but for what is of no use here.
TCP = {
    "start": {"connected": [], "version": "iperf 3.12"},
    "intervals": [],
    "end": {
        "streams": [],
        "sum_sent": {"seconds": 1.07, "bytes": 116654080, "bits_per_second": 869085443.4210894, "retransmits": 2},
        "sum_received": {"seconds": 1.08, "bytes": 116260864, "bits_per_second": 863862359.647094},
        "cpu_utilization_percent": {"host_total": 2.1},
    },
}
UDP = {
    "end": {
        "sum": {
            "bytes": 1277952,
            "bits_per_second": 10222757.288387775,
            "jitter_ms": 0.01215804075725519,
            "lost_packets": 3,
            "packets": 39,
            "lost_percent": 7.6923,
        },
        "sum_sent": {"bits_per_second": 10222757.288387775, "jitter_ms": 0, "lost_packets": 0},
        "sum_received": {"bits_per_second": 9436391.3, "jitter_ms": 0.012},
    },
}
REFUSED = {
    "start": {"connected": []},
    "intervals": [],
    "end": {},
    "error": "unable to connect to server: Connection refused",
}


def told(document: Any, **options: Any) -> list[tuple[str, str, str]]:
    return [(one.name, one.text, one.units) for one in figures_in(json.dumps(document), **options)]


def test_figures_of_tcp() -> None:
    assert told(TCP) == [
        ("sent", "869.085", "Mbit/s"),
        ("received", "863.862", "Mbit/s"),
        ("retransmits", "2", "segments"),
    ]


def test_figures_of_udp() -> None:
    assert told(UDP) == [
        ("sent", "10.223", "Mbit/s"),
        ("received", "9.436", "Mbit/s"),
        ("jitter", "0.012", "ms"),
        ("lost", "7.692", "%"),
    ]


def test_an_older_one_has_one_sum_of_udp_which_is_of_what_was_sent() -> None:
    document = {"end": {"sum": UDP["end"]["sum"]}}
    assert ("received", "9.436", "Mbit/s") in told(document)


def test_where_all_datagrams_are_lost_nothing_has_arrived() -> None:
    with pytest.raises(TestFailed, match="nothing has arrived"):
        told({"end": {"sum": {**UDP["end"]["sum"], "lost_percent": 100}}})


def test_a_refused_connection_is_a_failure_though_the_status_is_0() -> None:
    with pytest.raises(TestFailed, match="iperf3 could not measure: unable to connect to server: Connection refused"):
        told(REFUSED, status=0)


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ("", "iperf3 ended with status 0 and no results in JSON"),
        ("iperf3: command not found", "no results in JSON"),
        (json.dumps(TCP)[:60], "no results in JSON"),
        ('{"end": {"sum_sent": {"bits_per_second": "many"}}}', "no results in JSON"),
        ("{}", "iperf3 has printed no figures"),
        ('{"end": {"sum_received": {"bits_per_second": Infinity}}}', "iperf3 has printed no figures"),
        ('{"end": {"sum_received": {"bits_per_second": 0}}}', "nothing has arrived"),
    ],
)
def test_what_is_no_measurement_is_a_failure(document: str, sentence: str) -> None:
    with pytest.raises(TestFailed, match=sentence):
        figures_in(document)


def test_a_status_counts_also_where_there_are_figures() -> None:
    with pytest.raises(TestFailed, match="iperf3 ended with status 1, and does not say why"):
        told(TCP, status=1)


def test_command_lines() -> None:
    assert server_argv(5201, pidfile="/x/pid")[-3:] == ["--daemon", "--pidfile", "/x/pid"]
    assert server_argv(7, bind="127.0.0.1") == [
        *("iperf3", "--server", "--port", "7", "--bind", "127.0.0.1", "--forceflush")
    ]
    assert client_argv("198.18.0.1", 5201, Traffic(seconds=3)) == [
        *("iperf3", "--client", "198.18.0.1", "--port", "5201", "--json", "--interval", "0"),
        *("--connect-timeout", "10000", "--time", "3"),
    ]
    more = client_argv("a", 1, Traffic(streams=4, reverse=True, udp_mbit_per_s=100))
    assert more[-6:] == ["--parallel", "4", "--reverse", "--udp", "--bitrate", "25000000"]


@pytest.mark.parametrize(
    "wrong", [{"seconds": 0}, {"seconds": 10**6}, {"streams": 0}, {"streams": 129}, {"udp_mbit_per_s": -1}]
)
def test_traffic_that_cannot_be(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        Traffic(**wrong)
