"""What a build does not declare is taken away, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from vmtasks import CommandFailed, HostError
from vmtasks.project import undeclared

TOOLS = ("build-essential", "debhelper", "git=1:2.39", "autoconf/bookworm", "pkg-config", "dpkg-dev", "lintian", "sl")
INSTALLED = """\
installed\tbuild-essential\t
installed\tdebhelper\tdebhelper-compat (= 9), debhelper-compat (= 13), dh-sequence-x
installed\tgit\tgit-completion, git-core
installed\tautoconf\tautoconf2.5
installed\tpkg-config\t
installed\tpkgconf\tpkg-config (= 1.8.1-1), pkg-config:i386
config-files\tlintian\t
installed\tdpkg-dev\t
installed\tfakeroot\t
installed\tmawk\tawk
"""


class Stub:
    """A guest that has some packages, and removes those that it is told to."""

    name = "build"

    def __init__(self, trouble: CommandFailed | None = None) -> None:
        self.trouble = trouble
        self.stay: list[str] = []
        self.gone: list[str] = []

    def query(self, command: Any, **_: Any) -> str:
        assert command[0] == "dpkg-query"
        return INSTALLED

    def succeed(self, command: Any, **_: Any) -> str:
        if self.trouble:
            raise self.trouble
        stay, *self.gone = command[4:]
        self.stay = stay.split()
        return ""


def gone(needed: str, *tools: str, keep: tuple[str, ...] = ()) -> list[str]:
    guest = Stub()
    assert undeclared.remove(guest, tools or TOOLS, needed, keep=keep) is bool(guest.gone)  # type: ignore[arg-type]
    assert not guest.gone or {*undeclared.KEPT} <= {*guest.stay}
    return guest.gone


def test_what_is_not_declared_goes() -> None:
    assert gone("Source: x\n") == ["debhelper", "git", "autoconf", "pkg-config", "pkgconf"]
    assert gone("") == ["debhelper", "git", "autoconf", "pkg-config", "pkgconf"]


def test_what_is_declared_stays_by_whatever_name() -> None:
    needed = (
        "Source: x\nBuild-Depends: debhelper-compat (= 13), pkg-config:native (>= 1)|other\n"
        "Build-Depends-Indep: git-core\nBuild-Conflicts: autoconf\n"
    )
    assert gone(needed) == ["autoconf"]
    assert gone("Source: x\nBuild-Depends: libgit-dev, autoconf2.13\n", keep=("git",)) == [
        *("debhelper", "autoconf", "pkg-config", "pkgconf")
    ]


def test_what_stayed_for_a_tool_goes_with_it() -> None:
    assert gone("", keep=("debhelper", "git", "autoconf", "pkg-config")) == []
    assert gone("Build-Depends: pkgconf\n", keep=("debhelper", "git", "autoconf")) == ["pkg-config"]


def test_where_there_is_nothing_to_remove_nothing_is_done() -> None:
    assert gone("Source: x\n", "build-essential", "lintian", "no-such-package", "--purge") == []


def test_that_they_cannot_be_removed_is_not_the_projects_fault() -> None:
    trouble = CommandFailed("`sh` on build ended with status 100", details=("E: dpkg was interrupted",))
    with pytest.raises(HostError, match="cannot take away from build what the build does not declare") as caught:
        undeclared.remove(Stub(trouble), TOOLS, "")  # type: ignore[arg-type]
    assert caught.value.details == trouble.details
