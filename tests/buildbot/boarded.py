"""What worker_machine is, for an existing host that is this one, in a directory; see tests/process/board.py."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.process.board import place_in
from vmtasks.integrations.buildbot import worker_machine
from vmtasks.process.user import user_name

place = Path(sys.argv[1])
worker_machine.USER = user_name()
worker_machine.PROGRAM = str(Path(sys.executable).with_name("buildbot-worker"))
worker_machine.DIRECTORY = str(place / "repository")  # which is one of those that go
with place_in(place):
    worker_machine.main()
