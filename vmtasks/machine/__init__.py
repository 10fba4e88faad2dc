"""The life of one QEMU machine: launch, start, identity, checkpoint, end."""
