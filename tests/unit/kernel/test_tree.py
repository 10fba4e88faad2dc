"""What of a directory is a kernel's."""

from __future__ import annotations

import struct
from pathlib import Path, PurePosixPath

import pytest

from tests.small_kernel import MODULES, RELEASE, bz_image, kernel_files, laid, module
from vmtasks.errors import UsageError
from vmtasks.kernel.tree import kernel_in, wanted

ORDER = "".join(f"{name}.o\n" for name in MODULES)
BUILT = {
    "arch/x86/boot/bzImage": bz_image(),
    "arch/x86/boot/compressed/vmlinux": b"\x7fELF",
    "include/config/kernel.release": f"{RELEASE}\n".encode(),
    ".config": b"CONFIG_MODULES=y\n",
    "modules.order": ORDER.encode(),
    "modules.builtin": b"kernel/fs/proc/proc.ko\n",
    "drivers/net/old.ko": b"of an earlier configuration",
    **{f"{name}.ko": module(name) for name in MODULES},
}
"""As `make bzImage modules` leaves a tree."""
FOREIGN = b"\x7fELF\x02\x01\x01".ljust(18, b"\0") + struct.pack("<H", 21)


@pytest.mark.parametrize("below", ["lib/modules", "usr/lib/modules"])
@pytest.mark.parametrize(
    "image", ["boot/vmlinuz-{}", "lib/modules/{}/vmlinuz", "usr/lib/modules/{}/vmlinuz", "bzImage"]
)
@pytest.mark.parametrize("suffix", ["", ".xz", ".gz"])
def test_image_and_modules_are_found_where_distributions_put_them(
    below: str, image: str, suffix: str, tmp_path: Path
) -> None:
    found = kernel_in(laid(kernel_files(below=below, image=image, suffix=suffix), tmp_path), "it", is_own=False)
    assert found.image == tmp_path / image.format(RELEASE)
    assert found.header.release == RELEASE
    assert set(found.module_paths) == {f"kernel/{name}.ko{suffix}" for name in MODULES}
    assert set(found.modules) - set(found.module_paths) == {"modules.builtin"}


def test_modules_in_both_places_are_of_one_kernel_and_a_merged_usr_has_them_once(tmp_path: Path) -> None:
    files = kernel_files(modules=MODULES[:2]) | kernel_files(modules=MODULES[2:], below="usr/lib/modules")
    found = kernel_in(laid(files, tmp_path / "both"), "it", is_own=False)
    assert set(found.module_paths) == {f"kernel/{name}.ko" for name in MODULES}
    merged = laid(kernel_files(below="usr/lib/modules"), tmp_path / "merged")
    (merged / "lib").symlink_to("usr/lib")
    assert len(kernel_in(merged, "it", is_own=False).module_paths) == len(MODULES)


def test_a_built_tree_has_the_modules_of_this_build_and_no_others(tmp_path: Path) -> None:
    found = kernel_in(laid(BUILT, tmp_path), "it", is_own=True)
    assert set(found.modules) == {*(f"kernel/{name}.ko" for name in MODULES), "modules.builtin"}
    assert found.config == tmp_path / ".config"
    assert found.text(found.config) == "CONFIG_MODULES=y\n"


def test_an_older_tree_lists_the_files_themselves_and_one_without_modules_none(tmp_path: Path) -> None:
    older = BUILT | {"modules.order": "".join(f"kernel/{name}.ko\n" for name in MODULES).encode()}
    assert len(kernel_in(laid(older, tmp_path / "a"), "it", is_own=True).module_paths) == len(MODULES)
    monolithic = {name: content for name, content in BUILT.items() if name != "modules.order"}
    assert kernel_in(laid(monolithic, tmp_path / "b"), "it", is_own=True).module_paths == ()


@pytest.mark.parametrize("prefix", ["", "kernel/"])
def test_modules_of_the_sources_own_directory_kernel_keep_it(prefix: str, tmp_path: Path) -> None:
    own = ("kernel/configs", "kernel/locking/locktorture", "drivers/net/dummy")
    order = "".join(f"{prefix}{name}.{'ko' if prefix else 'o'}\n" for name in own)
    files = BUILT | {"modules.order": order.encode(), **{f"{name}.ko": module(name) for name in own}}
    found = kernel_in(laid(files, tmp_path), "it", is_own=True)
    assert {path: source.relative_to(tmp_path) for path, source in found.modules.items() if path.endswith(".ko")} == {
        f"kernel/{name}.ko": Path(f"{name}.ko") for name in own
    }


def test_what_is_installed_below_a_built_tree_goes_before_what_lies_in_it(tmp_path: Path) -> None:
    files = BUILT | kernel_files(modules=MODULES[:1], image="arch/x86/boot/bzImage")
    found = kernel_in(laid(files, tmp_path), "it", is_own=True)
    assert found.module_paths == (f"kernel/{MODULES[0]}.ko",)


def test_one_image_by_two_names_is_one_kernel(tmp_path: Path) -> None:
    root = laid(kernel_files(image="usr/lib/modules/{}/vmlinuz"), tmp_path)
    (root / "boot").mkdir()
    (root / f"boot/vmlinuz-{RELEASE}").symlink_to(f"../usr/lib/modules/{RELEASE}/vmlinuz")
    assert kernel_in(root, "it", is_own=False).header.release == RELEASE


def test_an_uncompressed_image_beside_it_is_for_debuggers(tmp_path: Path) -> None:
    vmlinux = {f"boot/vmlinux-{RELEASE}": b"\x7fELF\x02\x01\x01".ljust(18, b"\0") + struct.pack("<H", 62)}
    assert kernel_in(laid(kernel_files() | vmlinux, tmp_path), "it", is_own=False).image.name == f"vmlinuz-{RELEASE}"


def test_earlier_installations_may_lie_about_in_a_directory_and_not_in_a_package(tmp_path: Path) -> None:
    files = kernel_files() | {"lib/modules/6.11.0-own/kernel/a.ko": b"an older one"}
    assert kernel_in(laid(files, tmp_path), "it", is_own=True).header.release == RELEASE
    with pytest.raises(
        UsageError, match=f"cannot use the modules of it: its kernel is {RELEASE}, and they are those of"
    ):
        kernel_in(tmp_path, "it", is_own=False)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "it has no kernel"),
        ({"lib/modules/6.1/kernel/a.ko": b""}, "it has no kernel"),
        ({"boot/vmlinuz-6.1": bz_image("6.1"), "boot/vmlinuz-6.12": bz_image("6.12")}, "several kernels: 6.1, 6.12"),
        ({"boot/vmlinuz-6.1": b"an image\n"}, "vmlinuz-6.1 is no image that QEMU boots"),
        ({"boot/vmlinux-6.1-powerpc64le": FOREIGN}, "it is for ppc64el, and it must be for amd64 or i386"),
        ({"boot/vmlinuz-6.1": bz_image("6.1")[:-1]}, "vmlinuz-6.1 is cut short"),
        ({"boot/vmlinuz-6.1": bz_image("../6.1")}, "'../6.1' is no release"),
        ({"boot/vmlinuz-6.1": bz_image("6.1;reboot")}, "'6.1;reboot' is no release"),
        (
            kernel_files() | {"boot/vmlinuz-" + RELEASE: bz_image("6.12.2")},
            "its kernel is 6.12.2, and they are those of",
        ),
        (
            BUILT | {"include/config/kernel.release": b"6.12.1-own+\n"},
            "is 6.12.1-own, and its modules are for 6.12.1-own+",
        ),
        (BUILT | {"modules.order": b"drivers/net/new.o\n"}, "there is no drivers/net/new.ko"),
        (BUILT | {"modules.order": b"../../etc/passwd.o\n"}, "modules.order has ../../etc/passwd.o"),
        (BUILT | {"modules.order": b"/etc/passwd.o\n"}, "modules.order has /etc/passwd.o"),
        (BUILT | {"modules.order": b"kernel/\n"}, "modules.order has kernel/"),
        (BUILT | {"modules.order": b".\n"}, "modules.order has ."),
    ],
)
def test_what_is_not_one_whole_kernel_is_a_sentence(files: dict[str, bytes], says: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as failure:
        kernel_in(laid(files, tmp_path), "it", is_own=True)
    assert says in str(failure.value)


def test_for_arm64_a_kernel_of_debians_has_a_name(tmp_path: Path) -> None:
    files = {"boot/vmlinuz-6.1": bytes(0x38) + b"ARM\x64"}
    with pytest.raises(UsageError, match="it is for arm64, and it must be for amd64 or i386") as failure:
        kernel_in(laid(files, tmp_path), "it", is_own=True)
    assert failure.value.hint == "a machine for arm64 takes one of Debian's by name: linux-image-arm64"


@pytest.mark.parametrize(
    "name", [f"boot/vmlinuz-{RELEASE}", f"boot/config-{RELEASE}", f"lib/modules/{RELEASE}/extra.ko"]
)
def test_no_link_brings_in_a_file_that_is_no_part_of_what_was_named(name: str, tmp_path: Path) -> None:
    root = laid(kernel_files(), tmp_path / "kernel")
    (root / name).unlink(missing_ok=True)
    (root / name).symlink_to(tmp_path / "of the host")
    (tmp_path / "of the host").write_bytes(bz_image(RELEASE))
    with pytest.raises(UsageError, match=f"{name} is a link that leads out of it"):
        kernel_in(root, "it", is_own=True)
    (root / name).unlink()
    (root / name).symlink_to(root / "inside")
    (root / "inside").write_bytes(bz_image(RELEASE))
    assert kernel_in(root, "it", is_own=True).header.release == RELEASE


@pytest.mark.parametrize("name", ["include/config/kernel.release", "modules.order"])
def test_a_text_of_the_host_gets_into_no_message(name: str, tmp_path: Path) -> None:
    root = laid(BUILT, tmp_path / "kernel")
    (tmp_path / "secret").write_text("S3CRET is no release\n")
    (root / name).unlink()
    (root / name).symlink_to(tmp_path / "secret")
    with pytest.raises(UsageError, match="it is a link that leads out of") as failure:
        kernel_in(root, "it", is_own=True)
    assert "S3CRET" not in str(failure.value)
    (root / name).unlink()
    (root / name).write_text("x" * 200)
    with pytest.raises(UsageError, match=r"[^x]x{80}([^x]|$)"):
        kernel_in(root, "it", is_own=True)


@pytest.mark.parametrize(
    ("path", "is_wanted"),
    [
        (f"boot/vmlinuz-{RELEASE}", True),
        (f"usr/lib/modules/{RELEASE}/kernel/fs/ext4/ext4.ko.zst", True),
        ("linux-6.12/include/config/kernel.release", True),
        ("linux-6.12/.config", True),
        ("linux-6.12/fs/ext4/ext4.o", False),
        ("linux-6.12/vmlinux", False),
        (f"usr/lib/debug/lib/modules/{RELEASE}/kernel/fs/ext4/ext4.ko", False),
        (f"boot/vmlinux-{RELEASE}.xz", False),
        (f"lib/modules/{RELEASE}/build", False),
        (f"lib/modules/{RELEASE}/modules.dep", False),
    ],
)
def test_of_an_archive_only_what_a_kernel_needs_is_unpacked(path: str, is_wanted: bool) -> None:
    assert wanted(PurePosixPath(path)) == is_wanted
