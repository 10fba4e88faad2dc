"""Whether a host takes new machines: eagerly, reluctantly, or none at all; what runs goes on whatever it says.

What somebody has declared by hand counts, until the time that it was declared for; else what the host's settings say:
its hours, its load, and whether somebody else is logged in. What was declared is a file of each user's beside the
tickets of the queue (:mod:`vmtasks.host.declared` writes it), so that it is the same for all who use the host: of
several words root's counts, or else the newest whose time has not passed. As with tickets, a file is never followed,
and believed only if it is well formed, and of the user whose number its name has.

Standard library only, like the queue.
"""

# Relative to the queue's open directory: os serves, pathlib need not be loaded.
# ruff: noqa: PTH123, PTH208

from __future__ import annotations

import os
import re
import stat
import time
from collections import namedtuple
from contextlib import suppress

from vmtasks.config import hours
from vmtasks.files import typed_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmtasks.config.settings import HostSettings

EAGER, RELUCTANT, NONE = "eager", "reluctant", "none"
STATES = (EAGER, RELUCTANT, NONE)

FILE = re.compile(r"availability-(0|[1-9][0-9]{0,9})\.json")
"""What the file of a user is called in the directory of the queue."""
REASON_LETTERS = 200
_CONTENT_BYTES = 4096
_FIFO = ".ref"
"""What systemd-logind has beside the file of a session: root would read there until the session ends."""
_PEOPLE = {"user", "user-early", "user-light"}
"""Classes of sessions: of root, of somebody, and of somebody without services (pam_systemd(8))."""
_SHAPE = {"state": set(STATES), "until_s": (typed_json.SECONDS, None), "reason": str, "user": str}


class Rules(namedtuple("Rules", ("usual", "hours", "load", "users", "otherwise"))):  # noqa: PYI024
    """What the host's settings say, as texts: they are part of a supervisor's plan."""

    __slots__ = ()
    if TYPE_CHECKING:
        usual: str
        """What the host is as long as all of the following holds."""
        hours: str
        """When; empty: always."""
        load: str
        """The most load average, less one for each machine that runs; empty: any."""
        users: str
        """How many others may be logged in; empty: any number."""
        otherwise: str
        """What the host is else."""


ALWAYS = Rules(EAGER, "", "", "", NONE)


def rules_of(settings: HostSettings) -> Rules:
    """Return the rules that the host's settings have."""
    load, users = settings.eager_load, settings.eager_users
    return Rules(
        settings.availability,
        settings.eager_hours,
        "" if load is None else f"{load:g}",
        "" if users is None else f"{users}",
        settings.availability_otherwise,
    )


class Availability(namedtuple("Availability", ("state", "reason", "until_s", "by", "since_s"))):  # noqa: PYI024
    """Whether a host takes new machines now, and why."""

    __slots__ = ()
    if TYPE_CHECKING:
        state: str
        reason: str
        until_s: float | None
        """None: it is not known."""
        by: str
        """Who has declared it; empty: the host's settings say so."""
        since_s: float
        """Since when, in seconds since the epoch; 0: it is not known."""

    def __str__(self) -> str:
        says = {EAGER: "takes machines", RELUCTANT: "is reluctant to take machines", NONE: "takes no new machines"}
        until = f" until {clock(self.until_s)}" if self.until_s else ""
        by = f"{self.by} has set that" if self.by else ""
        why = "; ".join(filter(None, (self.reason, by)))
        return f"the host {says[self.state]}{until}" + (f" ({why})" if why else "")


def now(queue: int | None, rules: Rules, *, machines: int = 0, root: str = "") -> Availability:
    """Return what holds at this moment.

    :param queue: the open directory of the queue; None: there is none, and so nothing has been declared.
    :param machines: how many run.
    :param root: where ``/proc`` and ``/run`` are to be found.
    """
    now_s = time.time()
    declared = {} if queue is None else _declared(queue, now_s)
    if declared:
        return declared.get(0) or max(declared.values(), key=lambda one: one.since_s)
    reason, until_s = _objection(rules, now_s, machines, root)
    state = rules.otherwise if reason else rules.usual
    return Availability(state, reason, until_s, "", 0.0)


def clock(at_s: float) -> str:
    """Write a time of this host; with the date, unless that is today's."""
    today, day = (time.strftime("%Y-%m-%d", time.localtime(one)) for one in (None, at_s))
    return time.strftime("%H:%M" if today == day else "%Y-%m-%d %H:%M", time.localtime(at_s))


def file_of(uid: int) -> str:
    """Return what the file of a user is called."""
    return f"availability-{uid}.json"


def _declared(queue: int, now_s: float) -> dict[int, Availability]:
    """Return what users have declared whose time has not passed, by their numbers."""
    found: dict[int, Availability] = {}
    for name in os.listdir(queue):
        if match := FILE.fullmatch(name):
            word = _read(queue, name, int(match[1]))
            if word is not None and (word.until_s is None or word.until_s > now_s):
                found[int(match[1])] = word
    return found


def _read(queue: int, name: str, uid: int) -> Availability | None:
    """Return what a user has declared, if that can be read."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    try:
        fd = os.open(name, flags, dir_fd=queue)
    except OSError:
        return None
    try:
        about = os.fstat(fd)
        is_theirs = stat.S_ISREG(about.st_mode) and about.st_uid == uid
        content = os.pread(fd, _CONTENT_BYTES, 0) if is_theirs else b""
    except OSError:
        return None
    finally:
        os.close(fd)
    fields = typed_json.parse(content, _SHAPE)
    if fields is None:
        return None
    reason, user = (plain(fields[name]) for name in ("reason", "user"))
    return Availability(fields["state"], reason, fields["until_s"], user, about.st_mtime)


def plain(text: str, letters: int = REASON_LETTERS) -> str:
    """Return *text* fit for somebody else's terminal: one line of at most so many letters, no control characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:letters])


def _objection(rules: Rules, now_s: float, machines: int, root: str) -> tuple[str, float | None]:
    """Return which rule does not hold, in words that stay the same, and until when; none: all hold."""
    spans = hours.spans(rules.hours)
    if spans and not hours.is_within(spans, now_s):
        return f"its hours are {rules.hours}", hours.next_begin_s(spans, now_s)
    if rules.load and _load(root) - machines > float(rules.load):
        return f"its load is above {rules.load}", None
    if rules.users and len(set(_logged_in(root)) - {os.getuid()}) > int(rules.users):
        return "somebody is logged in" if rules.users == "0" else f"more than {rules.users} users are logged in", None
    return "", None


def _load(root: str) -> float:
    """Return the load average of the last minute; 0 where it is not to be had."""
    with suppress(OSError, ValueError, IndexError), open(f"{root}/proc/loadavg") as file:
        return float(file.read().split()[0])
    return 0.0


def _logged_in(root: str) -> Iterator[int]:
    """Yield the users that systemd-logind knows of; programs that it starts for itself are none."""
    directory = f"{root}/run/systemd/sessions"
    try:
        names = os.listdir(directory)
    except OSError:  # a host without systemd lists no users
        return
    for name in names:
        if name.endswith(_FIFO):
            continue
        with suppress(OSError, ValueError, KeyError), open(f"{directory}/{name}", errors="replace") as file:
            fields = dict(line.rstrip("\n").split("=", 1) for line in file if "=" in line)
            if fields["CLASS"] in _PEOPLE and fields.get("STATE") != "closing":
                yield int(fields["UID"])
