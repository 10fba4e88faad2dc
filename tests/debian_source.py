"""Source packages of Debian's archive, for tests: fetched with apt, and without touching the host's."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from vmtasks.image import mirror

LIMIT_S = 300.0


def fetched(package: str, room: Path) -> Path:
    """Return the .dsc of a source package of Debian 12, in a directory below *room*, which is made."""
    sources = mirror.find("").sources("bookworm")
    if not sources:
        pytest.skip("this host's apt knows no Debian archive")
    for path in ("lists/partial", "cache/archives/partial", "fetched"):
        (room / path).mkdir(parents=True)
    (room / "sources.list").write_text(sources[0].replace("deb ", "deb-src ", 1) + "\n")
    settings = {
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Dir::State": room,
        "Dir::Cache": room / "cache",
        "Dir::Etc::SourceList": room / "sources.list",
        "Dir::Etc::SourceParts": "-",
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    for command in (["update"], ["source", "--download-only", package]):
        subprocess.run(["apt-get", "--quiet", *options, *command], cwd=room / "fetched", check=True, timeout=LIMIT_S)
    (dsc,) = (room / "fetched").glob(f"{package}_*.dsc")
    return dsc
