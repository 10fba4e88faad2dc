"""Write the manual pages of the programs, from what these and the reference say.

debian/rules calls it with the installed package on Python's path: what that says is for its users.
"""  # noqa: INP001 - a program, and not part of a package

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from vmtasks import __version__
from vmtasks.cli.overview import EXAMPLES
from vmtasks.cli.program import program
from vmtasks.cli.task_help import with_value
from vmtasks.config.here import beside
from vmtasks.run.options import RecipeOptions

PURPOSES = {
    "vmtasks": "build, package and test a project in clean virtual machines",
    "runvm": "boot a virtual machine image and run commands in it",
    "autopkgtest-virt-vmtasks": "autopkgtest virtualization server with machines of vmtasks",
}
"""The programs, and what the index of manual pages says of them."""
_SEE_ALSO = {
    "vmtasks": ("runvm", "autopkgtest-virt-vmtasks", "autopkgtest", "qemu-system-x86_64"),
    "runvm": ("vmtasks", "qemu-system-x86_64", "ssh"),
    "autopkgtest-virt-vmtasks": ("vmtasks", "autopkgtest", "sbuild"),
}
_ABOUT = """\
A task is done in clean virtual machines: each is a fresh copy of an image, and gone when the task ends. Standard output
has only the paths of what came out; everything else goes to standard error. `vmtasks help PAGE` prints a page of the
documents: reference, vmtasks.toml, recipes and others. The recipes and images of the working directory go before those
that come with vmtasks."""
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_ENTRY = re.compile(r"(\S.*?) {2,}(\S.*)|(-\S.*)")
_EXAMPLES = "EXAMPLES"
_LONGEST_TITLE = 50
"""A longer line is the beginning of a paragraph."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A word of a list, and what is said of it."""

    tag: str
    text: str


def escaped(text: str) -> str:
    """Return text as roff has it: dashes that can be copied, and no line that passes for a request."""
    plain = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^(?=[.'])", r"\\&", plain, flags=re.MULTILINE)


def heading(name: str) -> Iterator[str]:
    """Yield the beginning of a page; its date is that of the source, so that two builds are the same."""
    date = time.strftime("%Y-%m-%d", time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", "0"))))
    yield f'.TH "{escaped(name.upper())}" 1 "{date}" "vmtasks {__version__}" "User Commands"'
    yield ".SH NAME"
    yield f"{escaped(name)} \\- {PURPOSES[name]}"


def ending(name: str) -> Iterator[str]:
    """Yield the end of a page."""
    yield ".SH SEE ALSO"
    yield ",\n".join(f".BR {escaped(other)} (1)" for other in _SEE_ALSO[name]).replace("(1),", "(1),")


def listed(entries: Iterable[Entry]) -> Iterator[str]:
    """Yield a list."""
    for entry in entries:
        yield ".TP"
        yield f".B {escaped(entry.tag)}"
        yield escaped(entry.text)


def table(page: str, title: str) -> Iterator[Entry]:
    """Yield the first and the last column of the table in a section of a document."""
    section = page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    for row in rows[2:]:
        first, *_, last = (cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip("|")))
        yield Entry(tag=_plain(first), text=_plain(last))


def _plain(text: str) -> str:
    """Return the text of a document without its marks, for users without a checkout."""
    text = _LINK.sub(r"\1", text).replace("\\|", "|").replace("`", "")
    return re.sub(r"\binv (?=[a-z])", "vmtasks ", text)


def tasks_page() -> Iterator[str]:
    """Yield the page of vmtasks: each task with its options."""
    name = "vmtasks"
    yield from heading(name)
    yield ".SH SYNOPSIS"
    yield ".B vmtasks\n.I TASK\n[\\-\\-\\fIoption\\fR \\fIVALUE\\fR ...] ..."
    yield ".br\n.B vmtasks help\n.IR TASK | PAGE"
    yield ".SH DESCRIPTION"
    yield escaped(_ABOUT)
    namespace = program().namespace
    contexts = {context.name: context for context in namespace.to_contexts()}
    common = {flag.name.replace("_", "-") for flag in fields(RecipeOptions)}
    recipes: set[str] = set()
    for group, lines in EXAMPLES.items():
        yield f".SH {escaped(group.upper())}"
        for line in lines:
            task = line.partition(" ")[0]
            real = next(one for one in contexts.values() if task in (one.name, *one.aliases))
            paragraphs = (namespace[task].__doc__ or "").strip().split("\n\n")
            yield from listed([Entry(tag=f"vmtasks {line}", text=textwrap.dedent(paragraphs[0]))])
            for paragraph in paragraphs[1:]:
                yield f".IP\n{escaped(textwrap.dedent(paragraph))}"
            is_recipe = common <= {option for argument in real.args.values() for option in argument.names}
            recipes |= {task} if is_recipe else set()
            yield ".RS"
            yield from listed(
                Entry(tag=with_value(tag), text=text)
                for tag, text in real.help_tuples()
                if not (is_recipe and re.split(r"[^a-z-]", tag.removeprefix("--"))[0] in common)
            )
            yield ".RE"
    yield ".SH OPTIONS OF EVERY RECIPE"
    yield escaped(f"These are options of {', '.join(sorted(recipes))}, and of recipes of your own.")
    yield from listed(
        Entry(tag=f"--{flag.name.replace('_', '-')}", text=str(flag.metadata["help"])) for flag in fields(RecipeOptions)
    )
    reference = (beside("docs") / "reference.md").read_text(encoding="utf-8")
    yield ".SH EXIT STATUS"
    yield from listed(table(reference, "Exit values"))
    yield ".SH ENVIRONMENT"
    yield from listed(table(reference, "Environment"))
    yield from ending(name)


def help_page(name: str, text: str) -> Iterator[str]:
    """Yield the page of a program that says all in its help.

    A line at the margin with indented lines behind it is the heading of a list; other lines there are paragraphs.
    """
    yield from heading(name)
    usage, *blocks = re.split(r"\n\s*\n", text.strip("\n"))
    synopsis, _, more = usage.partition(": ")[2].partition("\n")
    yield f".SH SYNOPSIS\n{escaped(synopsis)}\n.SH DESCRIPTION"
    for block in ["\n".join(more), *blocks]:
        at_margin = [line for line in block.splitlines() if not line.startswith(" ")]
        indented = textwrap.dedent("\n".join(line for line in block.splitlines() if line.startswith(" ")))
        is_headed = indented and len(at_margin) == 1 and len(at_margin[0]) <= _LONGEST_TITLE
        title = at_margin[0].rstrip(":").upper() if is_headed else ""
        if title:
            yield f".SH {escaped(title)}"
        elif at_margin:
            yield ".PP\n" + escaped("\n".join(at_margin))
        if title == _EXAMPLES:
            yield f".nf\n{escaped(indented)}\n.fi"
        elif indented:
            yield from _items(indented.splitlines())
    yield from ending(name)


def _items(lines: Iterable[str]) -> Iterator[str]:
    """Yield what is indented alike in a help: words and what is said of them, or items with a dash."""
    for line in lines:
        if line.startswith("- "):
            yield f".IP \\(bu 2\n{escaped(line[2:])}"
        elif not line.startswith(" ") and (entry := _ENTRY.fullmatch(line)):
            tag, text = (entry[1], entry[2]) if entry[1] else (entry[3], "")
            yield f".TP\n.B {escaped(tag)}" + (f"\n{escaped(text)}" if text else "")
        else:
            yield escaped(line.strip())


def main(directory: Path) -> None:
    """Write all pages into a directory."""
    pages = {"vmtasks": tasks_page()}
    for name, module in (
        ("runvm", "vmtasks.integrations.runvm.main"),
        ("autopkgtest-virt-vmtasks", "vmtasks.frameworks.autopkgtest.program"),
    ):
        call = [sys.executable, "-c", f"from {module} import main; main()", "--help"]
        environ = {**os.environ, "COLUMNS": "999"}  # the program that shows a page breaks its lines
        text = subprocess.run(call, env=environ, capture_output=True, text=True, check=True).stdout
        pages[name] = help_page(name, text)
    directory.mkdir(parents=True, exist_ok=True)
    for name, lines in pages.items():
        (directory / f"{name}.1").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
