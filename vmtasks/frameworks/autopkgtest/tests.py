"""The tests of one source: where they are, in which machines each runs, and what the run is told of them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING

from vmtasks import apt, packages
from vmtasks.errors import TestFailed, TestSkipped
from vmtasks.frameworks.autopkgtest.names import plain_name
from vmtasks.guest import answers

if TYPE_CHECKING:
    from vmtasks.debian.debfile import Packages
    from vmtasks.debian.dep8 import Listed
    from vmtasks.frameworks.autopkgtest.run import Report
    from vmtasks.frameworks.autopkgtest.summary import Row
    from vmtasks.frameworks.autopkgtest.testbed import Machines
    from vmtasks.guest import Guest
    from vmtasks.project import Project
    from vmtasks.project.source import Source
    from vmtasks.run.run import Run
    from vmtasks.spec import Checkpoint

_NOT_FETCHED = "failed to download packages"


@dataclass(kw_only=True)
class PackageTests:
    """The tests of a source, unpacked on the host.

    :param listed: their names; what they need, autopkgtest finds out.
    """

    __test__ = False

    run: Run
    project: Project
    tree: Path
    listed: Sequence[Listed]
    links: Path | None = None
    """The archive of its links that lead out of it; see :mod:`vmtasks.frameworks.autopkgtest.links`."""
    _rows: list[Row] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _once: threading.Lock = field(default_factory=threading.Lock)
    """Held by the thread that does, with a machine, what all others then have."""
    _reasons: dict[str, str] = field(default_factory=dict)
    """Why autopkgtest does not run tests here, once it was asked."""
    _fresh: Checkpoint | None = None
    """Machines with fresh package lists, once the image's were too old."""

    @classmethod
    def of(cls, run: Run, origin: Source, project: Project, new: Packages) -> PackageTests | None:
        """Unpack a source in a machine of the project's build image, and bring it out; None if it has no tests.

        :param new: the packages under test.
        :raise UsageError: it cannot be unpacked, or a control file is none.
        :raise TestFailed: its control files have what autopkgtest on the host had better not read.
        """
        from vmtasks.debian.dep8 import listed
        from vmtasks.frameworks.autopkgtest.completed import complete
        from vmtasks.frameworks.autopkgtest.control import normalized
        from vmtasks.frameworks.autopkgtest.links import pack
        from vmtasks.frameworks.autopkgtest.safety import check_quotes
        from vmtasks.project.text import text_of

        if origin.kind == "tree" and not (origin.path / "debian/control").is_file():
            return None
        with run.boot(project.images.build, name="source", project=project) as guest:
            tree = origin.deliver(guest)
            complete(guest, tree)
            plain = f"{tree.rpartition('/')[0]}/.source"  # the tree's own name may have a glob's letters in it
            guest.query(["mv", "--", tree, plain])
            if not guest.glob(f"{plain}/debian/tests/control"):
                return None
            target = run.directory / "source"
            guest.get(plain, target)
            packed = pack(guest, plain, target.with_suffix(".links"))
        control, tests = (text_of(target, name) or "" for name in ("debian/control", "debian/tests/control"))
        check_quotes("debian/control", control)
        check_quotes("debian/tests/control", tests)
        recommends = [relation for package in new.values() for relation in package.recommends]
        tests = normalized(tests, recommends=recommends, can_build=(target / "debian/rules").is_file())
        (target / "debian/tests/control").unlink(missing_ok=True)  # it may be a link
        (target / "debian/tests/control").write_text(tests)
        return cls(run=run, project=project, tree=target, listed=listed(tests), links=packed)

    def each(self, new: Packages, served: Checkpoint, checkpoints: ExitStack) -> list[Callable[[], object]]:
        """Return what runs each test, in machines that start from *served*; those that want the tree built, together.

        :param new: the packages under test, which those machines' apt knows.
        :param checkpoints: drops, at its end, what had to be saved meanwhile.
        """
        checkpoints.callback(lambda: self._fresh and self._fresh.drop())
        if not self.listed:
            return [partial(self._whole, new, served)]
        plain = [partial(self._one, one.name, new, served) for one in self.listed if not one.needs_build]
        built = [one.name for one in self.listed if one.needs_build]
        return [*plain, *([partial(self._built, built, new, served)] if built else [])]

    def all_on(self, guest: Guest, new: Packages) -> None:
        """Run the tests one after the other on the one machine that there is."""
        del new  # they are installed

        def machine() -> AbstractContextManager[Guest]:
            return nullcontext(guest)

        for one in self.listed:
            with self.run.case(f"debian/tests/{one.name}", continue_on_error=True, guest=guest):
                report = self._call([one.name], machine, name=one.name, reverts=False)
                report.expect_end([one.name])
                self._judge(report, one.name, {}, partial(self._reason, one.name, machine))

    def conclude(self) -> None:
        """Report it if no test has told anything: as with autopkgtest, that is no pass."""
        # A superficial pass is one: half of the archive's tests are autodep8's, which tell no more.
        telling = [row for row in self._rows if row.verdict in ("PASS", "FAIL")]
        if telling or not self.listed or self.project.install.skipped == "pass":
            return
        self.run.untested(
            f"none of the source's {len(self.listed)} tests has told anything: each was skipped, or is marked as flaky",
            details=tuple(f"{row.test}: {row.verdict} {row.reason}".rstrip() for row in self._rows),
            hint='[install] skipped = "pass" in vmtasks.toml accepts that',
        )

    # --- inside

    def _whole(self, new: Packages, served: Checkpoint) -> None:
        """Have autopkgtest report what is wrong with a debian/tests/control in which we find no test."""
        with self.run.case("debian/tests", continue_on_error=True):
            report = self._in_clean_machines([], new, served, name="control")
            if complaint := report.summary.complaint:
                raise TestFailed(f"debian/tests/control: {complaint}", details=report.output_of("control"))
            report.expect_end(["debian/tests/control"])
            raise TestSkipped("there is no test in debian/tests/control")

    def _one(self, name: str, new: Packages, served: Checkpoint) -> None:
        """Run one test in a machine of its own."""
        with self.run.case(f"debian/tests/{name}", continue_on_error=True):
            report = self._in_clean_machines([name], new, served, name=name)
            report.expect_end([name])
            self._judge(report, name, new, partial(self._reason, name, partial(self._machine, new, "skipped", served)))

    def _built(self, names: Sequence[str], new: Packages, served: Checkpoint) -> None:
        """Run the tests that want the tree built: it is built once, in a machine of the build image."""
        report = self._in_clean_machines(names, new, served, name="built", build=True)
        idle = partial(self._machine, new, "skipped", served)
        for name in names:
            with self.run.case(f"debian/tests/{name}", continue_on_error=True):
                report.expect_end(names)
                self._judge(report, name, new, partial(self._reason, name, idle))

    def _in_clean_machines(
        self, names: Sequence[str], new: Packages, served: Checkpoint, *, name: str, build: bool = False
    ) -> Report:
        """Call autopkgtest; once more with fresh package lists, where the image's name what is there no more."""
        machines = partial(self._machine, new, name)
        report = self._call(names, partial(machines, self._fresh or served), name=name, build=build)
        if _NOT_FETCHED in report.summary.complaint:
            fresh = self._freshened(served)
            report = self._call(names, partial(machines, fresh), name=f"{name}-again", build=build)
        return report

    @contextmanager
    def _machine(self, new: Packages, name: str, start: Checkpoint) -> Iterator[Guest]:
        with self.run.boot(start, name=f"test-{plain_name(name)}", project=self.project) as guest:
            packages.replace_installed(guest, new)
            yield guest

    def _freshened(self, served: Checkpoint) -> Checkpoint:
        """Return machines as *served*, with fresh package lists."""
        with self._once:
            if self._fresh is None:
                with self.run.boot(served, name="package-lists", project=self.project, forkable=True) as guest:
                    apt.update(guest)
                    self._fresh = guest.checkpoint("the packages, and fresh package lists")
            return self._fresh

    def _call(
        self,
        names: Sequence[str],
        machines: Machines,
        *,
        name: str,
        build: bool = False,
        reverts: bool = True,
        skip: Sequence[str] = (),
    ) -> Report:
        from vmtasks.files.file_name import fresh_directory
        from vmtasks.frameworks.autopkgtest.links import restorer
        from vmtasks.frameworks.autopkgtest.run import command_line, run
        from vmtasks.frameworks.autopkgtest.testbed import Testbed
        from vmtasks.process.host_commands import host_commands

        machine = f"test-{plain_name(name)}"
        builder = partial(self.run.boot, self.project.images.build, name=machine, project=self.project)
        each: Iterator[Machines] = chain([builder] if build else [], repeat(machines))
        directory = fresh_directory(self.run.directory / "autopkgtest" / plain_name(name))
        with host_commands() as host:
            tree = self._tree(built=not build)
            look, copied = partial(self._look, names), restorer(self.links, tree)
            testbed = Testbed(each, host, reverts=reverts, look=look, copied=copied)
            command = partial(
                command_line, tree, directory=directory, tests=names, skip=skip,
                timeout_s=self.project.commands.timeout_s, shell=self.run.looks_at_failures,
            )  # fmt: skip
            shown = f"autopkgtest {self.tree.name} {' '.join(names)}".rstrip()
            report = run(command, testbed, directory=directory, machine=machine, shown=shown)
        with self._lock:
            self._rows += [row for row in report.summary.rows if row.test in names]
        return report

    def _tree(self, *, built: bool) -> Path:
        """Return the tree, as one that is built to autopkgtest or one that is not: the file debian/files tells."""
        tree = self.tree.absolute()
        if built:
            (tree / "debian/files").touch()
            return tree
        unbuilt = tree.with_name(f"{tree.name}-unbuilt")
        from shutil import copytree

        copytree(tree, unbuilt, symlinks=True, copy_function=os.link, dirs_exist_ok=False)
        (unbuilt / "debian/files").unlink(missing_ok=True)
        return unbuilt

    def _look(self, names: Sequence[str], guest: Guest, directory: str, environment: Sequence[str]) -> None:
        """Have a machine looked at in which something has failed, unless that does not count.

        :param names: of the tests that autopkgtest was called for.
        """
        from vmtasks.frameworks.autopkgtest.shell import begun_test

        del directory
        begun = begun_test(environment)
        failed = [one for one in self.listed if one.name == begun or (begun is None and one.name in names)]
        if failed and all(one.is_excused(has_begun=begun is not None) for one in failed):
            return
        self.run.debug(guest, TestFailed("a test of the source has failed"))

    def _reason(self, name: str, machine: Machines) -> str:
        """Return why a test is not for such a machine: of one alone, autopkgtest does not report it for a command."""
        with self._once:
            if not self._reasons:
                names = [one.name for one in self.listed]
                report = self._call([], machine, name="skipped", skip=names)
                self._reasons = {row.test: row.reason for row in report.summary.rows}
        return self._reasons.get(name, "autopkgtest does not run it here")

    def _judge(self, report: Report, name: str, new: Packages, reason: Callable[[], str]) -> None:
        """End a test case as autopkgtest has judged.

        :param reason: returns why it was not run, if autopkgtest has not reported it.
        :raise TestFailed: the test failed, or there is no verdict on it.
        :raise TestSkipped: it was not run, or its failure does not count.
        """
        from vmtasks.frameworks.autopkgtest.summary import Row

        row = report.summary.row_of(name)
        complaint = report.summary.complaint
        if row is None and not complaint:
            cause = reason()
            with self._lock:
                self._rows.append(Row(test=name, verdict="SKIP", reason=cause))
            raise TestSkipped(cause)
        if row is None:
            raise TestFailed(f"{name}: {complaint}", details=report.output_of(name))
        match row.verdict:
            case "PASS":
                self._expect_new(report, name, new)
            case "SKIP":
                raise TestSkipped(row.reason)
            case "FLAKY":
                raise TestSkipped(f"it failed, which does not count, since it is marked as flaky: {row.reason}")
            case _:
                more = f": {complaint}" if row.reason == "badpkg" else ""
                raise TestFailed(f"{name} failed: {row.reason}{more}", details=report.output_of(name))

    @staticmethod
    def _expect_new(report: Report, name: str, new: Packages) -> None:
        """See that those of the packages under test which a test had were they.

        :raise TestFailed: the test had another version.
        """
        listing = report.directory / f"{name}-packages"
        if not listing.is_file():  # there were none beside the image's own
            return
        lines = (line for line in listing.read_text(errors="replace").splitlines() if "\t" in line)
        for line in lines:
            package, version = answers.columns_of(line, 2, of="dpkg-query", separator="\t")
            plain = package.partition(":")[0]
            if plain in new and new[plain].version != version:
                raise TestFailed(f"{name} ran with {plain} {version}, and not with the {new[plain].version} under test")
