"""What a machine takes of its host while it works: samples of its QEMU, what they come to, a table and a plot."""
