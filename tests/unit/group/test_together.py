"""What a group takes together: what cannot be had twice is told, and not waited for without end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from vmtasks import UsageError
from vmtasks.group.together import all_or_none
from vmtasks.providers.static_host import visit
from vmtasks.providers.static_host.reservation import HostInUseError
from vmtasks.providers.static_host.visit import HostVisit


class Visit:
    """A host of some name, which is a machine that may have others."""

    says_it_is_ours = staticmethod(HostVisit.says_it_is_ours)

    def __init__(self, host: str, machine: dict[str, str], holder: str) -> None:
        self.host, self._machine, self._holder = host, machine, holder

    @contextmanager
    def reserved(self, *, waits: bool = True) -> Iterator[None]:
        if "holder" in self._machine:
            assert not waits, "it would wait for ever"
            raise HostInUseError(f"cannot have {self.host}: {self._machine['holder']} has it")
        self._machine["holder"] = self._holder
        try:
            yield
        finally:
            del self._machine["holder"]


def test_two_names_of_one_machine_are_told_and_it_is_given_back() -> None:
    machine: dict[str, str] = {}
    visits: Any = [Visit(host, machine, f"a group {visit._us()}") for host in ("board", "board.local")]
    with (
        pytest.raises(UsageError, match=r"two roles are one machine: board\.local is board"),
        all_or_none(None, visits, print),
    ):
        pass
    assert machine == {}


def test_two_machines_are_had() -> None:
    visits: Any = [Visit(host, {}, f"a group {visit._us()}") for host in ("board", "other")]
    with all_or_none(None, visits, print):
        pass
