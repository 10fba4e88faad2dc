"""lava-test-shell: test definitions of LAVA, in a clean machine of this host."""

from __future__ import annotations

from pathlib import Path

from vmtasks import Run, lava, recipe


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
    definitions = lava.load(definition, param or (), skip_install or ())
    with run.boot(image, name="lava") as guest:
        lava.run_definitions(
            run,
            guest,
            definitions,
            target=run.output_dir(out),
            files=Path(files) if files else None,
            timeout_s=timeout_s,
        )
