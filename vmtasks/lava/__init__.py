"""Test definitions of LAVA: reading one, running it in a guest, and what became of its cases."""
