"""A guest for arm64, emulated: its image is baked, and it is copied like any other. ``make check-arm64`` runs this."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from vmtasks import boot, events

pytestmark = pytest.mark.arm64  # minutes, and a host that runs programs for arm64


def test_a_copy_of_the_shipped_image_is_a_whole_machine_of_its_own(tmp_path: Path) -> None:
    started: list[events.MachineStarted] = []
    (tmp_path / "large").write_bytes(bytes(range(256)) * 4096)
    with (
        events.listening(lambda event: started.append(event) if isinstance(event, events.MachineStarted) else None),
        boot("bookworm-arm64", log_dir=tmp_path) as guest,
    ):
        assert (started[-1].start, started[-1].accelerator) == ("clone", "tcg")
        assert guest.succeed(["uname", "-m"]) == "aarch64\n"
        assert guest.succeed(["dpkg", "--print-architecture"]) == "arm64\n"
        assert guest.succeed(["systemctl", "is-system-running", "--wait"]) == "running\n"
        before_s = time.time()
        guest_s = float(guest.query(["date", "+%s.%N"]))
        assert before_s - 1 < guest_s < time.time() + 1, "the clock is that of now, not of the template"
        assert guest.query(["cat", "/run/vmtasks-ready"]) == guest.query(["cat", "/etc/machine-id"])
        guest.put(tmp_path / "large", "/srv/large")
        guest.get("/srv/large", tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == (tmp_path / "large").read_bytes()
