"""The descriptors that a QEMU inherits; its command line names them."""

QMP_FD = 100
CONSOLE_FD = 101
"""Where QEMU finds its control line and its serial console: numbers beyond those in use."""
