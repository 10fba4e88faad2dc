"""How the two ends of a link say that they are there."""

BEAT_S = 2.0
"""How often a relay says that it is there."""
SILENCE_S = 8.0
"""How long either end waits for a sign of the other."""
