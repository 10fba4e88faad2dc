"""Which tests stay together in one worker where several workers run tests at once (pytest-xdist).

A file's tests stay together, for its fixtures. Files whose tests have several machines at once are one lane, and those
that have one, or for a moment two, are another lane beside it: so there are never so many machines that each test could
wait for another's slot for ever (``tests/vm/conftest.py`` has room for all of them), nor many more than there are
processors. Any other file goes to the worker that is free.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController

SEVERAL, ONE = "several machines at once", "one machine at a time"
ONE_AT_A_TIME = frozenset(
    f"tests/vm/test_{name}.py"
    for name in (
        "arm64",
        "boot_loader",
        "build_deb",
        "damage",
        "faults",
        "guest",
        "host_faults",
        "latent_worker",
        "lava_test_shell",
        "power",
    )
)
"""What these do changes nothing for the other lane: no shared template is damaged, no shared image removed."""
FREE = tuple(
    f"tests/vm/test_{name}.py" for name in ("recipes", "verdicts", "images", "runvm", "direct_kernel", "kernels")
)
"""Such files, too, the longest first: each is for the worker that is free."""


def lane_of(nodeid: str) -> str:
    """Return the name of what stays together with this test."""
    file = nodeid.partition("::")[0]
    if file in ONE_AT_A_TIME:
        return ONE
    return SEVERAL if PurePath(file).is_relative_to("tests/vm") and file not in FREE else file


class Lanes(LoadScopeScheduling):
    """Gives whole lanes to workers, those with machines first, which take long: what is short evens out the end."""

    def _split_scope(self, nodeid: str) -> str:
        return lane_of(nodeid)

    def _assign_work_unit(self, node: WorkerController) -> None:
        if (lane := next((one for one in (SEVERAL, ONE, *FREE) if one in self.workqueue), None)) is not None:
            self.workqueue.move_to_end(lane, last=False)
        super()._assign_work_unit(node)

    def remove_node(self, node: WorkerController) -> str | None:
        """Have the rest of a lost worker's tests run elsewhere; xdist would have the one that it ran lose others, too.

        :return: the test that it ran; None if it had none left.
        """
        units = self.assigned_work[node].values()
        lost = next(((unit, test) for unit in units for test, is_over in unit.items() if not is_over), None)
        if lost is not None:
            unit, test = lost
            unit[test] = True
        super().remove_node(node)
        return lost and lost[1]
