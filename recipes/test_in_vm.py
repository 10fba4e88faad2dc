"""test-in-vm: everything there is to know about a project, from clean machines."""

from __future__ import annotations

from pathlib import Path

from recipes.build_deb import build_deb
from recipes.install_test import install_test
from recipes.tarbake import tarbake
from vmtasks import Project, Run, Source, UsageError, apt, recipe, sh


@recipe
def test_in_vm(run: Run, source: str = ".", out: str = "", image: str = "") -> None:
    """Build, package, install and test a project in clean machines: what `make test-in-vm` does.

    A project with debian/ goes through tarbake, build-deb and install-test, each in a machine of its own; any
    other has its own test command run (make check, make test, pytest, or as vmtasks.toml says).

    :param source: the project's directory.
    :param out: where the products go; the run's own directory by default.
    :param image: the image to use, instead of the project's; NAME and NAME-build belong together.
    """
    project = run.project(source, image)
    out = str(run.out(out))
    if not project.is_packaged:
        _own_tests(run, project, Path(out))
        return
    baked = tarbake(run, source=source, out=out, image=image)
    tarball = next((path for path in baked if Source.is_tarball(path.name)), None)
    if tarball is None:
        raise UsageError(f"cannot build packages of what the dist command made: {baked[0].name} is no tarball")

    def try_them(packages: list[Path]) -> None:
        debs = [str(path) for path in packages if path.suffix == ".deb"]
        install_test(run, debs=debs, source=source, image=image)

    build_deb(run, source=str(tarball), out=out, project=project, meanwhile=try_them)


def _own_tests(run: Run, project: Project, out: Path) -> None:
    """Run the project's own test command."""
    commands = project.commands
    if not commands.test:
        raise UsageError(
            f"there is no command that tests {project.root}",
            hint='say one in vmtasks.toml: [commands] test = "make check"',
        )
    with run.boot(project.images.build, name="test", project=project) as guest, run.case("test"):
        tree = Source.of(project.root).deliver(guest)
        apt.install(guest, commands.packages)
        try:
            guest.succeed(sh(commands.test), cwd=tree, user="builder", env=commands.env, env_from=commands.env_from)
        finally:
            for path in (path for pattern in project.artifacts.test for path in guest.glob(f"{tree}/{pattern}")):
                for made in guest.get(path, out):
                    run.product(made)
