"""An image with another kernel, as a definition."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.small_kernel import MODULES, RELEASE, bz_image, kernel_files, laid
from vmtasks import events
from vmtasks.errors import HostError, UsageError
from vmtasks.image.baked import key_of
from vmtasks.image.definition import find
from vmtasks.kernel.layer import baking, with_kernel


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMTASKS_CACHE", str(tmp_path / "cache"))


def test_a_package_of_debian_is_a_layer_with_a_key_and_a_name_of_its_own() -> None:
    image = find("bookworm")
    layer = with_kernel(image, "linux-image-rt-amd64")
    assert (layer.name, layer.parent, layer.memory_mib) == ("bookworm+linux-image-rt-amd64", image, image.memory_mib)
    assert layer.packages == ("linux-image-rt-amd64",)
    assert {"virtio_blk", "ext4"} <= set(layer.modules)
    assert key_of(layer) == key_of(with_kernel(image, "linux-image-rt-amd64"))
    assert len({key_of(layer), key_of(image), key_of(with_kernel(image, "linux-image-amd64"))}) == 3


def test_any_other_kernel_is_a_file_that_is_laid_over_and_nothing_of_its_package_is_run(tmp_path: Path) -> None:
    image = find("bookworm")
    layer = with_kernel(image, str(laid(kernel_files(), tmp_path / "own")))
    assert layer.name.startswith(f"bookworm+{RELEASE}-")
    assert layer.packages == ()
    (file,), (step,) = layer.files, layer.steps
    assert [path.name for path in layer.sources()] == [file.source]
    assert f"release={RELEASE}" in step.run
    assert step.run.index("purge") < step.run.index(f"--file={file.path}") < step.run.index("depmod")
    assert "@" not in step.run
    assert {"virtio_blk", "ext4"} <= set(layer.modules)


def test_the_same_kernel_from_elsewhere_is_the_same_image(tmp_path: Path) -> None:
    image = find("bookworm")
    one = with_kernel(image, str(laid(kernel_files(), tmp_path / "one")))
    other = with_kernel(image, str(laid(kernel_files(below="usr/lib/modules", suffix=".xz"), tmp_path / "other")))
    assert one.home != other.home
    assert (one.name, key_of(one)) == (other.name, key_of(other))
    changed = laid(kernel_files() | {f"lib/modules/{RELEASE}/kernel/a.ko": b"one more"}, tmp_path / "changed")
    assert key_of(with_kernel(image, str(changed))) != key_of(one)


@pytest.mark.parametrize(
    ("kernel", "says"),
    [
        ("Linux 6.1", "neither a file or directory, nor an address, nor the name of a Debian package"),
        ("nowhere/linux.deb", "cannot read the kernel nowhere/linux.deb: No such file"),
        ("./nowhere", "cannot read the kernel nowhere: No such file"),
        ("/etc/passwd", "cannot unpack the kernel /etc/passwd: "),
        ("./a-directory.deb", "a-directory.deb has no kernel"),
        ("./a-pipe.rpm", "cannot read the kernel a-pipe.rpm: it is not a regular file"),
        ("./a-directory.deb,./a-pipe.rpm", "a-directory.deb has no kernel"),
    ],
)
def test_what_is_no_kernel_is_a_sentence(
    kernel: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a-directory.deb").mkdir()
    os.mkfifo(tmp_path / "a-pipe.rpm")
    with pytest.raises(UsageError, match=says):
        with_kernel(find("bookworm"), kernel)


def test_a_kernel_without_the_drivers_of_a_machine_is_refused_before_anything_boots(tmp_path: Path) -> None:
    files = kernel_files(modules=MODULES[:1], builtin=MODULES[3:])
    with pytest.raises(UsageError, match=f"{RELEASE} has no virtio_blk and no virtio_net, built in or") as failure:
        with_kernel(find("bookworm"), str(laid(files, tmp_path / "own")))
    assert "CONFIG_VIRTIO_BLK, CONFIG_VIRTIO_NET" in failure.value.hint


def test_where_nothing_tells_of_drivers_that_is_said_and_no_reason_to_refuse(tmp_path: Path) -> None:
    heard: list[events.Event] = []
    with events.listening(heard.append):
        with_kernel(find("bookworm"), str(laid({"bzImage": bz_image()}, tmp_path / "own")))
    assert [one.text for one in heard if isinstance(one, events.Note) and "virtio_blk" in one.text]


def test_a_kernel_for_the_other_architecture_is_refused(tmp_path: Path) -> None:
    files = kernel_files() | {f"boot/vmlinuz-{RELEASE}": bz_image(is_64_bit=False)}
    own = str(laid(files, tmp_path / "own"))
    with pytest.raises(UsageError, match="it is for i386, and the image is amd64"):
        with_kernel(find("bookworm"), own)
    assert with_kernel(find("bookworm-i386"), own).architecture == "i386"


def test_an_image_with_a_boot_loader_of_its_own_keeps_its_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMTASKS_IMAGES", str(tmp_path))
    (tmp_path / "cloud.toml").write_text('path = "disk.qcow2"\n')
    (tmp_path / "disk.qcow2").touch()
    with pytest.raises(UsageError, match="it boots with its own boot loader"):
        with_kernel(find("cloud"), "linux-image-amd64")


def test_a_package_that_the_archive_does_not_have_is_the_askers_mistake_and_all_else_the_hosts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = find("bookworm")
    told = HostError("cannot bake it", details=("E: Unable to locate package linux-image-nonsense",))
    with (
        pytest.raises(UsageError, match="there is no package linux-image-nonsense for bookworm"),
        baking(image, "linux-image-nonsense"),
    ):
        raise told
    monkeypatch.chdir(tmp_path)
    (tmp_path / "linux-image-nonsense").mkdir()
    with pytest.raises(UsageError) as failure, baking(image, "linux-image-nonsense"):
        raise told
    assert failure.value.hint == "if you mean what lies here: ./linux-image-nonsense"
    with pytest.raises(HostError, match="cannot bake it"), baking(image, "linux-image-nonsense"):
        raise HostError("cannot bake it", details=("tar: No space left on device",))


def test_an_image_with_steps_in_the_guest_keeps_its_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMTASKS_IMAGES", str(tmp_path))
    (tmp_path / "finished.toml").write_text('from = "bookworm"\n[[steps]]\nrun = "true"\nwhere = "guest"\n')
    with pytest.raises(UsageError, match="steps of it run in the guest"):
        with_kernel(find("finished"), "linux-image-amd64")


def test_a_layer_of_ours_is_found_by_the_name_of_the_image_beneath_it() -> None:
    assert with_kernel(find("bookworm-build"), "linux-image-amd64").listed_name == "bookworm-build"
