"""What each version of Landlock can forbid: the masks, without a kernel."""

from __future__ import annotations

import os

import pytest

from vmtasks.process import landlock
from vmtasks.process.landlock import READ, WRITE, Reach, handled_rights, handled_scopes, rights


@pytest.mark.parametrize(
    ("version", "handled", "scopes"),
    [
        (1, 0x1FFF, 0),
        (2, 0x3FFF, 0),
        (3, 0x7FFF, 0),
        (4, 0x7FFF, 0),
        (5, 0xFFFF, 0),
        (6, 0xFFFF, 3),
        (7, 0xFFFF, 3),
        (99, 0xFFFF, 3),
    ],
)
def test_a_kernel_is_asked_for_what_it_knows(version: int, handled: int, scopes: int) -> None:
    assert (handled_rights(version), handled_scopes(version)) == (handled, scopes)
    for wanted in (READ, WRITE):
        for is_directory in (True, False):
            assert 0 < rights(wanted, version, is_directory=is_directory) <= handled


@pytest.mark.parametrize(
    ("wanted", "is_directory", "version", "allowed"),
    [
        (READ, True, 7, {"EXECUTE", "READ_FILE", "READ_DIR", "IOCTL_DEV"}),
        (READ, False, 7, {"EXECUTE", "READ_FILE", "IOCTL_DEV"}),
        (READ, False, 1, {"EXECUTE", "READ_FILE"}),
        (WRITE, False, 7, {"WRITE_FILE", "READ_FILE", "TRUNCATE", "IOCTL_DEV"}),
        (WRITE, False, 2, {"WRITE_FILE", "READ_FILE"}),
    ],
)
def test_a_file_has_no_rights_of_a_directory(wanted: int, is_directory: bool, version: int, allowed: set[str]) -> None:
    found = rights(wanted, version, is_directory=is_directory)
    assert found == sum(getattr(landlock, name) for name in allowed)


def test_nothing_that_is_written_is_run_or_leads_elsewhere() -> None:
    found = rights(WRITE, 7, is_directory=True)
    for never in ("EXECUTE", "MAKE_CHAR", "MAKE_BLOCK", "MAKE_FIFO", "MAKE_SYM"):
        assert not found & getattr(landlock, never)
    assert found & landlock.REFER


def test_two_reaches_are_had_together() -> None:
    assert Reach(("/a",), ("/b",)) | Reach(("/c",), ()) == Reach(("/a", "/c"), ("/b",))


def test_a_pipe_that_has_a_name_is_of_no_file_system() -> None:
    reader, writer = os.pipe()
    with landlock.ruleset(Reach((), (f"/proc/self/fd/{writer}",))) as rules:
        assert (rules is not None) == (landlock.abi() > 0)
    os.close(reader)
    os.close(writer)
