"""tox: whether its environments can be made where there is no more of the project than what tox reads."""

from __future__ import annotations

import configparser
import re

from vmtasks.project.ini import read_ini
from vmtasks.project.kinds.kind import Tree
from vmtasks.project.kinds.python_requirements import INCLUDES, is_directory, lists, name_directories

READS = (
    "tox.ini", "setup.cfg", "pyproject.toml", "*requirements*.txt", "requirements/*.txt", "*constraints*.txt",
)  # fmt: skip
_ROOT = re.compile(r"\{(?:toxinidir|tox_root)\}")
_DEFAULT = re.compile(r"\{env:[^:{}]++:([^{}]*+)\}")
_FACTORS = re.compile(r"^[\w.,!{}-]++:\s++")
"""What begins a line that is for some environments only: ``py311,!cov: name``."""


def is_apart(tree: Tree) -> bool:
    """Whether nothing that tox installs beside the project is the project, or a directory of it.

    That would be installed as empty as it is where the rest of the project is missing, and be taken for done.

    :raise UsageError: a list of requirements cannot be read.
    """
    try:
        parser = read_ini(tree.text("tox.ini"))
    except configparser.Error:
        return False
    # Of all environments: one may take over what another has.
    listed = [line for section in parser.sections() for line in parser.get(section, "deps", fallback="").splitlines()]
    lines = [_FACTORS.sub("", _plain(line.strip())) for line in listed]
    included = [name for line in lines for name in INCLUDES.findall(line)]
    return not any(map(is_directory, lines)) and not name_directories(tree, lists(tree, *included))


def _plain(line: str) -> str:
    return _DEFAULT.sub(r"\1", _ROOT.sub(".", line)).replace("{/}", "/")
