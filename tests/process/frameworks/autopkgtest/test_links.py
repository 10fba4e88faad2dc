"""Links of a source that lead out of its tree, from one machine over this host to another."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmtasks import BootOptions, Guest
from vmtasks.frameworks.autopkgtest.links import pack, restorer
from vmtasks.providers.base import MachineRequest
from vmtasks.testing import FakeProvider


@pytest.fixture
def guest() -> Iterator[Guest]:
    with FakeProvider().machine(MachineRequest(image="bookworm", options=BootOptions(name="m"))) as one:
        yield one


def links(guest: Guest, tree: str) -> dict[str, str]:
    words = guest.query(f"find {tree} -type l -printf '%P\\0%l\\0'").split("\0")
    return dict(zip(words[::2], words[1::2], strict=False))


def test_they_are_in_the_tree_again_that_a_machine_gets(guest: Guest, tmp_path: Path) -> None:
    made = "mkdir -p tree/debian/tests 'tree/a b' && cd tree && ln -s /etc/passwd 'a b/one\nline' && ln -s ../.. up"
    guest.query(f"{made} && ln -s up near && ln -s /x debian/tests/control && ln -s '/é' ./-x && touch 'a b/file'")
    before = links(guest, "tree")
    guest.get("tree", tmp_path / "tree")
    left_out = [name for name in ("a b/one\nline", "up", "-x") if os.path.lexists(tmp_path / "tree" / name)]
    assert left_out == []
    archive = pack(guest, guest.query("readlink -f tree").strip(), tmp_path / "tree.links")
    assert archive == tmp_path / "tree.links"

    (tmp_path / "tree/debian/tests/control").write_text("ours\n")
    guest.put(tmp_path / "tree", "copy")
    copied = restorer(archive, tmp_path / "tree")
    where = guest.query("readlink -f copy").strip()
    copied(guest, tmp_path / "other", where)
    assert "up" not in links(guest, "copy")
    copied(guest, tmp_path / "tree", f"{where}/")
    assert before.pop("debian/tests/control") == "/x"
    assert len(before) == 4
    assert links(guest, "copy") == before
    assert guest.query("cat copy/debian/tests/control") == "ours\n"


def test_a_tree_without_them_has_no_archive(guest: Guest, tmp_path: Path) -> None:
    guest.query("mkdir tree && cd tree && touch file && ln -s file link")
    assert pack(guest, guest.query("readlink -f tree").strip(), tmp_path / "tree.links") is None
    restorer(None, tmp_path)(guest, tmp_path, "nowhere")
    assert not (tmp_path / "tree.links").exists()
