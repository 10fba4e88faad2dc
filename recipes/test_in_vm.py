"""test-in-vm: everything there is to know about a project, from clean machines."""

from __future__ import annotations

from pathlib import Path

from recipes.build_deb import build_deb
from recipes.install_test import install_test
from recipes.source_package import source_package
from recipes.tarbake import DIRECTORY, tarbake
from vmtasks import Project, Run, UsageError, events, own_dependencies, recipe, release, run_own_tests, test_command


@recipe
def test_in_vm(run: Run, source: str = ".", out: str = "", image: str = "") -> None:
    """Build, package, install and test a project in clean machines.

    A project with debian/ goes through source-package (or tarbake, where it has a dist command), build-deb and
    install-test, each in a machine of its own; any other has its own test command run (make check, make test, pytest,
    or the one that vmtasks.toml sets).

    :param source: the project's directory.
    :param out: where the artifacts go; the run's own directory by default.
    :param image: the image to use, instead of the project's; NAME and NAME-build belong together.
    """
    project = run.project(source, image)
    out = str(run.output_dir(out))
    if not project.is_packaged:
        _own_tests(run, project, Path(out))
        return
    if project.has_own_dist:
        origin = _release(project, tarbake(run, source=source, out=out, image=image))
    else:
        origin, *_ = source_package(run, source=source, out=out, image=image)

    def try_them(packages: list[Path]) -> None:
        if debs := [str(path) for path in packages if path.suffix == ".deb"]:
            install_test(run, debs=debs, source=str(origin), project=project)
        else:  # without a name, install-test would take what lies in the working directory
            run.skip("install", "the build made no .deb file: a .udeb is the installer's, which no machine here is")

    build_deb(run, source=str(origin), out=out, project=project, meanwhile=try_them)


def _release(project: Project, baked: list[Path]) -> Path:
    """Return the tarball that the packages are to be built from: tarbake names it first, where it knows it.

    :raise UsageError: it is none, or which of several it is cannot be told.
    """
    tarballs = [path for path in baked if release.is_tarball(path.name)]
    if not tarballs:
        raise UsageError(f"cannot build packages of what the dist command made: {baked[0].name} is no tarball")
    if len(tarballs) > 1 and DIRECTORY not in {path.name for path in baked}:
        names = ", ".join(path.name for path in tarballs)
        raise UsageError(
            f"cannot tell which of {names} is the release: none of them is called {project.directory_name}",
            hint='say which in vmtasks.toml: [artifacts] dist = ["NAME-VERSION.tar.gz"]',
        )
    return tarballs[0]


def _own_tests(run: Run, project: Project, out: Path) -> None:
    """Run the project's own test command in a clean machine."""
    test_command(project)
    for line in project.guess("test"):
        events.emit(events.Note(text=line))
    prepared = own_dependencies(project)
    with run.boot(project.images.build, name="test", project=project, prepare=prepared) as guest, run.case("test"):
        run_own_tests(run, guest, project, out)
