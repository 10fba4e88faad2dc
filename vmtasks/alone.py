"""Programs of ours that run by the standard library alone, wherever this package lies."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_PACKAGE_PARENT = Path(__file__).resolve().parent.parent


def argv_of(module: str, *arguments: str) -> list[str]:
    """Return the command line that calls ``main()`` of one of our modules."""
    program = f"import sys; sys.path.insert(0, sys.argv.pop(1)); from {module} import main; main()"
    return [sys.executable, "-I", "-S", "-c", program, os.fspath(_PACKAGE_PARENT), *arguments]
