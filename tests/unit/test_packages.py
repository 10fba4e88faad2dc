"""Which packages are meant by files, .changes files and directories."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmtasks.errors import UsageError
from vmtasks.packages import find


@pytest.fixture
def debs(tmp_path: Path) -> Path:
    for name in ("one_1.0_amd64.deb", "one-dbgsym_1.0_amd64.deb", "two_1.0_all.deb"):
        (tmp_path / name).touch()
    return tmp_path


def test_a_directory_stands_for_its_packages_but_those_for_debuggers(debs: Path) -> None:
    assert find([str(debs)]) == {"one": debs / "one_1.0_amd64.deb", "two": debs / "two_1.0_all.deb"}


def test_a_file_that_is_named_more_than_once_is_one(debs: Path) -> None:
    changes = debs / "one_1.0_amd64.changes"
    changes.write_text("Checksums-Sha256:\n 00 1 one_1.0_amd64.deb\nFiles:\n 00 1 one_1.0_amd64.deb\n")
    linked = debs.with_name(f"{debs.name}-linked")
    linked.symlink_to(debs)
    assert find([str(changes)]) == {"one": debs / "one_1.0_amd64.deb"}
    assert set(find([str(debs), str(changes), str(linked)])) == {"one", "two"}


@pytest.mark.parametrize("other", ["one_1.1_amd64.deb", "one_0.9_amd64.deb", "one_1.0_i386.deb"])
def test_two_files_of_one_package_are_one_too_many(debs: Path, other: str) -> None:
    (debs / other).touch()
    with pytest.raises(UsageError, match="they are one package") as caught:
        find([str(debs)])
    assert str(debs / other) in caught.value.sentence
    assert str(debs / "one_1.0_amd64.deb") in caught.value.sentence


def test_what_is_not_there_is_named(debs: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot install .*/three_1.0_all.deb: there is no such file"):
        find([str(debs / "three_1.0_all.deb")])


def test_no_packages_are_too_few(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there are no packages in"):
        find([str(tmp_path)])
