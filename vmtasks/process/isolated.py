"""Programs of ours that run by the standard library alone, wherever this package lies."""

from __future__ import annotations

import os
import sys
from pathlib import Path

PACKAGE_PARENT = os.fspath(Path(__file__).resolve().parents[2])
"""The directory that this package is in."""


def isolated_argv(module: str, *arguments: str, package_parent: str = PACKAGE_PARENT) -> list[str]:
    """Return the command line that calls ``main()`` of one of our modules."""
    program = f"import sys; sys.path.insert(0, sys.argv.pop(1)); from {module} import main; main()"
    return [sys.executable, "-I", "-S", "-c", program, package_parent, *arguments]
