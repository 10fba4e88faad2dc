"""Machines of QEMU's, on this host or on another one that ssh reaches."""
