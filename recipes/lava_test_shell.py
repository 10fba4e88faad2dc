"""lava-test-shell: test definitions of LAVA, in a clean machine of this host."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from vmtasks import Run, UsageError, events, recipe
from vmtasks.lava.definition import TestDefinition, load
from vmtasks.lava.recorder import Recorder
from vmtasks.lava.results import as_yaml
from vmtasks.lava.shell import TestShell, attachments, suites
from vmtasks.lava.verdict import judge, summary


@recipe(iterable=("definition", "param", "skip_install"))
def lava_test_shell(
    run: Run,
    definition: list[str],
    image: str = "bookworm",
    param: list[str] | None = None,
    skip_install: list[str] | None = None,
    files: str = "",
    timeout_s: int = 0,
    out: str = "",
) -> None:
    """Run test definitions of LAVA in a clean machine, one after the other: a lava-test-shell without a lab.

    Each case is a test case of the run. lava-results.yaml has them in LAVA's own form, and what tests attach comes out
    beside it.

    :param definition: the YAML file of a definition; may be given several times.
    :param image: the image of the machine.
    :param param: NAME=VALUE for the definitions' parameters; may be given several times.
    :param skip_install: what of install to leave out: keys, sources, deps, steps, repos, all; may be given again.
    :param files: the directory that goes along, and that steps run in, instead of the checkout around a definition.
    :param timeout_s: how long all of it may take, in seconds; 0 is no limit.
    :param out: where results go; the run's own directory by default.
    """
    if not definition:
        raise UsageError("there is no definition to run", hint="--definition FILE names one")
    params = _params(param or [])
    found = [load(Path(one)) for one in definition]
    for name in params:
        _expect_param(name, found)
    loaded = [one.with_params(params).skipping(skip_install or []) for one in found]
    shell = TestShell(
        definitions=suites(loaded),
        scratch=run.directory,
        files=Path(files) if files else None,
        timeout_s=timeout_s,
        env={"LAVA_JOB_ID": run.directory.name},
    )
    with run.boot(image, name="lava") as guest:
        target = run.output_dir(out)
        recorder = Recorder(guest.name, shell.definitions)
        try:
            shell.run(guest, recorder)
        except BaseException:
            told = summary(recorder.rows, recorder.incomplete)
            events.emit(events.Note(machine=guest.name, text=told, level="warning"))
            raise
        finally:
            for path in attachments(guest, recorder, target):
                run.artifact(path)
            results = as_yaml(
                [(guest.name, row) for row in recorder.rows],
                job=run.directory.name,
                is_complete=not recorder.incomplete,
                metadata=recorder.metadata,
                attachments=recorder.attachments,
            )
            path = target / "lava-results.yaml"
            path.write_text(results, encoding="utf-8")
            run.artifact(path)
        judge(recorder.rows, recorder.incomplete)


def _expect_param(name: str, definitions: list[TestDefinition]) -> None:
    """Warn of a parameter that no definition has: a step may use it all the same, and it may be a slip."""
    known = {known for one in definitions for known in one.params}
    if name not in known:
        near = get_close_matches(name, known, n=1)
        guess = f"; did you mean {near[0]}?" if near else ""
        events.emit(events.Note(text=f"no definition has a parameter {name}{guess}", level="warning"))


def _params(given: list[str]) -> dict[str, str]:
    """Take NAME=VALUE apart.

    :raise UsageError: there is no ``=`` in one.
    """
    if wrong := [one for one in given if "=" not in one]:
        raise UsageError(f"cannot set the parameter '{wrong[0]}': it has no value", hint="--param NAME=VALUE")
    return {name: value for name, _, value in (one.partition("=") for one in given)}
