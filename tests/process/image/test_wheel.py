"""A vmtasks that is installed from a wheel: the images that it bakes are the checkout's."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
KEYS = """
import sys
from vmtasks.image.baked import key_of
from vmtasks.image.definition import find, names, overlay_links
for image in map(find, names()):
    assert image.home.is_relative_to(sys.argv[1]), image.home
    links = overlay_links(image.home.parent / image.tree) if image.tree else {}
    print(image.name, key_of(image), sorted(links.items()))
"""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    return tmp_path / "site"


def keys(package: Path) -> list[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("VMTASKS_")}
    argv = [sys.executable, "-P", "-c", KEYS, str(package)]
    done = subprocess.run(
        argv, cwd="/", env=environ | {"PYTHONPATH": str(package)}, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_an_installed_vmtasks_has_the_images_of_the_checkout(installed: Path) -> None:
    assert not [path for path in installed.rglob("*") if path.is_symlink()], "then there is nothing to compare"
    assert keys(installed) == keys(ROOT)
    assert any("fstrim.timer" in line for line in keys(installed))
