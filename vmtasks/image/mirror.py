"""Where Debian packages come from: the host's own mirrors, unless somebody says otherwise.

Nothing here names a mirror: without one, mmdebstrap falls back to its own default.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass

_FORMAT = "$(ORIGIN)|$(LABEL)|$(REPO_URI)|$(CODENAME)|$(COMPONENT)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirrors:
    """The URIs of Debian's archive and of its security archive; empty where the host knows none."""

    archive: str = ""
    security: str = ""

    def sources(self, suite: str) -> tuple[str, ...]:
        """Return the lines of sources.list for *suite*; none where there is no mirror to name."""
        if not self.archive:
            return ()
        lines = [f"deb {self.archive} {suite} main"]
        if suite not in ("sid", "unstable", "experimental"):
            lines.append(f"deb {self.archive} {suite}-updates main")
            if self.security:
                lines.append(f"deb {self.security} {suite}-security main")
        return tuple(lines)


def find(mirror: str) -> Mirrors:
    """Return the mirrors to use.

    :param mirror: an archive that somebody has chosen; it is then used alone, but for the host's security archive.
    """
    host = parse(_indextargets())
    return Mirrors(archive=mirror, security=host.security) if mirror else host


def parse(indextargets: str) -> Mirrors:
    """Pick Debian's archives out of what ``apt-get indextargets`` prints in our format."""
    archive = security = ""
    for line in indextargets.splitlines():
        if line.count("|") != _FORMAT.count("|"):
            continue  # somebody's archive has a bar in its label
        origin, label, uri, codename, component = line.split("|")
        if origin != "Debian" or component != "main" or not uri.startswith(("http:", "https:")):
            continue  # what is on this host alone (cdrom:, file:, mirror+file:, tor+http:) is no mirror for a guest
        if label == "Debian-Security" or codename.endswith("-security"):
            security = security or uri
        elif label == "Debian":
            archive = archive or uri
    return Mirrors(archive=archive, security=security)


def _indextargets() -> str:
    if shutil.which("apt-get") is None:
        return ""
    command = ["apt-get", "indextargets", "--format", _FORMAT, "Created-By: Packages"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout
