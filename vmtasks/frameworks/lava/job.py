"""Test definitions in one machine of a run, from their files to their results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vmtasks import events
from vmtasks.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from vmtasks.frameworks.lava.definition import TestDefinition
    from vmtasks.guest import Guest
    from vmtasks.run.run import Run

RESULTS = "lava-results.yaml"


def load(files: Iterable[str], params: Iterable[str] = (), skip_install: Sequence[str] = ()) -> list[TestDefinition]:
    """Return the definitions in files, with other parameters than they give themselves.

    :param params: each as NAME=VALUE.
    :param skip_install: what of ``install`` to leave out; see :meth:`TestDefinition.skipping`.
    :raise UsageError: a file is not there or no definition, or a parameter has no value.
    """
    from vmtasks.frameworks.lava import definition

    found = [definition.load(Path(file)) for file in files]
    if not found:
        raise UsageError("there is no definition to run", hint="--definition FILE names one")
    values = _values(params)
    for name in values:
        _expect_param(name, found)
    return [one.with_params(values).skipping(skip_install) for one in found]


def run_definitions(
    run: Run,
    guest: Guest,
    definitions: Sequence[TestDefinition],
    *,
    target: Path,
    files: Path | None = None,
    timeout_s: float = 0,
) -> None:
    """Run definitions one after the other; each case is one of the run, and what they attach comes out.

    :param target: the directory for attachments and :data:`RESULTS`.
    :param files: the directory that goes along instead of the checkout around a definition.
    :param timeout_s: how long all of it may take, in seconds; 0 is no limit.
    :raise TestFailed: a case failed, or a definition did not run to its end.
    """
    from vmtasks.frameworks.lava.mapping import NAME, LavaMapping
    from vmtasks.frameworks.lava.recorder import Recorder
    from vmtasks.frameworks.lava.results import MachineResults, as_yaml
    from vmtasks.frameworks.lava.shell import TestShell, attachments, suites
    from vmtasks.frameworks.lava.verdict import judge, summary

    shell = TestShell(
        definitions=suites(definitions),
        scratch=run.directory,
        files=files,
        mapping=LavaMapping.load(None, job=Path(NAME)),
        timeout_s=timeout_s,
        env={"LAVA_JOB_ID": run.directory.name},
    )
    recorder = Recorder(guest.name, shell.definitions)
    try:
        shell.run(guest, recorder)
    except BaseException:
        text = summary(recorder.rows, recorder.incomplete)
        events.emit(events.Note(machine=guest.name, text=text, level="warning"))
        raise
    finally:
        for path in attachments(guest, recorder, target, project=run.home):
            run.artifact(path)
        results = as_yaml(
            [MachineResults.of(guest.name, recorder)], job=run.directory.name, is_complete=not recorder.incomplete
        )
        run.write(target / RESULTS, results)
    judge(recorder.rows, recorder.incomplete)


def _expect_param(name: str, definitions: Sequence[TestDefinition]) -> None:
    """Warn of a parameter that no definition has: a step may use it all the same, and it may be a slip."""
    known = {known for one in definitions for known in one.params}
    if name not in known:
        question = did_you_mean(name, known)
        text = f"no definition has a parameter '{name}'" + (f"; {question}" if question else "")
        events.emit(events.Note(text=text, level="warning"))


def _values(params: Iterable[str]) -> Mapping[str, str]:
    parts = [(one, *one.partition("=")) for one in params]
    if wrong := [one for one, _, equals, _ in parts if not equals]:
        raise UsageError(f"cannot set the parameter '{wrong[0]}': it has no value", hint="--param NAME=VALUE")
    return {name: value for _, name, _, value in parts}
