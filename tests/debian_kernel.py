"""Kernel packages of Debian's archive, for tests: fetched with apt, and without touching the host's."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from vmtasks.image import mirror

LIMIT_S = 300.0


def fetched(package: str, suite: str, room: Path) -> Path:
    """Return the package that a metapackage like ``linux-image-rt-amd64`` depends on, in a directory that is made."""
    sources = mirror.find("").sources(suite)
    if not sources:
        pytest.skip("this host's apt knows no Debian archive")
    for path in ("lists/partial", "cache/archives/partial"):
        (room / path).mkdir(parents=True)
    (room / "status").touch()
    (room / "sources.list").write_text("\n".join(sources) + "\n")
    settings = {
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Dir::State": room,
        "Dir::State::status": room / "status",
        "Dir::Cache": room / "cache",
        "Dir::Etc::SourceList": room / "sources.list",
        "Dir::Etc::SourceParts": "-",
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]

    def apt(program: str, *words: str) -> str:
        command = [program, "--quiet", *options, *words]
        return subprocess.run(command, cwd=room, check=True, timeout=LIMIT_S, capture_output=True, text=True).stdout

    apt("apt-get", "update")
    shown = apt("apt-cache", "show", "--no-all-versions", package)
    (name,) = set(re.findall(r"(?m)^Depends:.*?(linux-image-[\w.+-]+)", shown))
    apt("apt-get", "download", name)
    (found,) = room.glob(f"{name}_*.deb")
    return found
