"""How the two ends of a link show that they are there."""

HEARTBEAT_S = 2.0
"""How often a proxy shows that it is there."""
TIMEOUT_S = 8.0
"""How long either end waits for a sign of the other."""
SILENT_STATUS = 75
"""What a watchdog ends with that has waited in vain: no status of a program that ends, nor one of ssh's own."""
