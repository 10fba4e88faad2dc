"""What a definition stands among: the files of its repository, and the repositories that it has cloned beside them.

git runs on the host, as it does on LAVA's dispatcher: a machine need not have it, nor a way to the servers.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

from vmtasks.errors import UsageError
from vmtasks.frameworks.lava.definition import GitRepository
from vmtasks.frameworks.lava.mapping import LavaMapping
from vmtasks.host.confined import confined_argv
from vmtasks.process.confined import NOT_FOUND
from vmtasks.process.landlock import Reach
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


def clone_for(repository: GitRepository, into: Path, *, beside: Path, mapping: LavaMapping) -> None:
    """Clone a repository that a definition names.

    :param beside: the directory whose files go along with the definition.
    :param mapping: says which other paths of this host it may name.
    :raise UsageError: it cannot be cloned, or may not be.
    """
    url, is_confined = mapping.repository(repository.url, beside=beside)
    clone(replace(repository, url=url), into, within=beside if is_confined else None)


def clone(repository: GitRepository, into: Path, *, within: Path | None = None) -> None:
    """Clone a repository, which is a URL or an absolute path.

    :param within: the only directory that git is to read, whatever the repository's own files say, if the kernel can
        see to that.
    :raise UsageError: it cannot be cloned.
    """
    url, environ = repository.url, git_environ()
    branch = [f"--branch={repository.branch}"] if repository.branch else []
    argv = ["git", "-c", "safe.directory=*", "clone", "--quiet", "--template=", *branch, "--", url, str(into)]
    if within:
        into.mkdir(parents=True)
        argv = confined_argv(argv, Reach((str(within),), (str(into),)))
        environ |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    complaint = "git is not installed"
    try:
        done = subprocess.run(
            argv, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            timeout=_LIMIT_S, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        pass
    except subprocess.TimeoutExpired:
        complaint = f"git has not ended within {_LIMIT_S:.0f} s"
    else:
        if done.returncode == 0:
            return
        if not (within and done.returncode == NOT_FOUND):
            complaint = f"git says '{' '.join(done.stderr.decode(errors='replace').split())}'"
    raise UsageError(f"cannot clone {repository.url}: {complaint}")
