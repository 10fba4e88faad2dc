"""What a definition stands among: the files of its repository, and the repositories that it has cloned beside them.

git runs on the host, as it does on LAVA's dispatcher: a machine need not have it, nor a way to the servers.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from vmtasks.errors import UsageError
from vmtasks.lava.definition import GitRepository
from vmtasks.project.git import git

_LIMIT_S = 900.0
_PROTOCOLS = "file:git:http:https:ssh"
"""None that runs a program which the address names (git-remote-ext(1))."""


def root_of(definition: Path) -> Path | None:
    """Return the top of the checkout that a definition lies in; None if it lies in none.

    :raise UsageError: git has a complaint.
    """
    top = git(definition.absolute().parent, "rev-parse", "--show-toplevel")
    return Path(os.fsdecode(top.removesuffix(b"\n"))) if top else None


def git_environ() -> dict[str, str]:
    """Return an environment in which git asks nobody, and works where it is told to: a hook of git's says otherwise."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return environ | {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": _PROTOCOLS}


def clone(repository: GitRepository, into: Path, *, beside: Path) -> None:
    """Clone a repository.

    :param beside: the directory that a path of this host is relative to.
    :raise UsageError: it cannot be cloned.
    """
    url = repository.url
    if "://" not in url and ":" not in url.partition("/")[0]:
        url = str(beside / url)
    branch = [f"--branch={repository.branch}"] if repository.branch else []
    argv = ["git", "-c", "safe.directory=*", "clone", "--quiet", "--template=", *branch, "--", url, str(into)]
    complaint = "git is not installed"
    try:
        done = subprocess.run(
            argv, env=git_environ(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            timeout=_LIMIT_S, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        pass
    except subprocess.TimeoutExpired:
        complaint = f"git has not ended within {_LIMIT_S:.0f} s"
    else:
        if done.returncode == 0:
            return
        complaint = f"git says '{' '.join(done.stderr.decode(errors='replace').split())}'"
    raise UsageError(f"cannot clone {repository.url}: {complaint}")
