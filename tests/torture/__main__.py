"""``make torture``: lose each process of a run in each phase in each way, and see that nothing is left behind."""

from __future__ import annotations

import argparse
import random
import shlex
import sys
from itertools import islice

from tests.torture.arena import GONE_LIMIT_S, Verdict, arena
from tests.torture.deck import Trial, draws, table
from tests.torture.kinds import KINDS
from vmtasks.errors import VmtasksError
from vmtasks.process.signals import interrupt_on_signals


def main() -> int:
    """Hold the trials that the command line asks for, and return the exit status: 1 if anything was left."""
    options = _options()
    kind = KINDS[options.kind]
    wanted = {name: getattr(options, name) for name in ("phase", "process", "way") if getattr(options, name)}
    seed = random.randrange(10**6) if options.seed is None else options.seed  # noqa: S311 - it is for all to know
    first, last = (options.only - 1, options.only) if options.only else (0, options.trials)
    try:
        trials = list(islice(draws(kind, seed, **wanted), first, last))
    except ValueError as problem:
        sys.exit(str(problem))
    _say(f"seed {seed}: the same seed makes the same draws")
    again = f"--kind {options.kind} " + shlex.join(word for name, is_ in wanted.items() for word in (f"--{name}", is_))
    tried: list[tuple[Trial, bool]] = []
    bad = 0
    try:
        with interrupt_on_signals(), arena(kind, allowance_s=options.allowance_s) as place:
            for trial in trials:
                verdict = place.hold(trial)
                left = verdict.left
                if trial.number % options.next_every == 0 or trial is trials[-1]:
                    left += tuple(filter(None, [place.try_normally()]))
                if not verdict.missed:
                    tried.append((trial, not left))
                bad += bool(left)
                _say(_line(trial, verdict, left))
                if left:
                    _say(f"      repeat: python -m tests.torture --seed {seed} --only {trial.number} {again}")
    except VmtasksError as problem:
        _say(f"\n{problem!s}")
        return problem.outcome.exit_code
    finally:
        _say(f"\n{table(kind, tried)}")
        _say(f"\n{len(tried)} strikes; {bad} left something after {GONE_LIMIT_S + options.allowance_s:g} s")
    return int(bool(bad))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument(
        "--kind", choices=KINDS, default="inv", help="what is struck: make and inv, with a machine or a group; or runvm"
    )
    parser.add_argument("--trials", type=int, default=200, metavar="N", help="how many (200)")
    parser.add_argument("--seed", type=int, help="what decides the draws; by default another one each time")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="hold the trial of that number alone")
    for name in ("phase", "process", "way"):
        parser.add_argument(f"--{name}", default="", help="draw from the trials with this one only")
    parser.add_argument(
        "--next-every", type=int, default=5, metavar="N", help="after how many trials a normal run has to work (5)"
    )
    parser.add_argument(
        "--allowance-s",
        type=float,
        default=0.0,
        help=f"how much longer than {GONE_LIMIT_S:g} s a slow host may take (0)",
    )
    return parser.parse_args()


def _line(trial: Trial, verdict: Verdict, left: tuple[str, ...]) -> str:
    outcome = f"LEFT: {', '.join(left)}" if left else verdict.missed or f"gone in {verdict.took_s:.1f} s"
    wires = "terminal" if trial.on_terminal else "pipes"
    return f"{trial.number:>4}  {trial.phase.name:<12}  {trial.strike:<15}  {wires:<8}  {outcome}"


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
