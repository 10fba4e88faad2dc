"""What others test with, in machines of ours: autopkgtest, LAVA's test shell, test suites, iperf3."""
