"""What this host can and cannot do, each finding with its remedy."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from vmtasks.bootstrap import ARM64_PACKAGES, PACKAGES, missing_packages, needed_packages
from vmtasks.cache import snapshots
from vmtasks.config.here import page, task_line
from vmtasks.config.paths import cache_dir, nearest
from vmtasks.config.settings import HostSettings
from vmtasks.errors import HostError, UsageError
from vmtasks.host import capacity, declared, slots
from vmtasks.host.accelerator import choose
from vmtasks.host.architectures import arm64_remedy, programs_of, runs_programs
from vmtasks.host.availability import EAGER, rules_of
from vmtasks.image import mirror, pockets
from vmtasks.image.baked import BakedImage, all_baked, find_baked
from vmtasks.image.damage import look
from vmtasks.image.definition import Definition, find, names
from vmtasks.process import landlock

OLDEST_QEMU = (7, 2)
_ROOM_BYTES = 5 * 1024**3
_MEMORY_MIB = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    level: Literal["good", "limited", "bad"]
    """``limited`` works, but not as well as it could; with ``bad``, machines do not run."""
    says: str
    remedy: str = ""


def examine() -> Iterator[Finding]:
    """Look at the host, one thing after the other."""
    yield from _packages()
    yield from _qemu()
    yield from _accelerator()
    yield from _arm64()
    yield from _confinement()
    yield from _namespaces()
    yield from _room()
    yield from _slots()
    yield from _mirrors()
    yield from _images()
    yield from _damaged()


def _packages() -> Iterator[Finding]:
    if shutil.which("dpkg-query") is None:
        yield Finding(level="limited", says="this is no Debian host: its packages were not looked at")
        return
    needed = needed_packages()
    missing = missing_packages(needed)
    for package in missing:
        yield Finding(level="bad", says=f"{package} is missing: {PACKAGES[package]}", remedy=f"apt install {package}")
    if not missing:
        yield Finding(level="good", says=f"all {len(needed)} system packages are installed")


def _qemu() -> Iterator[Finding]:
    for name, package in programs_of("amd64").items():
        if shutil.which(name) is None:
            yield Finding(level="bad", says=f"there is no {name}", remedy=f"apt install {package}")
    program = shutil.which("qemu-system-x86_64")
    if program is None:
        return
    output = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"version (\d+)\.(\d+)(\S*)", output)
    if found is None:
        yield Finding(level="bad", says=f"{program} does not tell its version", remedy="install it anew")
    elif (int(found[1]), int(found[2])) < OLDEST_QEMU:
        yield Finding(level="bad", says=f"QEMU {found[1]}.{found[2]} is too old", remedy="install QEMU 7.2 or newer")
    else:
        yield Finding(level="good", says=f"QEMU {found[1]}.{found[2]}{found[3]}")


def _accelerator() -> Iterator[Finding]:
    try:
        choice = choose(HostSettings.load().accel)
    except HostError:
        return  # told above
    if choice.accelerator == "kvm":
        yield Finding(level="good", says=f"machines run under KVM: {choice.reason}")
        return
    remedy = "use a host with hardware virtualization"
    if "open to this user" in choice.reason:
        remedy = f"adduser {os.environ.get('USER', 'YOU')} kvm, and log in anew"
    yield Finding(level="limited", says=f"machines are emulated, 10 to 20 times slower: {choice.reason}", remedy=remedy)


def _arm64() -> Iterator[Finding]:
    """Tell whether images for arm64 would do; a host on which nobody wants them lacks nothing."""
    try:
        is_baked = runs_programs("arm64")
    except HostError:
        return  # told above: a package is missing
    missing = missing_packages(ARM64_PACKAGES)
    if "qemu-system-arm" not in missing and is_baked:
        yield Finding(level="good", says="machines for arm64 are emulated, and their images baked by qemu-user")
    elif missing:
        says = f"machines for arm64 are not set up here: they take {', '.join(missing)}"
        yield Finding(level="good", says=says, remedy=f"for images such as bookworm-arm64, {arm64_remedy()}")
    else:
        says = "images for arm64 cannot be baked: the kernel runs no programs for arm64"
        yield Finding(level="limited", says=says, remedy=arm64_remedy())


def _confinement() -> Iterator[Finding]:
    if version := landlock.abi():
        yield Finding(level="good", says=f"QEMU reaches only the files of its machine (Landlock, version {version})")
        return
    yield Finding(
        level="limited",
        says="QEMU reaches all files that this user does: the kernel has no Landlock",
        remedy="boot Linux 5.13 or newer, with landlock among its security modules (lsm= on its command line)",
    )


def _namespaces() -> Iterator[Finding]:
    if os.geteuid() == 0:
        yield Finding(level="good", says="images are baked as root, in namespaces of their own")
        return
    command = ["unshare", "--user", "--map-root-user", "--map-auto", "--mount", "true"]
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    if tried.returncode == 0:
        yield Finding(level="good", says="images are baked without privileges, in a user namespace")
        return
    yield Finding(
        level="bad",
        says=f"images cannot be baked as this user: {tried.stderr.strip() or 'no user namespaces'}",
        remedy="apt install uidmap, an entry for you in /etc/subuid and /etc/subgid, and user namespaces allowed",
    )


def _room() -> Iterator[Finding]:
    cache = cache_dir()
    for place in (
        cache,
        *(cache / name for name in ("images", "snapshots", "machines")),
    ):  # another user's, after a sudo
        if not os.access(nearest(place), os.W_OK):
            remedy = "chown it to this user, or set XDG_CACHE_HOME or VMTASKS_CACHE"
            yield Finding(level="bad", says=f"the cache {place} cannot be written", remedy=remedy)
            return
    free_bytes = shutil.disk_usage(nearest(cache)).free
    says = f"{free_bytes / 1024**3:.0f} GiB are free for images in {cache}"
    if free_bytes < _ROOM_BYTES:
        yield Finding(
            level="limited",
            says=f"only {says}",
            remedy=f"{task_line('images.prune')}, or another cache: XDG_CACHE_HOME",
        )
    else:
        yield Finding(level="good", says=says)
    available_mib = capacity.memory_available_mib()
    if available_mib < _MEMORY_MIB:
        yield Finding(level="limited", says=f"only {available_mib} MiB of memory are available", remedy="end something")


def _slots() -> Iterator[Finding]:
    settings = HostSettings.load()
    try:
        emulated = choose(settings.accel).accelerator == "tcg"
    except HostError:
        return
    usual = capacity.default_limits(emulated=emulated)
    machines = settings.machines or usual.machines
    memory_mib = settings.memory_mib or usual.memory_mib
    try:
        running = sum(ticket.state == slots.RUNNING for ticket in slots.tickets())
    except slots.SlotsUnavailableError as problem:
        yield Finding(level="bad", says=str(problem), remedy=f"ls -ld {slots.default_directory()} says whose it is")
        return
    yield Finding(
        level="good", says=f"{machines} machines may run at once, with {memory_mib} MiB together; {running} do now"
    )
    available = declared.current(rules_of(settings))
    if available.state != EAGER:
        yield Finding(level="limited", says=str(available), remedy=f"see {page('hosts')}")


def _mirrors() -> Iterator[Finding]:
    """Tell where the next bake has its packages from."""
    found = mirror.find(HostSettings.load().mirror)
    for note in found.notes:
        yield Finding(level="limited", says=note, remedy="look at /etc/apt/sources.list.d, or set VMTASKS_MIRROR")
    if not found.archive:
        remedy = "name a mirror with VMTASKS_MIRROR if that one cannot be reached"
        yield Finding(
            level="good", says="no source of this host's is Debian's archive: mmdebstrap's own is", remedy=remedy
        )
        return
    security = f", security updates from {found.security}" if found.security else ""
    yield Finding(level="good", says=f"images are baked from {found.archive}{security}")


def _images() -> Iterator[Finding]:
    """Look at what is baked for the pockets of Debian's archive that it has."""
    for definition, baked in _baked():
        suite = definition.lineage[0].suite
        says = (
            f"{definition.name} is baked from these pockets of Debian's archive: {pockets.tell(suite, baked.manifest)}"
        )
        if pockets.missing(suite, baked.manifest):
            yield Finding(level="limited", says=says, remedy=task_line(f"images.bake {definition.name} --refresh"))
        else:
            yield Finding(level="good", says=says)


def _damaged() -> Iterator[Finding]:
    """Look at parts of all that is kept, as each start of a machine does."""
    baked, saved = all_baked(), snapshots.all_snapshots()
    found = [f"the image {image.serial} is damaged: {reason}" for image in baked if (reason := look(image))]
    found += [f"the {one.kind} {one.name} is damaged: {reason}" for one in saved if (reason := one.damage())]
    for says in found:
        yield Finding(level="limited", says=says, remedy=f"{task_line('images.check')} removes it, and it is made anew")
    if not found and (baked or saved):
        says = f"no damage at a glance at {len(baked)} images and {len(saved)} templates and checkpoints"
        yield Finding(level="good", says=says, remedy=f"{task_line('images.check')} reads all of them")


def _baked() -> Iterator[tuple[Definition, BakedImage]]:
    for name in names():
        try:
            definition = find(name)
            baked = find_baked(definition)
        except UsageError:
            continue  # `inv images.list` tells
        if baked is not None:
            yield definition, baked
