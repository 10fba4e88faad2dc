"""Keys as an image has them, made without programs."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat


def make_keys(directory: Path) -> None:
    """Write ``id_ed25519`` and ``known_hosts``."""
    own = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    (directory / "id_ed25519").write_bytes(own)
    host = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    (directory / "known_hosts").write_bytes(b"vmtasks " + host + b"\n")
