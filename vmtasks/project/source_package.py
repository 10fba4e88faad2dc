"""A Debian source package, made in a guest: dpkg-source decides what of, and upstream's tarball is brought to it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vmtasks import apt, events
from vmtasks.errors import CommandFailed, CommandTimedOut
from vmtasks.guest import Guest
from vmtasks.project import Project, source_date_epoch

if TYPE_CHECKING:
    from vmtasks.project.history import History
    from vmtasks.project.orig import Orig

WORKSHOP = "/build"
"""Where builds happen in the guest: always the same, because paths find their way into what is built."""
USER = "builder"
"""The user that builds there."""

_NOT_UPSTREAMS = r"--extend-diff-ignore=(^|/)vmtasks\.toml$"
"""What a packaged tree may have beside upstream's files, besides what dpkg-source itself passes over."""
_OPTIONS = {
    "1.0": ("-i", "-I", _NOT_UPSTREAMS),
    "2.0": (_NOT_UPSTREAMS,),
    "3.0 (quilt)": (_NOT_UPSTREAMS,),
}
"""dpkg-source's, by the format of the source."""

# One tarball, the same for the same tree; $1 is the tree, $2 the tarball, $3 an empty directory.
_FROM_TREE = r"""# make upstream's tarball of the tree
set -eu
name=$(basename -- "$1")
cp -a -- "$1" "$3/$name"
cd "$3/$name"
patches() { sed -n 's/^\([^#[:space:]]\{1,\}\).*/\1/p' debian/patches/series 2>/dev/null; }
apply() { patch -p1 --force --quiet --fuzz=0 --no-backup-if-mismatch --input="debian/patches/$@"; }
first=$(patches | head -n 1)
if [ "$first" ] && ! apply "$first" --dry-run >/dev/null; then
    # They are applied already, as dgit and others keep a tree, and none of upstream's.
    patches | tac | while read -r one; do apply "$one" --reverse; done
fi
rm -rf debian .git .pc
tar -c -C .. --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
    --mode=go=rX,u+rw,a-s --format=gnu -- "$name" >../made.tar
gzip -9 -n <../made.tar >"$2"
"""
# $1 is a repository, $2 the tarball, $3 the tag, $4 the directory in the tarball.
_FROM_TAG = """# make upstream's tarball of a tag
set -eu
mkdir -p "$1/.git/info"
echo '* -export-ignore -export-subst' >"$1/.git/info/attributes"
git -C "$1" archive --format=tar --prefix="$4/" "$3" >"$2.tmp"
gzip -9 -n <"$2.tmp" >"$2"
rm -- "$2.tmp"
"""
# $1 is the tree, $2 what the tarball is called up to `.tar`, $3 where it goes. uscan sees debian/ alone, in a room of
# its own: what it makes of that, and an action that debian/watch names, are not for the build.
_FROM_WATCH = """# fetch upstream's tarball from where debian/watch leads to
set -eu
room=$(mktemp --directory)
trap 'rm -rf -- "$room"' EXIT
mkdir -- "$room/found" "$room/tree"
cp -a -- "$1/debian" "$room/tree/"
cd -- "$room/tree"
# Its status also tells whether there are newer versions: what counts is what it has brought.
uscan --no-conf --download-current-version --rename --destdir="$room/found" --check-dirname-level=0 || :
cd -- "$room/found"
set -- "$3" "$2".tar.* "$2"-*.tar.*
into=$1
shift
[ -f "$1" ] || exit 0
for one; do
    [ ! -f "$one" ] || cp -L -- "$one" "$into/"
done
"""
_WATCH_LIMIT_S = 600.0
"""How long upstream's site may take."""


def make(guest: Guest, project: Project, tree: str, into: Path) -> list[Path]:
    """Make the source package of a project's tree in the guest, and bring it out: the .dsc comes first.

    dpkg-source decides by debian/source/format what it is made of. Where that has an upstream tarball, it is the one
    that is found beside the tree, with pristine-tar or at a tag, else one of the tree itself.

    :param tree: the guest's directory, to which patches may have been applied.
    :raise UsageError: debian/changelog does not tell which package it is.
    :raise CommandFailed: dpkg-source cannot: there are changes to upstream's files that no patch has, say.
    """
    from vmtasks.project.orig import find, format_of, misfit

    expect_tool(guest, "dpkg-source", "dpkg-dev")
    # A patch that was applied for a build is none of upstream's: its tarball is made before.
    guest.succeed(["dpkg-source", "--after-build", tree], cwd=WORKSHOP, user=USER)
    orig = _bring(guest, project.root, find(project.root, only_tree=project.source.orig == "tree"), tree)
    options = _OPTIONS.get(format_of(project.root), ())
    try:
        guest.succeed(["dpkg-source", *options, "--build", tree], cwd=WORKSHOP, user=USER)
    except CommandFailed as problem:
        if hint := misfit(project.root):
            raise CommandFailed(str(problem), details=problem.details, hint=hint) from problem
        if orig.kind in {"none", "tree"}:
            raise
        hint = "'[source] orig = \"tree\"' in vmtasks.toml has upstream's tarball made of the tree as it is"
        raise CommandFailed(f"{problem!s}; {orig.says()}", details=problem.details, hint=hint) from problem
    package = project.source_package
    return bring_out(guest, f"{package.name}_{package.file_version}.dsc", into)


def bring_out(guest: Guest, name: str, into: Path) -> list[Path]:
    """Bring a source package out of the workshop: the .dsc comes first.

    :raise UsageError: it is not whole.
    """
    from vmtasks.project.dsc import Dsc

    (described,) = guest.get(f"{WORKSHOP}/{name}", f"{into}/")
    dsc = Dsc.read(described)
    for part in dsc.parts:
        guest.get(f"{WORKSHOP}/{part.name}", f"{into}/")
    dsc.check()
    return list(dsc.files)


def open_workshop(guest: Guest) -> None:
    """See that the guest has the user that builds, and the directory where it does."""
    make = f"useradd --create-home --shell /bin/bash {USER}; "
    guest.query(f"id -u {USER} >/dev/null 2>&1 || {make}install -d -o {USER} -g {USER} {WORKSHOP}")


def expect_tool(guest: Guest, tool: str, package: str) -> None:
    """See that the guest has a tool: where it does not, its Debian package is installed."""
    if not guest.query(f"command -v {tool} || :"):
        apt.install(guest, [package])


def put_history(guest: Guest, root: Path, history: History, tree: str) -> None:
    """Make a git repository in the guest's directory *tree*, of what travels of that on the host."""
    from tempfile import TemporaryDirectory

    from vmtasks.project.history import IMPORT

    expect_tool(guest, "git", "git")
    with TemporaryDirectory(prefix="vmtasks-") as here, guest.tmp_dir() as there:
        history.write(root, Path(here))
        guest.put(Path(here), there)
        guest.succeed(["sh", "-c", IMPORT, "sh", tree, there])


def _bring(guest: Guest, root: Path, orig: Orig, tree: str) -> Orig:
    """See that upstream's tarball lies beside the tree, if the package has one; tell and return where it comes from."""
    made = f"{WORKSHOP}/{orig.stem}.tar.gz"
    if orig.kind == "watch" and (trouble := _fetch(guest, orig, tree)):
        orig = replace(orig, kind="tree", trouble=trouble)
    match orig.kind:
        case "none":
            return orig
        case "beside":
            guest.put(root.parent, WORKSHOP, files=[Path(path.name) for path in orig.files])
        case "tree":
            env = {"SOURCE_DATE_EPOCH": str(source_date_epoch(root))}
            with guest.tmp_dir() as room:
                guest.succeed(["sh", "-c", _FROM_TREE, "sh", tree, made, room], env=env)
        case "tag":
            with guest.tmp_dir() as room:
                put_history(guest, root, orig.history, f"{room}/git")
                top = tree.rpartition("/")[2]
                guest.succeed(["sh", "-c", _FROM_TAG, "sh", f"{room}/git", made, orig.ref, top])
        case "pristine-tar":
            expect_tool(guest, "pristine-tar", "pristine-tar")
            with guest.tmp_dir() as room:
                put_history(guest, root, orig.history, f"{room}/git")
                for name in orig.names:
                    guest.succeed(["pristine-tar", "checkout", f"{WORKSHOP}/{name}"], cwd=f"{room}/git")
    events.emit(events.Note(machine=guest.name, text=orig.says(), level="info"))
    return orig


def _fetch(guest: Guest, orig: Orig, tree: str) -> str:
    """Have uscan fetch upstream's tarball of this version; return why there is none, or nothing if it is there."""
    expect_tool(guest, "uscan", "devscripts")
    line = ["sh", "-c", _FROM_WATCH, "sh", tree, orig.stem, WORKSHOP]
    try:
        said = guest.run(line, user=USER, timeout_s=_WATCH_LIMIT_S, warn=True)
    except CommandTimedOut as problem:
        return str(problem)
    if guest.glob(f"{WORKSHOP}/{orig.stem}.tar.*"):
        return ""
    return next((line.strip() for line in reversed(said.last_lines())), f"uscan brought no {orig.stem}.tar.*")
