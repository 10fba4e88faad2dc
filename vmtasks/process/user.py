"""The user that this process runs as."""

from __future__ import annotations

import os
import pwd


def user_name() -> str:
    """Return this user's name, or number where there is none."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user need not have one
        return str(os.getuid())
