"""What a configuration of GRUB says: the shape that grub-mkconfig gives it, and what people write by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vmtasks.guest import grub_config
from vmtasks.guest.grub_config import BootEntry

CONFIG = """\
set default="0"
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   save_env next_entry
else
   set default="${saved_entry}"
fi
function load_video {
  if [ x$feature = xy ]; then
    insmod all_video
  fi
}
menuentry 'Plain' --class os $menuentry_id_option 'plain-sda1' {
\tload_video
\tif [ x$platform = xefi ]; then
\t  function unlike {
\t    true
\t  }
\tfi
\tset root='hd0,msdos1'
\techo\t'Loading ...'
\tlinux\t/boot/vmlinuz-6.1 root=/dev/sda1 ro  console=ttyS0 "quoted words"
\techo\t'And more ...'
\tinitrd\t/boot/microcode /boot/initrd.img-6.1
}
submenu 'Older ones' $menuentry_id_option 'older-sda1' {
\tmenuentry '5.10' --class os $menuentry_id_option '5.10-sda1' {
\t\tlinux\t/boot/vmlinuz-5.10 root=/dev/sda1 ro
\t\tinitrd\t/boot/initrd.img-5.10
\t}
\tmenuentry 'It'\\''s to be mended' {
\t\tlinux\t/boot/vmlinuz-5.10 root=/dev/sda1 ro single
\t}
}
menuentry "Memory test" {
\tlinux16 /boot/memtest.bin
}
menuentry "Another disk's loader" --id chain {
\tchainloader +1
}
"""


def test_entries_have_ids_kernels_and_arguments() -> None:
    plain, older, mended, memory = grub_config.entries_of(CONFIG)
    assert (plain.id, plain.title, plain.place) == ("plain-sda1", "Plain", "0")
    assert (plain.kernel, plain.initrd) == ("/boot/vmlinuz-6.1", "/boot/microcode /boot/initrd.img-6.1")
    assert plain.args == ("root=/dev/sda1", "ro", "console=ttyS0", "quoted words")
    assert (older.id, older.place, older.initrd) == ("older-sda1>5.10-sda1", "1>0", "/boot/initrd.img-5.10")
    assert (mended.id, mended.title, mended.initrd) == ("older-sda1>It's to be mended", "It's to be mended", "")
    assert (memory.id, memory.kernel, memory.place) == ("Memory test", "/boot/memtest.bin", "2")


@pytest.mark.parametrize(
    ("wanted", "kernel"),
    [
        ("0", "6.1"), ("1>0", "5.10"), ("Plain", "6.1"), ("plain-sda1", "6.1"), ("5.10-sda1", "5.10"),
        ("older-sda1>5.10-sda1", "5.10"),
    ],
)  # fmt: skip
def test_an_entry_is_found_by_id_title_and_place(wanted: str, kernel: str) -> None:
    found = grub_config.find(grub_config.entries_of(CONFIG), wanted)
    assert found
    assert found.kernel == f"/boot/vmlinuz-{kernel}"


@pytest.mark.parametrize("wanted", ["3", "9", "1", "no such", "", "1>"])
def test_what_boots_no_kernel_is_not_found(wanted: str) -> None:
    assert grub_config.find(grub_config.entries_of(CONFIG), wanted) is None


@pytest.mark.parametrize(
    ("config", "environment", "default"),
    [
        (CONFIG, "saved_entry=chain\nnext_entry=\n", "chain"),
        (CONFIG, "", "0"),
        (CONFIG, "saved_entry=\n", ""),
        (
            'set default="0"\nif x; then\n set default="${next_entry}"\nelse\n set default="1>2"\nfi\n',
            "saved_entry=a",
            "1>2",
        ),
        ("", "saved_entry=a", "0"),
        ("set default=plain-sda1\n", "", "plain-sda1"),
    ],
)
def test_the_default_is_what_is_set_or_saved(config: str, environment: str, default: str) -> None:
    assert grub_config.default_of(config, environment) == default


def _again(entry: BootEntry) -> tuple[BootEntry, ...]:
    return grub_config.entries_of(grub_config.text_of(entry))


def test_a_new_entry_finds_its_disk_as_its_model_does() -> None:
    model = grub_config.entries_of(CONFIG)[0]
    wanted = BootEntry(
        id="ours-1", title="It's ours", kernel="/boot/ours", initrd="/boot/ours.img", args=("root=/dev/sda1", "a b")
    )
    (again,) = _again(grub_config.entry_like(model, wanted))
    assert replace(again, body=()) == replace(wanted, place="0")
    assert "\tset root='hd0,msdos1'" in again.body
    assert not [line for line in again.body if "Loading" in line]
    (bare,) = _again(grub_config.entry_like(model, replace(wanted, initrd="")))
    assert bare.initrd == ""


@pytest.mark.parametrize("text", ["a b", "", "-x", "a>b", "$(id)", "a'b", "a\nb", "{"])
def test_no_word_of_an_id_means_anything_else(text: str) -> None:
    assert not grub_config.is_id(text)


@pytest.mark.parametrize(
    ("value", "add", "remove", "result"),
    [
        ("quiet", ["a=1"], [], "quiet a=1"),
        ("quiet a=1 quiet", ["a=1"], ["quiet"], "a=1"),
        ("", [], ["none"], ""),
        ("a=1 a=2", ["a=2"], [], "a=1 a=2"),
    ],
)
def test_arguments_are_there_once(value: str, add: list[str], remove: list[str], result: str) -> None:
    assert grub_config.with_args(value, add, remove) == result


def test_an_odd_quote_is_no_end_of_it() -> None:
    (entry,) = grub_config.entries_of("menuentry it's {\n\tlinux /boot/k root=/dev/sda1 a=it's\n}\n")
    assert (entry.title, entry.args) == ("it's", ("root=/dev/sda1", "a=it's"))
