"""Debian's as-installed package tests, run in a guest: what autopkgtest does, for the restrictions that we know.

Source: autopkgtest's README.package-tests.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator
from pathlib import Path

from vmtasks import apt, dep8, events
from vmtasks.dep8 import Dep8Test
from vmtasks.errors import CommandFailed, TestFailed, TestSkipped
from vmtasks.guest import Guest, sh

_WORDS_OF_ITS_OWN = ("@", "@builddeps@", "@recommends@")
"""What Depends may say that is no package: those under test are there; what they recommend is no condition here."""


def tests_of(guest: Guest, tree: str) -> Iterator[tuple[Dep8Test, str]]:
    """Yield the tests of a source tree in the guest, each with why it cannot run there; nothing if it can."""
    control = guest.query(sh(f"cat {shlex.quote(tree)}/debian/tests/control 2>/dev/null || :"))
    architecture = guest.query(["dpkg", "--print-architecture"]).strip()
    for test in dep8.parse(control, "debian/tests/control"):
        if test.unsupported:
            yield test, f"it asks for {', '.join(test.unsupported)}, which is not supported"
        else:
            yield test, "" if test.runs_on(architecture) else f"it is not for {architecture}"


def run(guest: Guest, tree: str, test: Dep8Test, packages: Collection[str], artifacts: Path) -> None:
    """Run one test.

    :param packages: the names of those under test, which are installed.
    :param artifacts: the host's directory for what the test leaves in AUTOPKGTEST_ARTIFACTS, made if there is any.
    :raise TestFailed: it failed, or what it depends on cannot be installed.
    :raise TestSkipped: it says that it cannot run here.
    """
    if "@builddeps@" in test.depends:
        apt.apt(guest, "build-dep", tree)
    if missing := [word for word in test.depends if word not in (*packages, *_WORDS_OF_ITS_OWN)]:
        try:
            apt.apt(guest, "satisfy", *missing)
        except CommandFailed as problem:
            if "skip-not-installable" in test.restrictions:
                raise TestSkipped(f"it needs what cannot be installed: {', '.join(missing)}") from problem
            raise
    with guest.tmp_dir() as room, guest.tmp_dir() as kept:
        guest.query(["chmod", "1777", room, kept])
        env = {
            "AUTOPKGTEST_TMP": room,
            "ADTTMP": room,
            "AUTOPKGTEST_ARTIFACTS": kept,
            "AUTOPKGTEST_NORMAL_USER": "builder",
        }
        user = "root" if "needs-root" in test.restrictions else "builder"
        line = sh(f"chmod a+x debian/tests/* 2>/dev/null; {test.command}")
        result = guest.run(line, cwd=tree, user=user, env=env)
        if guest.glob(f"{kept}/*"):
            guest.get(kept, artifacts)
    if result.exit_status == dep8.SKIP_STATUS and "skippable" in test.restrictions:
        raise TestSkipped("it says that it cannot run here")
    if "flaky" in test.restrictions and not result.ok:
        events.emit(events.Note(machine=guest.name, text=f"{test.name} failed, but is marked flaky", level="warning"))
    elif not result.ok:
        raise TestFailed(f"{test.name} ended with status {result.exit_status}", evidence=result.last_lines())
    elif result.stderr.strip() and "allow-stderr" not in test.restrictions:
        raise TestFailed(f"{test.name} wrote to standard error", evidence=tuple(result.stderr.splitlines()[-10:]))
