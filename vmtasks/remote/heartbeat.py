"""How the two ends of a link say that they are there."""

HEARTBEAT_S = 2.0
"""How often a proxy says that it is there."""
TIMEOUT_S = 8.0
"""How long either end waits for a sign of the other."""
