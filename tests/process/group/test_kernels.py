"""Members with different kernels in one group: what QEMU is given for each, and what is found running."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process import rehearsal as rehearsals
from tests.process.rehearsal import Rehearsal, rehearsal_in
from vmtasks import BootError, Role, Run, boot_group
from vmtasks.run.options import RecipeOptions

RT, OTHER = "linux-image-rt-amd64", "linux-image-amd64"
ROLES = {"rt": Role(image="bookworm", kernel=RT), "usual": Role(image="bookworm")}


@pytest.fixture
def rehearsal() -> Iterator[Rehearsal]:
    with tempfile.TemporaryDirectory(prefix="group-") as name, rehearsal_in(Path(name)) as rehearsal:
        Path(name).chmod(0o755)
        yield rehearsal


def kernels(rehearsal: Rehearsal) -> dict[str, str]:
    """Return the image whose kernel QEMU was given for each member."""
    return {name: rehearsal.kernel_of(name) for name in rehearsal.plans}


def test_each_member_runs_the_kernel_of_its_role(rehearsal: Rehearsal) -> None:
    with boot_group(ROLES) as group:
        assert kernels(rehearsal) == {"rt": f"bookworm+{RT}", "usual": "bookworm"}
        assert group["rt"].query("uname --kernel-release") == f"bookworm+{RT}\n"
        assert group["usual"].query("uname --kernel-release") == "bookworm\n"


def test_what_is_asked_of_all_goes_over_the_role(rehearsal: Rehearsal, tmp_path: Path) -> None:
    both = {"rt": f"bookworm+{OTHER}", "usual": f"bookworm+{OTHER}"}
    with boot_group(ROLES, kernel=OTHER):
        assert kernels(rehearsal) == both
    rehearsal.plans.clear()
    with Run(recipe="group", flags=RecipeOptions(kernel=OTHER), directory=tmp_path).group(ROLES):
        assert kernels(rehearsal) == both
    rehearsal.plans.clear()
    with Run(recipe="group", flags=RecipeOptions(), directory=tmp_path).group(ROLES):
        assert kernels(rehearsal) == {"rt": f"bookworm+{RT}", "usual": "bookworm"}


@pytest.mark.usefixtures("rehearsal")
def test_a_member_that_runs_another_kernel_ends_the_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsals, "release_of", lambda _: "6.1.0-42-amd64")
    with (
        pytest.raises(BootError, match=f"rt runs the kernel 6.1.0-42-amd64, and not the bookworm.{RT}"),
        boot_group(ROLES),
    ):
        pytest.fail("it has started")
