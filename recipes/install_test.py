"""install-test: packages as their users meet them, on a machine without compilers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from vmtasks import (
    ConnectionLost,
    Dep8Test,
    Guest,
    Project,
    Run,
    Source,
    TestFailed,
    at_once,
    autopkgtest,
    events,
    packages,
    recipe,
    sh,
)

if TYPE_CHECKING:
    from vmtasks import Checkpoint

_ONE_MACHINE = "it needs a machine of its own that starts where this one is, which cannot be had there"
_LOGS = "journalctl --boot --no-pager >journal.log; cp -f /var/log/dpkg.log /var/log/apt/term.log . 2>/dev/null; :"


@recipe(iterable=("debs",))
def install_test(
    run: Run, debs: list[str], source: str = "", image: str = "", upgrade_from: str = "", smoke: str = ""
) -> None:
    """Install packages in a clean machine without compilers, try them, and purge them again.

    The packages are served as a local apt repository and installed with apt. The package's own tests
    (debian/tests, if --source has some) and the smoke command are run. After a purge, files that are left
    are reported. An upgrade, and each test that asks for isolation, has a machine of its own, which starts where
    the first one was then. Logs come out whether it passed or failed.

    :param debs: .deb files, .changes files or directories of them; may be given several times.
    :param source: what they were built from, for debian/tests and vmtasks.toml.
    :param image: the image to install in, instead of the project's.
    :param upgrade_from: also upgrade from older packages: "archive" for those of the Debian archive, or a directory.
    :param smoke: a shell line to run once they are installed, instead of the project's.
    """
    new = packages.find(debs)
    old = packages.find([upgrade_from]) if upgrade_from not in ("", "archive") else {}
    project = run.project(source, image)
    trial = _Trial(run=run, new=new, project=project, smoke=smoke or project.commands.smoke)
    with ExitStack() as checkpoints, ExitStack() as machine:
        forkable = bool(source or upgrade_from)
        guest = machine.enter_context(
            run.boot(project.images.install, name="install", project=project, forkable=forkable)
        )
        machine.enter_context(_logs_kept(run, guest))
        before = packages.files(guest)
        beside: list[Callable[[], object]] = []
        if upgrade_from and not guest.can_fork:
            run.skip("upgrade", _ONE_MACHINE)
        elif upgrade_from:
            clean = _checkpoint(guest, "no packages yet", checkpoints)
            beside.append(lambda: trial.upgrade(clean, old))
        packages.serve(guest, new)
        with run.case("install"):
            packages.install(guest, new)
        tree, tests = _tests(run, guest, Source.of(Path(source))) if source else ("", [])
        alone = [test for test in tests if test.needs_own_machine]
        if not guest.can_fork:
            for test in alone:
                run.skip(f"debian/tests/{test.name}", _ONE_MACHINE)
        elif alone:
            installed = _checkpoint(guest, "installed packages", checkpoints)
            beside += [partial(trial.isolated, installed, tree, test) for test in alone]

        def go_on() -> None:
            # The machine goes when this is done: the others may be waiting for its slot.
            with machine.pop_all():
                for test in tests:
                    if test not in alone:
                        trial.test(guest, tree, test)
                trial.use(guest)
                trial.purge(guest)
                _report(run, guest, packages.leftovers(guest, before))

        at_once(go_on, *beside)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    """What is done with the packages, in whichever machine; *when* tells its test cases from those of another."""

    run: Run
    new: packages.Packages
    project: Project
    smoke: str

    def test(self, guest: Guest, tree: str, test: Dep8Test) -> None:
        """Run one of the package's own tests."""
        with self.run.case(f"debian/tests/{test.name}", goes_on=guest):
            autopkgtest.run(guest, tree, test, self.new, self.run.directory / f"artifacts-{test.name}")

    def use(self, guest: Guest, when: str = "") -> None:
        """Run the smoke command, if there is one."""
        if self.smoke:
            with self.run.case(f"smoke{when}", goes_on=guest):
                commands = self.project.commands
                guest.succeed(sh(self.smoke), user="builder", env=commands.env, env_from=commands.env_from)

    def purge(self, guest: Guest, when: str = "") -> None:
        """Purge the packages."""
        with self.run.case(f"purge{when}"):
            packages.purge(guest, self.new)

    def upgrade(self, clean: Checkpoint, old: packages.Packages) -> None:
        """Upgrade from older packages, in a machine of its own, whose apt does not know the new ones at first."""
        with self.run.boot(clean, name="upgrade", project=self.project) as guest, _logs_kept(self.run, guest):
            with self.run.case("install-old"):
                packages.install_older(guest, old, self.new)
            packages.serve(guest, self.new)
            with self.run.case("upgrade"):
                packages.install(guest, self.new)
            self.use(guest, " after the upgrade")
            self.purge(guest, " after the upgrade")

    def isolated(self, installed: Checkpoint, tree: str, test: Dep8Test) -> None:
        """Run one of the package's own tests in a machine of its own."""
        name = f"test-{test.name}"
        with self.run.boot(installed, name=name, project=self.project) as guest, _logs_kept(self.run, guest):
            self.test(guest, tree, test)


def _tests(run: Run, guest: Guest, origin: Source) -> tuple[str, list[Dep8Test]]:
    """Return the source's tree in the guest, and those of its own tests that can run there."""
    tree = origin.deliver(guest)
    runnable = []
    for test, why_not in autopkgtest.tests_of(guest, tree):
        if why_not:
            run.skip(f"debian/tests/{test.name}", why_not)
        else:
            runnable.append(test)
    return tree, runnable


def _checkpoint(guest: Guest, name: str, stack: ExitStack) -> Checkpoint:
    """Freeze the guest, for as long as *stack* lives."""
    checkpoint = guest.checkpoint(name)
    stack.callback(checkpoint.drop)
    return checkpoint


@contextmanager
def _logs_kept(run: Run, guest: Guest) -> Iterator[None]:
    """Bring the guest's logs out at the end of the block, whichever way that is left."""
    try:
        yield
    finally:
        with suppress(ConnectionLost, TestFailed), guest.tmp_dir() as logs:
            guest.query(sh(f"cd {logs} && {_LOGS}"))
            guest.get(logs, run.directory / f"{guest.name}-logs")


def _report(run: Run, guest: Guest, leftovers: list[str]) -> None:
    if leftovers:
        listing = run.directory / "leftovers.txt"
        listing.write_text("\n".join(leftovers) + "\n")
        text = f"the purge left {len(leftovers)} files, {leftovers[0]} among them; all are in {listing}"
        events.emit(events.Note(machine=guest.name, text=text, level="warning"))
