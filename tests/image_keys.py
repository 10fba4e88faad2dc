"""The content keys of images, as a vmtasks tells them that lies in some directory: a checkout, or an installed one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_TELL = """
import sys
from vmtasks.image.baked import key_of
from vmtasks.image.definition import find, names, overlay_links
for image in map(find, names()):
    assert image.home.is_relative_to(sys.argv[1]), image.home
    links = overlay_links(image.home.parent / image.tree) if image.tree else {}
    print(image.name, key_of(image), sorted(links.items()))
"""


def image_keys(package: Path) -> list[str]:
    """Return a line for each image: its name, its key, and the links in it.

    :param package: the directory that vmtasks lies in.
    """
    environ = {name: value for name, value in os.environ.items() if not name.startswith("VMTASKS_")}
    argv = [sys.executable, "-P", "-c", _TELL, str(package)]
    done = subprocess.run(
        argv, cwd="/", env=environ | {"PYTHONPATH": str(package)}, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def installed_wheel(wheel: Path, target: Path) -> Path:
    """Install a wheel into a directory, and return that.

    By pip, which gives files that can be executed their mode; zipfile does not.
    """
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--no-compile", "--target", target, wheel], check=True)
    return target
