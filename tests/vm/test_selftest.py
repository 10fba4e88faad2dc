"""vmtasks itself, built and tested by itself: an image has one key in the checkout, the wheel and the .deb.

``make check-selftest`` runs this.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.image_keys import image_keys, installed_wheel

pytestmark = pytest.mark.selftest  # two images, and several machines one after the other
ROOT = Path(__file__).parents[2]
LIMIT_S = 3600.0
"""Of several machines, one after the other; their build dependencies may have to be installed first."""


def test_the_wheel_and_the_debian_package_are_built_and_pass_and_have_the_images_of_the_checkout(
    tmp_path: Path,
) -> None:
    inv = Path(sys.executable).with_name("inv")
    call = [inv, "-r", ROOT, "selftest", "--source", ROOT, "--out", tmp_path / "out"]
    done = subprocess.run(
        call, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    made = [Path(line) for line in done.stdout.splitlines()]
    (wheel,) = (path for path in made if path.suffix == ".whl")
    (deb,) = (path for path in made if path.suffix == ".deb")
    subprocess.run(["dpkg-deb", "--extract", deb, tmp_path / "deb"], check=True)
    keys = image_keys(ROOT)
    assert keys
    assert image_keys(installed_wheel(wheel, tmp_path / "wheel")) == keys
    assert image_keys(tmp_path / "deb/usr/lib/python3/dist-packages") == keys
