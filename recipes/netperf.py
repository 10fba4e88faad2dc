"""netperf: the speed of the network between two machines."""

from __future__ import annotations

from vmtasks import Run, Traffic, recipe, run_netperf


@recipe(pairs=True)
def netperf(
    run: Run,
    server: str = "guest",
    image: str = "bookworm",
    seconds: int = 10,
    streams: int = 1,
    reverse: bool = False,
    udp_mbit_per_s: int = 0,
    at_least_mbit_per_s: int = 0,
    out: str = "",
) -> None:
    """Measure with iperf3 between a clean machine and another one, this host, or an existing host.

    Each figure is a test case with a measurement and its units. With --pairs, existing hosts are measured two by two.

    :param server: where the server is: guest (a second machine, on a network of their own), host (this one), or
        ssh://HOST, an existing host; with --pairs, it is the first host of each pair.
    :param image: the image of the machines.
    :param seconds: how long to measure.
    :param streams: how many connections there are at the same time.
    :param reverse: the server sends, and not the client.
    :param udp_mbit_per_s: send datagrams, so many Mbit in a second; 0 is TCP, as fast as it goes.
    :param at_least_mbit_per_s: fail if less than so many Mbit arrive in a second.
    :param out: where iperf3.json goes; the run's own directory by default.
    """
    traffic = Traffic(seconds=seconds, streams=streams, reverse=reverse, udp_mbit_per_s=udp_mbit_per_s)
    run_netperf(
        run,
        traffic,
        image=image,
        server=server,
        at_least_mbit_per_s=at_least_mbit_per_s,
        target=run.output_dir(out),
    )
