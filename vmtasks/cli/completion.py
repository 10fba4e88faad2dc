"""What a shell is told when it completes a word that is a value: names of images, hosts, machines and pages.

Tasks and options Invoke completes itself. Of a list of names (``--image bookworm,trixie``), the last one is completed.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from invoke.collection import Collection

from vmtasks.cli.task_help import VALUES
from vmtasks.config.here import pages


def values_for(line: str, tasks: Collection) -> list[str] | None:
    """Return what the last word of a command line can be; None where it is no value that is known.

    Invoke's script for bash loses an empty last word. Then what the word before it could be is among the values; bash
    itself leaves out those that do not begin as what is there.

    :param line: the command line as the shell hands it on, with the program's name, up to the cursor.
    """
    first_word: dict[str, Callable[[], list[str]]] = {**_FIRST_WORD, "help": lambda: [*pages(), *tasks.task_names]}
    match _words(line):
        case [*_, option, value] if names := _OPTIONS.get(option):
            return _lists(names(), value)
        case [*_, word] if names := _OPTIONS.get(word.partition("=")[0]):
            option, equals, value = word.partition("=")
            return [f"{option}{equals}{one}" for one in _lists(names(), value)] if equals else [option, *names()]
        case [task, *more] if task in first_word and not "".join(more).startswith("-") and len(more) <= 1:
            return [task, *first_word[task]()]
    return None


def _words(line: str) -> list[str]:
    """Return the words after the program's name, the one at the cursor too, with ``--image=NAME`` as bash parts it."""
    try:
        words = shlex.split(line)[1:]
    except ValueError:  # in the middle of a quoted word
        return []
    return [*(word for word in words if word != "="), *([""] if line[-1:].isspace() else [])]


def _lists(names: Iterable[str], value: str) -> list[str]:
    """Return the names as what they are in a list whose first ones are written already."""
    first, comma, _ = value.rpartition(",")
    return [f"{first}{comma}{name}" for name in names]


def _images() -> list[str]:
    from vmtasks.image.definition import names

    return [*names()]


def _places() -> list[str]:
    from vmtasks.config.settings import HostSettings

    return ["local", *HostSettings.load().hosts, "ec2"]


def _machines() -> list[str]:
    from vmtasks.named.registry import machines

    return [machine.name for machine in machines()]


def _choices(text: str) -> Callable[[], list[str]]:
    return lambda: text.split("|")


_OPTIONS: Mapping[str, Callable[[], list[str]]] = MappingProxyType(
    {f"--{name}": _choices(text) for name, text in VALUES.items() if "|" in text}
    | {"--image": _images, "--on": _places}
)
"""Option -> what returns its values."""
_FIRST_WORD: Mapping[str, Callable[[], list[str]]] = MappingProxyType(
    {"shell": _images} | dict.fromkeys(("exec", "put", "get", "ssh", "down", "ssh-config"), _machines)
)
"""Task -> what returns what its first word can be."""
