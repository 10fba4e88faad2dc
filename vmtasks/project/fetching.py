"""What is fetched in a guest: from where this host's tools would get it, trusting what this host trusts."""

from __future__ import annotations

from pathlib import Path

from vmtasks.guest import Guest
from vmtasks.project import Project, pip, source_package

# Source: update-ca-certificates(8): what an administrator has added is in the first, and all that is trusted in the
# other.
_ADDED = Path("/usr/local/share/ca-certificates")
_ALL = Path("/etc/ssl/certs/ca-certificates.crt")
_VARIABLES = (
    "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "CARGO_HTTP_CAINFO", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO",
    "REQUESTS_CA_BUNDLE",
)  # fmt: skip
"""What OpenSSL and Go, Node, cargo, curl, git and Python's requests find them by."""


def env(guest: Guest, project: Project) -> dict[str, str]:
    """Return the environment in which tools fetch in the guest what a project needs.

    Where this host's administrator has added authorities, as behind a proxy that looks into TLS, those travel.
    """
    return {**_authorities(guest), **pip.env(guest, project)}


def _authorities(guest: Guest) -> dict[str, str]:
    if not (_ALL.is_file() and any(_ADDED.rglob("*.crt"))):
        return {}
    there = f"{source_package.WORKSHOP}/.authorities.pem"
    guest.put(_ALL, there)
    return dict.fromkeys(_VARIABLES, there)
