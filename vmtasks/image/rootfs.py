"""Make a Debian tree and pack it into a disk: the part of a bake that needs to be root.

Run as a program of its own, inside namespaces of its own (see ``vmtasks.image.mmdebstrap``): as root, or as the
root of a user namespace, which is an ordinary user outside. The tree lies on a tmpfs that no other process
sees, and every mount belongs to the namespace; so when this ends, however it ends, the kernel takes
everything away and nothing is left but what it wrote into the output directory.

Standard library only. The plan (JSON) comes on standard input; progress goes to standard output, one JSON
object a line; what the programs print goes to standard error.
"""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
import struct
import subprocess
import sys
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

APT = ("apt-get", "-y", "-q", "-o", "APT::Install-Recommends=false", "-o", "Dpkg::Use-Pty=0")
PARTITION_BYTES = 1024**2
"""Where the partition of a partitioned disk begins: a boot loader has its place before it."""
GUEST_NAMESERVER = "10.0.2.3"
"""QEMU's user network answers for the host's resolver there (qemu-system-x86_64(1), -netdev user)."""


class StageError(Exception):
    """A step failed; the message is a sentence."""


class RootfsBuilder:
    """The tree under construction."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.scratch = plan["scratch"]
        self.tree = os.path.join(self.scratch, "tree")
        self.out = plan["out"]
        self._step = 0
        self._env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
        self._env |= dict(plan.get("proxies", ()))
        self._env |= {name: value for name, value in os.environ.items() if name.endswith(("_proxy", "_PROXY"))}

    def step(self, detail: str) -> None:
        """Announce the next step."""
        self._step += 1
        print(json.dumps({"step": self._step, "of": 6, "detail": detail}), flush=True)

    def run(self, *command: str, env: dict[str, str] | None = None) -> None:
        """Run a program; its output is the log."""
        if subprocess.run(command, stdin=subprocess.DEVNULL, stdout=2, check=False, env=env or self._env).returncode:
            raise StageError(f"{os.path.basename(command[0])} failed: {' '.join(command)[:200]}")

    def chroot(self, *command: str) -> None:
        """Run a program inside the tree."""
        self.run("chroot", self.tree, *command, env=self._env | {"HOME": "/root"})

    def path(self, guest_path: str) -> str:
        """Return where a path of the guest's is now."""
        return os.path.join(self.tree, guest_path.lstrip("/"))

    def write(self, guest_path: str, content: str | bytes, mode: int = 0o644) -> None:
        """Write a file into the tree; never through a link that the tree holds."""
        path = self.place(guest_path)
        with open(path, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        os.chmod(path, mode)

    def place(self, guest_path: str) -> str:
        """Return where a path of the guest's is now, with its directory there and nothing in its place.

        Directories that the tree has stay as they are.
        """
        path = self.path(guest_path)
        above, tree = os.path.realpath(os.path.dirname(path)), os.path.realpath(self.tree)
        if os.path.commonpath((above, tree)) != tree:
            raise StageError(f"cannot write {guest_path}: a link on its way leads out of the tree that is being made")
        os.makedirs(above, exist_ok=True)
        if os.path.lexists(path):
            os.unlink(path)
        return path

    def lay_over(self, overlay: str, links: dict[str, str]) -> None:
        """Lay the files and links of a directory over the tree, with the modes that git has of them.

        Those of its directories, and all that the umask of a checkout has to do with, are nothing of the image's.

        :param links: what is a link, relative to the directory, and where it leads.
        """
        for directory, names, files in os.walk(overlay):
            for source in (os.path.join(directory, one) for one in [*names, *files]):
                name = os.path.relpath(source, overlay)
                guest_path = "/" + name
                if name in links:
                    os.symlink(links[name], self.place(guest_path))
                elif not os.path.isdir(source):
                    path = self.place(guest_path)
                    shutil.copyfile(source, path)
                    os.chmod(path, 0o755 if os.stat(source).st_mode & 0o100 else 0o644)

    def make_tree(self) -> None:
        """Bootstrap a suite, or unpack the parent's tree."""
        plan = self.plan
        if plan["parent"]:
            self.step("unpacking the parent's tree")
            os.mkdir(self.tree, 0o755)
            self.run("tar", "--zstd", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-xpf", plan["parent"],
                     "-C", self.tree)  # fmt: skip
            return
        self.step(f"bootstrapping {plan['suite']} with mmdebstrap")
        sources = os.path.join(self.scratch, "sources.list")
        with open(sources, "w", encoding="utf-8") as file:
            file.write("\n".join(plan["sources"]) + "\n")
        # /dev is the kernel's in a running guest, and the package lists stay: see images/README.md.
        self.run("mmdebstrap", "--mode=root", "--variant=minbase", f"--architectures={plan['architecture']}",
                 "--skip=output/dev", "--skip=cleanup/apt/lists", f"--include={','.join(plan['bootstrap'])}",
                 *(f"--dpkgopt={option}" for option in plan["dpkg_options"]),
                 '--aptopt=Acquire::Languages "none"', f"--components={','.join(plan['components'])}",
                 *(f'--aptopt={name} "{value}"' for name, value in plan["apt_options"]),
                 plan["suite"], self.tree, *([sources] if plan["sources"] else []),
                 env=self._env | {"TMPDIR": self.scratch})  # fmt: skip

        # What keeps manuals and translations out of the image must not keep them out of packages under test.
        os.unlink(self.path("etc/dpkg/dpkg.cfg.d/99mmdebstrap"))

    def extend(self) -> None:
        """Install a layer's packages, lay its files over the tree and run its commands."""
        self.step("installing packages and files")
        with self._chroot_mounts():
            self._write_files(self.plan["repositories"])
            if self.plan["packages"] or self.plan["repositories"]:
                self.chroot(*APT, "-o", "APT::Update::Error-Mode=any", "update")
            if self.plan["packages"]:
                self.chroot(*APT, "install", *self.plan["packages"])
            if self.plan["overlay"]:
                self.lay_over(self.plan["overlay"], self.plan["overlay_links"])
            self._write_files(self.plan["files"])
            for command in self.plan["commands"]:
                self.step("running commands in the tree")
                self._step -= 1
                self.chroot("/bin/sh", "-euxc", command)
            self.chroot(*APT, "clean")
            self.chroot("apt-cache", "gencaches")  # seconds for a guest without KVM, before its first package
            self._initrd()

    def personalise(self) -> None:
        """Make the tree bootable by us: our key gets in, its own host key is known, its network is QEMU's."""
        self.step("personalising")
        for old in glob.glob(self.path("etc/ssh/ssh_host_*")):
            os.unlink(old)
        with open(self.plan["host_key"], "rb") as private, open(self.plan["host_key"] + ".pub", "rb") as public:
            self.write("etc/ssh/ssh_host_ed25519_key", private.read(), 0o600)
            self.write("etc/ssh/ssh_host_ed25519_key.pub", public.read())
        os.makedirs(self.path("root/.ssh"), mode=0o700, exist_ok=True)
        with open(self.plan["authorized_key"], "rb") as key:
            self.write("root/.ssh/authorized_keys", key.read(), 0o600)
        hostname = self.plan["hostname"]
        self.write("etc/hostname", f"{hostname}\n")
        self.write("etc/hosts", f"127.0.0.1 localhost\n127.0.1.1 {hostname}\n::1 localhost ip6-localhost\n")
        self.write("etc/fstab", f"{self.plan['root_device']} / ext4 errors=remount-ro 0 0\n")
        self.write("etc/resolv.conf", f"nameserver {GUEST_NAMESERVER}\n")
        self.write("etc/machine-id", "")  # systemd makes one at boot: machine-id(5), "first boot semantics"
        for stamp in ("etc/.updated", "var/.updated"):  # nothing is newer than these: systemd-update-done.service(8)
            self.write(stamp, "")
            os.utime(self.path(stamp), (os.stat(self.path("usr")).st_mtime + 1,) * 2)
        for log in glob.glob(self.path("var/log/*.log")) + glob.glob(self.path("var/log/apt/*")):
            os.unlink(log)

    def pack(self) -> None:
        """Write the manifest, the kernel, the archive for layers and the disk."""
        self.step("packing the tree")
        self._manifest()
        self.run("tar", "--zstd", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--sort=name", "-cpf",
                 os.path.join(self.out, "root.tar.zst"), "-C", self.tree, ".",
                 env=self._env | {"ZSTD_CLEVEL": "1", "ZSTD_NBTHREADS": "0"})  # fmt: skip
        self.step("making the file system")
        disk = os.path.join(self.out, "disk.raw")
        disk_bytes = self.plan["disk_gib"] * 1024**3
        place, size = "", list[str]()
        with open(disk, "wb") as file:
            file.truncate(disk_bytes)
            if self.plan["is_partitioned"]:
                file.write(partition_table(disk_bytes))
                place = f",offset={PARTITION_BYTES}"
                size = [f"{(disk_bytes - PARTITION_BYTES) // 1024}k"]
        # What mkfs leaves out would otherwise be written by the guest's kernel in every machine's first minutes.
        self.run("mkfs.ext4", "-q", "-F", "-d", self.tree, "-E",
                 f"lazy_itable_init=0,lazy_journal_init=0{place}", "-O", "^resize_inode", disk, *size)  # fmt: skip

    def _write_files(self, files: list[dict[str, Any]]) -> None:
        for file in files:
            content = file["content"]
            if content is None:
                with open(file["source"], "rb") as source:
                    content = source.read()
            self.write(file["path"], content, int(file["mode"], 8))

    def _initrd(self) -> None:
        modules = self.path("lib/modules")
        kernels = sorted(os.listdir(modules), key=by_version) if os.path.isdir(modules) else []
        if not kernels:
            raise StageError("there is no kernel in the tree: list a linux-image package among the packages")
        version = kernels[-1]
        shutil.copyfile(self.path(f"boot/vmlinuz-{version}"), os.path.join(self.out, "vmlinuz"))
        made = self.path("boot/initrd.vmtasks")
        if self.plan["initrd"] == "lean":
            modules = ",".join(self.plan["modules"])
            self.chroot("mktirfs", "-m", "no", f"--include-modules={modules}", "-o", "/boot/initrd.vmtasks", version)
        else:
            self.chroot("mkinitramfs", "-o", "/boot/initrd.vmtasks", version)
        shutil.move(made, os.path.join(self.out, "initrd"))

    def _query(self, *command: str) -> str:
        return subprocess.run(
            ("chroot", self.tree, *command), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
        ).stdout

    def _manifest(self) -> None:
        listed = self._query("dpkg-query", "-W", "-f", "${binary:Package} ${Version}\n")
        packages = dict(line.split(" ", 1) for line in listed.splitlines())
        archives = self._query(
            "apt-get", "indextargets", "--format", self.plan["archives_format"], "Created-By: Packages"
        )
        with open(os.path.join(self.out, "archives"), "w", encoding="utf-8") as file:
            file.write(archives)
        with open(os.path.join(self.out, "packages.json"), "w", encoding="utf-8") as file:
            json.dump(packages, file, indent=1)

    @contextmanager
    def _chroot_mounts(self) -> Iterator[None]:
        """Give programs in the tree what they expect of a running system, but no services."""
        targets = [self.path(name) for name in ("dev", "proc", "sys")]
        for target in targets:
            os.makedirs(target, exist_ok=True)
        # rbind: in a user namespace, mounts that come from outside can only be taken along as a whole.
        for target in targets:
            self.run("mount", "--rbind", "/" + os.path.basename(target), target)
        self.write("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755)
        with open("/etc/resolv.conf", "rb") as file:
            self.write("etc/resolv.conf", file.read())
        try:
            yield
        finally:
            os.unlink(self.path("usr/sbin/policy-rc.d"))
            for target in targets:
                self.run("umount", "--lazy", target)  # with all below it, at once: one by one they are locked to a user


def partition_table(disk_bytes: int) -> bytes:
    """Return the first sector of a disk with one partition for Linux, marked as active, from 1 MiB to its end.

    Source: the layout of a classic master boot record; the addresses by cylinder say that those by sector count.
    """
    first = PARTITION_BYTES // 512
    entry = struct.pack("<B3sB3sII", 0x80, b"\xfe\xff\xff", 0x83, b"\xfe\xff\xff", first, disk_bytes // 512 - first)
    return bytes(446) + entry + bytes(48) + b"\x55\xaa"


def by_version(name: str) -> list[str | int]:
    """Return what has 6.9 come before 6.12 when kernels are sorted: a layer may bring one from backports."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def main() -> int:
    """Carry out the plan on standard input."""
    os.umask(0o022)  # the caller's is nothing of the image's
    stage = RootfsBuilder(json.load(sys.stdin))
    subprocess.run(
        ("mount", "-t", "tmpfs", "-o", f"mode=755,size={stage.plan['scratch_mib']}M", "tmpfs", stage.scratch),
        check=True,
    )
    try:
        stage.make_tree()
        stage.extend()
        stage.personalise()
        stage.pack()
    except (StageError, OSError, subprocess.CalledProcessError) as problem:
        print(json.dumps({"error": str(problem)}), flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
