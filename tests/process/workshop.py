"""Machines that are none, whose workshop is a directory of the test's own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vmtasks.project import source, source_package
from vmtasks.testing import FakeProvider

PROVIDER = FakeProvider(
    instead={
        "id -u builder *": ":",
        "apt-get *": ":",
        "dpkg-checkbuilddeps": ":",
        "command -v uscan || :": "echo uscan",
    }
)


@contextmanager
def workshop_of_ones_own() -> Iterator[Path]:
    """Have sources delivered to a new directory, to which everybody may write."""
    with tempfile.TemporaryDirectory(prefix="vmtasks-test-") as name, pytest.MonkeyPatch.context() as patch:
        Path(name).chmod(0o777)
        for module in (source, source_package):
            patch.setattr(module, "WORKSHOP", name)
        yield Path(name)
