"""autodep8, in a guest: autopkgtest would call it on the host, and it obeys the tree that it looks at."""

from __future__ import annotations

import shlex

from vmtasks import events
from vmtasks.debian import apt
from vmtasks.guest import Guest

# The source's paragraph is the first one: comments and empty lines in front of it are none.
_ASKED = """# what debian/control asks autodep8 for; and whether there is no debian/tests/control
cd @TREE@
[ -f debian/control ] || exit 0
[ -e debian/tests/control ] || echo none
awk '/^#/ { next }
    /^[ \\t\\r]*$/ { if (began) exit; next }
    { began = 1 }
    /^[ \\t]/ { if (is_asked) print; next }
    { is_asked = 0 }
    tolower($0) ~ /^(xs-)?testsuite[ \\t]*:/ { is_asked = 1; sub(/^[^:]*:/, ""); print }' debian/control
"""
_COMPLETE = """# complete debian/tests/control
cd @TREE@
autodep8 >../control.complete || { rm ../control.complete; echo failed; exit 0; }
mkdir -p debian/tests
mv ../control.complete debian/tests/control
"""


def complete(guest: Guest, tree: str) -> None:
    """Have debian/tests/control of a tree in the guest name autodep8's tests, too, where autopkgtest would.

    That is where there is none, or where the field Testsuite asks for them; a note tells if they cannot be had then.

    :raise CommandFailed: autodep8 is needed and cannot be installed.
    :raise HostError: no mirror answers.
    """
    place = shlex.quote(tree)
    words = guest.query(_ASKED.replace("@TREE@", place)).replace(",", " ").split()
    asked = [word for word in words if word.startswith("autopkgtest-pkg-")]
    if not asked and words[:1] != ["none"]:
        return
    if not guest.query("command -v autodep8 || :").strip():
        apt.install(guest, ["autodep8"])
    if guest.query(_COMPLETE.replace("@TREE@", place)).strip() and asked:
        text = f"the field Testsuite asks for {' '.join(asked)[:100]}, and autodep8 has no tests of that kind"
        events.emit(events.Note(machine=guest.name, text=text, level="warning"))
