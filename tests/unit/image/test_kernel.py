"""An image with another kernel, as a definition."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmtasks.errors import HostError, UsageError
from vmtasks.image.baked import key_of
from vmtasks.image.definition import find
from vmtasks.image.kernel import baking, releases_in, with_kernel

CONTENTS = """\
drwxr-xr-x root/root         0 2026-11-16 09:00 ./
drwxr-xr-x root/root         0 2026-11-16 09:00 ./boot/
-rw-r--r-- root/root     83000 2026-11-16 09:00 ./boot/System.map-6.1.0-56-rt-amd64
-rw-r--r-- root/root   8100000 2026-11-16 09:00 ./boot/vmlinuz-6.1.0-56-rt-amd64
-rw-r--r-- root/root     64000 2026-11-16 09:00 ./lib/modules/6.1.0-56-rt-amd64/kernel/fs/ext4/ext4.ko
"""


def test_what_uname_will_print_is_the_images_name_and_not_the_packages_version() -> None:
    assert releases_in(CONTENTS) == ["6.1.0-56-rt-amd64"]
    assert releases_in(CONTENTS.replace("boot/vmlinuz", "usr/share/doc/vmlinuz")) == []


def test_a_package_of_debian_is_a_layer_with_a_key_and_a_name_of_its_own() -> None:
    image = find("bookworm")
    layer = with_kernel(image, "linux-image-rt-amd64")
    assert (layer.name, layer.parent, layer.memory_mib) == ("bookworm+linux-image-rt-amd64", image, image.memory_mib)
    assert layer.packages == ("linux-image-rt-amd64",)
    assert {"virtio_blk", "ext4"} <= set(layer.modules)
    assert key_of(layer) == key_of(with_kernel(image, "linux-image-rt-amd64"))
    assert len({key_of(layer), key_of(image), key_of(with_kernel(image, "linux-image-amd64"))}) == 3


@pytest.mark.parametrize(
    ("kernel", "says"),
    [
        ("Linux 6.1", "neither a .deb file nor the name of a Debian package"),
        ("nowhere/linux.deb", "cannot read the kernel nowhere/linux.deb: No such file"),
        ("/etc/passwd", "cannot read the kernel /etc/passwd: "),
        ("./a-directory.deb", "cannot read the kernel a-directory.deb: Is a directory"),
    ],
)
def test_what_is_no_kernel_is_a_sentence(
    kernel: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a-directory.deb").mkdir()
    with pytest.raises(UsageError, match=says):
        with_kernel(find("bookworm"), kernel)


def test_an_image_with_a_boot_loader_of_its_own_keeps_its_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMTASKS_IMAGES", str(tmp_path))
    (tmp_path / "cloud.toml").write_text('path = "disk.qcow2"\n')
    (tmp_path / "disk.qcow2").touch()
    with pytest.raises(UsageError, match="it boots with its own boot loader"):
        with_kernel(find("cloud"), "linux-image-amd64")


def test_a_package_that_the_archive_does_not_have_is_the_askers_mistake_and_all_else_the_hosts() -> None:
    image = find("bookworm")
    told = HostError("cannot bake it", details=("E: Unable to locate package linux-image-nonsense",))
    with (
        pytest.raises(UsageError, match="there is no package linux-image-nonsense for bookworm"),
        baking(image, "linux-image-nonsense"),
    ):
        raise told
    with pytest.raises(HostError, match="cannot bake it"), baking(image, "linux-image-nonsense"):
        raise HostError("cannot bake it", details=("tar: No space left on device",))


def test_an_image_with_steps_in_the_guest_keeps_its_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMTASKS_IMAGES", str(tmp_path))
    (tmp_path / "finished.toml").write_text('from = "bookworm"\n[[steps]]\nrun = "true"\nwhere = "guest"\n')
    with pytest.raises(UsageError, match="steps of it run in the guest"):
        with_kernel(find("finished"), "linux-image-amd64")


def test_a_layer_of_ours_is_found_by_the_name_of_the_image_beneath_it() -> None:
    assert with_kernel(find("bookworm-build"), "linux-image-amd64").listed_name == "bookworm-build"
