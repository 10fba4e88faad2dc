"""The speed of the network between two machines, as iperf3 measures it."""
