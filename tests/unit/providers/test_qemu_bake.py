"""What a bake does in the booted guest: the commands and files, in order, with a guest that only notes them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from vmtasks.debian import apt
from vmtasks.image.bake import GuestSteps
from vmtasks.image.definition import File
from vmtasks.providers.qemu import bake


class Notes:
    """A guest that notes what it is asked for; a line of shell it runs here, in a directory for itself."""

    name = "guest"

    def __init__(self) -> None:
        self.did: list[tuple[Any, ...]] = []

    def succeed(self, command: Sequence[str] | str, *, stdin: bytes = b"", **_: object) -> str:
        if isinstance(command, str):
            subprocess.run(["/bin/sh", "-c", command], input=stdin, check=True)
        else:
            self.did.append(tuple(command))
        return ""

    def put(self, source: Path, target: str, *, files: Iterable[Path] = (), mtime_s: int | None = None) -> None:
        self.did.append(("put", source, target, sorted(map(str, files)), mtime_s is not None))

    def query(self, _: object) -> str:
        return "one 1.0\ntwo:amd64 2.0-1\n"


@pytest.fixture
def guest() -> Notes:
    return Notes()


def test_packages_are_apts_business(guest: Notes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apt, "update", lambda guest: guest.did.append(("update",)))
    monkeypatch.setattr(apt, "install", lambda guest, packages: guest.did.append(("install", *packages)))
    work = GuestSteps(home=tmp_path, packages=("one", "two:amd64"))
    assert bake._work(guest, work) == {"one": "1.0", "two:amd64": "2.0-1"}  # type: ignore[arg-type]
    assert guest.did == [("update",), ("install", "one", "two:amd64"), ("apt-get", "clean")]


def test_a_tree_goes_file_by_file_with_gits_modes(guest: Notes, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "f").touch()
    (tmp_path / "link").symlink_to("etc")
    bake._work(guest, GuestSteps(home=tmp_path, tree=tmp_path))  # type: ignore[arg-type]
    assert guest.did == [("put", tmp_path, "/", ["etc/f", "link"], True)]


@pytest.mark.parametrize("name", ["plain", "it's", "two words", "$HOME", "-n"])
def test_a_file_may_have_any_name(guest: Notes, tmp_path: Path, name: str) -> None:
    path = tmp_path / "new" / name / "file"
    work = GuestSteps(home=tmp_path, files=(File(path=str(path), content="text", mode="0600"),))
    bake._work(guest, work)  # type: ignore[arg-type]
    assert path.read_text() == "text"
    assert guest.did == [("chmod", "0600", str(path))]


def test_a_file_takes_the_place_of_a_link(guest: Notes, tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "link", tmp_path / "elsewhere"
    elsewhere.write_text("its own")
    path.symlink_to(elsewhere)
    bake._work(guest, GuestSteps(home=tmp_path, files=(File(path=str(path), content="text"),)))  # type: ignore[arg-type]
    assert (path.read_text(), elsewhere.read_text()) == ("text", "its own")
