"""A vmtasks that is installed from a wheel: the images that it bakes are the checkout's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.image_keys import image_keys, installed_wheel

ROOT = Path(__file__).parents[3]


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    return installed_wheel(wheel, tmp_path / "site")


def test_an_installed_vmtasks_has_the_images_of_the_checkout(installed: Path) -> None:
    assert not [path for path in installed.rglob("*") if path.is_symlink()], "then there is nothing to compare"
    assert image_keys(installed) == image_keys(ROOT)
    assert any("fstrim.timer" in line for line in image_keys(installed))
