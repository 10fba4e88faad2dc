"""A lava-test-shell: definitions, one after the other, in one guest."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path

from vmtasks import events
from vmtasks.errors import InfrastructureError, TestFailed, UsageError
from vmtasks.frameworks.lava.cases import slug
from vmtasks.frameworks.lava.definition import TestDefinition
from vmtasks.frameworks.lava.frames import Frames
from vmtasks.frameworks.lava.mapping import LavaMapping
from vmtasks.frameworks.lava.recorder import Recorder, TestsRaised
from vmtasks.frameworks.lava.repositories import clone_for, root_of
from vmtasks.frameworks.lava.scripts import install_script, run_script
from vmtasks.group.guest_programs import ECHO_IPV4, USUAL
from vmtasks.guest import Guest, places
from vmtasks.project import tree_files
from vmtasks.run.place import make_directory
from vmtasks.ssh.command import DEFAULT_ENV

HOME = places.TEST_SHELL
"""The guest's directory for all of it: ``bin`` has the helpers, ``tests/N_NAME`` the files of a definition."""
_PROGRAMS = Path(__file__).with_name("guest")
_LAB = {"LAVA_DEVICE_TYPE": "kvm", "LAVA_JOB_TAGS": "", "TARGET_TYPE": "debian", "REPEAT_COUNT": "0", "TERM": "vt220"}
"""What definitions ask a lab, old ones in those before the last, which is what a serial console has."""


def suites(definitions: Sequence[TestDefinition], *, first: int = 0) -> dict[str, TestDefinition]:
    """Return definitions by what results call them: their numbers, and their names without what no path should have.

    :param first: the number of the first.
    """
    return {f"{number}_{slug(one.name)}": one for number, one in enumerate(definitions, first)}


@dataclass(frozen=True, slots=True, kw_only=True)
class TestShell:
    """What runs in one guest."""

    __test__ = False  # not a test class, whatever pytest makes of the name

    definitions: Mapping[str, TestDefinition]
    """By their suites, see :func:`suites`."""
    scratch: Path
    """A directory of the host for the scripts: they are kept, to show what ran."""
    files: Path | None = None
    """The directory that goes along with each definition; None: that of the checkout which it lies in, if any."""
    mapping: LavaMapping = field(default_factory=LavaMapping)
    """Which repositories of this host they may name, beside those that go along."""
    timeout_s: float | None = None
    """How long all of it may take; None and 0 are no limit."""
    helpers: Sequence[Path] = ()
    """More directories of programs for the PATH of the tests."""
    env: Mapping[str, str] = field(default_factory=dict)
    """More variables for the tests."""
    home: str = ""
    """The guest's directory for all of it; :data:`HOME` by default."""

    @property
    def _home(self) -> str:
        return self.home or HOME

    def run(self, guest: Guest, recorder: Recorder) -> None:
        """Run all of them; *recorder* has what came of it, whichever way this ends.

        :raise UsageError: a repository cannot be cloned.
        :raise TimedOut: the limit has passed.
        :raise ConnectionLost: the machine is gone.
        """
        frames = Frames(recorder.hear_output, recorder.hear_signal)
        path = ":".join((f"{self._home}/bin", *guest.programs, DEFAULT_ENV["PATH"]))
        env = {
            "PATH": path,
            "LAVA_RESULT_DIR": f"{self._home}/results",
            "LAVA_DEVICE_HOSTNAME": guest.name,
            **_LAB,
            **self.env,
        }
        command = [f"{self._home}/runner", *self.definitions]
        try:
            self._deliver(guest)
            guest.run(command, env=env, timeout_s=self.timeout_s or None, tap=frames.take)
        except TestsRaised:
            guest.query(f"kill -TERM $(cat {self._home}/pid) 2>/dev/null || :")
        finally:
            recorder.close()

    def _deliver(self, guest: Guest) -> None:
        """Put the definitions, their files and the helpers into the guest."""
        guest.query(["rm", "-rf", self._home])  # on a host that is no machine of ours, those of the last time
        guest.files.put(_PROGRAMS, self._home, None, None)
        for directory in self.helpers:
            guest.files.put(directory, f"{self._home}/bin", None, None)
        trees = " ".join(f"tests/{suite}" for suite in self.definitions)
        guest.query(
            f"cd {self._home} && mkdir -p run results background attachments {trees} && "
            "chmod 1777 results background attachments && cat >bin/lava-echo-ipv4 && chmod -R a+rx bin runner",
            stdin=USUAL.put_into(ECHO_IPV4).encode(),
        )
        scripts = self.scratch / "lava"
        for suite, definition in self.definitions.items():
            tree = f"{self._home}/tests/{suite}"
            root = self.files or (None if definition.is_alone else root_of(definition.path))
            if root:
                guest.put(root, tree, files=tree_files(root))
            else:
                guest.put(definition.path, f"{tree}/")
            for repository in definition.install.git_repos:
                if not repository.skip_by_default:
                    place = scripts / "repositories" / suite / repository.directory
                    beside = (root or definition.path.parent).absolute()
                    clone_for(repository, place, beside=beside, mapping=self.mapping)
                    guest.put(place, f"{tree}/{repository.directory}")
                    shutil.rmtree(place)
            (scripts / "run" / suite).mkdir(parents=True)
            (scripts / "run" / suite / "run.sh").write_text(run_script(definition, suite=suite), encoding="utf-8")
            if install := install_script(definition, suite=suite):
                (scripts / "run" / suite / "install.sh").write_text(install, encoding="utf-8")
        guest.files.put(scripts / "run", f"{self._home}/run", None, None)


def attachments(guest: Guest, recorder: Recorder, out: Path, *, project: Path, home: str = "") -> list[Path]:
    """Bring out the files that tests have attached, and return them; one that cannot be had is told of.

    :param out: the directory for results.
    :param project: the directory in which links are not ours to write through.
    :param home: as :class:`TestShell` has it.
    """
    found: list[Path] = []
    for one in recorder.attachments:
        place = out / one.place
        try:
            make_directory(place, project=project)
            found += guest.files.get(escape(f"{home or HOME}/attachments/{one.path}"), f"{place}/")
        except (TestFailed, UsageError, OSError) as problem:
            text = f"cannot bring out what {one.suite} has attached: {problem}"
            events.emit(events.Note(machine=guest.name, text=text, level="warning"))
        except InfrastructureError:
            break
    return found
