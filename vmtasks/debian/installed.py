"""What dpkg has installed, and whether its files are as they were unpacked."""

from __future__ import annotations

import shlex
from collections.abc import Collection

from vmtasks.debian.debfile import Packages
from vmtasks.guest import Guest, answers

# As debsums does it, which piuparts calls. The sums are those that came with the package, or that dpkg made of what it
# unpacked. A file that another package took over is no more in the package's list, but in that one's. One that another
# package has diverted lies elsewhere, and one that dpkg was told to leave out is nowhere.
_ALTERED = """# find files that are not as dpkg unpacked them
set -u
export LC_ALL=C
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cat /etc/dpkg/dpkg.cfg /etc/dpkg/dpkg.cfg.d/* 2>/dev/null |
    sed -n 's/^ *\\(path-[a-z]*\\) *[= ] *\\(.*[^ ]\\) *$/\\1 \\2/p' >"$work/filters"
is_left_out() {
    verdict=1
    while read -r word pattern; do
        case $1 in $pattern) ;; *) continue ;; esac
        case $word in path-exclude) verdict=0 ;; path-include) verdict=1 ;; esac
    done <"$work/filters"
    return $verdict
}
for package; do
    dpkg-query --listfiles "$package" >"$work/listed" || continue
    {
        dpkg-query --control-show "$package" md5sums 2>/dev/null | sed -n 's|^[0-9a-f]\\{32\\}  |&/|p'
        dpkg-query --show --showformat='${Conffiles}\\n' "$package" |
            sed -n 's|^ \\(/.*\\) \\([0-9a-f]\\{32\\}\\)$|\\2  \\1|p'
    } | sort -u >"$work/sums"
    md5sum --check --quiet "$work/sums" 2>/dev/null | sed -n 's/: FAILED.*$//p' | while IFS= read -r path; do
        grep -Fxq -e "$path" "$work/listed" || ! grep -Fxq -e "$path" /var/lib/dpkg/info/*.list || continue
        by=$(dpkg-divert --listpackage "$path")
        if [ -n "$by" ] && [ "$by" != "${package%%:*}" ]; then
            sum=$(path=$path awk 'substr($0, 35) == ENVIRON["path"] { print substr($0, 1, 32); exit }' "$work/sums")
            path=$(dpkg-divert --truename "$path")
            [ "$(md5sum <"$path" 2>/dev/null)" != "$sum  -" ] || continue
        fi
        if [ -e "$path" ] || [ -L "$path" ]; then
            echo "changed: $path"
        else
            is_left_out "$path" || echo "missing: $path"
        fi
    done
done
"""


def versions(guest: Guest, names: Collection[str]) -> dict[str, str]:
    """Return the versions of those of the packages that are installed."""
    show = "dpkg-query --show --showformat='${Package} ${Version} ${db:Status-Status}\\n'"
    rows = answers.rows_of(guest.query(f"{show} {shlex.join(names)} 2>/dev/null || :"), 3, of="dpkg-query")
    return {name: version for name, version, status in rows if status == "installed"}


def newer_ones(guest: Guest, packages: Packages) -> dict[str, str]:
    """Return the versions of those installed packages that are newer than *packages* have them."""
    there = {name: version for name, version in versions(guest, packages).items() if version != packages[name].version}
    if not there:
        return {}
    pairs = shlex.join(word for name, version in there.items() for word in (name, version, packages[name].version))
    script = f'set -- {pairs}\nwhile [ $# -gt 0 ]; do dpkg --compare-versions "$2" le "$3" || echo "$1"; shift 3; done'
    return {name: there[name] for name in guest.query(script).split()}


def known_names(guest: Guest) -> list[str]:
    """Return the names of all packages that dpkg has something of, with their architecture where it needs that."""
    show = ["dpkg-query", "--show", "--showformat=${binary:Package} ${db:Status-Status}\\n"]
    rows = answers.rows_of(guest.query(show), 2, of="dpkg-query")
    return [name for name, status in rows if status != "not-installed"]


def altered(guest: Guest, packages: Packages) -> list[str]:
    """Return which files of installed packages are not as they were unpacked, conffiles too: "changed: /etc/x".

    Source: Debian Policy 10.7.3: a maintainer script must not change a conffile.
    """
    names = [one.name if one.architecture == "all" else f"{one.name}:{one.architecture}" for one in packages.values()]
    return guest.query(["/bin/sh", "-c", _ALTERED, "sh", *names]).splitlines()
