"""A checkout's tasks: test-in-vm without a machine, which does what the file `behaviour` says."""

from __future__ import annotations

import signal
from pathlib import Path

from vmtasks import HostError, Run, TestFailed, events, recipe


@recipe
def test_in_vm(run: Run, source: str = ".", image: str = "") -> None:  # noqa: PT028 - a recipe's options
    """Behave.

    :param source: the project's directory.
    :param image: the image.
    """
    told = Path("behaviour")
    behaviour, _, rest = told.read_text().partition(" ")
    told.write_text(rest or behaviour)
    console = run.directory / "test-console.log"
    log = run.directory / "test-01-make_check.log"
    console.write_text("Linux version 6.1 \N{GREEK SMALL LETTER ALPHA}\n" * 40_000)
    with events.phase("boot", machine="test", detail=image):
        if behaviour == "wait":
            signal.pause()
        if behaviour == "host":
            raise HostError("cannot make a disk: no room")
    with run.case("test"):
        assert (Path(source) / "README").read_text() == "a project\n"
        log.write_text("all is well\n")
        if behaviour == "fail":
            raise TestFailed("`make check` on test ended with status 1")
    product = run.out("") / "hello.tar.gz"
    product.write_text("a product")
    run.product(product)
