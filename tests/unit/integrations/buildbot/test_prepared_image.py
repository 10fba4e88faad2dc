"""By what a machine is found again that has something behind it for a worker."""

from __future__ import annotations

from collections.abc import Sequence

from vmtasks.integrations.buildbot.prepared_image import PreparedImage


def key(*given: Sequence[str]) -> str:
    preparation = PreparedImage("bookworm", *given).preparation
    assert preparation
    return preparation.key


def test_an_image_alone_has_nothing_to_be_done() -> None:
    assert PreparedImage.of("bookworm").preparation is None
    assert PreparedImage.of(prepared := PreparedImage("bookworm", ["bison"])) is prepared


def test_a_machine_is_found_again_by_all_that_was_done_in_its_order() -> None:
    assert key(["bison"], ["true"]) == key(("bison",), ("true",))
    different = [key(["bison"]), key([], ["bison"]), key(["bison", "flex"]), key(["flex", "bison"])]
    assert len({*different}) == len(different)
