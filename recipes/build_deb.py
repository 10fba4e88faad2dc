"""build-deb: from a source to Debian packages."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from contextlib import ExitStack
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

_LINTIAN_BROKEN = 1
"""Its status for an error of its own, whatever else it has found; 2 is for tags."""
_NOT_CHECKED = re.compile(r"cannot run (\S+) check on package (\S+)")
_TAGS = {"error": "E", "warning": "EW", "info": "EWI", "none": ""}
"""The letters that begin the lines on which lintian is to fail."""


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

    Build-Depends are installed, dpkg-buildpackage builds as an ordinary user and without a network, lintian looks at
    the result; out comes all that .changes names, and it. The machine with the Build-Depends is kept: the next build
    that asks for the same ones starts there.

    :param source: a directory with debian/ in it, a tarball of one, or a .dsc file.
    :param out: where the packages go; the run's own directory by default.
    :param image: the image to build in, instead of the project's.
    :param with_source: have a source package (.dsc) come out, too, and .changes name it.
    :param project: the project that *source* is a release of; its settings and, if need be, its debian/ are used.
    :param meanwhile: what to do with the packages while lintian, which takes its time, looks at them.
    """
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
    prepared = build_dependencies(project, needs)
    with ExitStack() as machine:
        guest = machine.enter_context(run.boot(project.images.build, name="build", project=project, prepare=prepared))
        with run.case("build-deb"):
            tree = origin.deliver(guest)
            if not guest.glob(f"{tree}/debian/control"):
                raise UsageError(f"cannot build packages of {source}: there is no debian/control in it")
            control = guest.query(["cat", f"{tree}/debian/control"])
            wanted = builddeps.reduced(guest, control, env)
            _expect_packages(guest, wanted, source)
            if Source.build_needs_in(control) != needs:  # a .dsc's, say, which has them in other words
                builddeps.install(guest, wanted)
            is_wished = with_source or project.build.source
            dsc = "" if is_wished else _source_package(guest, tree)
            listing = _build(guest, tree, project, env, with_source=is_wished)
            found = _bring(guest, _beside(tree), listing, target)
        artifacts = [run.artifact(path) for path in found]

        def look() -> None:
            # The machine goes when lintian is done: a run that waits for another slot must not hold one all the while.
            with machine.pop_all():
                _lintian(run, guest, project, [f"{ARTIFACTS}/{listing}", *([dsc] if dsc else [])])

        parallel(look, lambda: meanwhile(artifacts))
    return artifacts


def _expect_packages(guest: Guest, reduced: str, source: str) -> None:
    """See that there is something to build on this architecture, before all the rest is done for nothing."""
    if "\nPackage: " not in reduced:
        architecture = guest.query(["dpkg", "--print-architecture"]).strip()
        raise UsageError(f"cannot build packages of {source}: it has none for {architecture} and these build profiles")


def _beside(tree: str) -> str:
    """Return the directory that a tree lies in: the tools of Debian put there what they make of it."""
    return str(PurePosixPath(tree).parent)


def _source_package(guest: Guest, tree: str) -> str:
    """Return the path of the source package that the tree came in, or is made into, for lintian to see."""
    workshop = _beside(tree)
    if there := guest.glob(f"{workshop}/*.dsc"):
        return there[0]
    made = guest.run(["dpkg-source", "--build", tree], cwd=workshop, user="builder", warn=True)
    if made.ok and (there := guest.glob(f"{workshop}/*.dsc")):
        return there[0]
    text = f"lintian sees no source: dpkg-source cannot make a package of it: {''.join(made.last_lines(1))}"
    events.emit(events.Note(machine=guest.name, text=text, level="warning"))
    return ""


def _build(guest: Guest, tree: str, project: Project, env: Mapping[str, str], *, with_source: bool) -> str:
    """Build, and return the name of the .changes file."""
    before = guest.glob(f"{_beside(tree)}/*.changes")
    result = guest.run(
        ["dpkg-buildpackage", *(("--build=full", "-sa") if with_source else ("--build=binary",)), "--no-sign"],
        cwd=tree, user="builder", env=env, env_from=project.commands.env_from, offline=project.build.network == "none",
        warn=True,
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


def _lintian(run: Run, guest: Guest, project: Project, files: list[str]) -> None:
    level = project.commands.lintian
    if level == "off":
        return
    if not guest.query("command -v lintian || :").strip():
        run.skip("lintian", "the image has no lintian")
        return
    with run.case("lintian", continue_on_error=True, guest=guest):
        check = ["lintian", "--no-cfg", "--tag-display-limit=0", f"--fail-on={level}", *files]
        result = guest.run(check, cwd=ARTIFACTS, user="builder", warn=True)
        if result.exited == _LINTIAN_BROKEN and _is_only_broken(result, level):
            named = ", ".join(sorted({f"{name} of {package}" for name, package in _unchecked(result)}))
            text = f"lintian has a bug that these packages meet, and could not check {named}"
            events.emit(events.Note(machine=guest.name, text=text, level="warning"))
        elif not result.ok:
            raise CommandFailed(
                f"lintian on {guest.name} ended with status {result.exited}",
                details=result.last_lines(),
                result=result,
            )


def _unchecked(result: Result) -> list[tuple[str, str]]:
    """Return the checks that lintian could not do, and of what."""
    return _NOT_CHECKED.findall(result.stdout + result.stderr)


def _is_only_broken(result: Result, level: str) -> bool:
    """Tell whether all that is wrong are checks that lintian could not do."""
    tags = re.compile(f"[{_TAGS[level]}]: ") if _TAGS[level] else None
    return bool(_unchecked(result)) and not (tags and any(map(tags.match, result.stdout.splitlines())))
