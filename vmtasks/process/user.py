"""What users are called."""

from __future__ import annotations

import os
import pwd


def user_name(uid: int | None = None) -> str:
    """Return the name of a user, or the number where there is no name.

    :param uid: None: the one that this process runs as.
    """
    number = os.getuid() if uid is None else uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:  # a container's user need not have one
        return str(number)
