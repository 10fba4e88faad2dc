"""install-test: packages as their users meet them, on a machine without compilers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vmtasks import (
    Checkpoint,
    ConnectionLost,
    Guest,
    PackageTests,
    Project,
    Run,
    Source,
    TestFailed,
    events,
    leftovers,
    packages,
    parallel,
    recipe,
)

_ONE_MACHINE = "it needs a machine of its own that starts where this one is, which cannot be had there"
_LOGS = "journalctl --boot --no-pager >journal.log; cp -f /var/log/dpkg.log /var/log/apt/term.log . 2>/dev/null; :"
_SHOWN = 30
"""How many leftovers a report names; the file has all."""


@recipe(iterable=("debs",))
def install_test(
    run: Run,
    debs: list[str],
    source: str = "",
    image: str = "",
    upgrade_from: str = "",
    smoke: str = "",
    *,
    project: Project | None = None,
) -> None:
    """Install packages in a clean machine without compilers, try them, and purge them again.

    The packages are served as a local apt repository, preferred to all others, and installed with apt. Their own files
    must be as they were unpacked. The smoke command is run; they are removed and purged, and then what is left, changed
    or removed is a failure, as with piuparts. Packages that
    exclude each other are tried in sets. The package's own tests (debian/tests, or autodep8's, if --source is given)
    are run by autopkgtest, each in a machine of its own, which has what its Depends names and nothing else. An
    upgrade has one, too. Logs come out whether it passed or failed.

    :param debs: .deb files, .changes files or directories of them; may be given several times.
    :param source: what they were built from, for its tests and vmtasks.toml.
    :param image: the image to install in, instead of the project's.
    :param upgrade_from: also upgrade from older packages: "archive" for those of the Debian archive, or a directory.
    :param smoke: a shell line to run once they are installed, instead of the project's.
    :param project: the project that *source* is a release of; its settings and, if need be, its debian/ are used.
    """
    old = packages.find([upgrade_from]) if upgrade_from not in ("", "archive") else {}
    debian = project.root / "debian" if project else None
    project = project or run.project(source, image)
    origin = Source.of(Path(source), debian=debian) if source else None
    new = packages.find(debs)
    trial = _Trial(run=run, new=new, project=project, smoke=smoke or project.commands.smoke)
    tests = PackageTests.of(run, origin, project, new) if origin else None
    with ExitStack() as checkpoints, ExitStack() as machine:
        guest = machine.enter_context(run.boot(project.images.install, name="install", project=project, forkable=True))
        machine.enter_context(_logs_kept(run, guest))
        before = leftovers.snapshot(guest)
        beside: list[Callable[[], object]] = []
        if upgrade_from and not guest.can_fork:
            run.skip("upgrade", _ONE_MACHINE)
        elif upgrade_from:
            clean = _checkpoint(guest, "no packages yet", checkpoints)
            beside.append(lambda: trial.upgrade(clean, old, before))
        packages.serve(guest, new)
        first, *others = packages.sets_of(guest, new)
        served = _checkpoint(guest, "the packages, not installed", checkpoints) if guest.can_fork else None
        for one in others:
            beside.append(partial(trial.another, served, one, before)) if served else run.skip(
                f"install {', '.join(one)}", _ONE_MACHINE
            )
        if tests and served:
            beside += tests.each(new, served, checkpoints)

        def go_on() -> None:
            # The machine goes when this is done: the others may be waiting for its slot.
            with machine.pop_all():
                trial.install(guest, first)
                if tests and not served:
                    tests.all_on(guest, new)
                left = trial.use_and_purge(guest, first, before)
            trial.judge(left, served, partial(trial.at_rest, first), first, before)

        parallel(go_on, *beside)
    if tests:
        tests.conclude()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    """What is done with the packages, in whichever machine; *when* tells its test cases from those of another."""

    run: Run
    new: packages.Packages
    project: Project
    smoke: str

    def install(self, guest: Guest, chosen: packages.Packages, when: str = "") -> None:
        """Install packages, and tell of units that have failed since."""
        with self.run.case(f"install{when}"):
            packages.install(guest, chosen)
        self._look_at_installed(guest, chosen, when)

    def _look_at_installed(self, guest: Guest, chosen: packages.Packages, when: str) -> None:
        """Report what the packages' scripts did to their own files, and tell of units that have failed."""
        try:
            packages.expect_unaltered(guest, chosen)
        except TestFailed as problem:
            with self.run.case(f"files{when}", continue_on_error=True, guest=guest):
                raise problem from None
        for unit in packages.failed_units(guest):
            text = f"{unit.name} has failed: {unit.last}" if unit.last else f"{unit.name} has failed"
            events.emit(events.Note(machine=guest.name, text=text, level="warning"))

    def use_and_purge(
        self, guest: Guest, chosen: packages.Packages, before: leftovers.FilesystemState, when: str = ""
    ) -> list[leftovers.Leftover] | None:
        """Run the smoke command if there is one, purge the packages, and return what is not as it was then.

        :return: None if they were not purged.
        """
        if self.smoke:
            with self.run.case(f"smoke{when}", continue_on_error=True, guest=guest):
                commands = self.project.commands
                guest.succeed(self.smoke, user="builder", env=commands.env, env_from=commands.env_from)
        is_purged = False
        with self.run.case(f"purge{when}", continue_on_error=True, guest=guest):
            complaints = packages.purge(guest, chosen, before.known)
            is_purged = True
            packages.expect_silence(complaints)
        if not is_purged:
            return None
        packages.forget(guest)
        after = leftovers.snapshot(guest)
        if outlived := leftovers.outlived(before, after):
            text = f"still running after the purge: {'; '.join(outlived)}"
            events.emit(events.Note(machine=guest.name, text=text, level="warning"))
        return leftovers.compare(before, after)

    @staticmethod
    def at_rest(chosen: packages.Packages, guest: Guest) -> None:
        """Install packages where no service starts."""
        packages.install(guest, chosen, root=packages.AT_REST)

    def another(self, served: Checkpoint, chosen: packages.Packages, before: leftovers.FilesystemState) -> None:
        """Try packages that others exclude."""
        when = f" with {next(iter(chosen))}"
        with self.run.boot(served, name="install", project=self.project) as guest, _logs_kept(self.run, guest):
            self.install(guest, chosen, when)
            left = self.use_and_purge(guest, chosen, before, when)
        self.judge(left, served, partial(self.at_rest, chosen), chosen, before, when)

    def upgrade(self, clean: Checkpoint, old: packages.Packages, before: leftovers.FilesystemState) -> None:
        """Upgrade from older packages; those that exclude each other in their turn."""
        for names in self._upgrade(clean, old, None, before)[1:]:
            self._upgrade(clean, old, names, before)

    def _upgrade(
        self,
        clean: Checkpoint,
        old: packages.Packages,
        names: Sequence[str] | None,
        before: leftovers.FilesystemState,
    ) -> list[list[str]]:
        """Upgrade from one set of older packages, in a machine of its own, whose apt does not know the new ones before.

        :param names: of the set; None for the first one there is.
        :return: all sets that were asked for, where *names* is None.
        """
        which = f" of {names[0]}" if names else ""
        when = f" after the upgrade{which}"
        sets: list[list[str]] = []
        is_there = False
        with self.run.boot(clean, name="upgrade", project=self.project) as guest, _logs_kept(self.run, guest):
            with self.run.case(f"install-old{which}"):
                sets = [list(names)] if names else packages.older_sets(guest, old, list(self.new))
                packages.install_older(guest, old, sets[0])
                is_there = True
            if not is_there:
                return sets
            packages.serve(guest, self.new)
            # Those that most of the older ones become.
            chosen = max(packages.sets_of(guest, self.new), key=lambda one: len(one.keys() & set(sets[0])))
            with self.run.case(f"upgrade{which}"):
                packages.install(guest, chosen)
            self._look_at_installed(guest, chosen, when)
            left = self.use_and_purge(guest, chosen, before, when)

        def again(guest: Guest) -> None:
            packages.install_older(guest, old, sets[0], root=packages.AT_REST)
            packages.serve(guest, self.new)
            self.at_rest(chosen, guest)

        self.judge(left, clean, again, chosen, before, when)
        return sets

    def judge(
        self,
        left: list[leftovers.Leftover] | None,
        start: Checkpoint | None,
        again: Callable[[Guest], object],
        chosen: packages.Packages,
        before: leftovers.FilesystemState,
        when: str = "",
    ) -> None:
        """Say whether the purge left the machine as it was.

        What services have written while they ran is told, and no failure: piuparts, where none starts, decides. So
        where something is left, all is done once more in a machine where none starts.

        :param left: what is not as it was after the purge; None if there was no purge.
        :param start: what such a machine starts from; None: there is none, and all that is left counts. It does, too,
            where the packages cannot be installed in such a machine.
        :param again: installs the packages in :data:`vmtasks.debian.packages.AT_REST`.
        """
        if left is None:
            return
        with self.run.case(f"leftovers{when}", continue_on_error=True):
            if left and start:
                at_rest = self._left_at_rest(start, again, chosen, before, otherwise=left)
                if written := [one.path for one in left if one not in at_rest]:
                    text = f"not purged, but written by what ran meanwhile: {', '.join(written[:_SHOWN])}"
                    events.emit(events.Note(text=text, level="warning"))
                left = at_rest
            if left:
                self._tell(left, when)

    def _left_at_rest(
        self,
        start: Checkpoint,
        again: Callable[[Guest], object],
        chosen: packages.Packages,
        before: leftovers.FilesystemState,
        *,
        otherwise: list[leftovers.Leftover],
    ) -> list[leftovers.Leftover]:
        """Return what is left where no service starts; *otherwise* where the packages cannot be installed there."""
        with self.run.boot(start, name="at-rest", project=self.project) as guest, _logs_kept(self.run, guest):
            packages.rest(guest)
            try:
                again(guest)
            except TestFailed as problem:  # a script that wants a running systemd, say
                text = f"all that is left counts, since it cannot be told what services wrote: without them, {problem}"
                events.emit(events.Note(machine=guest.name, text=text, level="warning"))
                return otherwise
            packages.purge_at_rest(guest, chosen, before.known)
            packages.forget(guest)
            return leftovers.compare(before, leftovers.snapshot(guest))

    def _tell(self, left: list[leftovers.Leftover], when: str) -> None:
        """Write down and tell what is not as it was.

        :raise TestFailed: the project does not accept that.
        """
        listing = self.run.directory / f"leftovers{when.replace(' ', '-')}.txt"
        listing.write_text("".join(f"{one}\n" for one in left))
        counts = {kind: [one.path for one in left if one.kind == kind] for kind in ("changed", "removed", "left")}
        parts = [f"{len(paths)} {kind} ({paths[0]})" for kind, paths in counts.items() if paths]
        message = f"the purge does not leave the machine as it was: {', '.join(parts)}"
        if self.project.install.leftovers == "fail":
            shown = sorted(left, key=lambda one: one.kind)
            raise TestFailed(
                message,
                details=tuple(map(str, shown[:_SHOWN])),
                hint=f'{listing} has all of them; [install] leftovers = "warn" in vmtasks.toml accepts them',
            )
        events.emit(events.Note(text=f"{message}; all are in {listing}", level="warning"))


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
        with suppress(ConnectionLost, TestFailed), guest.tmp_dir() as log_dir:
            guest.query(f"cd {log_dir} && {_LOGS}")
            guest.get(log_dir, run.directory / f"{guest.name}-logs")
