"""What a run asks for the machines of a group."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vmtasks.group.roles import Role
from vmtasks.host.availability import Availability
from vmtasks.host.occupancy import Demand, Occupancy
from vmtasks.providers.base import MachineRequest
from vmtasks.providers.choice import Choices
from vmtasks.run import group as module
from vmtasks.run.group import _over_role
from vmtasks.run.options import RecipeOptions
from vmtasks.run.run import Run

FREE = Occupancy(availability=Availability("eager", "", None, "", 0.0), queue=0, has_slot=True, is_large_enough=True)


class Enough(Exception):
    """What ends a group before it begins."""


@pytest.mark.parametrize(("is_frozen", "forkable"), [(True, False), (False, True), (False, False)])
def test_a_run_that_freezes_has_machines_that_can_be(tmp_path: Path, *, is_frozen: bool, forkable: bool) -> None:
    run = Run(recipe="r", flags=RecipeOptions(freeze=is_frozen), directory=tmp_path)
    role = Role(image="bookworm", forkable=forkable)
    request = run._request("bookworm", "m", None, None, forkable=role.forkable)
    assert _over_role(request, role, run.flags).options.forkable == (is_frozen or forkable)


def test_hosts_are_asked_once_for_all_machines_as_large_as_their_roles_have_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, Demand]] = []

    def ask(name: str, demand: Demand) -> Occupancy:
        asked.append((name, demand))
        return FREE

    found: list[MachineRequest] = []

    def group_of(requests: dict[object, MachineRequest], **_: Any) -> None:
        found.extend(requests.values())
        raise Enough

    monkeypatch.setattr(module, "group_of", group_of)
    run = Run(recipe="r", flags=RecipeOptions(on="a|b"), directory=tmp_path, _choices=Choices(ask))
    roles = {
        "server": Role(image="bookworm", memory_mib=3000),
        "client": Role(image="bookworm", memory_mib=500, count=2),
        "board": Role(on="ssh://root@board"),
    }
    with pytest.raises(Enough), run.group(roles):
        pass
    assert asked == [("a", Demand(memory_mib=4000, machines=3))]
    assert [one.options.on for one in found] == ["a", "a", "a", "ssh://root@board"]
