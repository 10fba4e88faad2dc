"""What a Buildbot bakes anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmtasks.errors import UsageError
from vmtasks.integrations.buildbot.rebake import bakes


def test_what_images_stand_on_is_refreshed_once_and_then_they_are_baked() -> None:
    assert bakes(["bookworm", "bookworm-buildbot-worker"]) == [
        ("bookworm", "--refresh"),
        ("bookworm-build",),
        ("bookworm-buildbot-worker",),
    ]


def test_an_image_means_the_same_pair_as_its_companion() -> None:
    assert bakes(["trixie-build"]) == bakes(["trixie"]) == [("trixie", "--refresh"), ("trixie-build",)]


def test_an_image_without_a_companion_is_baked_alone() -> None:
    assert bakes(["bookworm-i386"]) == [("bookworm-i386", "--refresh")]


def test_an_image_of_the_hosts_own_counts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rust.toml").write_text('from = "trixie"\n')
    monkeypatch.setenv("VMTASKS_IMAGES", str(tmp_path))
    assert bakes(["rust"]) == [("trixie", "--refresh"), ("rust",)]


def test_an_image_that_is_not_there_is_told() -> None:
    with pytest.raises(UsageError, match="there is no image 'bookwrm'; did you mean 'bookworm'"):
        bakes(["bookwrm"])
