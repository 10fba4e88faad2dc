"""What makes a disk that vmtasks has made boot by itself: GRUB on it, and a menu of its own."""

from __future__ import annotations

from vmtasks.image.definition import Definition
from vmtasks.image.kernel_options import EMULATED_KERNEL_OPTIONS, KERNEL_OPTIONS, KVM_KERNEL_OPTIONS

# The menu goes to the serial line, as all else that a console shows. Its default is remembered in its environment
# block, so that another one can be chosen without making the menu anew. The disk is named as the guest has it: an id of
# the file system would be the same in each copy, and costs the small initrd a look at all disks.
_INSTALL = """# have GRUB boot from the disk
set -e
[ "$(systemd-detect-virt)" = kvm ] && more='@KVM@' || more='@EMULATED@'
mkdir -p /etc/default/grub.d
cat >/etc/default/grub.d/vmtasks.cfg <<END
GRUB_DEFAULT=saved
GRUB_TIMEOUT=0
GRUB_RECORDFAIL_TIMEOUT=0
GRUB_TERMINAL=serial
GRUB_SERIAL_COMMAND="serial --unit=0 --speed=115200"
GRUB_DISABLE_OS_PROBER=true
GRUB_DISABLE_LINUX_UUID=true
GRUB_CMDLINE_LINUX_DEFAULT=
GRUB_CMDLINE_LINUX="@OPTIONS@ $more"
END
release=$(uname -r)
[ ! -x /usr/sbin/mktirfs ] ||
    mktirfs -m no --include-modules=@MODULES@ -o "/boot/initrd.img-$release" "$release"
grub-install --target=i386-pc /dev/vda
update-grub
"""


def install_script(definition: Definition) -> str:
    """Return shell that has a guest, which was booted directly, boot by its own loader from then on."""
    options = " ".join(filter(None, (KERNEL_OPTIONS[definition.architecture], definition.kernel_options)))
    words = {"@OPTIONS@": options, "@MODULES@": ",".join(definition.modules)}
    words |= {"@KVM@": KVM_KERNEL_OPTIONS, "@EMULATED@": EMULATED_KERNEL_OPTIONS}  # another host's counter is another
    script = _INSTALL
    for word, value in words.items():
        script = script.replace(word, value)
    return script
