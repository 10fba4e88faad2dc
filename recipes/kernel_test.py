"""kernel-test: a kernel as its users get it, installed and booted by the boot loader."""

from __future__ import annotations

from vmtasks import BootError, Run, TestFailed, kernels, recipe, run_own_tests, test_command


@recipe
def kernel_test(run: Run, source: str = "", image: str = "bookworm-grub", args: str = "", out: str = "") -> None:
    """Install a kernel in a clean machine with a boot loader, reboot into it, and run a project's own tests there.

    The kernel (--kernel) becomes the boot loader's default. What runs after the reboot is compared with what was
    installed.

    :param source: the project whose test command is run with it; none by default.
    :param image: an image with a boot loader.
    :param args: more arguments of the kernel, with blanks between them.
    :param out: where the tests' artifacts go; the run's own directory by default.
    """
    kernels.expect_installable(run.flags.kernel)
    project = run.project(source) if source else None
    if project:
        test_command(project)
    with run.boot(image, name="kernel", project=project, own_kernel=True) as guest:
        with run.case("install"):
            release = kernels.install(guest, run.flags.kernel, args=args.split())
        with run.case("boot"):
            try:
                guest.reboot()
            except BootError as problem:  # it had come up before: what keeps it down now is this kernel
                message = f"the kernel {release} does not come up: {problem}"
                raise TestFailed(message, details=problem.details) from problem
            kernels.expect_running(guest, release, args.split())
        if project:
            with run.case("test"):
                run_own_tests(run, guest, project, run.output_dir(out))
