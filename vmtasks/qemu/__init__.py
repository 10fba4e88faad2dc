"""What QEMU is told: its command line, QMP, saved states."""
