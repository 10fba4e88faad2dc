"""autodep8, in a guest: autopkgtest would call it on the host, and it obeys the tree that it looks at."""

from __future__ import annotations

from vmtasks.debian import apt
from vmtasks.guest import Guest

# autopkgtest would call autodep8 on the host; it obeys the tree that it looks at, so that is done in a machine.
COMPLETE = """# complete debian/tests/control
cd @TREE@
[ -f debian/control ] || exit 0
if [ -e debian/tests/control ] && ! sed '/^[[:space:]]*$/q' debian/control | grep -q autopkgtest-pkg-; then exit 0; fi
autodep8 >../control.complete || { rm ../control.complete; exit 0; }
mkdir -p debian/tests
mv ../control.complete debian/tests/control
"""


def expect_autodep8(guest: Guest) -> None:
    """See that the guest has autodep8: where it does not, it is installed."""
    if not guest.query("command -v autodep8 || :").strip():
        apt.install(guest, ["autodep8"])
