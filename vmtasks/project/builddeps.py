"""What a Debian package needs to be built, and has to be without, in a guest: as Debian's own builders see it.

dpkg's library reads debian/control, because there is much to know: architectures and their wildcards, profiles,
alternatives. What it leaves of them is for apt to install.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping

from vmtasks.debian import apt
from vmtasks.errors import CommandFailed
from vmtasks.guest import Guest, Result
from vmtasks.project.profiles import PROFILES

# Of alternatives the first counts, and others only if they are the same package in other versions: what builds today
# because another one happens to be there would not build tomorrow. sbuild does so with its resolver "apt".
_REDUCE = r"""
BEGIN { $0 = 'dpkg' } # that is who complains
use strict; use warnings;
use Dpkg::Arch qw(get_host_arch debarch_is_concerned);
use Dpkg::BuildProfiles qw(get_build_profiles set_build_profiles parse_build_profiles evaluate_restriction_formula);
use Dpkg::Control::Info;
use Dpkg::Deps;

set_build_profiles(@ARGV);
my $control = Dpkg::Control::Info->new('debian/control');
my $source = $control->get_source();
die "it has no paragraph of a source package\n" unless $source and $source->{Source};
print "Source: $source->{Source}\n";
for my $field (grep { /^Build-(Depends|Conflicts)/i } keys %$source) {
    my $relations = deps_parse($source->{$field}, reduce_restrictions => 1, build_dep => 1, union => $field =~ /Conf/i)
        // die "$field cannot be read\n";
    my @kept;
    for my $relation (grep { !$_->is_empty() } $relations->get_deps()) {
        my @choices = $relation->isa('Dpkg::Deps::OR') ? $relation->get_deps() : ($relation);
        push @kept, join ' | ', map { $_->output() } grep { $_->{package} eq $choices[0]->{package} } @choices;
    }
    print "$field: ", join(', ', @kept), "\n" if @kept;
}
for my $package ($control->get_packages()) {
    my @arches = split ' ', $package->{Architecture} // 'any';
    my @formula = parse_build_profiles($package->{'Build-Profiles'} // '');
    next unless grep { $_ eq 'all' } @arches or debarch_is_concerned(get_host_arch(), @arches);
    next unless !@formula or evaluate_restriction_formula(\@formula, [get_build_profiles()]);
    print "\nPackage: $package->{Package}\nArchitecture: @arches\n";
}
"""
_UNMET = re.compile(r"^ +(?:(\S+) : )?((?:Pre)?Depends|Conflicts|Breaks): (.+?)(?: (but .+))?$", re.MULTILINE)
_BROKEN = re.compile(r"^dpkg: error processing (?:package|archive) (\S+)", re.MULTILINE)


def equip(guest: Guest) -> bool:
    """Install what every Debian build takes for granted, and return whether that had to be done.

    :raise CommandFailed: it cannot be installed.
    :raise HostError: no mirror answers.
    """
    if guest.query("command -v dpkg-buildpackage || :").strip():
        return False
    apt.install(guest, ["build-essential", "fakeroot"])
    return True


def reduced(guest: Guest, control: str, env: Mapping[str, str]) -> str:
    """Return what the text of a debian/control says for this guest, an equipped one, and for the profiles in *env*.

    Of the source's paragraph there are the packages to build with, and without; of the others, those that are built.

    :raise CommandFailed: dpkg cannot read it.
    """
    words = shlex.join(["perl", "-e", _REDUCE, *env.get(PROFILES, "").split()])
    with guest.tmp_dir() as room:
        script = f"cd {room} && mkdir debian && cat >debian/control && {words}"
        try:
            return guest.query(script, stdin=control.encode())
        except CommandFailed as problem:
            reason = problem.details[-1] if problem.details else str(problem)
            raise CommandFailed(f"cannot read debian/control: {reason}", details=problem.details) from problem


def install(guest: Guest, wanted: str) -> bool:
    """Install what a :func:`reduced` debian/control asks for, and return whether something had to be done.

    :raise CommandFailed: it cannot be installed.
    :raise HostError: no mirror answers.
    """
    with guest.tmp_dir() as room:
        guest.query(f"mkdir {room}/debian && cat >{room}/debian/control", stdin=wanted.encode())
        if guest.run(["dpkg-checkbuilddeps"], cwd=room, warn=True).ok:
            return False
        result = apt.attempt(guest, "build-dep", room)
    if not result.ok:
        raise CommandFailed(
            f"cannot install the build dependencies on {guest.name}: {cause(result)}",
            details=result.last_lines(),
            result=result,
        )
    return True


def cause(result: Result) -> str:
    """Return the cause of a failed `apt-get build-dep`, as the end of a sentence."""
    output = f"{result.stdout}\n{result.stderr}"
    if apt.met_dpkg(result):
        broken = dict.fromkeys(_BROKEN.findall(output))
        return f"dpkg cannot install {', '.join(broken)}" if broken else "dpkg failed"
    unmet = dict.fromkeys(_unmet(output))
    errors = (line.removeprefix("E: ") for line in output.splitlines() if line.startswith("E: "))
    return "; ".join(unmet) or next(errors, "apt does not say why")


def _unmet(output: str) -> Iterator[str]:
    """Yield what apt found to stand in the way; "it" is the source that is to be built."""
    dependent = "it"
    for name, field, package, reason in _UNMET.findall(output):
        if name:
            dependent = "it" if name.startswith("builddeps:") else name
        verb = "needs" if field.endswith("Depends") else "must be without"
        yield f"{dependent} {verb} {package}" + (f", {reason}" if reason else "")
