"""suite: a test suite in a clean machine, run by what it is written for."""

from __future__ import annotations

from vmtasks import Run, Suite, recipe, run_suite


@recipe(iterable=("package",))
def suite(
    run: Run,
    source: str,
    runner: str = "shell",
    image: str = "bookworm",
    tag: str = "",
    args: str = "",
    package: list[str] | None = None,
    user: str = "root",
    timeout_s: int = 0,
    out: str = "",
) -> None:
    """Run a test suite in a clean machine; each of its tests is a test case of the run.

    What runs it is brought along: it need not be in the image, and its wheels are fetched by this host, once. If the
    machine reboots, the suite (of scripts, the script) is started again, with VMTASKS_REBOOT_COUNT.

    :param source: the suite: a directory, a file or a tarball, or the address of a tarball: URL#sha256=SUM.
    :param runner: shell (each executable file is a test; 77 skips), avocado, bats or pytest.
    :param image: the image of the machine.
    :param tag: what the suite is called, and the directory of its results; like its own directory by default.
    :param args: more arguments for the runner, or for shell, patterns of the files to run.
    :param package: a Debian package that the suite needs; may be given several times.
    :param user: who runs it in the machine.
    :param timeout_s: how long all of it may take, in seconds, reboots included; 0 is no limit.
    :param out: where results go; the run's own directory by default.
    """
    wanted = Suite.of(source, runner=runner, tag=tag, args=args, packages=package or (), user=user, timeout_s=timeout_s)
    with run.boot(image, name="suite", prepare=wanted.preparation()) as guest:
        run_suite(run, guest, wanted, target=run.output_dir(out))
