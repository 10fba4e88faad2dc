"""What is put into a member: the verbs, and the agent that passes what they say on to the host.

Both are Perl with nothing but perl-base, which every Debian has, and are put in at the start: an image needs nothing.
(lava-network is a shell script over the verbs, and needs iproute2.)
A verb talks to the agent over a UNIX socket, so its own standard streams are its caller's alone: it works in a pipe, in
the background, without a terminal, and beside others. The agent is a command on the guest's ssh connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vmtasks.group.coordinator import TOO_LONG
from vmtasks.group.roles import PREFIX, GroupMember
from vmtasks.group.wire import ALL_VERBS, LONGEST_BYTES
from vmtasks.guest import places

# The address that a member's outward card has is QEMU's own, the same for all: no other member reaches it there.
_CARD = r"""card() {
    if [ -e @GROUP@/interface ] && ip -4 -o address show dev "$1" 2>/dev/null | grep -q ' 10\.0\.2\.'; then
        cat @GROUP@/interface
    else
        echo "$1"
    fi
}
"""
_WORDS = (("@LONGEST_BYTES@", str(LONGEST_BYTES)), ("@TOO_LONG@", TOO_LONG))


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestPaths:
    """Where things are in a guest."""

    verbs: str = "/usr/local/bin"
    socket: str = f"{places.GROUP_SOCKET}/socket"
    """In a directory that goes with the machine's boot."""
    cache: str = places.GROUP_CACHE
    """What the names of cache files begin with."""

    def put_into(self, program: str) -> str:
        """Return a program with these paths."""
        group = self.socket.rpartition("/")[0]
        words = (("@CARD@\n", _CARD), ("@SOCKET@", self.socket), ("@GROUP@", group), ("@CACHE@", self.cache), *_WORDS)
        for word, value in words:
            program = program.replace(word, value)
        return program


USUAL = GuestPaths()
EXISTING_HOST = GuestPaths(verbs=places.GROUP_PROGRAMS)

_VERB = r"""#!/usr/bin/perl -w
# Part of vmtasks: the verbs of a group of machines. It is put here at the start of each machine.
# No module but strict: perl with Socket and warnings takes several times as long to start. So AF_UNIX and SOCK_STREAM
# are Linux's own numbers, 1 and 1 (MIPS has others).
use strict;
my ($socket, $cache, $longest) = ("@SOCKET@", "@CACHE@_cache.txt", @LONGEST_BYTES@);
(my $verb = $0) =~ s{.*/}{};
sub fail { print STDERR "$verb: @_\n"; exit 1 }
my @words;
while (defined(my $word = shift @ARGV)) {
    if ($verb eq "lava-send" && $word eq "--file") {
        my ($key, $path) = split /=/, shift(@ARGV) // "", 2;
        fail("--file takes KEY=PATH") unless defined $path;
        open my $file, "<:raw", $path or fail("$path: $!");
        defined read $file, my $value, $longest + 1 or fail("$path: $!");  # and no more, of whatever has no end
        $word = "$key=$value";
        fail("$path: it has a NUL, and no value can") if $word =~ /\0/;
    }
    push @words, $word;
}
my $request = join "\0", $verb, @words;
fail("@TOO_LONG@") if length $request > $longest;  # the agent hears no more of anybody
socket my $agent, 1, 1, 0 or fail("socket: $!");
my $tries = 300;  # it is away while a machine boots
until (connect $agent, pack "S Z*", 1, $socket) {
    fail("this machine is in no group any more, or its host cannot be reached ($socket: $!)") unless $tries--;
    select undef, undef, undef, 0.1;
}
$request = pack("N", length $request) . $request;
$SIG{PIPE} = "IGNORE";
my ($answer, $sent) = ("", 0);
$sent += syswrite($agent, $request, 65536, $sent) // fail("the host has gone away") while $sent < length $request;
while (sysread $agent, my $piece, 65536) { $answer .= $piece }
fail("the host has gone away") unless length $answer > 4 && length $answer == 4 + unpack "N", $answer;
my ($status, $out, $err, $do, $text) = split /\0/, substr($answer, 4), -1;
print STDOUT $out;
print STDERR $err;
if ($do ne "keep") {
    -l $cache || -e $cache and (unlink $cache or fail("$cache: $!"));
    if ($do eq "write") {
        require Fcntl;
        sysopen my $file, $cache, Fcntl::O_WRONLY() | Fcntl::O_CREAT() | Fcntl::O_EXCL(), 0666 or fail("$cache: $!");
        print $file $text;
        close $file or fail("$cache: $!");
    }
}
exit $status;
"""

# What LAVA's first version had: members tell each other what their cards are like. Each part is a verb's work.
_NETWORK = r"""#!/bin/sh
# Part of vmtasks: lava-network, over lava-send and lava-wait-all. It is put here at the start of each machine.
cache=@CACHE@_network_cache.txt
@CARD@
usage() {
    echo "usage: lava-network broadcast IF | collect IF [ROLE] | query NAME KEY | hosts FILE | alias-hosts FILE" >&2
    exit 1
}
collected() { [ -e "$cache" ] || { echo "lava-network: nothing was collected yet" >&2; exit 1; }; }
# $1: KEY; each line of what is printed: MEMBER VALUE
values() { sed -n "s/^\([^:]*\):$1=\(.*\)/\1 \2/p" "$cache"; }
words() { head -n 1 | tr / ' ' | awk "$1"; }
[ $# -ge 2 ] || usage
case $1 in
    broadcast)
        [ -e "/sys/class/net/$2" ] || { echo "lava-network: there is no interface $2" >&2; exit 1; }
        set -- x "$(card "$2")"
        set -- "$2" $(ip -4 -o address show dev "$2" | words '{ print $4, $5, $6 == "brd" ? $7 : "" }')
        bits=$3 mask=
        for part in 1 2 3 4; do
            n=$((${bits:-0} > 8 ? 8 : ${bits:-0})) bits=$((${bits:-0} - n))
            mask=$mask${mask:+.}$((256 - (1 << (8 - n))))
        done
        set -- "$1" "ipv4=$2" "netmask=${2:+$mask}" "broadcast=$4" \
            "ipv6=$(ip -6 -o address show dev "$1" scope link | words '{ print $4 }')" \
            "mac=$(cat "/sys/class/net/$1/address")" "hostname=$(hostname)" \
            "hostname-full=$(hostname -f 2>/dev/null || hostname)" \
            "default-gateway=$(ip -4 route show default | awk '{ print $3; exit }')" \
            $(awk '$1 == "nameserver" { print "dns_" ++n "=" $2 }' /etc/resolv.conf | head -n 3)
        shift
        for pair; do shift; case $pair in *=) ;; *) set -- "$@" "$pair" ;; esac; done
        exec lava-send network_info "$@" ;;
    collect)
        lava-wait-all network_info ${3:+"$3"} || exit 1
        rm -f "$cache" && mv @CACHE@_cache.txt "$cache" ;;
    query)
        collected
        [ -z "$3" ] || values "$3" | awk -v name="$2" '$1 == name { sub(/^[^ ]* /, ""); print }' ;;
    hosts)
        collected
        values ipv4 | while read -r member address; do printf '%s\t%s\n' "$address" "$member"; done >>"$2" ;;
    alias-hosts)
        collected
        lava-group | while read -r member role; do
            address=$(values ipv4 | awk -v name="$member" '$1 == name { print $2 }')
            role=$(echo "$role" | tr -cd a-z0-9)
            eval "n=\$((\${n_$role:-0} + 1)); n_$role=\$n"
            [ -z "$address" ] || printf '%s\t%s\t%s%02d\n' "$address" "$member" "$role" "$n"
        done >>"$2" ;;
    *) usage ;;
esac
"""

ECHO_IPV4 = r"""#!/bin/sh
# Part of vmtasks: the first IPv4 address of an interface; nothing if it has none. Exits with 0 always.
[ -n "$1" ] || { echo "usage: lava-echo-ipv4 INTERFACE"; exit 0; }
@CARD@
ip -4 -o address show dev "$(card "$1")" 2>/dev/null | sed -n '1s/.* inet \([0-9.]*\).*/\1/p'
exit 0
"""
"""For who asks an interface of a member, be it in a test shell or elsewhere."""

# Its clients are served at once; none of them, and no slow host, holds up the others.
_AGENT = r"""
use strict; use warnings; use IO::Socket::UNIX; use IO::Select; use Fcntl;
my ($path, $longest) = @ARGV;
$SIG{PIPE} = "IGNORE";
unlink $path;
umask 0;
my $door = IO::Socket::UNIX->new(Local => $path, Listen => 128) or die "$path: $!\n";
binmode STDIN; binmode STDOUT;
my (%serial, %client, %heard, %todo, $next, $from_host);
$next = 1; $from_host = "";
sub host { my ($serial, $data) = @_; my $all = pack("NN", $serial, length $data) . $data;
    while (length $all) { my $n = syswrite STDOUT, $all; exit unless defined $n; substr($all, 0, $n, "") } }
sub forget { my $one = shift; my $serial = delete $serial{$one};
    delete $client{$serial}; delete $heard{$one}; delete $todo{$one}; close $one }
host(0, "ready");
while (1) {
    my $read = IO::Select->new(\*STDIN, $door, values %client);
    my $write = IO::Select->new(grep { length($todo{$_} // "") } values %client);
    my ($in, $out) = IO::Select::select($read, $write, undef);
    for my $one (@{$out // []}) {
        my $n = syswrite $one, $todo{$one};
        if (!defined $n) { forget($one); next }
        substr($todo{$one}, 0, $n, "");
        forget($one) unless length $todo{$one};
    }
    for my $one (@{$in // []}) {
        if (fileno $one && $one == $door) {
            my $new = $door->accept or next;
            $new->blocking(0); binmode $new;
            my $serial = $next++ & 0x7fffffff || $next++;
            $serial{$new} = $serial; $client{$serial} = $new; $heard{$new} = "";
        } elsif (defined fileno $one && fileno $one == 0) {
            my $n = sysread STDIN, $from_host, 65536, length $from_host;
            exit unless $n;
            while (length $from_host >= 8) {
                my ($serial, $size) = unpack "NN", $from_host;
                last if length $from_host < 8 + $size;
                my $data = substr $from_host, 8, $size;
                substr($from_host, 0, 8 + $size, "");
                my $one = $client{$serial} or next;
                $todo{$one} = pack("N", $size) . $data;
            }
        } elsif (exists $serial{$one}) {
            my $n = sysread $one, $heard{$one}, 65536, length $heard{$one};
            if (!$n) { host($serial{$one}, "") unless defined $todo{$one}; forget($one); next }
            next unless length $heard{$one} >= 4;
            my $size = unpack "N", $heard{$one};
            if ($size > $longest) { forget($one); next }  # no verb of ours: it is for none of the others to suffer
            next unless length $heard{$one} == 4 + $size && $size;
            host($serial{$one}, substr $heard{$one}, 4);
            $heard{$one} = "";
        }
    }
}
"""


# One program, because each one that starts takes an emulated machine a tenth of a second. The card is known by its
# address, a member's or still the template's. Its own comes first: with the template's, all copies would be one to the
# switch. Multicast without an interface of its own goes where the default route leads, which is out of the group.
_JOIN = r"""
use strict; use warnings;
my ($verbs, $socket, $mac, $address, @links) = @ARGV;
(my $directory = $socket) =~ s{/[^/]*$}{};
umask 022;  # verbs are for every user
sub get { my ($path) = @_; open my $f, "<", $path or return ""; local $/; return scalar <$f> // "" }
sub put {
    my ($path, $text) = @_;
    open my $f, ">", $path or die "$path: $!\n";
    print $f $text;
    close $f or die "$path: $!\n";
}
for my $path ($verbs, $directory) { my $so_far = ""; for (split m{/}, $path) { $so_far .= "$_/"; mkdir $so_far } }
my ($names, %program) = do { local $/; split /\0/, <STDIN>, -1 };
# Renamed into their places: who joins again, after a boot, may have tests that call them at that moment.
my $new = "$verbs/.vmtasks-new";
sub rename_to { my $path = shift; rename $new, $path or die "$path: $!\n" }
for my $name (keys %program) {
    unlink $new;
    put($new, $program{$name});
    chmod 0755, $new;
    rename_to("$verbs/$name");
}
my $first = shift @links;
for my $name (@links) { unlink $new; symlink $first, $new or die "$new: $!\n"; rename_to("$verbs/$name") }
exit if !$mac || get("$directory/card") eq "$mac $address";  # it has been here in this boot
my $kind = substr $mac, 0, 14;
my ($card) = map { m{([^/]+)/address$} } grep { get($_) =~ /^\Q$kind\E/ } glob "/sys/class/net/*/address";
die "it has no card on the group's network\n" unless defined $card;
open my $ip, "|-", "ip", "-batch", "-" or die "ip: $!\n";
print $ip "link set $card down\nlink set $card address $mac\naddress flush dev $card\nlink set $card up\n",
    "address add $address broadcast + dev $card\nroute replace 224.0.0.0/4 dev $card\n";
close $ip or die "ip failed on $card\n";
my $hosts = join "", grep { !/# vmtasks group$/ } split /^/, get("/etc/hosts");
put("/etc/hosts", $hosts . $names);
put("$directory/interface", "$card\n");
put("$directory/card", "$mac $address");
"""


def join_command(paths: GuestPaths, member: GroupMember, *, has_network: bool) -> list[str]:
    """Return the command that makes a machine a member: its address, everybody's name, the verbs.

    It reads :func:`joined_with`.
    """
    card = [member.mac, f"{member.address}/{PREFIX}"] if has_network else ["", ""]
    return ["perl", "-e", _JOIN, paths.verbs, paths.socket, *card, *ALL_VERBS]


def joined_with(paths: GuestPaths, members: Sequence[GroupMember]) -> bytes:
    """Return what a machine becomes a member with."""
    names = "".join(f"{one.address} {one.name} # vmtasks group\n" for one in members if one.address)
    programs = {ALL_VERBS[0]: _VERB, "lava-network": _NETWORK, "lava-echo-ipv4": ECHO_IPV4}
    words = [word for name, program in programs.items() for word in (name, paths.put_into(program))]
    return "\0".join([names, *words]).encode()


def agent_command(paths: GuestPaths) -> list[str]:
    """Return the command that is the agent."""
    return ["perl", "-e", _AGENT, paths.socket, str(LONGEST_BYTES)]
