"""source-package: from a project's tree to its Debian source package."""

from __future__ import annotations

from pathlib import Path

from vmtasks import Run, Source, UsageError, recipe


@recipe
def source_package(run: Run, source: str = ".", out: str = "", image: str = "") -> list[Path]:
    """Make a Debian source package of a tree in a clean machine.

    dpkg-source makes it as debian/source/format says. Upstream's tarball is the one beside the tree, on a pristine-tar
    branch, at a tag, or where debian/watch leads to; where there is none, it is made of the tree without debian/. Out
    come the .dsc and the files that it names.

    :param source: the project's directory, with debian/ in it.
    :param out: where the files go; the run's own directory by default.
    :param image: the image to make it in, instead of the project's.
    """
    project = run.project(source, image)
    if not project.is_packaged:
        raise UsageError(f"cannot make a source package of {source}: it has no debian/control")
    target = run.output_dir(out)
    with run.boot(project.images.build, name="source", project=project) as guest, run.case("source-package"):
        origin = Source.of(project.root)
        return [run.artifact(path) for path in origin.package(guest, origin.deliver(guest, patched=False), target)]
