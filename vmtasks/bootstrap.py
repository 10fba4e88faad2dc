"""Make this host ready: the system's packages, then ``.venv`` with exactly what requirements.lock lists.

``python3 vmtasks/bootstrap.py [EXTRA…]`` is what the Makefile runs before anything else. It needs nothing but
Python's standard library, and nothing of this package, since neither is there yet. A host that is ready
stays untouched: no network, no write, a few hundredths of a second.

Environment: ``VMTASKS_NO_APT=1`` installs no system packages and prints which are missing and how to get them.
Exit status: 0 ready, 64 wrong usage, 69 this host cannot be made ready, 130 interrupted.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

ROOT = Path(__file__).resolve().parent.parent
OLDEST_PYTHON = (3, 11)
EXTRAS = ("buildbot", "ec2")
"""What not everybody needs: requirements-NAME.lock. A checkout that was asked for one keeps it."""
TEST_EXTRAS = ("buildbot-tests", "ec2-tests")
"""The same for what `make check` alone asks for, each time."""

PACKAGES: Mapping[str, str] = MappingProxyType(
    {
        "qemu-system-x86": "boots the machines",
        "qemu-utils": "qemu-img makes their disks",
        "mmdebstrap": "bakes Debian images",
        "arch-test": "tells mmdebstrap that this host runs i386",
        "debian-archive-keyring": "checks what Debian's archive sends",
        "e2fsprogs": "mkfs.ext4 turns a tree into a disk",
        "zstd": "packs trees and initrds",
        "libarchive-tools": "bsdtar takes kernels out of .rpm files",
        "xorriso": "writes the seed that lets us into cloud images",
        "uidmap": "lets an ordinary user bake",
        "openssh-client": "makes the guests' keys and opens shells in them",
        "python3-venv": "holds our Python packages in .venv",
        "python3-pip": "fetches the Python packages that guests get",
        "git": "tells which files a project consists of",
        "autopkgtest": "runs the tests of Debian packages",
    }
)
"""Debian package -> what it is needed for: the one place where system packages are listed."""

ARM64_PACKAGES: Mapping[str, str] = MappingProxyType(
    {
        "qemu-system-arm": "boots machines for arm64",
        "qemu-user-static": "runs programs for arm64 while images are baked",
        "binfmt-support": "tells the kernel to run them with it",
    }
)
"""The same for images for arm64. Setup does not install them, as they change what programs this host runs."""

TEST_PACKAGES: Mapping[str, str] = MappingProxyType(
    {
        "iproute2": "gives tests networks of their own",
        "dpkg-dev": "makes source packages for tests",
        "pristine-tar": "keeps upstream's tarballs for tests",
        "rpm": "builds .rpm files for tests",
    }
)
"""The same for what comes with any of the TEST_EXTRAS."""

PROGRAMS: Mapping[str, str] = MappingProxyType(
    {
        "qemu-system-x86": "qemu-system-x86_64",
        "qemu-utils": "qemu-img",
        "mmdebstrap": "mmdebstrap",
        "arch-test": "arch-test",
        "e2fsprogs": "mkfs.ext4",
        "zstd": "zstd",
        "libarchive-tools": "bsdtar",
        "xorriso": "xorriso",
        "uidmap": "newuidmap",
        "openssh-client": "ssh",
        "git": "git",
        "autopkgtest": "autopkgtest",
        "qemu-system-arm": "qemu-system-aarch64",
        "qemu-user-static": "qemu-aarch64-static",
        "binfmt-support": "update-binfmts",
        "iproute2": "ip",
        "dpkg-dev": "dpkg-source",
        "pristine-tar": "pristine-tar",
        "rpm": "rpmbuild",
    }
)
"""Debian package -> the program to look for where there is no dpkg to ask."""

_APT_LISTS = Path("/var/lib/apt/lists")
_APT_ROUTINE = ("Get:", "Hit:", "Ign:", "Fetched ", "Reading ", "Building ")
_PIP_MAY = {
    f"PIP_{name}"
    for name in (
        "CACHE_DIR", "CERT", "CLIENT_CERT", "CONFIG_FILE", "DEFAULT_TIMEOUT", "EXTRA_INDEX_URL", "FIND_LINKS",
        "INDEX_URL", "KEYRING_PROVIDER", "NO_CACHE_DIR", "NO_INDEX", "PROXY", "RETRIES", "TIMEOUT", "TRUSTED_HOST",
    )
}  # fmt: skip
"""The variables of pip's that say how packages are got."""
_MODULES = {"python3-venv": "ensurepip", "python3-pip": "pip"}
_ADMIN_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"  # mkfs.ext4 is not on a user's PATH


class Unready(Exception):
    """Why this host cannot be made ready: a sentence, the lines that show it, and what to do."""

    def __init__(self, message: str, *, details: Iterable[str] = (), hint: str = "") -> None:
        super().__init__(message)
        self.details = tuple(details)
        self.hint = hint


def say(message: str) -> None:
    """Tell on standard error what goes on; standard output is for artifacts."""
    print(f"vmtasks: {message}", file=sys.stderr, flush=True)


# --- The system's packages ---------------------------------------------------------------------------------


def has_apt() -> bool:
    """Whether this host is Debian or one of its children."""
    return shutil.which("apt-get") is not None and shutil.which("dpkg-query") is not None


def needed_packages() -> list[str]:
    """Return the packages that this installation needs.

    One that pip made has its own place for Python packages, and only Debian's own Python has its pip from a package.
    """
    is_checkout = (ROOT / "requirements.lock").is_file()
    has_own_pip = is_checkout or sys.prefix != sys.base_prefix
    spared = {"python3-pip"} if has_own_pip else set()
    return [name for name in PACKAGES if name not in (spared if is_checkout else spared | {"python3-venv"})]


def missing_packages(wanted: Iterable[str] = PACKAGES) -> list[str]:
    """Return which packages of those *wanted* this host lacks: dpkg knows, and elsewhere their programs tell."""
    if not has_apt():
        return [package for package in wanted if not _is_usable(package)]
    query = ["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\\n", *wanted]
    # dpkg-query exits with 1 where it has never heard of one of them, which is an answer too.
    listing = subprocess.run(query, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout
    return not_installed(listing, wanted)


def not_installed(listing: str, wanted: Iterable[str]) -> list[str]:
    """Return those of *wanted* that *listing* (lines of "PACKAGE STATUS") does not call installed."""
    installed = {package for package, status in map(str.split, listing.splitlines()) if status == "installed"}
    return [package for package in wanted if package not in installed]


def _purpose(package: str) -> str:
    return {**PACKAGES, **ARM64_PACKAGES, **TEST_PACKAGES}[package]


def _is_usable(package: str) -> bool:
    if package in _MODULES:
        return importlib.util.find_spec(_MODULES[package]) is not None
    return package not in PROGRAMS or shutil.which(PROGRAMS[package], path=_ADMIN_PATH) is not None


def install_packages(missing: Sequence[str]) -> None:
    """Install what is *missing* with apt-get, as root or through sudo.

    :raise Unready: if that is not possible here, is not wanted, or did not work.
    """
    if not has_apt():
        programs = ", ".join(f"{PROGRAMS.get(package, package)} ({_purpose(package)})" for package in missing)
        raise Unready(
            f"cannot find what the machines need: {programs}",
            hint="this is no Debian-like host: install them with its own package manager",
        )
    for package in missing:
        say(f"missing: {package} ({_purpose(package)})")
    is_root = os.geteuid() == 0
    as_root = shlex.join(_install_command(missing))
    command = install_line(missing)
    if os.environ.get("VMTASKS_NO_APT", "0") not in {"", "0"}:
        raise Unready("cannot install the missing packages: VMTASKS_NO_APT forbids it", hint=f"run: {command}")
    if not is_root and shutil.which("sudo") is None:
        raise Unready(
            "cannot install the missing packages: this is not root, and there is no sudo",
            hint=f"run as root: {as_root}",
        )
    say(f"installing them and what they need, which can take some minutes: {command}")
    _install_with_apt(missing, command)


def install_line(packages: Sequence[str]) -> str:
    """Return the line that this user types to install *packages*."""
    return shlex.join([*([] if os.geteuid() == 0 else ["sudo"]), *_install_command(packages)])


def _install_command(packages: Sequence[str]) -> list[str]:
    return ["apt-get", "install", "--no-install-recommends", *packages]


def _install_with_apt(packages: Sequence[str], command: str) -> None:
    # Without lists the first try is pointless. With old ones it may ask for versions that are gone from
    # the mirror, so a failure is followed by one more try with new lists.
    details: list[str] = []
    tries = (False, True) if any(_APT_LISTS.glob("*_Packages*")) else (True,)
    for with_new_lists in tries:
        if with_new_lists:
            say("fetching the package lists: apt-get update")
            details = last_words(_apt(["apt-get", "update"]).stdout)
        installed = _apt(_install_command(packages))
        if installed.returncode == 0:
            return
        details += last_words(installed.stdout)
    raise Unready(
        "cannot install the missing packages: apt-get failed, and these are its last words",
        details=details,
        hint=f"see that the network and apt's sources work, then try again, or run: {command}",
    )


def _apt(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    argv = [
        *([] if os.geteuid() == 0 else ["sudo"]),
        *("env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8"),  # sudo drops them from its own environment
        *(*command, "--yes", "--quiet", "--option=DPkg::Lock::Timeout=120"),
    ]
    return _run(argv)


# --- Our Python packages -----------------------------------------------------------------------------------


def fingerprint(root: Path, extra: str = "") -> str:
    """Return what ``.venv`` depends on, as one hash: the files, the Python, and the place (scripts name it).

    :param extra: have it depend on that one's lock, too.
    """
    parts = [
        (root / "requirements.lock").read_bytes(),
        (root / "pyproject.toml").read_bytes(),
        f"{sys.version} {sys.base_prefix} {root}".encode(),
        *([(root / _lock_of(extra)).read_bytes()] if extra else []),
    ]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def is_built(root: Path, extra: str = "") -> bool:
    """Whether ``.venv`` was finished, or an *extra* in it: for the files, the Python and the place of today."""
    try:
        stamp = _stamp(root, extra).read_text(encoding="ascii")
    except FileNotFoundError:
        return False
    return stamp == fingerprint(root, extra) and (root / ".venv/bin/python").exists()


def build_venv(root: Path) -> None:
    """Make ``.venv`` anew: exactly the lock, then this package itself, editable. The stamp comes last.

    :raise Unready: if venv or pip fails.
    """
    venv = root / ".venv"
    _stamp(root).unlink(missing_ok=True)  # whatever is interrupted from here on does not pass for a whole venv
    say(f"making .venv with Python {sys.version.split()[0]}")
    _step("make .venv", [sys.executable, "-I", "-m", "venv", "--clear", str(venv)])
    _install(root, "requirements.lock")
    _step(
        "install vmtasks into .venv",
        [*_pip(root), "--no-index", "--no-deps", "--no-build-isolation", "--editable", str(root)],
    )
    _stamp(root).write_text(fingerprint(root), encoding="ascii")


def add_extra(root: Path, extra: str) -> None:
    """Have in ``.venv`` what requirements-EXTRA.lock lists, too, and remember that it is wanted.

    :raise Unready: if pip fails.
    """
    if not is_built(root, extra):
        _install(root, _lock_of(extra))
        if extra in EXTRAS:
            _memory(root).write_text(" ".join(sorted({*remembered(root), extra})), encoding="ascii")
        _stamp(root, extra).write_text(fingerprint(root, extra), encoding="ascii")


def remembered(root: Path) -> list[str]:
    """Return the extras that this checkout was asked for, whatever has become of its ``.venv`` since."""
    try:
        names = _memory(root).read_text(encoding="ascii").split()
    except FileNotFoundError:
        return []
    return [name for name in EXTRAS if name in names]


def _memory(root: Path) -> Path:
    return root / ".venv.extras"


def _lock_of(extra: str) -> str:
    return f"requirements-{extra}.lock"


def _install(root: Path, lock: str) -> None:
    say(f"installing the Python packages of {lock}")
    _step(
        f"install the Python packages of {lock}",
        [*_pip(root), "--require-hashes", "--no-deps", "--requirement", str(root / lock)],
    )


def _pip(root: Path) -> list[str]:
    python = str(root / ".venv/bin/python")
    return [python, "-I", "-m", "pip", "install", "--no-user", "--quiet", "--disable-pip-version-check", "--no-input"]


def _stamp(root: Path, extra: str = "") -> Path:
    return root / f".venv/{extra or 'vmtasks'}-stamp"


def _step(purpose: str, argv: Sequence[str]) -> None:
    done = _run(argv)
    if done.returncode:
        raise Unready(
            f"cannot {purpose}: {shlex.join(argv[:3])} … ended with status {done.returncode}",
            details=last_words(done.stdout),
            hint="once that is fixed, the same make goes on from here",
        )


# --- Both --------------------------------------------------------------------------------------------------


def _run(argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run *argv* without input; its output is kept for the day that it fails."""
    return subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        env=environment(os.environ),
    )


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without what would have Python or pip look, or put things, elsewhere than in ``.venv``.

    Where packages come from (PIP_INDEX_URL, PIP_CERT, …) is the user's to say.
    """
    return {
        name: value
        for name, value in environ.items()
        if not name.startswith("PYTHON") and not (name.startswith("PIP_") and name not in _PIP_MAY)
    }


def last_words(output: str) -> list[str]:
    """Return the end of *output* without apt's routine lines: what went wrong stands there."""
    return [line for line in output.splitlines() if line.strip() and not line.startswith(_APT_ROUTINE)][-6:]


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the lock file *path*, so that two makes at once do the work once; the kernel lets go of it."""
    with path.open("a", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another make that is setting up this checkout")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def make_ready(root: Path, extras: Sequence[str] = ()) -> None:
    """Install and build whatever is missing, and nothing else.

    :param extras: what to have beside what the checkout remembers that it was asked for.
    :raise Unready: if this host cannot be made ready.
    """
    if sys.version_info < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        raise Unready(
            f"cannot use Python {sys.version.split()[0]}: vmtasks needs {oldest} or newer",
            hint="name a newer one: make PYTHON=python3.12 …",
        )
    extras = list(dict.fromkeys([*remembered(root), *extras]))
    wanted = (*needed_packages(), *(TEST_PACKAGES if set(TEST_EXTRAS) & set(extras) else ()))
    if all(is_built(root, name) for name in ("", *extras)) and not missing_packages(wanted):
        return
    with alone(root / ".venv.lock"):
        if missing := missing_packages(wanted):
            install_packages(missing)
        if not is_built(root):
            build_venv(root)
        for name in extras:
            add_extra(root, name)


def main(arguments: Sequence[str]) -> int:
    """Make the checkout around this file ready; return the exit status.

    :param arguments: names of extras, separated by commas or spaces as EXTRAS= has them.
    """
    extras = " ".join(arguments).replace(",", " ").split()
    if unknown := [name for name in extras if name not in (*EXTRAS, *TEST_EXTRAS)]:
        say(f"cannot add {unknown[0]!r}: the extras are {' and '.join(EXTRAS)}")
        return os.EX_USAGE
    try:
        make_ready(ROOT, extras)
    except Unready as problem:
        say(str(problem))
        for line in problem.details:
            print(f"  | {line}", file=sys.stderr)
        say(problem.hint)
        return os.EX_UNAVAILABLE
    except OSError as problem:
        say(f"cannot set up {ROOT}: {problem}")
        return os.EX_UNAVAILABLE
    except KeyboardInterrupt:
        say("interrupted; the next make goes on from here")
        return 130
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
