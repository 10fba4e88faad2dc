"""A fake that remembers what it was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from vmtasks import BootOptions, Guest
from vmtasks.providers.base import MachineRequest
from vmtasks.testing import FakeProvider


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedProvider(FakeProvider):
    """Has a machine for every request, and knows the options of each."""

    asked: dict[str, BootOptions] = field(default_factory=dict)
    """The options of the machines, by their names."""

    @contextmanager
    def machine(self, request: MachineRequest) -> Iterator[Guest]:
        self.asked[request.name] = request.options
        with FakeProvider.machine(self, request) as guest:
            yield guest
