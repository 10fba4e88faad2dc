"""Profiling a machine: what it takes of its host while a block runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vmtasks import events
from vmtasks.errors import GuestLost, InfrastructureError, Interrupted, TestFailed, TimedOut
from vmtasks.profile.profile import Profile
from vmtasks.profile.sample_log import SampleLog
from vmtasks.profile.table import NOT_SUPPORTED, gist
from vmtasks.profile.traffic import COMMAND, REBOOTED, NetworkTraffic, between, parse_traffic

if TYPE_CHECKING:
    from vmtasks.ssh.session import Session

Sampling = Callable[[Profile, SampleLog, float], AbstractContextManager[None]]
"""Returns a block in which samples go to a log, every so many seconds, and at whose end the profile has ended."""
_NO_QEMU = "this process runs no QEMU for it, whose threads and counters could be read"
_ANSWER_LIMIT_S = 10.0
"""How long a guest may take to say what its network cards have done."""
_NOT_ASKED = "the block ended in a way after which the guest is not asked"


@contextmanager
def profiled(session: Session, sampling: Sampling | None, stem: Path | None, interval_s: float) -> Iterator[Profile]:
    """Profile a machine while the block runs; see :meth:`vmtasks.guest.guest.Guest.profiled`.

    :param session: the connection to its guest.
    :param sampling: takes the samples; None: nobody can.
    :param stem: the path of the profile's files, without their endings; None: there are to be none.
    """
    if sampling is None:
        profile = Profile(session.machine, SampleLog(None), _NO_QEMU)
        _tell(profile)
        yield profile
        return
    log = SampleLog(stem and stem.with_name(f"{stem.name}.jsonl"))
    profile = Profile(session.machine, log)
    before = _traffic(session)
    after: NetworkTraffic | str = _NOT_ASKED
    try:
        with log.opened(), sampling(profile, log, interval_s):
            yield profile
        after = _traffic(session)
    except TestFailed as problem:
        if not isinstance(problem, GuestLost):
            after = _traffic_after_failure(session)
        raise
    finally:
        profile.add_traffic(*_difference(before, after))
        unwritten = profile.write(stem) if stem else ""
        _tell(profile, unwritten)


def _traffic(session: Session) -> NetworkTraffic | str:
    """Return what the guest says of its network cards, or why it does not: it may say what it likes."""
    try:
        return parse_traffic(session.query(COMMAND, timeout_s=_ANSWER_LIMIT_S))
    except (InfrastructureError, TestFailed, TimedOut) as problem:  # a call that needs the guest hears of it, too
        return str(problem)
    except ValueError as problem:
        return f"the guest's answer is of no use: {problem}"


def _traffic_after_failure(session: Session) -> NetworkTraffic | str:
    """Return the same, also where a group has ended meanwhile: what has failed counts, and not that.

    :raise Interrupted: somebody asks us to stop.
    """
    try:
        return _traffic(session)
    except Interrupted:
        try:
            session.check()
        except Interrupted as end:
            return str(end)
        raise


def _difference(
    before: NetworkTraffic | str, after: NetworkTraffic | str
) -> tuple[dict[str, dict[str, int]] | None, str]:
    if isinstance(before, str):
        return None, before
    if isinstance(after, str):
        return None, after
    found = between(before, after)
    return found, "" if found is not None else REBOOTED


def _tell(profile: Profile, unwritten: str = "") -> None:
    """Tell what a profile came to, in one sentence for people and in full for programs.

    :param unwritten: why a file of it could not be written.
    """
    usage = profile.usage
    if usage is None:
        text = f"cannot profile {profile.machine}: {NOT_SUPPORTED}: {profile.reason}"
        events.emit(events.Note(machine=profile.machine, text=text, level="warning"))
        not_supported = {"profile": profile.reason}
        events.emit(events.Profiled(machine=profile.machine, not_supported=not_supported, files=profile.files))
        return
    events.emit(events.Profiled(machine=profile.machine, files=profile.files, **usage.as_fields()))
    where = "".join(f"; all of it is in {path.name}" for path in profile.files if path.suffix == ".txt")
    events.emit(events.Note(machine=profile.machine, text=f"profile: {gist(usage)}{where}"))
    if unwritten:
        events.emit(events.Note(machine=profile.machine, text=unwritten, level="warning"))
