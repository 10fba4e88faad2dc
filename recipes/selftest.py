"""selftest: vmtasks itself, as a wheel and as a Debian package, in clean machines."""

from __future__ import annotations

import shlex
from pathlib import Path

from recipes.test_in_vm import test_in_vm
from vmtasks import Guest, Preparation, Project, Run, Source, UsageError, build_dependencies, fetching, recipe

_WHEELS = "build/wheel"
_TOOLS = ("python3-build", "python3-pip", "python3-venv")
_TESTS = ("images", "existing-host")
"""Those in debian/tests: what holds of the installed Debian package holds of the installed wheel."""
_ITS_OWN = ("vmtasks/__init__.py", "pyproject.toml", "debian/control", *(f"debian/tests/{name}" for name in _TESTS))
"""What a checkout of vmtasks has, and is needed here."""


@recipe
def selftest(run: Run, source: str = ".", out: str = "", image: str = "") -> None:
    """Build vmtasks itself as a wheel and as a Debian package, and try both in clean machines.

    The wheel is installed with the newest libraries that pip finds, the package with those of Debian. The same tests
    are run of both: the command is of this version, its images have the same content keys as those of the source, and
    it works over ssh on an existing host, which is the machine itself. No machine is started within a machine.

    :param source: a checkout of vmtasks.
    :param out: where the wheel and the packages go; the run's own directory by default.
    :param image: the image to use, instead of the project's; NAME and NAME-build belong together.
    """
    project = run.project(source, image)
    _expect_vmtasks(project)
    target = run.output_dir(out)
    _try_wheel(run, project, target)
    test_in_vm(run, source=source, out=str(target), image=image)


def _expect_vmtasks(project: Project) -> None:
    """See that a project is vmtasks itself.

    :raise UsageError: it is something else.
    """
    missing = [name for name in _ITS_OWN if not (project.root / name).is_file()]
    if project.name != "vmtasks" or missing:
        reason = f"it has no {missing[0]}" if missing else f"it is {project.name}"
        raise UsageError(
            f"cannot test vmtasks itself from {project.root}: {reason}",
            hint="--source names a checkout of vmtasks; `test-in-vm` is for other projects",
        )


def _try_wheel(run: Run, project: Project, target: Path) -> None:
    """Build the wheel, install it, and run the tests of an installed vmtasks."""
    origin = Source.of(project.root)
    tools = Preparation.joined(
        Preparation.of_packages(_TOOLS), build_dependencies(project, origin.build_needs())
    )  # fmt: skip
    with run.boot(project.images.build, name="wheel", project=project, prepare=tools) as guest:
        tree = origin.deliver(guest)
        with run.case("wheel"):
            build = ["python3", "-m", "build", "--wheel", "--no-isolation", "--outdir", _WHEELS]
            guest.succeed(build, cwd=tree, user="builder", offline=True)
            for path in guest.get(f"{tree}/{_WHEELS}/*.whl", target):
                run.artifact(path)
        with guest.tmp_dir() as room:  # an existing host keeps nothing of it, and no wheel of an earlier call is tested
            venv = f"{room}/venv"
            with run.case("install-wheel"):
                install = (
                    f"python3 -m venv --clear {venv} && "
                    f"{venv}/bin/python -m pip install {shlex.quote(tree)}/{_WHEELS}/*.whl"
                )
                guest.succeed(install, env=fetching.env(guest, project))
            for name in _TESTS:
                with run.case(f"wheel: {name}", continue_on_error=True, guest=guest):
                    _test_installed(guest, tree, name, venv)


def _test_installed(guest: Guest, tree: str, name: str, venv: str) -> None:
    """Run a test as autopkgtest does, of what is installed in a virtual environment."""
    with guest.tmp_dir() as directory:
        env = {"PATH": f"{venv}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        guest.succeed([f"debian/tests/{name}"], cwd=tree, env={**env, "AUTOPKGTEST_TMP": directory})
