"""tarbake: from a project's tree to its release tarball."""

from __future__ import annotations

import hashlib
import shlex
from pathlib import Path

from vmtasks import Run, Source, TestFailed, apt, recipe, sh, source_date_epoch

# A tarball that only differs in when and by whom it was made is the same tarball.
_REPACK = """# pack it once more: sorted, dated by the source, owned by root
set -eu
umask 022
repack() {
    mkdir .repack
    for tarball; do
        tar -x -C .repack -f "$tarball"
        tar -c -C .repack --sort=name --mtime="@$SOURCE_DATE_EPOCH" --clamp-mtime --owner=0 --group=0 --numeric-owner \\
            --mode=go=rX,u+rw,a-s --format=posix --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime \\
            $(ls -A .repack) | case $tarball in
                *gz) gzip -9 -n ;;
                *xz) xz -6 ;;
                *bz2) bzip2 -9 ;;
                *zst) zstd -q -19 ;;
                *) cat ;;
            esac >.repacked
        mv .repacked "$tarball"
        rm -rf .repack/*
    done
    rmdir .repack
}
"""

# For a project that has no command of its own: the tree as it stands.
_PLAIN = """# pack the tree
name=$(basename "$PWD")
tar -c -C .. "$name" | gzip -n >"../$name.tar.gz"
mv "../$name.tar.gz" .
"""


@recipe
def tarbake(run: Run, source: str = ".", out: str = "", image: str = "") -> list[Path]:
    """Make a project's release tarball in a clean machine.

    Its own dist command is run (make dist, python -m build, or as vmtasks.toml says; where there is none, the
    tree is packed as it is), and out come NAME-VERSION.tar.gz, its sha256, and distdirname.txt with the name of
    the directory inside. The same tree gives the same bytes.

    :param source: the project's directory.
    :param out: where the tarball goes; the run's own directory by default.
    :param image: the image to build in, instead of the project's.
    """
    project = run.project(source, image)
    commands = project.commands
    target = run.out(out)
    with run.boot(project.images.build, name="tarbake", project=project) as guest, run.case("tarbake"):
        tree = Source.of(project.root).deliver(guest)
        apt.install(guest, commands.packages)
        env = {"SOURCE_DATE_EPOCH": str(source_date_epoch(project.root)), "TZ": "UTC", **commands.env}
        patterns = [f"{tree}/{pattern}" for pattern in project.artifacts.dist]
        before = {path for pattern in patterns for path in guest.glob(pattern)}
        guest.succeed(sh(commands.dist or _PLAIN), cwd=tree, user="builder", env=env, env_from=commands.env_from)
        made = [path for pattern in patterns for path in guest.glob(pattern) if path not in before]
        if not made:
            raise TestFailed(f"`{commands.dist}` made no {' or '.join(project.artifacts.dist)}")
        repack = shlex.join(path for path in made if Source.is_tarball(path))
        guest.succeed(sh(f"{_REPACK}\nrepack {repack}"), cwd=tree, user="builder", env=env)
        products = []
        for path in made:
            # Looked at in the guest: what was made there is not to be trusted here.
            first = guest.query(sh(f"tar --list --file={shlex.quote(path)} | head -n 1"))
            for tarball in guest.get(path, target):
                products += [run.product(tarball), *_companions(run, tarball, first.partition("/")[0])]
    return products


def _companions(run: Run, tarball: Path, top: str) -> list[Path]:
    with tarball.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    checksum = tarball.with_name(f"{tarball.name}.sha256")
    checksum.write_text(f"{digest}  {tarball.name}\n")
    name = tarball.with_name("distdirname.txt")
    name.write_text(top.strip() + "\n")
    return [run.product(checksum), run.product(name)]
