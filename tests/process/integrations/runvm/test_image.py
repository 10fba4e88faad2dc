"""What runvm makes of the image that it is given: real images, and the machine as data; nothing boots."""

from __future__ import annotations

import json
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from vmtasks.errors import HostError, UsageError
from vmtasks.integrations.runvm import image as disk
from vmtasks.integrations.runvm.image import machine_for
from vmtasks.integrations.runvm.options import parse
from vmtasks.machine.launch import BootSource, LaunchConfig, launch_form
from vmtasks.qemu.argv import EMULATED_CPU, qemu_argv
from vmtasks.spec import Machine

BOOTABLE = ("-c", "write -P 0x55 510 1", "-c", "write -P 0xaa 511 1")
"""What qemu-io is to do to a disk that a BIOS would take for one that boots."""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VMTASKS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("VMTASKS_ACCEL", "tcg")
    monkeypatch.setattr(disk, "user_name", lambda: "me")


def create(path: str, *, form: str = "qcow2", over: str = "", over_form: str = "qcow2") -> Path:
    backing = ["-b", over, "-F", over_form] if over else ["-u"]
    size = [] if over else ["1M"]
    subprocess.run(["qemu-img", "create", "-q", "-f", form, *backing, path, *size], check=True)
    if not over:
        subprocess.run(["qemu-io", "-f", form, *BOOTABLE, path], check=True, stdout=subprocess.DEVNULL)
    return Path(path).absolute()


@pytest.fixture
def ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the disk of a baked image, with the least that a bake consists of."""
    definitions = tmp_path / "definitions"
    definitions.mkdir()
    (definitions / "mine.toml").write_text('suite = "bookworm"\nmemory_mib = 512\nkernel_options = "audit=0"\n')
    monkeypatch.setenv("VMTASKS_IMAGES", str(definitions))
    baked = tmp_path / "cache" / "images" / "mine-0123456789abcdef-1"
    baked.mkdir(parents=True)
    for name in ("vmlinuz", "initrd", "id_ed25519", "known_hosts", "in-use"):
        (baked / name).write_text(f"{name}\n")
    (baked / "manifest.json").write_text(json.dumps({"name": "mine", "key": "0123", "parent": None, "baked_s": 0}))
    return create(str(baked / "disk.qcow2"))


def made(*words: str) -> tuple[Machine, LaunchConfig]:
    call = parse(words)
    assert call
    return machine_for(call)


def options_of(machine: Machine) -> list[tuple[str, str]]:
    return list(pairwise(qemu_argv(machine, disk=machine.disk)))


def refusal(*words: str) -> str:
    with pytest.raises(UsageError) as raised:
        made(*words)
    return str(raised.value)


def test_a_foreign_image_boots_in_place_from_the_first_ide_disk_of_a_pc() -> None:
    image = create("jammy.qcow2")
    machine, launch = made("--port=2300", "jammy.qcow2")
    options = options_of(machine)
    assert ("-M", "pc") in options
    assert ("-boot", "c") in options
    assert (
        "-drive",
        f"if=ide,index=0,id=disk,file={image},format=qcow2,cache=writeback,discard=unmap",
    ) in options
    assert ("-nic", "user,id=net,hostfwd=tcp:127.0.0.1:2300-:22,model=virtio") in options
    assert ("-cpu", "qemu32,-nx") in options
    assert ("-smp", "2") in options
    assert ("-m", "2047M") in options
    assert not machine.ephemeral
    assert launch.access.user == "me"
    assert launch.access.identity is None
    assert (launch.persistent_disk.prepare, launch.persistent_disk.move) == ((), ())
    assert launch.persistent_disk.power_off == ("sudo", "-n", "/sbin/shutdown", "-h", "now")


def test_a_raw_image_stays_raw_and_is_called_so_as_a_base() -> None:
    create("disk.img", form="raw")
    machine, _ = made("disk.img")
    assert machine.disk_format == "raw"
    machine, launch = made("--base-image=disk.img", "tmp.qcow2")
    assert machine.disk_format == "qcow2"
    (overlay,) = launch.persistent_disk.prepare
    assert ("-F", "raw") in pairwise(overlay)


def test_what_is_asked_for_is_what_qemu_gets() -> None:
    create("old.qcow2")
    machine, launch = made(
        "--user=root", "-cpu=qemu64,+sse4.2", "--smp=4", "--mem=512", "--netdev=e1000", "--kvm=-hdb", "--kvm=more.img",
        "--startup-timeout=600", "--shutdown-timeout=7", "--kvm-retries=5", "--initial-sleep=3", "--logfile=kernel.log",
        "old.qcow2",
    )  # fmt: skip
    options = options_of(machine)
    assert ("-cpu", "qemu64,+sse4.2") in options
    assert ("-smp", "4") in options
    assert ("-m", "512M") in options
    assert ("-nic", "user,id=net,hostfwd=tcp:127.0.0.1:2222-:22,model=e1000") in options
    assert options[-1] == ("-hdb", "more.img"), "what the caller adds comes last"
    assert (launch.settings.boot_timeout_s, launch.settings.attempts, launch.first_look_s) == (600.0, 5, 3.0)
    assert launch.persistent_disk.power_off_limit_s == 7.0
    assert launch.persistent_disk.power_off == ("/sbin/shutdown", "-h", "now")
    assert launch.console == Path("kernel.log")


def test_without_kvm_the_hosts_processor_is_the_best_that_can_be_emulated() -> None:
    create("new.qcow2")
    machine, _ = made("--cpu=host,-kvmclock", "new.qcow2")
    assert ("-cpu", f"{EMULATED_CPU},-kvmclock") in options_of(machine)


@pytest.mark.parametrize(
    ("words", "shutdown"),
    [
        (["freebsd-9.qcow2"], ("sudo", "-n", "/sbin/shutdown", "-p", "now")),
        (["--windows", "freebsd-9.qcow2"], None),
    ],
)
def test_how_a_guest_is_shut_down(words: list[str], shutdown: object) -> None:
    create("freebsd-9.qcow2")
    _, launch = made(*words)
    assert launch.persistent_disk.power_off == shutdown


def test_a_base_image_has_the_image_made_anew_over_it() -> None:
    base = create("base.qcow2")
    Path("tmp.qcow2").write_text("of an earlier run")
    machine, launch = made("-b", "base.qcow2", "tmp.qcow2")
    subprocess.run(launch.persistent_disk.prepare[0], check=True)
    info = json.loads(subprocess.check_output(["qemu-img", "info", "--output=json", machine.disk]))
    assert machine.disk == Path("tmp.qcow2").absolute()
    assert (info["backing-filename"], info["backing-filename-format"]) == (str(base), "qcow2")


def test_a_work_image_is_where_the_machine_works_and_goes_to_its_place() -> None:
    create("base.qcow2")
    image, work = Path("tmp.qcow2").absolute(), Path("fast.qcow2").absolute()
    machine, launch = made("-b", "base.qcow2", "--work-image=fast.qcow2", "tmp.qcow2")
    assert machine.disk == work
    assert launch.persistent_disk.move == ((work, image),)


def test_a_work_image_means_nothing_for_an_image_that_is_booted_in_place() -> None:
    image = create("tmp.qcow2")
    machine, launch = made("--work-image=no/such/place.qcow2", "tmp.qcow2")
    assert machine.disk == image
    assert (launch.persistent_disk.prepare, launch.persistent_disk.move) == ((), ())


def test_an_image_of_ours_has_the_disks_of_callers_who_mean_ide_and_no_other(ours: Path) -> None:
    words = ["--kvm=-hdb", "--kvm=a,b.qcow2", "--kvm=-cdrom", "--kvm=my.iso", "-b", str(ours), "tmp.qcow2"]
    machine, launch = made(*words)
    form = launch_form(machine, BootSource(), Path("own"), has_transfer_disk=launch.has_transfer_disk)
    drives = [value for option, value in options_of(form) if option == "-drive"]
    assert drives[1:] == ["if=virtio,file=a,,b.qcow2", "if=virtio,file=my.iso,format=raw,readonly=on"]


def test_a_foreign_image_has_the_arguments_of_its_caller() -> None:
    create("old.qcow2")
    machine, _ = made("--kvm=-hdb", "--kvm=more.img", "old.qcow2")
    assert machine.extra_args == ("-hdb", "more.img")


@pytest.mark.parametrize("same", ["tmp.qcow2", "./down/../tmp.qcow2", "link.qcow2"])
def test_a_work_image_that_is_the_image_is_none(same: str) -> None:
    Path("down").mkdir()
    create("tmp.qcow2")
    Path("link.qcow2").symlink_to("tmp.qcow2")
    _, launch = made(f"--work-image={same}", "tmp.qcow2")
    assert (launch.persistent_disk.prepare, launch.persistent_disk.move) == ((), ())


def test_an_image_of_ours_has_its_own_kernel_and_keys_also_as_the_base_of_a_base(ours: Path) -> None:
    create("first.qcow2", over=str(ours))
    for words in (["-b", str(ours), "tmp.qcow2"], ["first.qcow2"], ["--base-image=first.qcow2", "tmp.qcow2"]):
        machine, launch = made(*words)
        options = options_of(machine)
        assert ("-kernel", str(ours.parent / "vmlinuz")) in options
        assert any(option == "-append" and value.endswith(" audit=0") for option, value in options)
        assert ("-cpu", EMULATED_CPU) in options
        assert ("-m", "2047M") in options
        assert not machine.ephemeral
        assert machine.disk.parent == Path.cwd()
        assert launch.baked
        assert launch.access.user == "root"
        assert launch.access.identity == ours.parent / "id_ed25519"


def test_another_user_of_an_image_of_ours_has_keys_of_their_own_and_the_host_key_is_known(ours: Path) -> None:
    _, launch = made("-u", "buildbot", "-b", str(ours), "tmp.qcow2")
    assert (launch.access.user, launch.access.identity) == ("buildbot", None)
    assert launch.access.known_hosts == ours.parent / "known_hosts"
    assert launch.persistent_disk.power_off
    assert launch.persistent_disk.power_off[0] == "sudo"


def test_a_disk_that_no_bios_would_boot_is_refused_at_once() -> None:
    Path("text.qcow2").write_text("hello\n")
    with pytest.raises(UsageError, match=r"text\.qcow2: it has no boot loader"):
        made("text.qcow2")
    with pytest.raises(UsageError, match=r"text\.qcow2: it has no boot loader"):
        made("-b", "text.qcow2", "tmp.qcow2")
    assert made("--kvm=-cdrom", "--kvm=my.iso", "text.qcow2")


def test_images_that_are_not_there() -> None:
    image, base = Path("tmp.qcow2").absolute(), Path("base.qcow2").absolute()
    assert refusal("tmp.qcow2") == f"there is no image {image}"
    assert refusal("-b", "base.qcow2", "tmp.qcow2") == f"there is no base image {base}"
    create("base.qcow2")
    assert refusal("-b", "base.qcow2", "no/tmp.qcow2").startswith("there is no directory")
    assert refusal("-b", "base.qcow2", "--work-image=no/w.qcow2", "tmp.qcow2").startswith("there is no directory")


@pytest.mark.parametrize(
    "words",
    [
        ["-b", "base.qcow2", "base.qcow2"],
        ["-b", "base.qcow2", "./link.qcow2"],
        ["-b", "base.qcow2", "--work-image=base.qcow2", "tmp.qcow2"],
        ["-b", "second.qcow2", "base.qcow2"],
    ],
)
def test_no_base_image_is_ever_written_over(words: list[str]) -> None:
    create("base.qcow2")
    create("second.qcow2", over="base.qcow2")
    Path("link.qcow2").symlink_to("base.qcow2")
    assert "anew: what takes its place would stand on it" in refusal(*words)


def test_a_baked_image_is_nobodys_to_write_to(ours: Path) -> None:
    create("base.qcow2")
    for words in ([str(ours)], ["-b", "base.qcow2", str(ours)]):
        assert refusal(*words) == f"cannot write to {ours}: it is an image of vmtasks, which others stand on"


def test_a_file_that_qemu_img_cannot_read() -> None:
    base = create("base.qcow2")
    create("tmp.qcow2", over="base.qcow2")
    base.unlink()
    with pytest.raises(HostError, match=r"cannot use .*tmp\.qcow2: .*base\.qcow2.*No such file"):
        made("tmp.qcow2")
