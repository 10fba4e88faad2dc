"""A port of a guest's own loopback that leads to the Buildbot's master, and to nothing else of its host.

It is a remote forwarding over the guest's own ssh connection. So the guest needs no network for it, wherever it runs,
and the master no TCP port: the end here may be a UNIX socket, which no machine reaches by itself.
"""

from __future__ import annotations

import socket
from contextlib import AbstractContextManager
from functools import partial

from vmtasks.guest import Guest
from vmtasks.ssh.forwarding import reverse_forwarding

_CONNECT_LIMIT_S = 30.0


def tunnel(guest: Guest, master: str) -> AbstractContextManager[int]:
    """Return a block in which a port of the guest's loopback leads to *master*; it yields the port's number.

    :param master: HOST:PORT, [ADDRESS]:PORT or the absolute path of a UNIX socket, as this host reaches it.
    :raise HostError: the guest's sshd does not forward.
    :raise ConnectionLost: the guest is gone.
    """
    return reverse_forwarding(guest.connection, partial(_connected, master), guest.watch)


def _connected(master: str) -> socket.socket:
    if master.startswith("/"):
        end = socket.socket(socket.AF_UNIX)
        try:
            end.connect(master)
        except OSError:
            end.close()
            raise
        return end
    host, _, port = master.rpartition(":")
    end = socket.create_connection((host.strip("[]"), int(port)), _CONNECT_LIMIT_S)
    end.settimeout(None)
    return end
