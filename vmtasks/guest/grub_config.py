"""What a configuration of GRUB 2 says, and what is written into one: pure functions.

Source: GRUB's manual, "The menu configuration file" and "Simple configuration handling". An entry is named by its id,
with those of the submenus that it is in before it (``SUBMENU>ENTRY``), and by its title where it has none.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

_MENU = re.compile(r"^\s*+(menuentry|submenu)\s++(.+)\{\s*+$")
_LINUX = re.compile(r"^(\s*linux(?:16|efi)?\s+)(\S+)(.*)$")
_INITRD = re.compile(r"^(\s*initrd(?:16|efi)?\s+)(\S(?:.*\S)?)\s*$")
_ECHO = re.compile(r"^\s*echo\s")
_DEFAULT = re.compile(r'^[ \t]*+set[ \t]++default="?+([^"\n]*+)"?[ \t\r]*+$', re.MULTILINE)
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~:-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class BootEntry:
    """One entry of a boot loader's menu."""

    id: str
    """What it is called by."""
    title: str
    kernel: str
    """The kernel's path, as the boot loader has it."""
    initrd: str = ""
    """The initrd's path, or several with blanks between them; empty if there is none."""
    args: tuple[str, ...] = ()
    """The kernel's arguments."""
    place: str = field(default="", repr=False)
    """Where it stands, counted from 0 among all of its menu, with the places of its submenus before it."""
    body: tuple[str, ...] = field(default=(), repr=False)
    """Its lines."""


@dataclass(slots=True, kw_only=True)
class _Menu:
    """An entry, a submenu or the whole menu, while it is being read."""

    id: str = ""
    title: str = ""
    place: str = ""
    is_entry: bool = False
    lines: list[str] = field(default_factory=list)
    blocks: int = 0
    """How many blocks within it are open."""
    children: int = 0


def entries_of(config: str) -> tuple[BootEntry, ...]:
    """Return the entries of a grub.cfg that boot a Linux kernel, in their order, those of submenus included."""
    return tuple(entry for entry in _entries(config) if entry.kernel)


def _entries(config: str) -> Iterator[BootEntry]:
    menus = [_Menu()]
    for line in config.splitlines():
        inmost = menus[-1]
        if match := _MENU.match(line):
            menus.append(_menu(match[2].rstrip(), is_entry=match[1] == "menuentry", above=inmost))
        elif line.strip() == "}" and not inmost.blocks and len(menus) > 1:
            menus.pop()
            if inmost.is_entry:
                yield _entry(inmost)
        else:
            inmost.blocks += line.rstrip().endswith("{") - (line.strip() == "}")
            inmost.lines.append(line)


def _menu(header: str, *, is_entry: bool, above: _Menu) -> _Menu:
    words = _words(header) or [""]
    ids = [after for word, after in pairwise(words) if word in ("--id", "$menuentry_id_option")]
    name, place = ids[0] if ids else words[0], str(above.children)
    above.children += 1
    return _Menu(
        id=f"{above.id}>{name}" if above.id else name,
        title=words[0],
        place=f"{above.place}>{place}" if above.place else place,
        is_entry=is_entry,
    )


def _entry(menu: _Menu) -> BootEntry:
    entry = BootEntry(id=menu.id, title=menu.title, kernel="", place=menu.place, body=tuple(menu.lines))
    for line in menu.lines:
        if match := _LINUX.match(line):
            entry = replace(entry, kernel=match[2], args=tuple(_words(match[3])))
        elif match := _INITRD.match(line):
            entry = replace(entry, initrd=match[2])
    return entry


def _words(text: str) -> list[str]:
    """Return the words of a line; one with an odd quote, which GRUB would not take, has those between its blanks."""
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def default_of(config: str, environment: str) -> str:
    """Return what is booted by default: an entry's id or title, or where those are not said its place, like ``1>2``.

    :param environment: what grub-editenv lists.
    """
    saved = dict(line.split("=", 1) for line in environment.splitlines() if "=" in line)
    defaults = [value for found in _DEFAULT.findall(config) if (value := found.strip()) != "${next_entry}"]
    value = defaults[-1] if defaults else "0"
    return saved.get("saved_entry", "0") if value == "${saved_entry}" else value


def find(entries: Sequence[BootEntry], wanted: str) -> BootEntry | None:
    """Return the entry that an id, a title or a place stands for; None if it is none of these."""
    for entry in entries:
        if wanted in (entry.id, entry.title, entry.place) or entry.id.endswith(f">{wanted}"):
            return entry
    return None


def is_id(text: str) -> bool:
    """Tell whether an entry of ours can have this id: no word of it means anything to GRUB or to a shell."""
    return _ID.fullmatch(text) is not None


def entry_like(model: BootEntry, wanted: BootEntry) -> BootEntry:
    """Return *wanted* with the lines of *model*, but its own kernel, initrd and arguments.

    What the model does to find its disk is kept.
    """
    lines = []
    for line in model.body:
        if match := _LINUX.match(line):
            lines.append(f"{match[1]}{shlex.join((wanted.kernel, *wanted.args))}")
            if wanted.initrd:
                lines.append(f"\tinitrd\t{wanted.initrd}")
        elif not (_INITRD.match(line) or _ECHO.match(line)):
            lines.append(line)
    return replace(wanted, body=tuple(lines))


def text_of(entry: BootEntry) -> str:
    """Return an entry as it stands in a configuration; GRUB's scripts quote words as a shell does."""
    return (
        f"menuentry {shlex.quote(entry.title)} --id {entry.id} {{\n"
        + "".join(f"{line}\n" for line in entry.body)
        + "}\n"
    )


def with_args(value: str, add: Sequence[str], remove: Sequence[str]) -> str:
    """Return the value of GRUB_CMDLINE_LINUX with arguments added at its end, each once, and others removed."""
    words = [word for word in value.split() if word not in (*add, *remove)]
    return " ".join([*words, *add])
