"""build-deb: from a source to Debian packages."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from glob import escape
from pathlib import Path, PurePosixPath

from vmtasks import (
    CommandFailed,
    Guest,
    Project,
    Result,
    Run,
    Source,
    TestFailed,
    UsageError,
    build_dependencies,
    build_env,
    builddeps,
    changes,
    events,
    lintian,
    parallel,
    recipe,
)

ARTIFACTS = "/srv/vmtasks-artifacts"
"""Where in the guest that which comes out is, out of reach of what the build may have left running."""

# What programs print where there is no network; the messages about a server of the build's own that does not answer
# are not among it.
_NO_NETWORK = re.compile(
    r"Network is unreachable|Temporary failure in name resolution|Could not resolve host|Name or service not known"
    r"|getaddrinfo E(AI_AGAIN|NOTFOUND)|ENETUNREACH|no such host|unable to resolve host"
)

_NO_HOME = "/nonexistent"


@recipe
def build_deb(
    run: Run,
    source: str = ".",
    out: str = "",
    image: str = "",
    with_source: bool = False,
    *,
    project: Project | None = None,
    meanwhile: Callable[[list[Path]], object] = lambda _: None,
) -> list[Path]:
    """Build Debian packages in a clean machine.

    It has Build-Depends, build-essential and fakeroot, and none of the image's other tools. dpkg-buildpackage builds as
    an ordinary user and without a network; out comes all that .changes names, and it. lintian looks at the result in a
    machine of the image as it is. The machine with the Build-Depends is kept: the next build that asks for the same
    ones starts there.

    :param source: a directory with debian/ in it, a tarball of one, or a .dsc file.
    :param out: where the packages go; the run's own directory by default.
    :param image: the image to build in, instead of the project's.
    :param with_source: have a source package (.dsc) come out, too, and .changes name it.
    :param project: the project that *source* is a release of; its settings and, if need be, its debian/ are used.
    :param meanwhile: what to do with the packages while lintian, which takes its time, looks at them.
    """
    from tempfile import TemporaryDirectory

    origin = Source.of(Path(source), debian=project.root / "debian" if project else None)
    if origin.kind == "tree" and not (origin.path / "debian/control").is_file():
        raise UsageError(
            f"cannot build packages of {source}: it has no debian/control",
            hint=f"{run.task_line('test-in-vm')} runs the project's own tests instead",
        )
    project = project or run.project(source, image)
    target = run.output_dir(out)
    env = build_env(project)
    needs = origin.build_needs()
    with ExitStack() as machine, TemporaryDirectory(prefix="vmtasks-") as room:
        is_wished = with_source or project.build.source
        origin = _packed(run, origin, project, Path(room), anyhow=is_wished)
        prepared = build_dependencies(project, needs, alone=True)
        guest = machine.enter_context(run.boot(project.images.build, name="build", project=project, prepare=prepared))
        with run.case("build-deb"):
            tree = origin.deliver(guest, adds_git=False)
            if not guest.glob(f"{escape(tree)}/debian/control"):
                raise UsageError(f"cannot build packages of {source}: there is no debian/control in it")
            control = guest.query(["cat", f"{tree}/debian/control"])
            wanted = builddeps.reduced(guest, control, env)
            _expect_packages(guest, wanted, source)
            if Source.build_needs_in(control) != needs:  # a .dsc's, say, which has them in other words
                builddeps.install(guest, wanted)
            is_checked = project.commands.lintian != "off"
            shown = origin.shown(guest, tree, Path(room)) if is_checked and not is_wished else []
            listing = _build(guest, tree, project, env, with_source=is_wished)
            found = _bring(guest, _beside(tree), listing, target)
        artifacts = [run.artifact(path) for path in found]
        has_lintian = is_checked and lintian.is_in(guest)
        if not has_lintian:
            machine.close()

        looking = _looking(run, project, [*found, *shown], machine, guest if has_lintian else None)
        parallel(looking if is_checked else machine.close, lambda: meanwhile(artifacts))
    return artifacts


def _looking(
    run: Run, project: Project, files: list[Path], machine: ExitStack, guest: Guest | None
) -> Callable[[], None]:
    """Return what has lintian look at files: in a guest that has it, which *machine* ends, or in another machine."""

    def look() -> None:
        # The machine goes when lintian is done: a run that waits for another slot must not hold one all the while.
        with machine.pop_all() as held:
            looker = guest or held.enter_context(run.boot(project.images.build, name="lintian", project=project))
            _lintian(run, looker, project, files)

    return look


def _packed(run: Run, origin: Source, project: Project, room: Path, *, anyhow: bool) -> Source:
    """Return the source package that a tree with an upstream tarball is, made in a machine of its own; else *origin*.

    sbuild begins so, too: what no patch has of the changes to upstream's files is found there, and a version that does
    not go with the source format.

    :param anyhow: make upstream's tarball of the tree if there is none.
    """
    upstream = origin.upstream()
    if not origin.is_refused and (upstream == "none" or (upstream == "tree" and not anyhow)):
        return origin
    with run.boot(project.images.build, name="source", project=project) as guest, run.case("source-package"):
        dsc, *_ = origin.package(guest, origin.deliver(guest, patched=False), room)
    return Source.of(dsc)


def _expect_packages(guest: Guest, reduced: str, source: str) -> None:
    """See that there is something to build on this architecture, before all the rest is done for nothing."""
    if "\nPackage: " not in reduced:
        architecture = guest.query(["dpkg", "--print-architecture"]).strip()
        raise UsageError(f"cannot build packages of {source}: it has none for {architecture} and these build profiles")


def _beside(tree: str) -> str:
    """Return the directory that a tree lies in: the tools of Debian put there what they make of it."""
    return str(PurePosixPath(tree).parent)


def _build(guest: Guest, tree: str, project: Project, env: Mapping[str, str], *, with_source: bool) -> str:
    """Build, and return the name of the .changes file."""
    before = guest.glob(f"{_beside(tree)}/*.changes")
    # As with sbuild: what a build wrote to somebody's home would be missing in the next one.
    home = {} if "HOME" in project.commands.env_from else {"HOME": _NO_HOME}
    result = guest.run(
        ["dpkg-buildpackage", *(("--build=full", "-sa") if with_source else ("--build=binary",)), "--no-sign"],
        cwd=tree, user="builder", env={**home, **env}, env_from=project.commands.env_from,
        offline=project.build.network == "none", warn=True,
    )  # fmt: skip
    if not result.ok:
        raise _failure(result, project)
    _end_what_is_left(guest)
    made = [path for path in guest.glob(f"{_beside(tree)}/*.changes") if path not in before]
    if len(made) != 1:
        raise TestFailed(f"dpkg-buildpackage was to make one .changes file, and made {len(made)}")
    return made[0].rpartition("/")[2]


def _failure(result: Result, project: Project) -> CommandFailed:
    output = f"{result.stdout}\n{result.stderr}"
    hint = ""
    if project.build.network == "none" and _NO_NETWORK.search(output):
        hint = 'a build has no network, here as with Debian: [build] network = "user" gives it the machine\'s'
    by = f"by signal {result.signal}" if result.signal else f"with status {result.exited}"
    return CommandFailed(
        f"dpkg-buildpackage on {result.machine} ended {by}", details=result.last_lines(), hint=hint, result=result
    )


def _end_what_is_left(guest: Guest) -> None:
    """End what the build has started and not ended: it could still write to what has been made."""
    left = guest.query("pgrep --euid builder --list-full; pkill -KILL --euid builder; :").splitlines()
    if left:
        text = f"the build left {len(left)} processes running, `{left[0].partition(' ')[2][:80]}` among them"
        events.emit(events.Note(machine=guest.name, text=text, level="warning"))


def _bring(guest: Guest, workshop: str, listing: str, target: Path) -> list[Path]:
    """Bring out what a .changes file names, and it; all of it is what is named there."""
    move = f"cd {workshop} && mv --target-directory={ARTIFACTS} --"
    own = shlex.quote(listing)
    made = changes.read(listing, guest.query(f"install -d {ARTIFACTS} && {move} {own} && cat {ARTIFACTS}/{own}"))
    # One that is missing is told by what looks at all of them.
    guest.query(f"{move} {shlex.join(file.name for file in made)} 2>/dev/null; :")
    guest.get(ARTIFACTS, target)
    return [*(changes.check(file, target) for file in made), changes.plain(target / listing)]


def _lintian(run: Run, guest: Guest, project: Project, files: list[Path]) -> None:
    level = project.commands.lintian
    if level != "off":
        with run.case("lintian", continue_on_error=True, guest=guest):
            lintian.check(guest, files, level)
