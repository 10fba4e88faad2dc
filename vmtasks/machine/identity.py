"""The first thing that a copied machine does: become itself, and no longer the one that it was copied from.

A machine that goes on from a saved state has the clock, the random numbers, the machine-id and the host name of
the moment when it was saved. A few lines of Perl (perl-base is essential in Debian) set all four right. In a copy of
a template they are there already: an agent that waits since before the template was saved, looks at the end of the
transfer disk for a note with its new identity, obeys, and ends. So a copy is itself while its sshd still greets. In
others, and wherever no agent waits, the same lines come over ssh. Either way the command that proves the machine ready
reports that it has its identity: one that has not is never handed out.

Sources: clock_gettime(2), settimeofday(2), asm/unistd.h for the numbers of both, elf(5), machine-id(5), random(4) for
the ioctl RNDRESEEDCRNG, linux/fs.h for BLKFLSBUF.
"""

from __future__ import annotations

import secrets
import shlex
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vmtasks.guest.transfer_disk import FIND
from vmtasks.spec import NOTE_AT
from vmtasks.ssh.sending import send_all

if TYPE_CHECKING:
    from paramiko.channel import Channel

_READY = "/run/vmtasks-ready"
"""A file in the guest: the machine-id of the copy that last got its identity."""
_WAITING = "/run/vmtasks-waiting"

# Becoming itself twice does no harm: all of it sets what the machine is, and not what to change.
_BECOME = r"""
sub put { my ($mode, $path, $text) = @_; open my $f, $mode, $path or die "$path: $!\n"; print $f $text; close $f }
sub become {
    my ($seed, $id, $name) = @_;
    open my $random, "+>", "/dev/urandom" or die "/dev/urandom: $!\n";
    syswrite $random, pack("H*", $seed);
    ioctl $random, 0x5207, 0;
    open my $f, "<", "/etc/machine-id" or die "/etc/machine-id: $!\n"; chomp(my $old = <$f> // "");
    put ">", "/etc/machine-id", "$id\n";
    for my $logs ("/run/log/journal", "/var/log/journal") { symlink $old, "$logs/$id" if -d "$logs/$old" }
    put ">", "/proc/sys/kernel/hostname", $name;
    put ">", "/etc/hostname", "$name\n";
    put ">>", "/etc/hosts", "127.0.1.1 $name\n";
}
# settimeofday, clock_gettime and the width of their fields, by the architecture in Perl's own ELF header.
open my $self, "<", "/proc/self/exe" or die "/proc/self/exe: $!\n";
read $self, my $header, 20;
my %calls = (62 => [164, 228, "q2"], 3 => [79, 265, "l2"], 183 => [170, 113, "q2"]);  # amd64, i386, arm64
my ($set, $get, $pair) = @{$calls{unpack "x18 v", $header} or die "no clock of this architecture is known\n"};
sub now {
    my $now = shift; my $whole = int $now;
    my $time = pack($pair, $whole, int(($now - $whole) * 1e6));
    syscall($set, $time, 0) == 0 or die "settimeofday: $!\n";
}
"""
# The clock comes last and over a line of its own: how long it took to get there does not count then.
_OVER_SSH = (
    _BECOME
    + r"""
my $waiting = pop;
unlink $waiting;
become(@ARGV);
$| = 1; print "now?\n";
now(scalar <STDIN>);
print "ready\n";
"""
)
# Here the time is that of the moment when the copy went on. Its clocks stood until then, so what they have moved since
# the last look, before it was saved, is how long it took to get there.
_AGENT = (
    _BECOME
    + r"""
my ($disk, $at, $waiting, $ready) = @ARGV;
open my $f, "<", $disk or die "$disk: $!\n";
put ">", $waiting, "";
sub ticks {
    my $ticks = "\0" x 16;
    syscall($get, 1, $ticks);
    my ($whole, $nano) = unpack $pair, $ticks;
    return $whole + $nano / 1e9;
}
my $seen = ticks();
while (-e $waiting) {
    ioctl $f, 0x1261, 0;
    sysseek $f, $at, 0;
    sysread $f, my $note, 512;
    if ($note =~ /^become (\w+) (\w+) (\S+) ([\d.]+)\n/) {
        now($4 + ticks() - $seen);
        become($1, $2, $3);
        put ">", $ready, "$2\n";
        last;
    }
    $seen = ticks();
    select undef, undef, undef, 0.01;
}
unlink $waiting;
"""
)


def identity_agent() -> str:
    """Return the command that leaves the agent behind in a machine that is about to be saved as a template."""
    words = shlex.join(["perl", "-e", _AGENT])
    wait = f"n=0; until [ -e {_WAITING} ] || [ $n -gt 500 ]; do sleep 0.02; n=$((n+1)); done"
    return f'{FIND} || exit 0; setsid {words} "$d" {NOTE_AT} {_WAITING} {_READY} </dev/null >/dev/null 2>&1 & {wait}'


@dataclass(frozen=True, slots=True, kw_only=True)
class CloneIdentity:
    """The identity of a copied machine from now on."""

    name: str
    """The machine's name, the first part of its host name."""
    machine_id: str = field(default_factory=lambda: secrets.token_hex(16))
    seed: str = field(default_factory=lambda: secrets.token_hex(64))

    @property
    def hostname(self) -> str:
        """Two machines of one name are two hosts."""
        return f"{self.name}-{self.machine_id[:4]}"

    @property
    def note(self) -> str:
        """What the agent is to read, but for the time."""
        return f"become {self.seed} {self.machine_id} {self.hostname}"

    def __call__(self, channel: Channel) -> bool:
        """See that the machine at the other end is itself, or make it so; return whether it did as it was told.

        :param channel: a fresh session, with a time limit of its own.
        """
        program = shlex.join(["perl", "-e", _OVER_SSH, self.seed, self.machine_id, self.hostname, _WAITING])
        channel.exec_command(
            f'{{ read -r id <{_READY}; }} 2>/dev/null; if [ "$id" = {self.machine_id} ]; then echo ready; '
            f"else exec {program}; fi"
        )
        with channel.makefile("rb") as answers:
            answer = answers.readline()
            if answer == b"now?\n":
                send_all(channel, f"{time.time():.6f}\n".encode())
                answer = answers.readline()
            return bool(answer == b"ready\n")
