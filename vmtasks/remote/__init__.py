"""QEMU on another host over ssh, which needs nothing but QEMU and python3 for that.

::

    here                                            there
    caller ── proxy ── ssh ───────────────── sshd ── watchdog ── supervisor ── QEMU   one for each machine
    caller ── proxy ── ssh (the same link) ─ sshd ── watchdog ── switch               one for each group
    caller ── proxy ── ssh (the same link) ─ sshd ── watchdog ── agent                one for each caller

The supervisor and the switch are those that run here for machines of this host. A proxy stands in for each at our end,
and a watchdog holds it at the other: a blank line every :data:`~vmtasks.remote.heartbeat.HEARTBEAT_S` seconds goes all
the way, and where nothing at all arrives for :data:`~vmtasks.remote.heartbeat.TIMEOUT_S` seconds, or none of these for
a minute, the line is closed. The agent does there what is to be done to that host's files.
"""
