"""What is put into a member: the verbs, and the agent that passes what they say on to the host.

Both are Perl with nothing but perl-base, which every Debian has, and are put in at the start: an image needs nothing.
A verb talks to the agent over a UNIX socket, so its own standard streams are its caller's alone: it works in a pipe, in
the background, without a terminal, and beside others. The agent is a command on the guest's ssh connection.
"""

from __future__ import annotations

import shlex

from vmtasks.group.wire import ALL_VERBS

DIRECTORY = "/run/vmtasks-group"
PLACES = "/usr/local/bin"
"""Where the verbs are found."""

_VERB = r"""#!/usr/bin/perl
# Part of vmtasks: the verbs of a group of machines. It is put here at the start of each machine.
use strict; use warnings; use Socket;  # and not IO::Socket, which takes three times as long to load
my ($socket, $cache) = ("@DIRECTORY@/socket", "/tmp/lava_multi_node_cache.txt");
(my $verb = $0) =~ s{.*/}{};
sub fail { print STDERR "$verb: @_\n"; exit 1 }
my @words;
while (defined(my $word = shift @ARGV)) {
    if ($verb eq "lava-send" && $word eq "--file") {
        my ($key, $path) = split /=/, shift(@ARGV) // "", 2;
        fail("--file takes KEY=PATH") unless defined $path;
        open my $file, "<:raw", $path or fail("$path: $!");
        local $/;
        $word = "$key=" . <$file>;
        fail("$path: it has a NUL, and no value can") if $word =~ /\0/;
    }
    push @words, $word;
}
socket my $agent, PF_UNIX, SOCK_STREAM, 0 or fail("socket: $!");
my $tries = 300;  # it is away while a machine boots
until (connect $agent, sockaddr_un($socket)) {
    fail("this machine is in no group any more, or its host cannot be reached ($socket: $!)") unless $tries--;
    select undef, undef, undef, 0.1;
}
my $request = join "\0", $verb, @words;
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

# Its clients are served at once; none of them, and no slow host, holds up the others.
_AGENT = r"""
use strict; use warnings; use IO::Socket::UNIX; use IO::Select; use Fcntl;
my $path = shift;
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
            next unless length $heard{$one} == 4 + $size && $size;
            host($serial{$one}, substr $heard{$one}, 4);
            $heard{$one} = "";
        }
    }
}
"""


def install_command(places: str = PLACES, directory: str = DIRECTORY) -> str:
    """Return the command that puts the verbs into a guest; it reads :func:`verb_program`."""
    first, *others = ALL_VERBS
    links = "; ".join(f"ln -sf {first} {shlex.quote(f'{places}/{one}')}" for one in others)
    file = shlex.quote(f"{places}/{first}")
    directories = shlex.join([places, directory])
    return f"mkdir -p {directories} && rm -f {file} && cat >{file} && chmod 755 {file} && {links}"


def verb_program(directory: str = DIRECTORY) -> bytes:
    """Return the program that every verb is, by another name."""
    return _VERB.replace("@DIRECTORY@", directory).encode()


def agent_command(directory: str = DIRECTORY) -> list[str]:
    """Return the command that is the agent."""
    return ["perl", "-e", _AGENT, f"{directory}/socket"]
