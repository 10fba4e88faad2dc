"""The options that every recipe has, and how they are read."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any, Literal, TypeVar

from vmtasks import events
from vmtasks.config.here import page
from vmtasks.errors import UsageError
from vmtasks.spec import Network

Word = TypeVar("Word", bound=str)
_DIGITS = 18
"""More of them no number of anything here has, and Python refuses to read thousands."""
_WHOLE = re.compile(rf"[+-]?[0-9]{{1,{_DIGITS}}}")
_DECIMAL = re.compile(rf"[+-]?(?=\.?[0-9])[0-9]{{0,{_DIGITS}}}(?:\.[0-9]{{0,{_DIGITS}}})?(?:[eE][+-]?[0-9]{{1,2}})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeOptions:
    """The options that every recipe has; a number that was not given is None."""

    on: str = field(
        default="",
        metadata={
            "help": f"where machines run: local, USER@HOST, ssh://HOST or ec2 ({page('providers')}); with several "
            "(local,alice@big), a run for each; with a choice ('alice@big|local'), on the first that has a slot"
        },
    )
    kernel: str = field(
        default="",
        metadata={
            "help": "boot each machine with another kernel: a Debian package's name, files, a directory, or an address"
        },
    )
    accel: str = field(default="", metadata={"help": "accelerator: auto (try, the default), kvm or tcg"})
    network: str = field(default="", metadata={"help": "what each machine reaches: user (all), restricted or none"})
    memory_mib: int | None = field(default=None, metadata={"help": "memory of each machine in MiB", "at_least": 64})
    cpus: int | None = field(default=None, metadata={"help": "processors of each machine", "at_least": 1})
    attempts: int | None = field(default=None, metadata={"help": "how often to try to boot", "at_least": 1})
    cold: bool = field(default=False, metadata={"help": "boot each machine from its disk, not from a template"})
    shell: bool = field(default=False, metadata={"help": "on failure, open a shell in the machine"})
    keep: bool = field(default=False, metadata={"help": "on failure, keep the machine: until Ctrl-C, or --keep-for-s"})
    keep_for_s: int | None = field(
        default=1800, metadata={"help": "how long --keep keeps a machine, in seconds", "at_least": 1}
    )
    keep_s: int | None = field(default=None, metadata={"help": "--keep-for-s, as it was called", "at_least": 1})
    profile: bool = field(
        default=False, metadata={"help": "count what each machine takes of its host: a table, a picture and samples"}
    )
    freeze: bool = field(
        default=False, metadata={"help": "on failure, freeze the machine as it is, for `reopen`; starts are slower"}
    )
    dry_run: bool = field(default=False, metadata={"help": "print QEMU's command line instead of running it"})

    @property
    def pair(self) -> tuple[str, ...]:
        """The two hosts of a run with ``--pairs``, the server's first; none without it."""
        return tuple(name.strip() for name in self.on.split(",")) if "," in self.on else ()

    @classmethod
    def taken_from(cls, options: dict[str, Any]) -> RecipeOptions:
        """Take the flags out of a command line's options.

        :raise UsageError: a number is none, or too small.
        """
        values = {flag.name: options.pop(flag.name) for flag in fields(cls)}
        numbers = {
            flag.name: number(flag.name, values[flag.name], at_least=flag.metadata["at_least"])
            for flag in fields(cls)
            if _is_number(flag)
        }
        chosen = cls(**{**values, **numbers})
        if chosen.keep_s is not None:
            events.renamed("--keep-s", "--keep-for-s")
            chosen = replace(chosen, keep_for_s=chosen.keep_s)
        return chosen


PAIRS = inspect.Parameter("pairs", inspect.Parameter.KEYWORD_ONLY, default=False)
"""The option of recipes whose machines are a server and a client."""
PAIRS_HELP = (
    "take the existing hosts of --on two by two, each two as the server and the client of a run: "
    "--on ssh://a,ssh://b,ssh://c,ssh://d is a run on a and b, and one on c and d"
)


def option(flag: Field[Any]) -> inspect.Parameter:
    """Return the option of a flag. Numbers are texts to Invoke, which has no sentence for one that is none."""
    default = str(flag.default or "") if _is_number(flag) else flag.default
    return inspect.Parameter(flag.name, inspect.Parameter.KEYWORD_ONLY, default=default)


def number(name: str, text: str, *, at_least: int) -> int | None:
    """Return the number that an option gives; None where it gives none.

    :raise UsageError: it is no number, or too small.
    """
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS and int(text) >= at_least):
        raise UsageError(f"--{name.replace('_', '-')} must be a number, {at_least} or more, and not '{text[:50]}'")
    return int(text)


def own_option(parameter: inspect.Parameter) -> inspect.Parameter:
    """Return an option of a recipe's own as Invoke is to see it: see :func:`option`."""
    return parameter.replace(default=str(parameter.default)) if _has_number(parameter) else parameter


def own_numbers(signature: inspect.Signature, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a recipe's own with the numbers that their texts are of; its default for an empty one.

    :param signature: the recipe's own.
    :raise UsageError: a number is none.
    """
    return {name: _own(signature.parameters.get(name), value) for name, value in options.items()}


def _own(parameter: inspect.Parameter | None, value: Any) -> Any:  # noqa: ANN401 - of any type, as options are
    if parameter is None or not _has_number(parameter):
        return value
    text = str(value).strip()
    kind = "a whole number" if isinstance(parameter.default, int) else "a number"
    fits = _WHOLE.fullmatch(text) if isinstance(parameter.default, int) else _DECIMAL.fullmatch(text)
    if text and not fits:
        raise UsageError(f"--{parameter.name.replace('_', '-')} must be {kind}, and not '{text[:50]}'")
    return type(parameter.default)(text) if text else parameter.default


def _has_number(parameter: inspect.Parameter) -> bool:
    return isinstance(parameter.default, int | float) and not isinstance(parameter.default, bool)


def accelerator(value: str) -> Literal["auto", "kvm", "tcg"] | None:
    """Return the accelerator that an option asks for; None where it does not.

    :raise UsageError: there is no such accelerator.
    """
    return _one_of(("auto", "kvm", "tcg"), value, "accelerator")


def network(value: str) -> Network | None:
    """Return the network that an option asks for; None where it does not.

    :raise UsageError: there is no such network.
    """
    return _one_of(("user", "restricted", "none"), value, "network")


def _one_of(known: tuple[Word, ...], value: str, kind: str) -> Word | None:
    for word in known:
        if word == value:
            return word
    if value:
        *others, last = (f"'{word}'" for word in known)
        raise UsageError(f"there is no {kind} '{value}'; known are {', '.join(others)} and {last}")
    return None


def _is_number(flag: Field[Any]) -> bool:
    return "at_least" in flag.metadata
