"""QEMU on another host over ssh, which needs nothing but QEMU and python3 for that.

::

    here                                            there
    caller ── relay ── ssh ─────────────── sshd ── tether ── supervisor ── QEMU       one for each machine
    caller ── relay ── ssh (the same link) ─ sshd ── tether ── steward                one for each caller

The supervisor is the one that runs here for machines of this host. A relay stands in for it at our end, and a tether
holds it at the other: a blank line every :data:`BEAT_S` seconds goes all the way, and where nothing at all arrives for
:data:`SILENCE_S` seconds, or none of these for a minute, the leash is let go of. The steward does there what is to be
done to that host's files.
"""
