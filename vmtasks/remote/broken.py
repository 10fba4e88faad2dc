"""Why a link broke, or a program at its far end has ended: a sentence for what ssh printed and how it ended.

Standard library only.

Source: ssh(1).
"""

from __future__ import annotations

import re

from vmtasks.remote.heartbeat import SILENT_STATUS, TIMEOUT_S

_SSHS_OWN = 255
"""The status of an ssh whose link broke; any other is that of the command at the far end."""
_WHY = (
    (r"REMOTE HOST IDENTIFICATION HAS CHANGED", "cannot trust {host}: its host key is another than the one ssh knows",
     "if that is right, `ssh-keygen -R` forgets the old one"),
    (r"Host key verification failed", "cannot trust {host}: ssh does not know its host key",
     "`ssh {host}` shows it and asks, once"),
    (r"Permission denied \(", "cannot log in to {host}: it accepts none of your ssh keys",
     "`ssh {host} true` must work without a password"),
    (r"Could not resolve hostname[^:]*: (.*)", "cannot find {host}: {0}", ""),
    (r"connect to host \S+ port \d+: (.*)", "cannot reach {host}: {0}", "`ssh {host} true` must work"),
    (r"Connection to \S+ port \d+ timed out", "cannot reach {host}: it does not answer", "`ssh {host} true` must work"),
    (r"python3: (?:command )?not found", "cannot run machines on {host}: it has no python3",
     "`apt install python3` there"),
)  # fmt: skip


def why_it_broke(host: str, complaint: str, status: int | None, *, is_settled: bool = False) -> tuple[str, str]:
    """Return a sentence and a hint for what ssh printed before it ended.

    :param is_settled: whether it had let us in: what is printed from then on may be the other host's as well.
    """
    for pattern, message, hint in () if is_settled else _WHY:
        if found := re.search(pattern, complaint):
            groups = [group.strip() for group in found.groups()]
            return message.format(*groups, host=host), hint.format(host=host)
    if is_settled and status == SILENT_STATUS:
        return f"the link to {host} broke: it was silent for {TIMEOUT_S:g} s or more", ""
    lines = [line.strip() for line in complaint.splitlines() if line.strip()]
    if is_settled and status is not None and 0 <= status < _SSHS_OWN:
        return f"its program on {host} ended: {lines[-1] if lines else 'it did not say why'}", ""
    return f"the link to {host} broke: {lines[-1] if lines else f'ssh ended with status {status}'}", ""
