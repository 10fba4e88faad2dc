"""What is drawn: a phase, a process, and a way to lose it; and the table of what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count, cycle
from random import Random

SIGNALS = ("INT", "TERM", "HUP", "QUIT", "KILL")


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A part of a run."""

    name: str
    """As the run's events call it."""
    usual_s: float
    """How long it takes without KVM, or how much of it is worth a strike: the moment is drawn from this."""
    inside: tuple[str, ...]
    """The processes that there are in it, below those who called."""
    goes_on: bool = False
    """Whether a run that loses its machine here may rightly go on with another one."""
    sign: str = ""
    """What a run prints when it comes to it, if it does not write the name down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of run."""

    callers: tuple[str, ...]
    """The names of the processes below the shell, each of which calls the next one."""
    line: Callable[[str], str]
    """Returns the shell's line for a run that goes as far as a phase and stays there."""
    phases: tuple[Phase, ...]
    machines: int = 1
    """How many it has at once."""

    def cards(self) -> Iterator[tuple[Phase, str, str]]:
        """Yield all that can be drawn: a phase, who is struck in it, and how.

        INT, HUP and QUIT reach the shell and make together with all of their process group, the ``job``, as a terminal
        sends them; make that gets one alone waits for its child. ``tool`` is what the last caller has called
        without a supervisor, like ssh: that it is lost is all that matters there. A ``switch`` hears no other signal.
        """
        *others, last = ("shell", *self.callers)
        ways = {"job": SIGNALS, **dict.fromkeys(others, ("TERM", "KILL")), last: SIGNALS}
        ways |= {"supervisor": SIGNALS, "qemu": SIGNALS, "switch": ("KILL",), "tool": ("KILL",)}
        ways |= dict.fromkeys(("terminal", "stdout", "stderr"), ("closed",))
        for phase in self.phases:
            absent = {"supervisor", "qemu", "switch", "tool"}.difference(phase.inside)
            absent |= {"stdout", "stderr"} if phase.name == "shell" else set()  # it is only there on a terminal
            yield from ((phase, process, way) for process in ways if process not in absent for way in ways[process])


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One draw."""

    number: int
    phase: Phase
    process: str
    way: str
    on_terminal: bool
    """Whether the run has a terminal; if not, pipes."""
    moment: float
    """When to strike, as a share of the phase."""

    @property
    def strike(self) -> str:
        """Who is struck, and how."""
        return f"{self.process} {self.way}"


def draws(kind: Kind, seed: int, *, phase: str = "", process: str = "", way: str = "") -> Iterator[Trial]:
    """Yield trials without end: all that there are in random order, then again; the same ones for the same seed.

    :param phase: the only phase to draw, likewise *process* and *way*.
    :raise ValueError: there is nothing like that.
    """
    random = Random(seed)  # noqa: S311 - it is to come again
    wanted = (phase, process, way)
    deck = [card for card in kind.cards() if all(w in ("", is_) for w, is_ in zip(wanted, _words(card), strict=True))]
    if not deck:
        raise ValueError(f"cannot draw {' '.join(filter(None, wanted))}: there is nothing like that")
    random.shuffle(deck)
    for number, (where, who, how) in zip(count(1), cycle(deck), strict=False):
        on_terminal = random.choice([True, False, False])
        yield Trial(
            number=number,
            phase=where,
            process=who,
            way=how,
            on_terminal=who == "terminal" or where.name == "shell" or (on_terminal and how != "closed"),
            moment=random.random(),
        )


def _words(card: tuple[Phase, str, str]) -> tuple[str, str, str]:
    phase, process, way = card
    return phase.name, process, way


def table(kind: Kind, tried: Iterable[tuple[Trial, bool]]) -> str:
    """Return a row for each strike and a column for each phase: how often it was tried, "1 of 3" if one left something.

    :param tried: trials, and whether all was gone in time.
    """
    cells: dict[tuple[str, str], list[bool]] = {}
    for trial, gone in tried:
        cells.setdefault((trial.strike, trial.phase.name), []).append(gone)
    phases = [phase.name for phase in kind.phases]
    strikes = dict.fromkeys(f"{process} {way}" for _, process, way in kind.cards())
    rows = [("", *phases), *((strike, *(_cell(cells, strike, name) for name in phases)) for strike in strikes)]
    rows = [row for row in rows if not row[0] or any(row[1:])]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _cell(cells: Mapping[tuple[str, str], list[bool]], strike: str, phase: str) -> str:
    gone = cells.get((strike, phase), [])
    left = gone.count(False)
    return f"{left} of {len(gone)}" if left else f"{len(gone) or ''}"
