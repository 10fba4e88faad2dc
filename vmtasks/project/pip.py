"""pip in a guest: it asks the index that this host's pip asks, and trusts what that trusts."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from vmtasks.guest import Guest
from vmtasks.project import Project, source_package

_LIMIT_S = 60.0
_WEB = ("http", "https")


def env(guest: Guest, project: Project) -> dict[str, str]:
    """Return the environment in which pip works in the guest, if the project is one that may call it."""
    if not project.is_python:
        return {}
    settings = of_this_host()
    if authorities := settings.pop("PIP_CERT", ""):
        settings["PIP_CERT"] = f"{source_package.WORKSHOP}/.pip.pem"
        guest.put(Path(authorities), settings["PIP_CERT"])
    return settings | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}


def of_this_host() -> dict[str, str]:
    """Return the variables that have pip elsewhere do as this host's does, see :func:`of_host`."""
    return of_host(_config())


def of_host(listing: Iterable[str]) -> dict[str, str]:
    """Return the variables that have pip elsewhere do as this host's does.

    What lies on this host stays here, and so does an index that wants a password: the project's code would see it.

    :param listing: the lines of ``pip config list``; those of the environment go over those of files.
    """
    settings: dict[str, str] = {}
    for line in sorted(listing, key=lambda line: line.startswith(":env:")):
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if section in {"global", "install", ":env:"}:
            settings[key] = str(ast.literal_eval(value))
    variables = {
        "PIP_INDEX_URL": " ".join(filter(_is_open, settings.get("index-url", "").split())),
        "PIP_EXTRA_INDEX_URL": " ".join(filter(_is_open, settings.get("extra-index-url", "").split())),
        "PIP_TRUSTED_HOST": " ".join(settings.get("trusted-host", "").split()),
        "PIP_CERT": settings.get("cert", "") if Path(settings.get("cert", "")).is_file() else "",
    }
    return {name: value for name, value in variables.items() if value}


def _is_open(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in _WEB and parts.username is None


@cache
def _config() -> tuple[str, ...]:
    command = [sys.executable, "-P", "-m", "pip", "config", "list"]
    answer = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_LIMIT_S, check=False
    )
    return tuple(answer.stdout.splitlines())
