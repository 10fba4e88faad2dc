"""The two roles of the groups in tests, as a file has them."""

from __future__ import annotations


def roles(*, server: str = "", client: str = "") -> str:
    """Return the tables of a server and a client, each with more lines of its own."""
    return "".join(
        f'\n[[roles]]\nname = "{name}"\nimage = "bookworm"\n{more}'
        for name, more in (("server", server), ("client", client))
    )
