"""The machine that plays an existing host for tests of real machines; the fixture ``board`` has it."""

from __future__ import annotations

ON = "ssh://root@board"
"""What users call it."""
