"""Images, baked and booted for real: layers, steps in the running guest, images that somebody else made."""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from email.utils import formatdate
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from vmtasks import HostError, boot, events
from vmtasks.deadline import Deadline
from vmtasks.image import mirror
from vmtasks.image.baked import find_baked, images_dir
from vmtasks.image.definition import find
from vmtasks.providers.qemu.provider import ensure_baked


@pytest.mark.parametrize(
    ("name", "machine", "release"),
    [("trixie", "x86_64", "13"), ("bookworm-i386", "i686", "12"), ("sid", "x86_64", "")],
)
def test_the_shipped_images_answer(name: str, machine: str, release: str) -> None:
    with boot(name) as guest:
        assert guest.succeed(["uname", "-m"]).strip() == machine
        assert guest.succeed(". /etc/os-release; echo ${VERSION_ID-}").strip() == release
        assert guest.succeed(["systemctl", "is-system-running", "--wait"]).strip() == "running"
        assert guest.run("command -v gcc", warn=True).exited != 0


def test_a_layer_has_its_packages_files_and_commands(images: Path) -> None:
    (images / "beside.txt").write_text("from beside the definition\n")
    (images / "layer-test.toml").write_text(
        """
from = "bookworm"
packages = ["hello"]
memory_mib = 512
files = [
    { path = "/srv/said.txt", content = "said\\n", mode = "0600" },
    { path = "/srv/copied.txt", source = "beside.txt" },
]
[[steps]]
run = "hello >/srv/made-natively"
[[steps]]
run = "systemctl is-active ssh.service >/srv/made-in-the-guest"
where = "guest"
"""
    )
    baked = ensure_baked(find("layer-test"))
    assert "hello" in baked.manifest["packages"]
    assert baked.manifest["parent"] == find_baked(find("bookworm")).serial  # type: ignore[union-attr]
    assert baked.tree is None  # the disk has what its archive would not
    with boot("layer-test") as guest:
        assert (
            guest.succeed("stat -c '%a %s' /srv/said.txt; cat /srv/copied.txt") == "600 5\nfrom beside the definition\n"
        )
        assert guest.succeed(["cat", "/srv/made-natively"]) == "Hello, world!\n"
        assert guest.succeed(["cat", "/srv/made-in-the-guest"]) == "active\n"
    assert ensure_baked(find("layer-test")).serial == baked.serial


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[str]:
    """Serve a signed repository that has vmtasks-tested, and a hello newer than Debian's; its key is beside it."""
    if shutil.which("gpg") is None:
        pytest.skip("needs gpg, to sign a repository")
    room = tmp_path / "repository"
    index = room / "dists" / "stable" / "main" / "binary-amd64" / "Packages"
    index.parent.mkdir(parents=True)
    stanzas = []
    for name in ("vmtasks-tested", "hello"):
        control = f"Package: {name}\nVersion: 99\nArchitecture: all\nMaintainer: T <t@example>\nDescription: test\n"
        tree = tmp_path / name / "DEBIAN"
        tree.mkdir(parents=True)
        (tree / "control").write_text(control)
        subprocess.run(["dpkg-deb", "--build", str(tree.parent), str(room / f"{name}.deb")], check=True)
        deb = (room / f"{name}.deb").read_bytes()
        digest = hashlib.sha256(deb).hexdigest()
        stanzas.append(f"{control}Filename: {name}.deb\nSize: {len(deb)}\nSHA256: {digest}\n")
    index.write_text("\n".join(stanzas))
    listed = index.read_bytes()
    release = index.parents[2] / "Release"
    release.write_text(
        "Origin: Example Inc\nSuite: stable\nCodename: stable\nArchitectures: all amd64\nComponents: main\n"
        f"Date: {formatdate(usegmt=True)}\n"
        f"SHA256:\n {hashlib.sha256(listed).hexdigest()} {len(listed)} main/binary-amd64/Packages\n"
    )
    home = tmp_path / "gnupg"
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--passphrase", ""]
    try:
        for words in (
            ("--quick-generate-key", "vmtasks test", "ed25519", "sign", "1d"),
            ("--clearsign", "--output", str(release.with_name("InRelease")), str(release)),
            ("--armor", "--output", str(room / "example.asc"), "--export"),
        ):
            subprocess.run([*gpg, *words], check=True)
    finally:
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(room))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_a_layer_takes_packages_from_the_repositories_that_it_names(
    images: Path, tmp_path: Path, repository: str
) -> None:
    """Pinned low, another repository gives what Debian does not have, and nothing else."""
    shutil.copy(tmp_path / "repository" / "example.asc", images)
    (images / "extra-test.toml").write_text(
        f"""
from = "bookworm"
packages = ["vmtasks-tested", "hello"]
[[repositories]]
uri = "{repository}"
suite = "stable"
key = "example.asc"
pin = 100
[[repositories]]
suite = "bookworm-backports"
components = ["main", "contrib"]
"""
    )
    manifest = ensure_baked(find("extra-test")).manifest
    assert manifest["packages"]["vmtasks-tested"] == "99"
    assert manifest["packages"]["hello"] != "99"
    assert {"release", "backports"} <= set(manifest["pockets"])
    assert manifest["pockets"]["backports"]["components"] == ["main", "contrib"]
    assert [one["uri"] for one in manifest["repositories"]] == [repository]


def test_a_repository_that_another_key_signs_is_refused(images: Path, repository: str) -> None:
    keyring = next(Path("/usr/share/keyrings").glob("debian-archive-*.gpg"))
    shutil.copy(keyring, images / "other.gpg")
    (images / "extra-test.toml").write_text(
        f'from = "bookworm"\n[[repositories]]\nuri = "{repository}"\nsuite = "stable"\nkey = "other.gpg"\n'
    )
    with pytest.raises(HostError, match="cannot bake extra-test") as failure:
        ensure_baked(find("extra-test"))
    assert any("NO_PUBKEY" in line for line in failure.value.details)


@pytest.fixture
def release_alone() -> Iterator[str]:
    """Serve a mirror that has the release, but none of its updates; everything comes from the host's own."""
    archive = mirror.find("").archive
    if not archive:
        pytest.skip("this host's apt knows no Debian archive")

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if "/dists/bookworm-updates/" in self.path:
                self.send_error(404)
                return
            self.send_response(302)
            self.send_header("Location", archive.rstrip("/") + self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_pocket_that_the_mirror_does_not_have_is_missed_aloud(images: Path, release_alone: str) -> None:
    (images / "poor-test.toml").write_text(
        f'suite = "bookworm"\nmirror = "{release_alone}"\npackages = ["linux-image-cloud-amd64", "tiny-initramfs"]\n'
    )
    heard: list[events.Event] = []
    with events.listening(heard.append):
        baked = ensure_baked(find("poor-test"))
        ensure_baked(find("poor-test"))
    assert set(baked.manifest["pockets"]) == {"release", "security"}
    notes = [event.text for event in heard if isinstance(event, events.Note)]
    assert f"poor-test is baked without bookworm-updates: {release_alone} does not have it" in notes
    assert sum("was baked without updates" in text for text in notes) == 2, "and each later user is told"


CLOUD_IMAGE = """
suite = "bookworm"
packages = [
    "linux-image-cloud-amd64", "tiny-initramfs", "systemd-sysv", "udev", "kmod", "iproute2", "openssh-server",
    "cloud-init", "grub-pc-bin", "grub2-common",
]
files = [
    { path = "/etc/systemd/network/50-any.network", content = "[Match]\\nName=e*\\n[Network]\\nDHCP=ipv4\\n" },
    { path = "/boot/grub/grub.cfg", content = '''
linux /vmlinuz root=/dev/vda ro console=ttyS0 norandmaps
initrd /initrd.img
boot
''' },
]
[[steps]]
run = "systemctl enable systemd-networkd.service"
[[steps]]
run = '''
mktirfs -m no --include-modules=virtio_pci,virtio_blk,virtio_net -o "/boot/initrd.img-$(uname -r)" "$(uname -r)"
ln -sf "boot/initrd.img-$(uname -r)" /initrd.img
ln -sf "boot/vmlinuz-$(uname -r)" /vmlinuz
grub-install --force /dev/vda
cloud-init clean --logs
: >/etc/machine-id
rm -rf /root/.ssh /etc/ssh/ssh_host_*
'''
where = "guest"
"""


def test_a_cloud_image_boots_through_its_own_loader_and_lets_us_in_by_its_seed(images: Path, tmp_path: Path) -> None:
    """The image is our own: with a boot loader and cloud-init, and without what we would know it by."""
    (images / "cloud-original.toml").write_text(CLOUD_IMAGE)
    original = ensure_baked(find("cloud-original"))
    disk = Path(shutil.move(original.disk, tmp_path / "cloud.qcow2"))
    digest = hashlib.sha256(disk.read_bytes()).hexdigest()
    (images / "cloud-test.toml").write_text(f'url = "{disk.as_uri()}"\nsha256 = "{digest}"\n')
    with boot("cloud-test") as guest:
        assert guest.succeed(["id", "-un"]) == "root\n"
        assert "BOOT_IMAGE" in guest.succeed(["cat", "/proc/cmdline"])


def test_an_image_that_is_not_what_was_meant_is_refused(images: Path, tmp_path: Path) -> None:
    disk = tmp_path / "cloud.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(disk), "1G"], check=True)
    digest = hashlib.sha256(disk.read_bytes()).hexdigest()
    (images / "cloud-test.toml").write_text(f'url = "{disk.as_uri()}"\nsha256 = "{"0" * 64}"\n')
    with pytest.raises(HostError, match=f"its sha256 is {digest}"):
        ensure_baked(find("cloud-test"))


def test_no_network_while_baking_is_a_sentence(images: Path) -> None:
    (images / "no-mirror.toml").write_text(
        'suite = "bookworm"\nmirror = "http://127.0.0.1:9/debian"\npackages = ["linux-image-cloud-amd64"]\n'
    )
    with pytest.raises(HostError, match="cannot bake no-mirror") as failure:
        ensure_baked(find("no-mirror"))
    assert "mirror" in failure.value.hint
    assert not list(images_dir().glob(".no-mirror*"))


def test_a_damaged_image_is_told(images: Path, tmp_path: Path) -> None:
    (tmp_path / "damaged.qcow2").write_bytes(b"QFI\xfb" + os.urandom(4096))
    (images / "damaged.toml").write_text(f'path = "{tmp_path}/damaged.qcow2"\n')
    with pytest.raises(HostError, match=r"cannot use .*/damaged\.qcow2: Could not open"):
        ensure_baked(find("damaged"))


BAKE = """
import sys
from vmtasks.image.definition import find
from vmtasks.providers.qemu.provider import ensure_baked
print(ensure_baked(find(sys.argv[1])).disk)
"""


def test_a_killed_bake_leaves_no_mounts_no_processes_and_nothing_that_the_next_minds(images: Path) -> None:
    (images / "killed-bake.toml").write_text('from = "bookworm"\n[[steps]]\nrun = "echo baking; sleep 600"\n')
    log = images_dir() / "killed-bake.bake.log"
    baker = subprocess.Popen([sys.executable, "-c", BAKE, "killed-bake"])
    try:
        deadline = Deadline.after(60)
        while not (log.exists() and "echo baking" in log.read_text()):
            assert not deadline.passed
            assert baker.poll() is None
            signal.sigtimedwait([signal.SIGUSR2], 0.1)
    finally:
        baker.kill()
        baker.wait()
    deadline = Deadline.after(10)
    while "killed-bake" in _everybodys("cmdline") + _everybodys("mountinfo"):
        assert not deadline.passed
        signal.sigtimedwait([signal.SIGUSR2], 0.1)
    (images / "killed-bake.toml").write_text('from = "bookworm"\n')
    assert ensure_baked(find("killed-bake")).disk.is_file()
    assert not list(images_dir().glob(".killed-bake*"))


def _everybodys(name: str) -> str:
    texts = []
    for path in Path("/proc").glob(f"[0-9]*/{name}"):
        try:
            texts.append(path.read_text(errors="replace"))
        except OSError:
            continue
    return "\n".join(texts)


@pytest.fixture
def ordinary_user() -> Iterator[pwd.struct_passwd]:
    if os.geteuid() != 0:
        pytest.skip("needs root, to have an ordinary user made")
    name = "vmtasks-test"
    subprocess.run(["useradd", "--create-home", name], check=True)
    try:
        yield pwd.getpwnam(name)
    finally:
        subprocess.run(["userdel", "--remove", "--force", name], check=True, capture_output=True)


def test_an_ordinary_user_bakes_without_privileges(ordinary_user: pwd.struct_passwd) -> None:
    here = Path(__file__).resolve().parents[2]
    home = Path(ordinary_user.pw_dir)
    checkout = home / "checkout"
    checkout.mkdir()
    for part in ("vmtasks", "images"):
        shutil.copytree(here / part, checkout / part, symlinks=True)
    libraries = home / "libraries"
    shutil.copytree(Path(pytest.__file__).parents[1], libraries, symlinks=True)
    subprocess.run(["chmod", "-R", "a+rX", str(home)], check=True)
    environment = [f"HOME={home}", "PATH=/usr/bin:/bin:/usr/sbin", f"PYTHONPATH={checkout}:{libraries}"]
    as_user = ["runuser", "-u", ordinary_user.pw_name, "--", "env", "-i", *environment]
    command = [*as_user, "/usr/bin/python3", "-c", BAKE, "bookworm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=400, cwd="/")
    assert done.returncode == 0, done.stderr
    disk = Path(done.stdout.strip())
    assert disk.is_relative_to(home)
    assert disk.stat().st_uid == ordinary_user.pw_uid


def test_an_image_boots_with_the_kernel_that_is_asked_for_and_has_no_other() -> None:
    with boot("bookworm", kernel="linux-image-amd64", cold=True) as guest:
        release = guest.succeed(["uname", "--kernel-release"]).strip()
        assert re.fullmatch(r"[0-9.]+-[0-9]+-amd64", release), "the image's own is a -cloud-amd64"
        assert guest.succeed(["ls", "/lib/modules"]).split() == [release]
        assert guest.succeed(["systemctl", "is-system-running", "--wait"]) == "running\n"
