"""A boot loader that is played, for machines that are none: its files, its programs, and what it boots."""

from __future__ import annotations

import pytest

from vmtasks.ssh.command import Command
from vmtasks.testing.fake_power import FakePower

OLD, NEW = "6.1.0-50-amd64", "6.12.9-own"
ENTRY = """menuentry 'Debian with {0}' --id {1} {{
\techo 'loading'
\tlinux\t/boot/vmlinuz-{0} root=/dev/vda1 {2}
\tinitrd\t/boot/initrd.img-{0}
}}
"""
MENU = (
    'if [ "${next_entry}" ] ; then\n   set default="${next_entry}"\nelse\n   set default="0"\nfi\n'
    + ENTRY.format(OLD, "simple", "quiet")
    + "submenu 'Advanced' --id advanced {\n"
    + "".join(
        ENTRY.format(release, f"{release}-{kind}", words)
        for release in (OLD, NEW)
        for kind, words in (("advanced", "quiet"), ("recovery", "single"))
    )
    + "}\n"
    + "menuentry 'Mine' --id mine {\n\tlinux\t/boot/kernel root=/dev/vda1\n}\n"
)
PROGRAMS = {
    "update-grub": """
cat "$at/menu" >"$at/grub.cfg"
if grep -qs GRUB_DEFAULT=saved "$at"/default-grub.d/*.cfg; then
    sed -i 's/default="0"/default="${saved_entry}"/' "$at/grub.cfg"
fi
[ ! -x "$at/42_vmtasks" ] || "$at/42_vmtasks" >>"$at/grub.cfg"
""",
    "grub-editenv": '[ "$2" = list ] && cat "$1" || sed -i "/^$3=/d" "$1"',
    "grub-reboot": 'echo "next_entry=$1" >>"$at/grubenv"',
    "grub-set-default": 'echo "saved_entry=$1" >>"$at/grubenv"',
    "uname": 'cat "$at/release"',
}
_PLACES = {
    "/boot/grub/": "",
    "/etc/grub.d/": "",
    "/etc/default/grub": "default-grub",
    "/run/vmtasks": "vmtasks",
    "/proc/cmdline": "cmdline",
}
"""The boot loader's files, and where the machine has them."""


class BootedMachine(FakePower):
    """A machine whose boot loader decides what it boots; its files lie in one directory."""

    boots: str = ""
    """What it boots whatever it is told: an entry's id."""

    def command(self, command: Command) -> Command:
        """Have a command find the boot loader's files here."""
        found = super().command(command)
        return self._here(found) if isinstance(found, str) else [self._here(word) for word in found]

    def _here(self, text: str) -> str:
        for path, name in _PLACES.items():
            text = text.replace(path, f"{self._place}/{name}")
        return text

    def switch(self, *, off: bool = False) -> None:
        """Boot what grubenv says, and forget it."""
        at = self._place
        if not (at / "menu").exists():
            (at / "menu").write_text(MENU)
            (at / "grub.cfg").write_text(MENU)
            (at / "grubenv").write_text("")
            for name, line in PROGRAMS.items():
                (at / name).write_text(f"#!/bin/sh\nat={at}\n{line}\n")
                (at / name).chmod(0o755)
        kept = dict(line.split("=", 1) for line in (at / "grubenv").read_text().splitlines())
        wanted = kept.pop("next_entry", "") or kept.get("saved_entry", "")
        name = self.boots or wanted.rpartition(">")[2] or "simple"
        entry = (at / "grub.cfg").read_text().partition(f"--id {name} ")[2]
        line = next(line for line in entry.splitlines() if line.startswith("\tlinux"))
        _, kernel, args = line.strip().split(maxsplit=2)
        (at / "release").write_text(f"{kernel.partition('vmlinuz-')[2] or NEW}\n")
        (at / "cmdline").write_text(f"BOOT_IMAGE={kernel} {args}\n")
        (at / "grubenv").write_text("".join(f"{key}={value}\n" for key, value in kept.items()))
        for path in at.iterdir():  # the machine's user writes them
            if path.is_file():
                path.chmod(path.stat().st_mode | 0o666)
        super().switch(off=off)


def play(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the fake's machines be such."""
    monkeypatch.setattr("vmtasks.testing.fake_power.FakePower", BootedMachine)
    monkeypatch.setattr(BootedMachine, "boots", "")
