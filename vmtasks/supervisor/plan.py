"""What a supervisor is told to do: one line of JSON, whose keys are these fields, all of them.

The caller makes it (:mod:`vmtasks.machine.plan`); the two ends of a link to another host look into it; the supervisor
carries it out. Named tuples, because each machine's supervisor waits for this import: dataclasses take 8 ms more.
"""

from __future__ import annotations

import json
from typing import NamedTuple, get_args, get_origin, get_type_hints

from vmtasks.process.landlock import Reach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class PlanError(ValueError):
    """What was sent is no plan."""


class BlankFile(NamedTuple):
    """An empty sparse file to make."""

    path: str
    size_bytes: int


class FileCopy(NamedTuple):
    """A sparse file to make of another."""

    source: str
    target: str


class GuestNote(NamedTuple):
    """What to leave in a file for a machine that goes on from a saved state."""

    path: str
    offset: int
    text: str
    """Followed there by the time."""


class SlotRequest(NamedTuple):
    """What the machine claims of the host, and how much there is to share out."""

    machines: int
    memory_mib: int
    claim_mib: int
    purpose: str
    """What it is for, in the words that others read while they wait."""
    rules: tuple[str, ...] = ()
    """When the host takes machines: what :class:`vmtasks.host.availability.Rules` has."""
    directory: str | None = None
    """The queue's; None: the host's own."""


class Owner(NamedTuple):
    """Whose machine it is, as its lease tells."""

    name: str
    image: str
    user: str
    what: str
    """Its purpose; the name is that of the lease's key, which other versions on this host read."""
    caller_pid: int
    memory_mib: int


class Plan(NamedTuple):
    """One machine's life. All paths are of the host that runs it, but for the logs before a proxy has taken them."""

    directory: str
    """Made for the machine, and removed with it."""
    argv: tuple[str, ...]
    """QEMU's."""
    slot: SlotRequest
    owner: Owner
    qemu_log: str
    """Receives QEMU's own messages."""
    console: str | None
    """Receives the serial console; None: what it prints is told."""
    cwd: str | None = None
    """Where QEMU runs; None: in *directory*."""
    reach: Reach = Reach()
    """What QEMU reaches besides its program and what that needs."""
    prepare: tuple[tuple[str, ...], ...] = ()
    """Commands to run before it, which make the overlay: the last word of each is the file that it makes."""
    blank: tuple[BlankFile, ...] = ()
    copy: tuple[FileCopy, ...] = ()
    scratch: tuple[str, ...] = ()
    """Files that go at the end, unless the request to stop says ``keep`` or QEMU ended by itself, with status 0."""
    written_mib: int = 0
    """How much may be written into *directory*; 0: as much as there is."""
    lifetime_s: int = 0
    """How long it may live once its QEMU runs; 0: as long as its caller wants it."""
    load: str | None = None
    """The saved state to go on from; None: it boots."""
    note: GuestNote | None = None
    hold: tuple[str, ...] = ()
    """Lock files of what the machine stands on."""

    def to_json(self) -> str:
        """Return the line that :meth:`from_json` reads."""
        return json.dumps(_as_data(self))

    @classmethod
    def from_json(cls, line: str | bytes) -> Plan:
        """Return the plan that a line has.

        :raise PlanError: it has none: something is missing, of another type, or unknown.
        """
        try:
            data = json.loads(line)
        except (ValueError, RecursionError) as problem:
            raise PlanError("a plan must be JSON, and this is none") from problem
        plan: Plan = _read(cls, data, "the plan")
        return plan


def _as_data(value: object) -> object:
    """Return *value* as JSON has it: what has named fields becomes an object."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: _as_data(field) for name, field in value._asdict().items()}
    return [_as_data(one) for one in value] if isinstance(value, (tuple, list)) else value


def _read(kind: Any, value: Any, subject: str) -> Any:  # noqa: ANN401 - whatever the annotation says
    """Return *value* as the type that an annotation names.

    :raise PlanError: it is none.
    """
    if hasattr(kind, "_fields"):
        return _read_fields(kind, value, subject)
    if get_origin(kind) is tuple:  # of one type, and any length
        if not isinstance(value, list):
            raise PlanError(f"{subject} must be a list, not {_shown(value)}")
        return tuple(_read(get_args(kind)[0], one, f"{subject}[{number}]") for number, one in enumerate(value))
    if alternatives := get_args(kind):  # a type, or None
        return None if value is None else _read(alternatives[0], value, subject)
    if type(value) is not kind:  # a bool is no number here
        raise PlanError(f"{subject} must be {_KINDS[kind]}, not {_shown(value)}")
    return value


_KINDS = {str: "a text", int: "a whole number"}


def _read_fields(kind: Any, value: Any, subject: str) -> Any:  # noqa: ANN401
    if not isinstance(value, dict):
        raise PlanError(f"{subject} must be an object, not {_shown(value)}")
    hints = get_type_hints(kind)
    if unknown := sorted(value.keys() - hints.keys()):
        raise PlanError(f"{subject} has an unknown key {unknown[0]!r}")
    if missing := [name for name in hints if name not in value]:
        raise PlanError(f"{subject} lacks the key {missing[0]!r}")
    return kind(**{name: _read(hint, value[name], f"{subject}'s {name}") for name, hint in hints.items()})


def _shown(value: object) -> str:
    return json.dumps(value)[:60]
