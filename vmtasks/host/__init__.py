"""The host that runs QEMU: its capacity, accelerator, slots, leases and locks."""
