"""git, asked about a checkout that may be another user's: it runs nothing of the project's, and fetches nothing."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import IO

from vmtasks.errors import HostError, UsageError

_LIMIT_S = 120.0
_NOTHING_THERE = ("not a git repository", "bad revision 'HEAD'")


def git(root: Path, *arguments: str, stdin: bytes = b"", into: IO[bytes] | None = None) -> bytes | None:
    """Return what git prints about *root*; None where there is no git, checkout or commit, or it fails silently.

    The checkout may be another user's, and nothing of a project's runs on the host: so git is told to trust its
    owner, not to call the program that core.fsmonitor may name, and to fetch nothing that is missing, which would call
    the one of remote.NAME.uploadpack.

    :param into: where its answer goes, if that is large.
    :raise UsageError: git has another complaint.
    """
    # Variables such as GIT_DIR, which git sets for its hooks, would lead to another checkout.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environ |= {"LC_ALL": "C", "GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": "none"}
    argv = ["git", "-C", str(root), "-c", "safe.directory=*", "-c", "core.fsmonitor=false", *arguments]
    try:
        answer = subprocess.run(
            argv, env=environ, input=stdin, stdout=into or subprocess.PIPE, stderr=subprocess.PIPE,
            timeout=_LIMIT_S, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        return None
    except subprocess.TimeoutExpired as error:
        raise HostError(f"cannot look into the checkout {root}: git has not answered for {_LIMIT_S:.0f} s") from error
    if answer.returncode and not answer.stderr:
        return None  # it was asked whether something is there
    complaint = " ".join(answer.stderr.decode(errors="replace").split())
    if answer.returncode == 0:
        return answer.stdout or b""
    if any(nothing in complaint for nothing in _NOTHING_THERE):
        return None
    raise UsageError(f"cannot look into the checkout {root}: git says '{complaint}'")
