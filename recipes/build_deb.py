"""build-deb: from a source to Debian packages."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from vmtasks import Guest, Project, Provisioning, Run, Source, UsageError, apt, at_once, recipe, sh

# The date of the build is the one thing in a .buildinfo that is not made from what went in.
_SETTLE = """# give the build the changelog's date, in .buildinfo and so in .changes
set -eu
date=$(dpkg-parsechangelog -S Date)
sed -i "s/^Build-Date: .*/Build-Date: $date/" ../*.buildinfo
changes=$(ls ../*.changes)
dpkg-genchanges -b >"$changes.new"
mv "$changes.new" "$changes"
"""


@recipe
def build_deb(
    run: Run,
    source: str = ".",
    out: str = "",
    image: str = "",
    *,
    project: Project | None = None,
    meanwhile: Callable[[list[Path]], object] = lambda _: None,
) -> list[Path]:
    """Build Debian packages in a clean machine.

    Build-Depends are installed, dpkg-buildpackage builds as an ordinary user, lintian looks at the result; out
    come the .deb files, .changes and .buildinfo. The same source gives the same bytes. The machine with the
    Build-Depends is kept: the next build that asks for the same ones starts there.

    :param source: a directory with debian/ in it, a tarball of one, or a .dsc file.
    :param out: where the packages go; the run's own directory by default.
    :param image: the image to build in, instead of the project's.
    :param project: the project that *source* is a release of; its settings and, if need be, its debian/ are used.
    :param meanwhile: what to do with the packages while lintian, which takes its time, looks at them.
    """
    origin = Source.of(Path(source), debian=project.root / "debian" if project else None)
    if origin.kind == "tree" and not (origin.path / "debian/control").is_file():
        raise UsageError(
            f"cannot build packages of {source}: it has no debian/control",
            hint="`inv test-in-vm` runs the project's own tests instead",
        )
    project = project or run.project(source, image)
    target = run.out(out)
    needs = origin.build_needs()
    provisioning = Provisioning(
        name=f"the build dependencies of {project.name}",
        key=f"build dependencies: {needs}",
        work=lambda guest: apt.build_dep_of(guest, needs),
    )
    with ExitStack() as machine:
        guest = machine.enter_context(
            run.boot(project.images.build, name="build", project=project, provisioning=provisioning if needs else None)
        )
        with run.case("build-deb"):
            tree = origin.deliver(guest)
            if not guest.glob(f"{tree}/debian/control"):
                raise UsageError(f"cannot build packages of {source}: there is no debian/control in it")
            apt.build_dep(guest, tree)
            guest.succeed(
                ["dpkg-buildpackage", "--build=binary", "--no-sign"],
                cwd=tree, user="builder", env=project.commands.env, env_from=project.commands.env_from,
            )  # fmt: skip
            guest.succeed(sh(_SETTLE), cwd=tree, user="builder")
            found = guest.get("/build/*.deb", target) + guest.get("/build/*.changes", target)
            found += guest.get("/build/*.buildinfo", target)
        changes = next(path for path in found if path.suffix == ".changes")
        products = [run.product(path) for path in found]

        def look() -> None:
            # The machine goes when lintian is done: who waits for another's slot must not sit on one all the while.
            with machine.pop_all():
                _lintian(run, guest, project, changes)

        at_once(look, lambda: meanwhile(products))
    return products


def _lintian(run: Run, guest: Guest, project: Project, changes: Path) -> None:
    with run.case("lintian", goes_on=guest):
        level = project.commands.lintian
        check = ["lintian", "--no-cfg", "--no-tag-display-limit", f"--fail-on={level}", f"/build/{changes.name}"]
        guest.succeed(check, cwd="/build", user="builder")
