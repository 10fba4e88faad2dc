"""A matrix: one run for each combination of the images and the hosts that a command line names, with commas between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import Signature
from typing import Any

from vmtasks.errors import WORST_FIRST, Outcome, UsageError, VmtasksError
from vmtasks.run.options import PAIRS


@dataclass(frozen=True, slots=True, kw_only=True)
class Combination:
    """An image and a host, or a pair of them; each is None where the command line has one or none for all runs."""

    image: str | None = None
    on: str | None = None

    @property
    def name(self) -> str:
        """What it is called, also as a file."""
        from vmtasks.files.file_name import file_name  # a listing of the tasks does without

        hosts = None if self.on is None else "-and-".join(map(file_name, self.on.split(",")))
        return "-on-".join(one for one in (self.image and file_name(self.image), hosts) if one is not None)

    @property
    def own(self) -> dict[str, str]:
        """The options that are this run's alone."""
        return {name: value for name, value in (("image", self.image), ("on", self.on)) if value is not None}

    def over(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return a run's options: those of all, with its own, and with a directory of its own for artifacts."""
        return {**options, **self.own, **({"out": f"{options['out']}/{self.name}"} if options.get("out") else {})}

    def words(self, options: Mapping[str, Any], signature: Signature) -> list[str]:
        """Return the words that give a task the options of this run, as far as they are not its defaults."""
        words: list[str] = []
        for name, value in self.over(options).items():
            default = signature.parameters[name].default
            if name not in self.own and (value == default or (value == [] and not default)):
                continue
            flag = name.replace("_", "-")
            if isinstance(value, bool):
                words.append(f"--{flag}" if value else f"--no-{flag}")
            else:
                for one in value if isinstance(value, list) else [value]:
                    words += [f"--{flag}", str(one)]
        return words


def is_matrix(options: Mapping[str, object]) -> bool:
    """Tell whether options ask for more than one run.

    :raise UsageError: they ask for pairs of hosts, and name none.
    """
    if options.get(PAIRS.name):
        return _is_several(options.get("image")) or len(_places(options)) > 1
    return any(_is_several(options.get(name)) for name in ("image", "on"))


def combinations(options: Mapping[str, object]) -> tuple[Combination, ...]:
    """Return what options ask for, images first.

    :raise UsageError: a name is empty or there twice, or the options are for a single run.
    """
    for flag in ("shell", "keep"):
        if options.get(flag):
            raise UsageError(
                f"--{flag} is for one run, and --image and --on name several",
                hint="name one image and one host, as the `rerun:` line of the one that failed does",
            )
    found = tuple(
        Combination(image=image, on=on) for image in _names("image", options.get("image")) for on in _places(options)
    )
    names = [one.name for one in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"cannot tell two runs apart: the results of both would go to {twice}")
    return found


def verdict(outcomes: Mapping[str, Outcome]) -> VmtasksError | None:
    """Return what a matrix ends with: the worst that a run came to; None if all passed.

    :param outcomes: what became of each run, by the combination's name.
    """
    rest = {name: outcome for name, outcome in outcomes.items() if outcome is not Outcome.PASSED}
    for kind in WORST_FIRST:
        if kind.outcome in rest.values():
            shown = ", ".join(f"{name} ({outcome})" for name, outcome in rest.items())
            return kind(f"{len(rest)} of {len(outcomes)} runs did not pass: {shown}")
    return None


def _is_several(value: object) -> bool:
    return isinstance(value, str) and "," in value


def _places(options: Mapping[str, object]) -> Sequence[str | None]:
    """Return where the runs are: at each host, or at each pair of them."""
    from vmtasks.run.pairs import pairs_of  # a listing of the tasks does without

    on = options.get("on")
    if not options.get(PAIRS.name):
        return _names("on", on)
    hosts = [str(name) for name in _names("on", on)] if _is_several(on) else [on] if isinstance(on, str) and on else []
    found = pairs_of(hosts)
    return found if len(found) > 1 else [None]


def _names(option: str, value: object) -> Sequence[str | None]:
    if not isinstance(value, str) or not _is_several(value):
        return [None]
    names = [name.strip() for name in value.split(",")]
    if "" in names:
        raise UsageError(f"--{option} {value} has an empty name", hint="names are separated by one comma each")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"--{option} names {twice} twice")
    return names
