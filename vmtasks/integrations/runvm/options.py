"""The command line, in the grammar of Getopt::Long, which callers have relied on since 2009.

Long options have one dash or two, may be cut short as long as they stay unique, take their value after ``=`` or as the
next word, and may stand behind the image as well. ``--`` ends them.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from vmtasks.errors import UsageError

USAGE = "Usage: runvm <options> image.qcow2 [command ...]"
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
_LAST_PORT = 65535
_NEW = ("port_timeout", "command_timeout", "stdin", "terminal", "exit_codes")
"""Options that older callers cannot mean: they make no abbreviation of an older option ambiguous."""


def _says(text: str, *, value: str = "", short: str = "") -> dict[str, str]:
    """Return what is to be known of an option; one without a *value* is a flag."""
    return {"help": text, "value": value, "short": short}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options that a caller may give; the help is made of them."""

    # fmt: off
    port: int = field(default=2222, metadata=_says(
        "Port of this host that leads to the guest's sshd; 0 picks a free one. Each needs its own. Default 2222.",
        value="N", short="p"))
    user: str = field(default="", metadata=_says(
        "Account in the guest. Your own name by default; root in an image of vmtasks.", value="USER", short="u"))
    memory: int = field(default=2047, metadata=_says(
        "Memory of the guest in MiB. Default 2047.", value="N", short="m"))
    smp: int = field(default=2, metadata=_says("Processors of the guest. Default 2.", value="N"))
    cpu: str = field(default="", metadata=_says(
        "Processor to emulate, as QEMU calls it: qemu64, host, qemu64,+sse4.2. The default is qemu32,-nx; in an "
        "image of vmtasks, all that the host has.", value="NAME", short="c"))
    netdev: str = field(default="virtio", metadata=_says(
        "Network card to emulate, like e1000. Default virtio.", value="NAME"))
    kvm: tuple[str, ...] = field(default=(), metadata=_says(
        "One more argument for QEMU; may be given often: --kvm=-cdrom --kvm=my.iso", value="OPT"))
    initial_sleep: float = field(default=0.0, metadata=_says(
        "Do not look for the guest's sshd before. Default 0: look at once.", value="SECS"))
    startup_timeout: float = field(default=300.0, metadata=_says(
        "How long one boot may take until ssh answers. Default 300.", value="SECS"))
    shutdown_timeout: float = field(default=120.0, metadata=_says(
        "How long the guest may take to shut itself down before it is ended. Default 120.", value="SECS"))
    kvm_retries: int = field(default=3, metadata=_says(
        "How often to try to boot, in all. Default 3.", value="N"))
    logfile: str = field(default="", metadata=_says(
        "File for the serial console and QEMU's messages, all attempts one after the other. Default none.",
        value="FILE", short="l"))
    base_image: str = field(default="", metadata=_says(
        "Make the image anew, as a copy-on-write layer over IMG, which stays as it is. An existing file of the image's "
        "name is REPLACED.", value="IMG", short="b"))
    work_image: str = field(default="", metadata=_says(
        "Where an image with --base-image is while the machine runs, on a faster disk, say; it comes to its place at "
        "the end. Without --base-image, nothing is meant by it.", value="FILE"))
    windows: bool = field(default=False, metadata=_says(
        "The guest is Windows: it is shut down by its power button."))
    port_timeout: float = field(default=120.0, metadata=_says(
        "How long to wait where somebody else has the port. Default 120.", value="SECS"))
    command_timeout: float = field(default=0.0, metadata=_says(
        "Limit of each command. Default 0, which is none.", value="SECS"))
    stdin: bool = field(default=False, metadata=_says(
        "Guest commands read runvm's standard input, whatever it is."))
    terminal: bool = field(default=False, metadata=_says(
        "Guest commands have a terminal, $TERM, whatever runvm has: for sudo with requiretty. Standard output and "
        "error are one then, and a command that reads waits for ever."))
    exit_codes: str = field(default="classic", metadata=_says(
        "classic: the status of the first command that failed, and 1 for all else. typed: those of vmtasks, see below.",
        value="HOW"))
    help: bool = field(default=False, metadata=_says("This text.", short="h"))
    # fmt: on


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of runvm."""

    options: Options
    image: Path
    commands: tuple[str, ...]


def parse(words: Sequence[str]) -> Call | None:
    """Read a command line; None if it asks for help.

    :raise UsageError: it cannot be read, or names no image.
    """
    values, rest = _parted(words)
    options = Options(**values)
    if options.help:
        return None
    if options.port > _LAST_PORT:
        raise UsageError(f"--port must be {_LAST_PORT} at most, and not {options.port}")
    if options.exit_codes not in ("classic", "typed"):
        raise UsageError(f"--exit-codes must be classic or typed, and not '{options.exit_codes}'")
    if not rest:
        raise UsageError("no image is given")
    image, *commands = rest
    return Call(options=options, image=Path(image), commands=tuple(commands))


def _parted(words: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the options by name, and the other words."""
    values: dict[str, Any] = {}
    rest: list[str] = []
    left = iter(words)
    for word in left:
        if word == "--":
            return values, [*rest, *left]
        if not word.startswith("-") or word == "-":
            rest.append(word)
            continue
        name, has_value, value = word.lstrip("-").partition("=")
        option = _named(name, word)
        if not option.metadata["value"]:
            if has_value:
                raise UsageError(f"option {_dashed(option)} takes no value")
            values[option.name] = True
            continue
        if not has_value:
            value = next(left, "")
            if not value:
                raise UsageError(f"option {_dashed(option)} needs a value")
        read = _read(option, value)
        values[option.name] = (*values.get(option.name, ()), read) if option.type.startswith("tuple") else read
    return values, rest


def _named(name: str, word: str) -> Field[Any]:
    """Return the option of that name, or of which that is the one possible beginning."""
    wish = name.lower().replace("_", "-")
    exact = [one for one in fields(Options) if wish and wish in (one.metadata["short"], _plain(one))]
    begun = [one for one in fields(Options) if wish and _plain(one).startswith(wish)]
    found = exact or [one for one in begun if one.name not in _NEW] or begun
    if not found:
        raise UsageError(f"there is no option {word.partition('=')[0]}", hint="runvm --help shows them all")
    if len(found) > 1:
        raise UsageError(f"option {word.partition('=')[0]} could be {' or '.join(map(_dashed, found))}")
    return found[0]


def _read(option: Field[Any], value: str) -> int | float | str:
    if option.type not in ("int", "float"):
        return value
    if not _NUMBER.fullmatch(value) or (option.type == "int" and "." in value):
        raise UsageError(f"option {_dashed(option)} needs a number, and not '{value}'")
    return int(value) if option.type == "int" else float(value)


def _plain(option: Field[Any]) -> str:
    return option.name.replace("_", "-")


def _dashed(option: Field[Any]) -> str:
    return f"--{_plain(option)}"


def described() -> Iterator[str]:
    """Yield the lines of the help that tell of the options."""
    for one in fields(Options):
        short = f"-{one.metadata['short']}, " if one.metadata["short"] else ""
        value = f"={one.metadata['value']}" if one.metadata["value"] else ""
        yield f"  {short}{_dashed(one)}{value}"
        yield from textwrap.wrap(one.metadata["help"], 96, initial_indent=" " * 8, subsequent_indent=" " * 8)
