"""install-test: packages as their users meet them, on a machine without compilers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vmtasks import (
    Checkpoint,
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
_SHOWN = 30
"""How many files a warning names."""


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
    or removed is a failure, as with piuparts. Packages that exclude each other are tried in sets. The package's own
    tests (debian/tests, or autodep8's, if --source is given) are run by autopkgtest, each in a machine of its own,
    which has what its Depends names and nothing else. An upgrade has one, too. Logs come out whether it passed or
    failed.

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
    tests = PackageTests.of(run, origin, project, new) if origin else None
    with ExitStack() as checkpoints, ExitStack() as machine:
        guest = machine.enter_context(run.boot(project.images.install, name="install", project=project, forkable=True))
        machine.enter_context(packages.logs_kept(guest, run.directory))
        trial = _Trial(
            run=run, new=new, project=project, smoke=smoke or project.commands.smoke, before=leftovers.snapshot(guest)
        )
        beside: list[Callable[[], object]] = []
        if upgrade_from and not guest.can_fork:
            run.skip("upgrade", _ONE_MACHINE)
        elif upgrade_from:
            clean = _checkpoint(guest, "no packages yet", checkpoints)
            beside.append(lambda: trial.upgrade(clean, old))
        packages.serve(guest, new)
        first, *others = packages.sets_of(guest, new)
        served = _checkpoint(guest, "the packages, not installed", checkpoints) if guest.can_fork else None
        for one in others:
            beside.append(partial(trial.another, served, one)) if served else run.skip(
                f"install {', '.join(one)}", _ONE_MACHINE
            )
        if tests and served:
            beside += tests.each(new, served, checkpoints)

        def go_on() -> None:
            # The machine goes when this is done: the others may be waiting for its slot.
            with machine.pop_all():
                altered = trial.install(guest, first)
                if tests and not served:
                    tests.all_on(guest, new)
                traces = trial.use_and_purge(guest, first, altered)
            trial.judge(traces, served, partial(trial.at_rest, first), first)

        parallel(go_on, *beside)
    if tests:
        tests.conclude()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Traces:
    """What is not as it is to be, through the packages' doing or through that of what ran meanwhile."""

    altered: Sequence[str] = ()
    """Their own files below /var, once they are installed; others are no service's to write to, and fail at once."""
    left: Sequence[leftovers.Leftover] = ()
    """Whatever is not as before, once they are purged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    """What is done with the packages, in whichever machine; *when* tells its test cases from those of another."""

    run: Run
    new: packages.Packages
    project: Project
    smoke: str
    before: leftovers.FilesystemState
    """What the machine was like without the packages."""

    @contextmanager
    def _booted(self, start: Checkpoint, name: str) -> Iterator[Guest]:
        booted = self.run.boot(start, name=name, project=self.project)
        with booted as guest, packages.logs_kept(guest, self.run.directory):
            yield guest

    def install(self, guest: Guest, chosen: packages.Packages, when: str = "") -> list[str]:
        """Install packages, tell of units that have failed since, and return which files below /var are altered."""
        with self.run.case(f"install{when}"):
            packages.install(guest, chosen)
        return self._look_at_installed(guest, chosen, when)

    def _look_at_installed(self, guest: Guest, chosen: packages.Packages, when: str) -> list[str]:
        altered = packages.altered(guest, chosen)
        variable = packages.below_var(altered)
        self._expect_unaltered([one for one in altered if one not in variable], when, guest)
        for unit in packages.failed_units(guest):
            text = f"{unit.name} has failed: {unit.last}" if unit.last else f"{unit.name} has failed"
            events.emit(events.Note(machine=guest.name, text=text, level="warning"))
        return variable

    def _expect_unaltered(self, altered: Sequence[str], when: str, guest: Guest | None = None) -> None:
        if altered:
            with self.run.case(f"files{when}", continue_on_error=True, guest=guest):
                packages.expect_unaltered(altered)

    def use_and_purge(
        self, guest: Guest, chosen: packages.Packages, altered: Sequence[str], when: str = ""
    ) -> _Traces | None:
        """Run the smoke command if there is one, purge the packages, and return what is not as it is to be.

        :param altered: which of their files are not as they were unpacked.
        :return: None if they were not purged.
        """
        if self.smoke:
            with self.run.case(f"smoke{when}", continue_on_error=True, guest=guest):
                commands = self.project.commands
                guest.succeed(self.smoke, user="builder", env=commands.env, env_from=commands.env_from)
        is_purged = False
        with self.run.case(f"purge{when}", continue_on_error=True, guest=guest):
            complaints = packages.purge(guest, chosen, self.before.known)
            is_purged = True
            packages.expect_silence(complaints)
        if not is_purged:
            self._expect_unaltered(altered, when)
            return None
        packages.forget(guest)
        after = leftovers.snapshot(guest)
        self._warn("still running after the purge", leftovers.outlived(self.before, after))
        return _Traces(altered=altered, left=leftovers.compare(self.before, after, chosen))

    @staticmethod
    def at_rest(chosen: packages.Packages, guest: Guest) -> None:
        """Install packages where no service starts."""
        packages.install(guest, chosen, root=packages.AT_REST)

    def another(self, served: Checkpoint, chosen: packages.Packages) -> None:
        """Try packages that others exclude."""
        when = f" with {next(iter(chosen))}"
        with self._booted(served, "install") as guest:
            altered = self.install(guest, chosen, when)
            traces = self.use_and_purge(guest, chosen, altered, when)
        self.judge(traces, served, partial(self.at_rest, chosen), chosen, when)

    def upgrade(self, clean: Checkpoint, old: packages.Packages) -> None:
        """Upgrade from older packages; those that exclude each other in their turn."""
        for names in self._upgrade(clean, old, None)[1:]:
            self._upgrade(clean, old, names)

    def _upgrade(self, clean: Checkpoint, old: packages.Packages, names: Sequence[str] | None) -> list[list[str]]:
        """Upgrade from one set of older packages, in a machine of its own, whose apt does not know the new ones before.

        :param names: of the set; None for the first one there is.
        :return: all sets that were asked for, where *names* is None.
        """
        which = f" of {names[0]}" if names else ""
        when = f" after the upgrade{which}"
        sets: list[list[str]] = []
        is_there = False
        with self._booted(clean, "upgrade") as guest:
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
            altered = self._look_at_installed(guest, chosen, when)
            traces = self.use_and_purge(guest, chosen, altered, when)

        def again(guest: Guest) -> None:
            packages.install_older(guest, old, sets[0], root=packages.AT_REST)
            packages.serve(guest, self.new)
            self.at_rest(chosen, guest)

        self.judge(traces, clean, again, chosen, when)
        return sets

    def judge(
        self,
        traces: _Traces | None,
        start: Checkpoint | None,
        again: Callable[[Guest], object],
        chosen: packages.Packages,
        when: str = "",
    ) -> None:
        """Say whether the packages' files are as they were unpacked, and the purge left the machine as it was.

        What services have written is told, and no failure: piuparts, where none starts, decides. So where there is
        anything, all is done once more where none starts.

        :param traces: what there is after the purge; None if there was no purge.
        :param start: what such a machine starts from; None: there is none, and all of it counts. It does, too, where
            the packages cannot be installed there.
        :param again: installs the packages in :data:`vmtasks.debian.packages.AT_REST`.
        """
        if traces is None:
            return
        with self.run.case(f"leftovers{when}", continue_on_error=True):
            if start and (traces.left or traces.altered):
                at_rest = self._traces_at_rest(start, again, chosen, otherwise=traces)
                by = "but written by what ran meanwhile"
                self._warn(f"not purged, {by}", [one.path for one in traces.left if one not in at_rest.left])
                self._warn(f"not as unpacked, {by}", [one for one in traces.altered if one not in at_rest.altered])
                traces = at_rest
            if traces.left:
                self._tell(traces.left, when)
        self._expect_unaltered(traces.altered, when)

    @staticmethod
    def _warn(of: str, found: Sequence[str]) -> None:
        if found:
            events.emit(events.Note(text=f"{of}: {', '.join(found[:_SHOWN])}", level="warning"))

    def _traces_at_rest(
        self, start: Checkpoint, again: Callable[[Guest], object], chosen: packages.Packages, *, otherwise: _Traces
    ) -> _Traces:
        """Return what there is where no service starts; *otherwise* where the packages cannot be installed there."""
        with self._booted(start, "at-rest") as guest:
            packages.rest(guest)
            try:
                again(guest)
            except TestFailed as problem:  # a script that wants a running systemd, say
                text = f"all that is left counts, since it cannot be told what services wrote: without them, {problem}"
                events.emit(events.Note(machine=guest.name, text=text, level="warning"))
                return otherwise
            altered = packages.below_var(packages.altered(guest, chosen))
            packages.purge_at_rest(guest, chosen, self.before.known)
            packages.forget(guest)
            return _Traces(altered=altered, left=leftovers.compare(self.before, leftovers.snapshot(guest), chosen))

    def _tell(self, left: Sequence[leftovers.Leftover], when: str) -> None:
        listing = self.run.directory / f"leftovers{when.replace(' ', '-')}.txt"
        listing.write_text("".join(f"{one}\n" for one in left))
        try:
            leftovers.expect_none(left, listing)
        except TestFailed as problem:
            if self.project.install.leftovers == "fail":
                raise
            events.emit(events.Note(text=f"{problem}; all are in {listing}", level="warning"))


def _checkpoint(guest: Guest, name: str, stack: ExitStack) -> Checkpoint:
    """Freeze the guest, for as long as *stack* lives."""
    checkpoint = guest.checkpoint(name)
    stack.callback(checkpoint.drop)
    return checkpoint
