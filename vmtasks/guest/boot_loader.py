"""The boot loader of a guest: what it can boot, what it boots next, and with which arguments.

GRUB 2, as Debian and its descendants configure it. Entries are named by their ids and never by their place, which
changes with each kernel that comes or goes.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace

from vmtasks.errors import CommandFailed, UsageError
from vmtasks.guest.answers import at_least
from vmtasks.guest.commands import GuestCommands
from vmtasks.guest.grub_config import BootEntry, default_of, entries_of, entry_like, find, is_id, text_of, with_args

_DIRECTORY = "/boot/grub"
_DEFAULTS = "/etc/default/grub.d/zz-vmtasks.cfg"
"""The last of the files that grub-mkconfig reads: what stands there goes over all others."""
_OURS = "/etc/grub.d/42_vmtasks"
"""What has grub-mkconfig write our own entries: such a file prints them."""
_ROOT = ("root=", "rootflags=", "rootfstype=")
"""The arguments by which a kernel finds its root file system."""
_HEAD = "#!/bin/sh\nexec tail -n +3 $0\n"
_LOOK = f"""# look for a boot loader
[ ! -e {_DIRECTORY}/grub.cfg ] || command -v update-grub >/dev/null && [ -e {_DIRECTORY}/grub.cfg ] && echo grub
[ ! -e /boot/grub2/grub.cfg ] || echo grub2 of another distribution
[ ! -d /boot/loader/entries ] || echo systemd-boot or BootLoaderSpec
for f in /boot/extlinux/extlinux.conf /boot/syslinux/syslinux.cfg; do [ ! -e $f ] || echo syslinux; done
[ ! -e /boot/grub/menu.lst ] || echo GRUB 1
[ ! -e /etc/lilo.conf ] || echo LILO
[ ! -e /boot/boot.scr ] || echo U-Boot
:
"""
_READ = f"cat {_DIRECTORY}/grub.cfg && echo @@ && grub-editenv {_DIRECTORY}/grubenv list; [ -r {_DIRECTORY}/grub.cfg ]"
_SETTINGS = """# print what GRUB's settings come to
[ ! -r /etc/default/grub ] || . /etc/default/grub
for f in /etc/default/grub.d/*.cfg; do [ ! -r "$f" ] || . "$f"; done
printf '%s\\n' "$GRUB_DEFAULT" "$GRUB_CMDLINE_LINUX" "$GRUB_CMDLINE_LINUX_DEFAULT"
"""


class BootLoader:
    """The boot loader of one guest.

    :raise UsageError: it has none, or one of another kind.
    """

    kind = "grub"

    def __init__(self, guest: GuestCommands) -> None:
        found = guest.query(_LOOK).splitlines()
        if self.kind not in found:
            if found:
                raise UsageError(f"cannot work with the boot loader of {guest.name}: it is {found[0]}, and not GRUB 2")
            raise UsageError(
                f"{guest.name} has no boot loader: it boots directly",
                hint="in a machine of this host, reboot(kernel=, kernel_args=) and kernels.install() do without; "
                'else boot an image with boot_loader = "grub", such as bookworm-grub; or name the kernel as it '
                "starts (--kernel), and its arguments in the image (kernel_options)",
            )
        self._guest = guest

    # --- what there is ----------------------------------------------------------------------------------------

    @property
    def entries(self) -> tuple[BootEntry, ...]:
        """What can be booted, in the menu's order, with what is in submenus."""
        return entries_of(self._read()[0])

    @property
    def default(self) -> BootEntry:
        """What is booted if nothing else is asked for; UsageError if the menu has nothing to boot."""
        config, environment = self._read()
        entries = entries_of(config)
        if not entries:
            raise UsageError(f"the boot loader of {self._guest.name} has no entry that boots a Linux kernel")
        return find(entries, default_of(config, environment)) or entries[0]

    def entry(self, entry_id: str) -> BootEntry:
        """Return the entry of that id.

        :raise UsageError: there is none.
        """
        entries = self.entries
        for entry in entries:
            if entry_id == entry.id or entry.id.endswith(f">{entry_id}"):
                return entry
        known = ", ".join(entry.id for entry in entries) or "none"
        raise UsageError(f"the boot loader of {self._guest.name} has no entry {entry_id!r}; there are: {known}")

    # --- what is booted next ----------------------------------------------------------------------------------

    def set_default(self, entry_id: str) -> None:
        """Have an entry booted from now on.

        :raise UsageError: there is none of that id.
        :raise CommandFailed: that cannot be written down.
        """
        entry = self.entry(entry_id)
        if self._settings()[0] != "saved":
            self._set(GRUB_DEFAULT="saved")
        self._remember("grub-set-default", entry, "saved_entry")

    def boot_once(self, entry_id: str) -> None:
        """Have an entry booted the next time, and that time alone.

        :raise UsageError: there is none of that id.
        :raise CommandFailed: that cannot be written down.
        """
        self._remember("grub-reboot", self.entry(entry_id), "next_entry")

    def boot_default(self) -> None:
        """Take back what :meth:`boot_once` has asked for.

        :raise CommandFailed: that cannot be written down.
        """
        path = f"{_DIRECTORY}/grubenv"
        self._asked(lambda: self._guest.query(["grub-editenv", path, "unset", "next_entry"]), "have its default booted")

    # --- entries of our own -----------------------------------------------------------------------------------

    def add_kernel(
        self, kernel: str, *, entry_id: str, initrd: str = "", title: str = "", args: Sequence[str] | None = None
    ) -> BootEntry:
        """Add an entry for a kernel that lies in the guest, or replace ours of that id.

        :param kernel: its path in the guest.
        :param entry_id: letters, digits and ``. _ + ~ : -``.
        :param args: its arguments; those of the default entry by default. Its root is the default entry's in any case.
        :raise UsageError: the id cannot be one or is another entry's, or there is no such file.
        :raise CommandFailed: that cannot be written down.
        """
        if not is_id(entry_id):
            raise UsageError(f"{entry_id!r} cannot be the id of a boot entry: letters, digits and . _ + ~ : - can")
        for path in filter(None, (kernel, initrd)):
            if not self._guest.query(f"[ -f {shlex.quote(path)} ] && echo yes || :"):
                raise UsageError(f"cannot add {path} to the boot loader of {self._guest.name}: there is no such file")
        model = self.default
        root = [word for word in model.args if word.startswith(_ROOT)]
        own = model.args if args is None else (*root, *(word for word in args if not word.startswith(_ROOT)))
        # GRUB's paths begin at the partition that they are on, which may be one for /boot alone.
        paths = [self._guest.query(["grub-mkrelpath", path]).strip() if path else "" for path in (kernel, initrd)]
        model = replace(model, kernel=paths[0], initrd=paths[1])
        return self.add_entry_like(model, entry_id=entry_id, title=title, args=own)

    def add_entry_like(self, model: BootEntry, *, entry_id: str, args: Sequence[str], title: str = "") -> BootEntry:
        """Add an entry that boots what another one does, with other arguments, or replace ours of that id.

        :raise UsageError: the id is another entry's.
        :raise CommandFailed: that cannot be written down.
        """
        ours = self._ours()
        if any(entry.id == entry_id for entry in self.entries) and entry_id not in ours:
            raise UsageError(f"the boot loader of {self._guest.name} has an entry {entry_id} that is not ours")
        wanted = BootEntry(
            id=entry_id, title=title or entry_id, kernel=model.kernel, initrd=model.initrd, args=tuple(args)
        )
        self._write(ours | {entry_id: entry_like(model, wanted)})
        return self.entry(entry_id)

    def remove_kernel(self, entry_id: str) -> None:
        """Remove an entry that :meth:`add_kernel` has made; the kernel's files stay.

        :raise UsageError: it is no entry of ours.
        """
        ours = self._ours()
        if entry_id not in ours:
            self.entry(entry_id)
            raise UsageError(f"cannot remove the boot entry {entry_id}: its package does, with the kernel")
        del ours[entry_id]
        self._write(ours)

    # --- arguments --------------------------------------------------------------------------------------------

    def add_args(self, *args: str, entry_id: str = "") -> None:
        """Give the kernel more arguments, each once: all of them, or that of an entry of ours.

        :raise UsageError: that entry is not ours.
        """
        self._change_args(args, (), entry_id)

    def remove_args(self, *args: str, entry_id: str = "") -> None:
        """Take arguments away from all kernels, or from that of an entry of ours.

        :raise UsageError: that entry is not ours.
        """
        self._change_args((), args, entry_id)

    def _change_args(self, add: Sequence[str], remove: Sequence[str], entry_id: str) -> None:
        for word in (*add, *remove):
            if not word or set(word) & set(" \t\n'\"\\$`"):
                raise UsageError(
                    f"{word!r} cannot be an argument for all kernels: blanks, quotes and $ mean something else"
                )
        if not entry_id:
            if ours := self._ours():
                text = {name: self._with(entry, add, remove) for name, entry in ours.items()}
                self._replace(_OURS, _HEAD + "".join(map(text_of, text.values())), mode="755", makes_menu=False)
            _, always, usually = self._settings()
            self._set(
                GRUB_CMDLINE_LINUX=with_args(always, add, remove),
                GRUB_CMDLINE_LINUX_DEFAULT=with_args(usually, (), (*add, *remove)),
            )
            return
        ours, entry = self._ours(), self.entry(entry_id)
        if entry_id not in ours:
            raise UsageError(
                f"cannot change the arguments of {entry_id} alone: grub-mkconfig writes that entry",
                hint="add_kernel() makes an entry of ours of it; without entry_id, all entries are changed",
            )
        self._write(ours | {entry_id: self._with(entry, add, remove)})

    @staticmethod
    def _with(entry: BootEntry, add: Sequence[str], remove: Sequence[str]) -> BootEntry:
        kept = (word for word in entry.args if word not in (*add, *remove))
        return entry_like(entry, replace(entry, args=(*kept, *add)))

    # --- inside -----------------------------------------------------------------------------------------------

    def _read(self) -> tuple[str, str]:
        config, _, environment = self._guest.query(_READ).rpartition("@@\n")
        return config, environment

    def _settings(self) -> tuple[str, str, str]:
        lines = self._guest.query(_SETTINGS).splitlines()
        default, always, usually, *_ = at_least(lines, 3, of="/etc/default/grub")
        return default, always, usually

    def _set(self, **settings: str) -> None:
        """Write settings over those that there are, those of ours kept, and have the menu made anew."""
        there = self._guest.query(f"cat {_DEFAULTS} 2>/dev/null || :").splitlines()
        kept = [line for line in there if line.partition("=")[0] not in settings]
        lines = [*kept, *(f"{name}={shlex.quote(value)}" for name, value in settings.items())]
        self._replace(_DEFAULTS, "\n".join(lines) + "\n")

    def _ours(self) -> dict[str, BootEntry]:
        """Return our own entries by their ids."""
        return {entry.id: entry for entry in entries_of(self._guest.query(f"cat {_OURS} 2>/dev/null || :"))}

    def _write(self, ours: dict[str, BootEntry]) -> None:
        self._replace(_OURS, _HEAD + "".join(map(text_of, ours.values())), mode="755")

    def _replace(self, path: str, text: str, *, mode: str = "644", makes_menu: bool = True) -> None:
        """Write a file and have the menu made anew; where GRUB does not take that, the file is as it was."""
        make = "update-grub" if makes_menu else ":"
        script = (
            f"set -e; mkdir -p $(dirname {path}); rm -f /run/vmtasks-grub; "
            f"[ ! -e {path} ] || cp -p {path} /run/vmtasks-grub; "
            f"cat >{path}; chmod {mode} {path}; {make} >/run/vmtasks-grub.log 2>&1 || {{ "
            f"[ -e /run/vmtasks-grub ] && mv /run/vmtasks-grub {path} || rm -f {path}; "
            f"tail -n 3 /run/vmtasks-grub.log >&2; exit 1; }}; rm -f /run/vmtasks-grub"
        )
        self._asked(lambda: self._guest.query(script, stdin=text.encode()), f"write {path}, and GRUB's menu with it,")

    def _remember(self, program: str, entry: BootEntry, variable: str) -> None:
        """Have GRUB write down an entry's id, and see that it has."""
        self._asked(lambda: self._guest.query([program, entry.id]), f"have {entry.id} booted")
        environment = dict(line.split("=", 1) for line in self._read()[1].splitlines() if "=" in line)
        if environment.get(variable) != entry.id:
            raise CommandFailed(
                f"cannot have {entry.id} booted on {self._guest.name}: GRUB's environment block does not keep it",
                hint=f"{_DIRECTORY}/grubenv must be a file that GRUB can write, on a plain partition",
            )

    def _asked(self, act: Callable[[], object], what: str) -> None:
        try:
            act()
        except CommandFailed as problem:
            reason = problem.details[-1] if problem.details else str(problem)
            raise CommandFailed(f"cannot {what} on {self._guest.name}: {reason}", details=problem.details) from problem
