"""What messages name to the user here: make, inv and docs/ in a checkout, `vmtasks` where pip or apt installed it."""

from __future__ import annotations

import sys
from pathlib import Path, PurePath

PACKAGE = Path(__file__).resolve().parents[1]
_OF_DEBIAN = Path("/usr/lib/python3/dist-packages")
"""Where Debian's packages have their modules, and nothing else does (Debian's Python policy, 3.1)."""
_EXTRAS = {"ec2": "python3-boto3"}
"""The Debian packages that an extra is."""


def beside(name: str) -> Path:
    """Return where *name* is that comes with vmtasks: at the top of a checkout, or inside the installed package."""
    installed = PACKAGE / f"_{name}"
    # Not the other way round: beside an installed package, a directory of that name is not ours.
    return installed if installed.is_dir() else PACKAGE.parent / name


def is_checkout() -> bool:
    """Whether this package is part of a checkout, with all that lies beside it there."""
    return not (PACKAGE / "_recipes").is_dir()


def task_line(line: str) -> str:
    """Return the command line that runs a task, as a message quotes it: ```inv images.list```."""
    return f"`{'inv' if is_checkout() and not _is_called_by_name() else 'vmtasks'} {line}`"


def setup_line(extra: str = "") -> str:
    """Return the command line that installs what vmtasks needs, or one of its extras."""
    if is_checkout() and (extra or not _is_called_by_name()):
        return f"`make setup{f' EXTRAS={extra}' if extra else ''}`"
    if extra and PACKAGE.parent == _OF_DEBIAN:
        return f"`apt install {_EXTRAS[extra]}`"
    return f"`pip install 'CHECKOUT[{extra}]'`, with the path of a checkout of vmtasks" if extra else "`vmtasks setup`"


def pages() -> dict[str, Path]:
    """Return the pages of the documents by their names."""
    found = {path.stem: path for path in sorted(beside("docs").glob("*.md"))}
    return {**found, "images": beside("images") / "README.md"}


def page(name: str) -> str:
    """Return where a page of the documents can be read."""
    if is_checkout() and not _is_called_by_name():
        return "images/README.md" if name == "images" else f"docs/{name}.md"
    return f"`vmtasks help {name}`"


def _is_called_by_name() -> bool:
    """Whether the command is ``vmtasks``: it may be called anywhere, where there is neither a tasks.py nor docs/."""
    return PurePath(sys.argv[0]).name == "vmtasks"
