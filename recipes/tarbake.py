"""tarbake: from a project's tree to its release tarball."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from glob import escape
from pathlib import Path

from vmtasks import (
    CommandFailed,
    Guest,
    Preparation,
    Run,
    Source,
    TestFailed,
    build_dependencies,
    events,
    fetching,
    recipe,
    release,
    source_date_epoch,
)

DIRECTORY = "distdirname.txt"
"""The name of the release's directory is in there, where it can be told which of what was made the release is."""

# A tarball that only differs in when and by whom it was made is the same tarball.
_REPACK = """# pack it once more: sorted, dated by the source, owned by root
set -eu
umask 022
mkdir .repack
for tarball; do
    tar -x -C .repack -f "$tarball"
    # A directory that nobody may write to could not be removed again.
    find .repack -type d ! -perm -u=rwx -exec chmod u+rwx {} \\;
    (cd .repack && find . -mindepth 1 -maxdepth 1 -printf '%P\\0' | sort -z) >.repack.names
    tar -c -C .repack --sort=name --mtime="@$SOURCE_DATE_EPOCH" --clamp-mtime --owner=0 --group=0 --numeric-owner \\
        --mode=go=rX,u+rw,a-s --format=posix --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime \\
        --null --files-from=.repack.names --file=.repacked.tar
    case $tarball in
        *gz) gzip -9 -n ;;
        *xz) xz -6 ;;
        *bz2) bzip2 -9 ;;
        *zst) zstd -q -19 ;;
        *lz) lzip -9 ;;
        *lzma) xz -6 --format=lzma ;;
        *) cat ;;
    esac <.repacked.tar >.repacked
    mv .repacked "$tarball"
    rm -rf .repack .repack.names .repacked.tar
    mkdir .repack
done
rmdir .repack
"""

# For a project that has no command of its own: the tree as it stands.
_PLAIN = """# pack the tree
set -eu
name=$(basename -- "$PWD")
tar -c -C .. --anchored --no-wildcards --exclude="./$name/.git" --file="../$name.tar" -- "./$name"
gzip -n <"../$name.tar" >"./$name.tar.gz"
rm -- "../$name.tar"
"""

# How many files are in it, and the first two of the names at its top; those of directories end in a slash.
_INSIDE = """
set -eu
case $1 in
    *.zip) names=$(python3 -c 'import sys, zipfile; print(*zipfile.ZipFile(sys.argv[1]).namelist(), sep="\\n")' "$1") ;;
    *) names=$(tar --list --quoting-style=literal --file="$1") ;;
esac
printf '%s\\n' "$names" | grep -c '[^/]$' || :
printf '%s\\n' "$names" | sed -e 's,^\\./,,' -e 's,/.*,/,' | grep -v '^\\.\\{0,1\\}/\\{0,1\\}$' | sort -u | head -n 2
"""


@recipe
def tarbake(run: Run, source: str = ".", out: str = "", image: str = "") -> list[Path]:
    """Make a project's release tarball in a clean machine.

    Its own dist command is run (make dist, python -m build, or the one that vmtasks.toml sets; where there is none,
    the tree is packed as it is), and out come NAME-VERSION.tar.gz, its sha256, and distdirname.txt with the name of
    the directory inside. The same tree gives the same bytes.

    :param source: the project's directory.
    :param out: where the tarball goes; the run's own directory by default.
    :param image: the image to build in, instead of the project's.
    """
    project = run.project(source, image)
    commands = project.commands
    target = run.output_dir(out)
    for line in project.guess("dist"):
        events.emit(events.Note(text=line))
    origin = Source.of(project.root)
    needs = build_dependencies(project, origin.build_needs()) if project.is_packaged else None
    tools = Preparation.joined(Preparation.of_packages(commands.packages), needs)
    with (
        run.boot(project.images.build, name="tarbake", project=project, prepare=tools) as guest,
        run.case("tarbake"),
    ):
        tree = origin.deliver(guest, patched=False)
        env = {
            "SOURCE_DATE_EPOCH": str(source_date_epoch(project.root)), "TZ": "UTC",
            **fetching.env(guest, project), **project.env,
        }  # fmt: skip
        patterns = [f"{escape(tree)}/{pattern}" for pattern in project.artifacts.dist]
        # What lies there becomes older than all else: make then makes it anew.
        lying = _stamps(guest, patterns, first='touch --date=@0 -- "$one";')
        guest.succeed((commands.dist or _PLAIN), cwd=tree, user="builder", env=env, env_from=commands.env_from)
        maker = f"`{commands.dist}`" if commands.dist else "packing the tree"
        made = [path for path, stamp in _stamps(guest, patterns).items() if lying.get(path) != stamp]
        if not made:
            wanted = "tarball" if project.artifacts.dist == release.PATTERNS else " or ".join(project.artifacts.dist)
            raise TestFailed(f"{maker} made no {wanted}")
        tops = {path: _top(guest, path, maker) for path in made if release.is_tarball(path) or path.endswith(".zip")}
        packed = [path for path in tops if release.is_tarball(path)]
        guest.succeed(["sh", "-c", _REPACK, "sh", *packed], cwd=tree, user="builder", env=env)
        chosen = release.choose(tops, project.name, project.version)
        artifacts: list[Path] = []
        for path in sorted(made, key=lambda path: path != chosen):
            for tarball in guest.get(escape(path), target):
                artifacts += [run.artifact(tarball), run.write(*_checksum(tarball))]
        if chosen is None:
            names = ", ".join(path.rpartition("/")[2] for path in made)
            events.emit(events.Note(machine=guest.name, text=f"which of {names} is the release cannot be told"))
        else:
            artifacts.append(run.write(target / DIRECTORY, f"{tops[chosen]}\n"))
    return artifacts


def _stamps(guest: Guest, patterns: Iterable[str], *, first: str = "") -> dict[str, str]:
    """Return the files that match, and what changes with each: also where one is made anew, the same as before.

    :param first: shell to be run before, for each.
    """
    look = f"""for one; do [ ! -f "$one" ] || {{ {first} stat --printf='%i %.9Z %n\\n' -- "$one"; }}; done"""
    listed = guest.query(["sh", "-c", look, "sh", *guest.glob(*patterns)])
    stamps = (line.split(" ", 2) for line in listed.splitlines() if line.count(" ") > 1)
    return {path: f"{inode} {changed}" for inode, changed, path in stamps}


def _top(guest: Guest, path: str, maker: str) -> str:
    """Return the name of the directory in a tarball; nothing if there is more than that at its top.

    It is looked at in the guest: what was made there is not to be trusted here.

    :raise TestFailed: there are no files in it, or it is none.
    """
    name = path.rpartition("/")[2]
    try:
        files, *tops = guest.query(["sh", "-c", _INSIDE, "sh", path]).splitlines() or ["0"]
    except CommandFailed as problem:
        raise TestFailed(f"{maker} made {name}, which cannot be unpacked", details=problem.details) from problem
    if files == "0":
        raise TestFailed(f"{maker} made {name}, which holds no file")
    return tops[0].removesuffix("/") if len(tops) == 1 and tops[0].endswith("/") else ""


def _checksum(tarball: Path) -> tuple[Path, str]:
    """Return the file that sha256sum(1) checks a tarball by, and what is in it."""
    with tarball.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return tarball.with_name(f"{tarball.name}.sha256"), f"{digest}  {tarball.name}\n"
