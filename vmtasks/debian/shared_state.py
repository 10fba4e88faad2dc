"""What a machine writes by itself, and what is kept of all packages together: databases, caches, logs, accounts.

No package has to purge that, and piuparts ignores it, too; it is no wider than it has to be, since a package that
leaves something under such a name is not told of it.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

from vmtasks.debian import apt

_ROOTS_HOME = "/root"
# What ends in a slash stands for all that is in that directory, and for itself.
_ACCOUNTS = tuple(
    f"/etc/{name}{end}" for name in ("group", "gshadow", "passwd", "shadow", "subgid", "subuid") for end in ("", "-")
)
_MACHINES_OWN = (
    "/etc/.pwd.lock", "/etc/adjtime", "/etc/crypttab", "/etc/group.org", "/etc/hosts", "/etc/inittab",
    "/etc/ld.so.cache", "/etc/machine-id", "/etc/mtab", "/etc/network/interfaces", "/etc/nologin", "/etc/passwd.org",
    "/etc/rc.local", "/etc/X11/Xwrapper.config", "/etc/X11/default-display-manager",
    *(f"{_ROOTS_HOME}/{name}" for name in (".bash_history", ".cache/motd.legal-displayed", ".ssh/authorized_keys")),
    "/var/backups/",
    "/var/cache/ldconfig/", "/var/lib/logrotate/", "/var/lib/systemd/catalog/", "/var/lib/systemd/coredump/",
    "/var/lib/systemd/random-seed", "/var/lib/systemd/timers/", "/var/lib/systemd/timesync/",
    "/var/tmp/systemd-private-*",  # noqa: S108
)  # fmt: skip
_LOGS = tuple(
    f"/var/log/{name}"
    for name in (
        "alternatives.log", "apt/", "auth.log", "bootstrap.log", "btmp", "daemon.log", "dbconfig-common/dbc.log",
        "debug", "dpkg.log", "faillog", "fontconfig.log", "journal/", "kern.log", "lastlog", "lpr.log", "mail.err",
        "mail.info", "mail.log", "mail.warn", "messages", "news/news.*", "secure", "syslog", "tallylog", "user.log",
        "wtmp",
    )
)  # fmt: skip
_KEPT_OF_ALL = (
    # A trigger of any package with a hook there has these made anew, which takes the packages of that moment.
    "/boot/grub/grub.cfg", "/boot/initrd.img-*", "/var/lib/initramfs-tools/",
    "/lib/udev/hwdb.bin", "/usr/lib/udev/hwdb.bin",
    "/etc/init.d/.depend.*", "/usr/lib/*/gdk-pixbuf-2.0/*/loaders.cache", "/usr/lib/*/gio/modules/giomodule.cache",
    "/usr/lib/*/gtk-*/immodules.cache", "/usr/lib/locale/locale-archive", "/usr/lib/modules/*/modules.*",
    "/usr/share/applications/*.cache", "/usr/share/glib-2.0/schemas/gschemas.compiled",
    "/usr/share/icons/*/icon-theme.cache", "/usr/share/info/dir", "/usr/share/info/dir.old", "/var/cache/debconf/",
    "/var/cache/fontconfig/", "/var/cache/man/", "/var/lib/cdebconf/", "/var/lib/insserv/", "/var/lib/pam/",
    "/var/lib/ucf/", "/var/lib/update-rc.d/", "/var/lib/xml-core/", "/etc/ssl/certs/ca-certificates.crt",
)  # fmt: skip
# What dpkg was told about files is compared by itself, as records.
_OF_PACKAGE_MANAGERS = (
    "/etc/apt/apt.conf.d/01autoremove-kernels", "/etc/apt/secring.gpg", "/etc/apt/trustdb.gpg",
    "/etc/apt/trusted.gpg", "/etc/apt/trusted.gpg~", "/var/cache/apt/*pkgcache.bin*",
    "/var/cache/apt/archives/*.deb", "/var/cache/apt/archives/lock",
    "/var/cache/apt/archives/partial/", "/var/lib/apt/daily_lock", "/var/lib/apt/extended_states*",
    "/var/lib/apt/lists/", "/var/lib/apt/periodic/", "/var/lib/dpkg/alternatives/", "/var/lib/dpkg/arch*",
    *(f"/var/lib/dpkg/{name}{end}" for name in ("diversions", "statoverride", "status") for end in ("", "-old")),
    "/var/lib/dpkg/available*", "/var/lib/dpkg/cmethopt", "/var/lib/dpkg/lock", "/var/lib/dpkg/lock-frontend",
    "/var/lib/dpkg/triggers/", "/var/lib/dpkg/updates/",
)  # fmt: skip
# What users keep in an application's directory; Debian has long let packages leave it there.
_OF_USERS = (
    "/etc/news/organization", "/etc/news/server", "/etc/news/servers", "/etc/news/whoami", "/var/lib/citadel/",
    "/var/lib/mercurial-server/", "/var/lib/onak/", "/var/lib/openvswitch/", "/var/lib/vmm/", "/var/spool/news/",
    "/var/spool/squid/", "/var/www/",
)  # fmt: skip
# A mail server is the dependency of many, and its administrator's answers outlive it.
_OF_MAIL = (
    "/etc/aliases", "/etc/aliases.db", "/etc/inetd.conf", "/etc/mailname", "/var/log/exim4/", "/var/mail/",
    "/var/spool/exim4/",
)  # fmt: skip
_ANY = (
    *_ACCOUNTS, *_MACHINES_OWN, *_LOGS, *_KEPT_OF_ALL, *_OF_PACKAGE_MANAGERS, *_OF_USERS, *_OF_MAIL,
    *apt.LOCAL_FILES, f"{apt.LOCAL_REPOSITORY}/",
)  # fmt: skip
# Directories that dpkg keeps for other reasons than that somebody's files are in them, and homes of system accounts.
_DIRECTORIES = (
    "/boot/grub", "/etc/X11", "/etc/apache2", "/etc/apache2/conf.d", "/etc/clamav", "/etc/cron.d", "/etc/lighttpd",
    "/etc/lighttpd/conf-available", "/etc/modprobe.d", "/etc/nagios-plugins/config", "/etc/network", "/etc/news",
    "/etc/sgml", "/etc/ssl", "/etc/ssl/certs", "/etc/ssl/private", "/etc/xml", f"{_ROOTS_HOME}/.cache",
    f"{_ROOTS_HOME}/.ssh", "/usr/share/dh-python", "/usr/share/dh-python/dhpython",
    "/usr/share/dh-python/dhpython/build", "/usr/share/python3", "/usr/share/python3/debpython", "/var/crash",
    "/var/games", "/var/lib/apache2", "/var/lib/debian-security-support", "/var/lib/gozerbot", "/var/lib/nagios",
    "/var/lib/onioncat", "/var/lib/pkcs11proxyd", "/var/lib/rbldns", "/var/lib/sreview", "/var/log/dbconfig-common",
    "/var/log/news", "/var/spool/powerdns",
)  # fmt: skip
_PHP_DIRECTORY = re.compile(r"/etc/php(/[0-9.]+(/[a-z0-9]+(/conf\.d)?|/mods-available)?|5(/conf\.d|/mods-available)?)?")
# update-ca-certificates makes links to the certificates, and openssl-rehash links to those, by their hashes.
_LINKS = (
    (re.compile(r"/etc/ssl/certs/[^/]+\.pem"), re.compile(r"/usr(/local)?/share/ca-certificates/.*")),
    (re.compile(r"/etc/ssl/certs/[0-9a-f]{8}\.\d+"), re.compile(r"[^/]+\.pem|ca-certificates\.crt")),
)
# update-mime-database makes all of this from what lies in packages/.
_MIME = re.compile(
    r"/usr/share/mime/(XMLnamespaces|aliases|generic-icons|globs2?|icons|magic|mime\.cache|subclasses|treemagic|types"
    r"|version|(?!packages/)[a-z-]+/[^/]+\.xml)"
)
_MIME_DIRECTORY = re.compile(r"/usr/share/mime(/(?!packages$)[a-z-]+)?")


def is_shared(path: str, *states: str) -> bool:
    """Tell whether a file is the machine's own, or kept of all packages together.

    :param states: what it was and is, as :class:`vmtasks.debian.leftovers.FilesystemState` has it: a letter and more,
        ``l TARGET`` for a link, ``d …`` for a directory.
    """
    if all(state.startswith("d ") for state in states) and (
        path in _DIRECTORIES or _MIME_DIRECTORY.fullmatch(path) or _PHP_DIRECTORY.fullmatch(path)
    ):
        return True
    if all(state.startswith("l ") for state in states):
        targets = [state.removeprefix("l ") for state in states]
        for name, target in _LINKS:
            if name.fullmatch(path) and all(target.fullmatch(one) for one in targets):
                return True
    return _MIME.fullmatch(path) is not None or any(_matches(path, pattern) for pattern in _ANY)


def _matches(path: str, pattern: str) -> bool:
    if pattern.endswith("/"):
        return path.startswith(pattern) or path == pattern.rstrip("/")
    return fnmatchcase(path, pattern)
