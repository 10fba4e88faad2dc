"""What was found out about this host by trying, written down in the cache for the next one who asks."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from vmtasks.files import durable
from vmtasks.process.cleanup import remove_at_exit


def remember(path: Path, finding: Mapping[str, object]) -> None:
    """Write a finding down; where the cache cannot be written, the next one tries again."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.stem}-", delete=False) as beside:
            remove_at_exit(Path(beside.name))
            json.dump(finding, beside)
        durable.rename(Path(beside.name), path, lasting=False)  # it is found out again where it is gone
