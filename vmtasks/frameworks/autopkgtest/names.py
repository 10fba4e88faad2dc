"""The names of tests, which may have any letters, as those of files and machines."""

from __future__ import annotations

import re


def plain_name(name: str) -> str:
    """Return a test's name as one that a file and a machine of the host's may have."""
    return re.sub(r"[^A-Za-z0-9.+~_-]", "-", name)[:100].lstrip(".-") or "test"
