"""Bake a Debian image natively: no emulation, no privileges beyond a user namespace, nothing left behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vmtasks import events
from vmtasks.config.here import setup_line, task_line
from vmtasks.config.settings import HostSettings
from vmtasks.errors import HostError
from vmtasks.host import capacity
from vmtasks.host.architectures import expect_runs_programs
from vmtasks.host.confined import qemu_img
from vmtasks.image import mirror, rootfs
from vmtasks.image.baked import BakedImage
from vmtasks.image.definition import Definition, File, overlay_links
from vmtasks.image.repositories import files_of
from vmtasks.process.landlock import Reach
from vmtasks.process.tail import last_lines

_NO_MANUALS = tuple(f"path-exclude=/usr/share/{name}/*" for name in ("man", "doc", "info", "locale"))
_POCKET = r"[\w.-]+-(?:updates|security)"
_LOST = (
    (
        re.compile(rf"Failed to fetch \S+/dists/({_POCKET})/\S+ +(?:File has unexpected size|Hash Sum mismatch)"),
        "serves it out of step with itself",
    ),
    (re.compile(rf"repository '\S+ ({_POCKET}) (?:In)?Release' does not have a Release file"), "does not have it"),
)
"""What apt prints of a pocket that a mirror does not serve, and what that is in our words."""
_KEEP_COPYRIGHT = ("path-include=/usr/share/doc/*/copyright",)  # the licences ask for it


def bake(definition: Definition, parent: BakedImage | None, out: Path, settings: HostSettings, log: Path) -> None:
    """Make the tree of *definition* and pack it into *out*: disk, kernel, initrd, archive and list of packages.

    :param parent: the image that it is a layer of; None bootstraps a suite.
    :param out: an existing directory.
    :param log: receives everything that the programs print.
    :raise HostError: a program is missing or failed, or the host has no room.
    """
    for program in ("mmdebstrap", "mkfs.ext4", "zstd", "qemu-img", "ssh-keygen", "unshare"):
        if shutil.which(program, path=_path()) is None:
            raise HostError(f"cannot bake {definition.name}: {program} is not installed", hint=f"run {setup_line()}")
    expect_runs_programs(definition.architecture, definition.name)
    make_keys(out, definition.name)
    with _scratch(out) as scratch:
        plan = _plan(definition, parent, out, scratch, settings)
        while True:
            try:
                _stage(definition.name, plan, log)
                break
            except HostError:
                # A pocket that a mirror does not have, or serves out of step with itself, need not cost the whole
                # image; what is missing is reported, and stays out of the image's sources.list and manifest, too.
                lost = lost_pocket("\n".join(last_lines(log, 40)), plan["sources"])
                if lost is None:
                    raise
                line, reason = lost
                events.emit(events.Note(text=f"{definition.name} is baked without {reason}", level="warning"))
                plan["sources"] = [other for other in plan["sources"] if other != line]
    events.emit(events.Progress(phase="bake", done=6, total=6, detail="writing the disk"))
    _to_qcow2(out)
    (out / "ssh_host_key").unlink()  # the guest has it; a client needs the public half alone


def make_keys(out: Path, name: str) -> None:
    """Make the key that the guest will let in, and the key that it will be known by."""
    for file, comment in (("id_ed25519", f"vmtasks into {name}"), ("ssh_host_key", f"vmtasks image {name}")):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(out / file)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    public = " ".join((out / "ssh_host_key.pub").read_text().split()[:2])
    (out / "known_hosts").write_text(f"vmtasks {public}\n")  # for ssh -o HostKeyAlias=vmtasks


def _plan(
    definition: Definition, parent: BakedImage | None, out: Path, scratch: Path, settings: HostSettings
) -> dict[str, Any]:
    beside = definition.home.parent
    mirrors, apt = mirror.Mirrors(), mirror.host_apt()
    if definition.suite is not None:
        mirrors = mirror.find(definition.mirror or settings.mirror)
        for note in mirrors.notes:
            events.emit(events.Note(text=note, level="warning"))
    repositories = files_of(definition, parent.archive if parent else mirrors.archive)
    # What mmdebstrap installs, and what apt does then: a layer, or what may come from other repositories.
    installed_later = parent is not None or bool(repositories)
    return {
        "scratch": str(scratch),
        "scratch_mib": _scratch_mib(),
        "out": str(out),
        "parent": str(parent.tree) if parent else None,
        "suite": definition.suite,
        "sources": mirrors.sources(definition.suite, definition.components) if definition.suite else (),
        "components": definition.components,
        "architecture": definition.architecture,
        "bootstrap": () if parent else (*definition.boot_packages, *(() if installed_later else definition.packages)),
        "packages": (*(definition.boot_packages if parent else ()), *(definition.packages if installed_later else ())),
        "apt_options": apt.options,
        "proxies": apt.proxies,
        "archives_format": mirror.FORMAT,
        "repositories": _as_plain(repositories, beside),
        "dpkg_options": (*_NO_MANUALS, *_KEEP_COPYRIGHT),
        "overlay": str(beside / definition.tree) if definition.tree else None,
        "overlay_links": overlay_links(beside / definition.tree) if definition.tree else {},
        "files": _as_plain(definition.files, beside),
        "commands": [step.run for step in definition.steps if step.where == "chroot"],
        "initrd": definition.initrd,
        "modules": definition.modules,
        "disk_gib": definition.disk_gib,
        "root_device": definition.root_device,
        "is_partitioned": definition.boot_loader != "none",
        "hostname": re.sub(r"[^a-z0-9-]", "-", definition.listed_name),
        "host_key": str(out / "ssh_host_key"),
        "authorized_key": str(out / "id_ed25519.pub"),
    }


def _as_plain(files: Sequence[File], beside: Path) -> list[dict[str, str | None]]:
    return [
        {
            "path": file.path,
            "content": file.content,
            "source": str(beside / file.source) if file.source else None,
            "mode": file.mode,
        }
        for file in files
    ]


def namespaces(euid: int) -> tuple[str, ...]:
    """Return the command that gives a program namespaces of its own, and dies together with it.

    Root keeps its privileges; everybody else becomes root of a user namespace, with the ids of subuid(5).
    """
    user = () if euid == 0 else ("--user", "--map-root-user", "--map-auto")
    return ("setpriv", "--pdeathsig", "KILL", "unshare", *user, "--mount", "--pid", "--fork", "--kill-child")


def _stage(name: str, plan: Mapping[str, Any], log: Path) -> None:
    """Run the stage in namespaces of its own, and pass its progress on."""
    command = [*namespaces(os.geteuid()), sys.executable, "-I", "-S", rootfs.__file__]
    with log.open("ab") as complaints:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            env={**os.environ, "PATH": _path()},
            start_new_session=True,
        )
    error = ""
    try:
        if process.stdin is None or process.stdout is None:
            raise AssertionError("both are pipes")
        json.dump(plan, process.stdin)
        process.stdin.close()
        for line in process.stdout:
            message = json.loads(line)
            error = message.get("error", error)
            if "step" in message:
                done = message["step"] - 1
                events.emit(events.Progress(phase="bake", done=done, total=6, detail=message["detail"]))
        status = process.wait()
    finally:
        process.kill()  # a second time does no harm; on an interrupt, unshare takes everything inside with it
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    if status:
        raise HostError(
            f"cannot bake {name}: {error or f'the stage ended with status {status}'}",
            details=last_lines(log),
            hint=_hint(last_lines(log, 40)),
        )


def lost_pocket(log: str, sources: Sequence[str]) -> tuple[str, str] | None:
    """Return the line of *sources* that names a pocket which its mirror does not serve, and what is wrong with it.

    :param log: what mmdebstrap printed; it may tell of earlier tries, with lines that are in *sources* no more.
    """
    for pattern, trouble in _LOST:
        for suite in pattern.findall(log):  # its URI may be one that a mirror led to
            for line in sources:
                _, uri, name, *_ = line.split()
                if name == suite:
                    return line, f"{suite}: {uri.rstrip('/')} {trouble}"
    return None


def _hint(details: tuple[str, ...]) -> str:
    text = "\n".join(details)
    if "No space left" in text:
        return "the tree is made in memory: free some, or bake with fewer packages"
    if any(sign in text for sign in ("Temporary failure resolving", "Could not connect", "Could not resolve")):
        return "no mirror could be reached: look at the network, or name another mirror with VMTASKS_MIRROR"
    if "does not have a Release file" in text:
        return "the mirror does not have that suite: look at its name, and at the mirror's"
    if "is expired" in text:
        return "the mirror is not kept up: name another with VMTASKS_MIRROR, or have the apt of this host accept it"
    if "newuidmap" in text or "unshare" in text:
        return f"baking as an ordinary user needs user namespaces and subuid(5) entries: see {task_line('doctor')}"
    return ""


def _to_qcow2(out: Path) -> None:
    raw, disk = out / "disk.raw", out / "disk.qcow2"
    disk.touch()  # so that no more than this file need be reached
    reach = Reach((str(raw),), (str(disk),))
    result = qemu_img("convert", "-f", "raw", "-O", "qcow2", str(raw), str(disk), reach=reach)
    if result.returncode:
        raise HostError(f"cannot write {disk}: {result.stderr.strip()}", hint="is the disk full?")
    raw.unlink()


@contextmanager
def _scratch(out: Path) -> Iterator[Path]:
    """Yield an empty directory, which only ever has something mounted on it, and only inside the namespace."""
    scratch = out / "scratch"
    scratch.mkdir()
    try:
        yield scratch
    finally:
        scratch.rmdir()


def _scratch_mib() -> int:
    if scratch_mib := capacity.memory_available_mib() * 3 // 4:  # to a tmpfs, 0 is no bound
        return scratch_mib
    raise HostError("cannot bake: /proc/meminfo does not tell how much memory there is")


def _path() -> str:
    """Administrators' programs are not on an ordinary user's path on Debian."""
    return os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"
