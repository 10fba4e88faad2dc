"""install-test: packages as their users meet them, on a machine without compilers."""

from __future__ import annotations

import shlex
from contextlib import suppress
from pathlib import Path

from vmtasks import (
    ConnectionLost,
    Dep8Test,
    Guest,
    Run,
    Source,
    TestFailed,
    UsageError,
    apt,
    dep8,
    events,
    recipe,
    sh,
)

# What a machine writes whatever is installed; everything else that is there after a purge, and was not before,
# is a leftover.
_LISTING = """
find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /build -o -path /srv \\
    -o -path /root -o -path /home -o -path /var/cache -o -path /var/log -o -path /var/tmp -o -path /var/lib/apt \\
    -o -path /var/lib/dpkg -o -path /var/lib/systemd \\) -prune -o -print
"""
_LOGS = "journalctl --boot --no-pager >journal.log; cp -f /var/log/dpkg.log /var/log/apt/term.log . 2>/dev/null; :"


@recipe(iterable=("debs",))
def install_test(
    run: Run, debs: list[str], source: str = "", image: str = "", upgrade_from: str = "", smoke: str = ""
) -> None:
    """Install packages in a clean machine without compilers, try them, and purge them again.

    The packages are served as a local apt repository and installed with apt. The package's own tests
    (debian/tests, if --source has some) and the smoke command are run. After a purge, files that are left
    are reported. Logs come out whether it passed or failed.

    :param debs: .deb files, .changes files or directories of them; may be given several times.
    :param source: what they were built from, for debian/tests and vmtasks.toml.
    :param image: the image to install in, instead of the project's.
    :param upgrade_from: install older packages first: "archive" for those of the Debian archive, or a directory.
    :param smoke: a shell line to run once they are installed, instead of the project's.
    """
    packages = _packages(debs)
    old = _packages([upgrade_from]) if upgrade_from not in ("", "archive") else {}
    project = run.project(source, image)
    with run.boot(project.images.install, name="install", project=project) as guest:
        before = _listing(guest)
        try:
            if upgrade_from:
                with run.case("install-old"):
                    _install_old(guest, old, packages)
            with run.case("upgrade" if upgrade_from else "install"):
                _install(guest, packages)
            if source:
                _dep8(run, guest, Source.of(Path(source)), packages, project.commands.timeout_s)
            if line := smoke or project.commands.smoke:
                with run.case("smoke", goes_on=guest):
                    guest.succeed(
                        sh(line), user="builder", env=project.commands.env, timeout_s=project.commands.timeout_s
                    )
            with run.case("purge"):
                _purge(guest, packages)
            _report_leftovers(run, guest, before)
        finally:
            with suppress(ConnectionLost, TestFailed), guest.tmp_dir() as logs:
                guest.query(sh(f"cd {logs} && {_LOGS}"))
                guest.get(logs, run.directory / "install-logs")


def _packages(debs: list[str]) -> dict[str, Path]:
    """Return the packages' names and files."""
    files: list[Path] = []
    for name in debs or ["."]:
        path = Path(name)
        if path.is_dir():
            files += sorted(path.glob("*.deb"))
        elif path.suffix == ".changes" and path.is_file():
            files += [path.with_name(word) for word in path.read_text().split() if word.endswith(".deb")]
        elif path.suffix == ".deb":
            files.append(path)
        else:
            raise UsageError(f"cannot install {name}: it is neither a .deb file, nor a .changes file, nor a directory")
    if missing := [str(path) for path in files if not path.is_file()]:
        raise UsageError(f"cannot install {missing[0]}: there is no such file")
    packages = {path.name.split("_")[0]: path for path in files if "-dbgsym_" not in path.name}
    if not packages:
        raise UsageError(
            f"there are no packages in {', '.join(debs) or 'this directory'}", hint="`inv build-deb` makes some"
        )
    return packages


def _install(guest: Guest, packages: dict[str, Path]) -> None:
    """Serve the packages from the guest's own disk and install them."""
    for path in packages.values():
        guest.put(path, f"{apt.LOCAL_REPOSITORY}/")
    apt.add_repository(guest, apt.LOCAL_REPOSITORY)
    apt.install_local(guest, list(packages))
    _expect_installed(guest, packages)


def _expect_installed(guest: Guest, packages: dict[str, Path]) -> None:
    """Make sure that what is installed is what was brought, and not what the archive has under that name."""
    show = "--showformat=${Package}_${Version} ${db:Status-Status}\\n"
    installed = dict(
        line.rsplit(" ", 1) for line in guest.query(["dpkg-query", "--show", show, *packages]).splitlines()
    )
    for name, path in packages.items():
        version = guest.query(["dpkg-deb", "--field", f"{apt.LOCAL_REPOSITORY}/{path.name}", "Version"]).strip()
        if installed.get(f"{name}_{version}") != "installed":
            raise TestFailed(f"{name} {version} was to be tested, and what there is now is {', '.join(installed)}")


def _install_old(guest: Guest, old: dict[str, Path], packages: dict[str, Path]) -> None:
    """Install the packages *old*, or where there are none the archive's that have the names of *packages*."""
    if not old:
        apt.install(guest, list(packages))
        return
    for path in old.values():
        guest.put(path, "/srv/vmtasks-old/")
    apt.apt(guest, "install", *(f"/srv/vmtasks-old/{path.name}" for path in old.values()))


def _dep8(run: Run, guest: Guest, source: Source, packages: dict[str, Path], limit_s: float) -> None:
    """Run the tests that the source package brings along; those that break the machine last."""
    tree = source.deliver(guest)
    control = guest.query(sh(f"cat {shlex.quote(tree)}/debian/tests/control 2>/dev/null || :"))
    tests = dep8.parse(control, "debian/tests/control")
    for test in sorted(tests, key=lambda test: test.needs_own_machine):
        name = f"debian/tests/{test.name}"
        if test.unsupported:
            run.skip(name, f"it asks for {', '.join(test.unsupported)}, which is not supported")
            continue
        with run.case(name, goes_on=guest):
            _run_dep8(guest, tree, test, packages, limit_s)


def _run_dep8(guest: Guest, tree: str, test: Dep8Test, packages: dict[str, Path], limit_s: float) -> None:
    if "@builddeps@" in test.depends:
        apt.build_dep(guest, tree, timeout_s=limit_s)
    if missing := [word for word in test.depends if word not in packages and word not in ("@", "@builddeps@")]:
        apt.apt(guest, "satisfy", *missing, timeout_s=limit_s)
    with guest.tmp_dir() as room:
        guest.query(["chmod", "1777", room])
        env = {
            "AUTOPKGTEST_TMP": room,
            "ADTTMP": room,
            "AUTOPKGTEST_ARTIFACTS": room,
            "AUTOPKGTEST_NORMAL_USER": "builder",
        }
        user = "root" if "needs-root" in test.restrictions else "builder"
        line = sh(f"chmod a+x debian/tests/* 2>/dev/null; {test.command}")
        result = guest.run(line, cwd=tree, user=user, env=env, timeout_s=limit_s)
    if result.exit_status == dep8.SKIP_STATUS and "skippable" in test.restrictions:
        events.emit(events.Note(machine=guest.name, text=f"{test.name} says that it cannot run here"))
    elif "flaky" in test.restrictions and not result.ok:
        events.emit(events.Note(machine=guest.name, text=f"{test.name} failed, but is marked flaky", level="warning"))
    elif not result.ok:
        raise TestFailed(f"{test.name} ended with status {result.exit_status}", evidence=result.last_lines())
    elif result.stderr.strip() and "allow-stderr" not in test.restrictions:
        raise TestFailed(f"{test.name} wrote to standard error", evidence=tuple(result.stderr.splitlines()[-10:]))


def _listing(guest: Guest) -> set[str]:
    return set(guest.query(sh(_LISTING)).splitlines())


def _purge(guest: Guest, packages: dict[str, Path]) -> None:
    apt.purge(guest, list(packages))
    show = "dpkg-query --show --showformat='${Package} ${db:Status-Status}\\n'"
    left = guest.query(sh(f"{show} {shlex.join(packages)} 2>/dev/null || :"))
    if still := [line for line in left.splitlines() if not line.endswith("not-installed")]:
        raise TestFailed(f"after a purge dpkg still knows {', '.join(still)}")


def _report_leftovers(run: Run, guest: Guest, before: set[str]) -> None:
    """Tell of files that were not there before; files of dependencies, which stay installed, do not count."""
    apt.remove_repository(guest)
    new = sorted(_listing(guest) - before)
    if not new:
        return
    owned = guest.query(sh("cat /var/lib/dpkg/info/*.list")).splitlines()
    real = {path.replace("/usr", "", 1) for path in owned} | set(owned)
    if leftovers := [path for path in new if path not in real]:
        listing = run.directory / "leftovers.txt"
        listing.write_text("\n".join(leftovers) + "\n")
        text = f"the purge left {len(leftovers)} files, {leftovers[0]} among them; all are in {listing}"
        events.emit(events.Note(machine=guest.name, text=text, level="warning"))
