"""The process that owns one QEMU; its client, and what it reports."""
