"""runvm on real machines: whole command lines in the shapes of MariaDB's builders, with an agent's key and sudo."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmtasks.deadline import Deadline
from vmtasks.host.lease import leases
from vmtasks.image.baked import images_dir
from vmtasks.image.definition import find
from vmtasks.providers.qemu.provider import ensure_baked

RUNVM = Path(sys.executable).with_name("runvm")
LIMIT_S = 900.0
"""Waiting for a slot behind somebody else's machines is part of it."""
GONE_LIMIT_S = 10.0
SCP = "-o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no"
OURS = """
from = "bookworm"
files = [
    {{ path = "/etc/sudoers.d/buildbot", content = "buildbot ALL=(ALL) NOPASSWD: ALL\\n", mode = "0440" }},
    {{ path = "/etc/skel/.ssh/authorized_keys", content = "{key}\\n", mode = "0600" }},
]
[[steps]]
run = "useradd --password '*' --create-home --shell /bin/bash buildbot"
"""
FOREIGN = """
from = "runvm-ours"
packages = ["linux-image-amd64", "grub-pc-bin", "grub2-common"]
[[steps]]
run = '''
kernel=$(basename /lib/modules/*[0-9]-amd64)
ln -sf "boot/vmlinuz-$kernel" /vmlinuz
mktirfs -m no --include-modules=ata_piix,sd_mod,ext4,crc32c_generic,virtio_pci,virtio_net -o /initrd.img "$kernel"
'''
[[steps]]
run = '''
grub-install --force /dev/vda
disk=UUID=$(findmnt -no UUID /)  # of two IDE disks, either may be the first that Linux finds
cat >/boot/grub/grub.cfg <<EOF
linux /vmlinuz root=$disk rw console=ttyS0 net.ifnames=0 quiet norandmaps
initrd /initrd.img
boot
EOF
echo "$disk / ext4 errors=remount-ro 0 0" >/etc/fstab
rm -rf /root/.ssh
'''
where = "guest"
"""
PACKAGE = """
set -ex
cd buildbot
chmod 755 src/usr/bin/greet
mkdir debs
for version in 1 2; do
    sed "s/@VERSION@/$version/" <control.in >src/DEBIAN/control
    echo "echo greet $version" >>src/usr/bin/greet
    dpkg-deb --root-owner-group --build src debs
done
cat >stdin
test ! -s stdin
"""


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Be a builder's directory: an agent has the one key; the images go in the end."""
    home = tmp_path_factory.mktemp("builder")
    (home / "images").mkdir()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home / "key"], check=True)
    output = subprocess.check_output(["ssh-agent", "-s", "-a", home / "agent"], text=True)
    (agent,) = re.findall(r"SSH_AGENT_PID=(\d+)", output)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SSH_AUTH_SOCK", str(home / "agent"))
            patch.setenv("VMTASKS_IMAGES", str(home / "images"))
            patch.chdir(home)
            subprocess.run(["ssh-add", "-q", home / "key"], check=True)
            (home / "key").unlink()
            (home / "images" / "runvm-ours.toml").write_text(OURS.format(key=(home / "key.pub").read_text().strip()))
            (home / "images" / "runvm-foreign.toml").write_text(FOREIGN)
            yield home
    finally:
        os.kill(int(agent), signal.SIGTERM)
        for image in home.glob("*.qcow2"):
            image.unlink()
        for baked in images_dir().glob("runvm-[fo]*"):
            shutil.rmtree(baked) if baked.is_dir() else baked.unlink()


@pytest.fixture(scope="module")
def ours() -> Path:
    return ensure_baked(find("runvm-ours")).disk


@pytest.fixture(scope="module")
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def runvm(*words: str, stdin: str = "not for the guest\n") -> subprocess.CompletedProcess[str]:
    argv = [str(RUNVM), "--memory=512", "--smp=2", "--startup-timeout=200", *words]
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    sys.stdout.write(done.stdout + done.stderr)
    return done


def is_whole(image: str) -> bool:
    return subprocess.run(["qemu-img", "check", "-q", image], check=False).returncode == 0


# --- tarbake: somebody else's image, in place ------------------------------------------------------------------


def test_tarbake_in_place_sees_what_the_last_one_left(port: int) -> None:
    shutil.move(ensure_baked(find("runvm-foreign")).disk, "tarbake.qcow2")
    subprocess.run(["qemu-img", "create", "-q", "-f", "raw", "blank.img", "64M"], check=True)
    script = """
        set -ex
        echo "$(cat cache 2>/dev/null)x" >cache
        grep BOOT_IMAGE=/vmlinuz /proc/cmdline
        grep -x 131072 /sys/block/sd?/size
        echo "hello-$(cat cache)" >distdirname.txt
        mkdir -p "$(cat distdirname.txt)"
        tar czf hello.tar.gz "$(cat distdirname.txt)"
    """
    for cache in ("x", "xx"):
        done = runvm(
            "-cpu=qemu64", "--smp=2", f"--port={port}", "--user=buildbot", "--logfile=kernel.log",
            "--kvm=-drive", "--kvm=file=blank.img,format=raw,if=ide,index=1", "tarbake.qcow2",
            script,
            f"= scp -P {port} {SCP} buildbot@localhost:distdirname.txt .",
            f"= scp -P {port} {SCP} buildbot@localhost:hello.tar.gz .",
        )  # fmt: skip
        assert done.returncode == 0
        assert Path("distdirname.txt").read_text() == f"hello-{cache}\n"
        assert f"hello-{cache}/" in subprocess.check_output(["tar", "tzf", "hello.tar.gz"], text=True)
        assert "did not power itself off" not in done.stderr
        assert is_whole("tarbake.qcow2")
        assert "reboot: Power down" in Path("kernel.log").read_text()


# --- a package: built, installed, upgraded ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(ours: Path, port: int) -> subprocess.CompletedProcess[str]:
    """Build two versions of a package."""
    Path("src/DEBIAN").mkdir(parents=True)
    Path("src/usr/bin").mkdir(parents=True)
    Path("src/usr/bin/greet").write_text('#!/bin/sh -e\n[ "$1" != --fail ] || exit 3\n')
    Path("control.in").write_text(
        "Package: greet\nVersion: @VERSION@\nArchitecture: all\nMaintainer: A <a@b.c>\nDescription: greets\n"
    )
    Path("debs").mkdir()
    Path("debs/of-an-earlier-build").touch()
    return runvm(
        f"--port={port}", "--user=buildbot", "--cpu=qemu64", f"--logfile=kernel_{port}.log", f"--base-image={ours}",
        f"vm-tmp-{port}.qcow2",
        "rm -Rf buildbot && mkdir buildbot",
        f"= scp -r -P {port} {SCP} src control.in buildbot@localhost:buildbot/",
        PACKAGE,
        "= rm -Rf debs",
        f"= scp -r -P {port} {SCP} buildbot@localhost:buildbot/debs .",
        f"!= scp -P {port} {SCP} buildbot@localhost:buildbot/sbom.json . || true",
    )  # fmt: skip


@pytest.fixture(scope="module")
def installed(built: subprocess.CompletedProcess[str], ours: Path, port: int) -> subprocess.CompletedProcess[str]:
    """Install the first version, and have a test fail; the image stays."""
    assert built.returncode == 0
    return runvm(
        f"--port={port}", "--user=buildbot", f"-b={ours}", "vm-install.qcow2",
        f"= scp -r -P {port} {SCP} debs buildbot@localhost:",
        "set -e\nsudo dpkg -i debs/greet_1_all.deb\ngreet",
        "greet --fail",
        "touch not-reached",
        "! rm -f daemon.log; sudo journalctl >daemon.log",
        f"!= rm -f daemon.log; scp -P {port} {SCP} buildbot@localhost:daemon.log .",
    )  # fmt: skip


def test_a_package_is_built_and_brought_out(built: subprocess.CompletedProcess[str], port: int) -> None:
    assert built.returncode == 0
    assert sorted(path.name for path in Path("debs").iterdir()) == ["greet_1_all.deb", "greet_2_all.deb"]
    assert f"+ {PACKAGE}\n" in built.stderr
    assert "sbom.json" in built.stderr, "what was not there is told, and no failure"
    assert is_whole(f"vm-tmp-{port}.qcow2")
    assert Path(f"kernel_{port}.log").stat().st_size > 0


def test_a_failing_test_is_the_exit_status_and_the_logs_come_out_all_the_same(
    installed: subprocess.CompletedProcess[str],
) -> None:
    assert installed.returncode == 3
    assert installed.stdout.endswith("greet 1\n")
    assert "+ touch not-reached" not in installed.stderr
    assert "greet" in Path("daemon.log").read_text()


def test_an_upgrade_goes_on_from_the_image_that_the_installation_left(
    installed: subprocess.CompletedProcess[str], tmp_path: Path
) -> None:
    work = tmp_path / "work.qcow2"
    done = runvm(
        "--port=0", "--user=buildbot", "--base-image=vm-install.qcow2", f"--work-image={work}", "vm-upgrade.qcow2",
        "test ! -e not-reached; sudo dpkg -i debs/greet_2_all.deb && greet | tail -n 1",
        "= scp key.pub guest: && ssh guest cat key.pub && ssh -F $VMTASKS_SSH_CONFIG guest true",
        f"= ls {work}",
    )  # fmt: skip
    assert done.returncode == 0
    assert "\ngreet 2\n" in done.stdout
    assert Path("key.pub").read_text() in done.stdout
    assert not work.exists()
    assert is_whole("vm-upgrade.qcow2")
    info = subprocess.check_output(["qemu-img", "info", "--backing-chain", "vm-upgrade.qcow2"], text=True)
    assert info.count("image: ") == 3
    assert is_whole("vm-install.qcow2")


# --- standard input, terminals and ends ------------------------------------------------------------------------


def test_standard_input_if_asked_for_and_a_limit_for_each_command(ours: Path) -> None:
    done = runvm(
        "--port=0", "--stdin", "--command-timeout=8", "-b", str(ours), "tmp.qcow2",
        "cat", "sleep 600", "! id -un",
        stdin="for the guest\n",
    )  # fmt: skip
    assert done.returncode == 124
    assert done.stdout == "for the guest\nroot\n", "who says no user is the image's root, by the image's key"


def test_a_shell_on_a_terminal(ours: Path) -> None:
    keyboard, terminal = pty.openpty()
    argv = [str(RUNVM), "--port=0", "--memory=512", "--user=buildbot", "-b", str(ours), "tmp.qcow2", "bash"]
    with subprocess.Popen(argv, stdin=terminal, stdout=terminal, stderr=subprocess.DEVNULL) as process:
        os.close(terminal)
        seen = ""

        def sees(text: str) -> bool:
            nonlocal seen
            deadline = Deadline.after(LIMIT_S)
            while text not in seen and select.select([keyboard], [], [], deadline.left_s)[0]:
                seen += os.read(keyboard, 4096).decode()
            return text in seen

        try:
            assert sees("$ "), "a prompt"
            os.write(keyboard, b"tty; echo $((6 * 7))\n")
            assert sees("\n42")
            assert "/dev/pts/" in seen
            os.write(keyboard, b"exit 5\n")
            assert process.wait(LIMIT_S) == 5
        finally:
            process.terminate()
            os.close(keyboard)


def test_disks_that_callers_call_ide_are_the_next_ones_and_there_is_no_other(ours: Path) -> None:
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "blank.qcow2", "64M"], check=True)
    Path("my.iso").write_bytes(b"an iso".ljust(2048))
    done = runvm(
        "--port=0", "--kvm=-hdb", "--kvm=blank.qcow2", "--kvm=-cdrom", "--kvm=my.iso", "-b", str(ours), "tmp.qcow2",
        "ls /dev/vd?; blockdev --getsize64 /dev/vdb; blockdev --getro /dev/vdb /dev/vdc; head -c 6 /dev/vdc",
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stdout.split("\n") == ["/dev/vda", "/dev/vdb", "/dev/vdc", str(64 << 20), "0", "1", "an iso"]


def test_a_guest_that_wants_a_terminal_has_one_if_asked_for(ours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "vt102")
    rule = "echo 'Defaults requiretty' | sudo tee /etc/sudoers.d/terminal"
    words = ["--port=0", "--user=buildbot", "-b", str(ours), "tmp.qcow2", rule, "echo $TERM; sudo id -u"]
    assert runvm(*words).returncode == 1
    done = runvm("--terminal", *words)
    assert done.returncode == 0
    assert "vt102\n0\n" in done.stdout.replace("\r", "")


def test_a_guest_that_powers_off_in_the_middle_is_lost(ours: Path) -> None:
    words = ["--port=0", "--exit-codes=typed", "-b", str(ours), "--work-image=work.qcow2", "tmp.qcow2"]
    done = runvm(*words, "systemctl poweroff; sleep 600", "touch /not-reached", "!= echo always")
    assert done.returncode == 1
    assert done.stdout == "always\n"
    assert is_whole("tmp.qcow2"), "its disk is as good as if it had been told to"
    assert not Path("work.qcow2").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_who_ends_runvm_ends_the_machine_and_the_image_is_whole(ours: Path, number: signal.Signals) -> None:
    words = ["--port=0", "--memory=512", "-b", str(ours), "struck.qcow2", "echo up; sync; dd if=/dev/zero of=/big"]
    with subprocess.Popen([RUNVM, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        (lease,) = (lease for lease in leases() if lease.alive and lease.info["caller_pid"] == process.pid)
        qemu = os.pidfd_open(lease.info["qemu_pid"])
        process.send_signal(number)
        assert process.wait(GONE_LIMIT_S) == (1 if number == signal.SIGTERM else -signal.SIGKILL)
        try:
            assert select.select([qemu], [], [], GONE_LIMIT_S)[0]
        finally:
            os.close(qemu)
        assert process.stdout.read() == "", "nobody holds our pipe open"
    deadline = Deadline.after(GONE_LIMIT_S)
    while lease.directory.exists():
        assert not deadline.passed
        select.select([], [], [], 0.05)
    assert is_whole("struck.qcow2")
