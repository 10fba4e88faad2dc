"""QEMU: its command line, which accelerator serves here."""
