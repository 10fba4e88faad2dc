"""Where Debian packages come from: the host's own mirrors, unless somebody says otherwise.

What counts is what the host's apt is configured to use, fetched or not, and apt itself reads its sources. Whose archive
one is, is read from its Release file: the fetched one, or else one that is fetched here. (Its signature is checked
where packages are taken from it, by mmdebstrap.)

Nothing here names a mirror: without one, mmdebstrap falls back to its own default.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from vmtasks.image.pockets import Archive, expected

_FIELDS = ("ORIGIN", "LABEL", "CODENAME", "RELEASE", "COMPONENT", "REPO_URI")
FORMAT = "\t".join(f"$({field})" for field in _FIELDS)
"""What :func:`parse` reads of ``apt-get indextargets``; no archive has a tab in its label."""
_UNKNOWN = re.compile(r"\$\(\w+\)")
_FOR_GUESTS = ("http", "https", "mirror", "mirror+http", "mirror+https")
"""What is on this host alone (cdrom:, file:), or needs more than apt (tor+http:), is no mirror for a guest."""
_APT_HELPER = "/usr/lib/apt/apt-helper"
_ANSWER_LIMIT_S = 60
_VALIDITY = re.compile(r'(Acquire::(?:Check-Valid-Until|Check-Date|Max-FutureTime|Max-ValidTime)) "([^"]+)";')
_PROXY = re.compile(r'Acquire::(https?)::Proxy "(\w+://[^"@]+)";')


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirrors:
    """The URIs of Debian's archive and of its security archive; empty where the host knows none."""

    archive: str = ""
    security: str = ""
    notes: tuple[str, ...] = ()
    """What is not as one would expect, and what was done about it."""

    def sources(self, suite: str, components: Iterable[str] = ("main",)) -> tuple[str, ...]:
        """Return the lines of sources.list for *suite*; none where there is no mirror to name."""
        if not self.archive:
            return ()
        uris = {"release": self.archive, "updates": self.archive, "security": self.security}
        suites = {"release": suite, "updates": f"{suite}-updates", "security": f"{suite}-security"}
        lines = ((uris[pocket], suites[pocket]) for pocket in expected(suite))
        return tuple(f"deb {uri} {name} {' '.join(components)}" for uri, name in lines if uri)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostApt:
    """How this host's apt fetches and checks what it fetches, as far as a bake does it alike."""

    options: tuple[tuple[str, str], ...] = ()
    """Settings, name and value, about the time for which a Release file is valid."""
    proxies: tuple[tuple[str, str], ...] = ()
    """Variables of the environment, name and value; without those that have a password in them."""


def find(mirror: str) -> Mirrors:
    """Return the mirrors to use.

    :param mirror: an archive that somebody has chosen; it is then used alone, but for the host's security archive.
    """
    if shutil.which("apt-get") is None:
        return completed(Mirrors(archive=mirror))
    configured, problem = _indextargets("--no-release-info")
    fetched, _ = _indextargets()
    host = choose(parse(configured), parse(fetched), ask, Mirrors(archive=mirror))
    notes = (f"apt cannot read this host's sources: {problem}",) if problem else ()
    return completed(replace(host, notes=(*notes, *host.notes)))


def choose(
    configured: Iterable[Archive],
    fetched: Iterable[Archive],
    ask: Callable[[Archive], Archive | str],
    chosen: Mirrors | None = None,
) -> Mirrors:
    """Return the first mirror of each of Debian's archives among what is configured.

    :param fetched: of which of them it is known whose they are.
    :param ask: finds that out for another, or returns why it cannot.
    :param chosen: what need not be looked for.
    """
    known = {(one.uri, one.suite): one for one in fetched if one.origin}
    found = chosen or Mirrors()
    for one in configured:
        is_security = one.suite.endswith(("-security", "/updates"))
        uri = for_guests(one.uri)
        if not uri or "main" not in one.components or (found.security if is_security else found.archive):
            continue
        answer = known.get((one.uri, one.suite)) or ask(replace(one, uri=uri))
        if isinstance(answer, str):
            found = replace(found, notes=(*found.notes, answer))
        elif answer.pocket == "security":
            found = replace(found, security=found.security or uri)
        elif answer.pocket in ("release", "updates"):
            found = replace(found, archive=found.archive or uri)
    return found


def parse(indextargets: str) -> tuple[Archive, ...]:
    """Return what ``apt-get indextargets`` prints in our format, each archive once."""
    archives: dict[tuple[str, str], Archive] = {}
    for line in indextargets.splitlines():
        fields = ["" if _UNKNOWN.fullmatch(field) else field for field in line.split("\t")]
        if len(fields) != len(_FIELDS):
            continue
        origin, label, codename, suite, component, uri = fields
        one = archives.setdefault(
            (uri, suite), Archive(origin=origin, label=label, codename=codename, suite=suite, uri=uri)
        )
        if component and component not in one.components:
            archives[uri, suite] = replace(one, components=(*one.components, component))
    return tuple(archives.values())


def for_guests(uri: str, read: Callable[[Path], str] = Path.read_text) -> str:
    """Return where a guest finds what is at *uri*; empty if only this host does.

    Debian's cloud images name a file with mirrors: the first that a guest reaches stands for it.
    """
    scheme, _, rest = uri.partition(":")
    if scheme in _FOR_GUESTS:
        return uri
    if scheme != "mirror+file":
        return ""
    try:
        listed = read(Path(urlsplit(f"file:{rest}").path.rstrip("/")))
    except OSError:
        return ""
    mirrors = (line.split()[0] for line in listed.splitlines() if line.strip() and not line.startswith("#"))
    return next((f"{one.rstrip('/')}/" for one in mirrors if one.startswith(("http:", "https:"))), "")


def ask(one: Archive) -> Archive | str:
    """Return the archive with what its Release file has of it, or a sentence why that cannot be had."""
    where = f"{one.uri.rstrip('/')}/dists/{one.suite}"
    options = [f"-oAcquire::http::Timeout={_ANSWER_LIMIT_S // 4}", "-oAcquire::Retries=1", "-oAPT::Sandbox::User=root"]
    complaint = ""
    with tempfile.TemporaryDirectory(prefix="vmtasks-") as room:
        for name in ("InRelease", "Release"):
            command = [_APT_HELPER, *options, "download-file", f"{where}/{name}", f"{room}/{name}"]
            try:
                done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_ANSWER_LIMIT_S)
            except (OSError, subprocess.TimeoutExpired) as problem:
                return f"{one.uri} {one.suite} is left out: whose archive it is cannot be asked: {problem}"
            if done.returncode == 0:
                return read_release(one, Path(room, name).read_text(errors="replace"))
            complaint = complaint or next(
                (line.removeprefix("E: ") for line in done.stderr.splitlines() if line.startswith("E: ")), ""
            )
    return f"{one.uri} {one.suite}, which this host's apt is configured to use, is left out: {complaint}"


def read_release(one: Archive, text: str) -> Archive:
    """Return the archive with what the head of a Release or InRelease file has of it."""
    fields = dict(re.findall(r"^(Origin|Label|Codename):[ \t]*(.*?)[ \t\r]*$", text, re.MULTILINE))
    return replace(
        one,
        origin=fields.get("Origin", ""),
        label=fields.get("Label", ""),
        codename=fields.get("Codename", one.codename),
    )


def host_apt() -> HostApt:
    """Return how this host's apt fetches and checks what it fetches."""
    if shutil.which("apt-config") is None:
        return HostApt()
    return read_config(subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False).stdout)


def read_config(dump: str) -> HostApt:
    """Pick what a bake does alike out of what ``apt-config dump`` prints."""
    return HostApt(
        options=tuple(_VALIDITY.findall(dump)),
        proxies=tuple((f"{scheme}_proxy", proxy) for scheme, proxy in _PROXY.findall(dump)),
    )


def completed(host: Mirrors) -> Mirrors:
    """Where no security archive is configured, try the one beside the archive: mirrors of Debian have both there."""
    if host.security or not host.archive:
        return host
    beside = re.sub(r"/debian(?=/|$)", "/debian-security", host.archive)
    if beside == host.archive:
        note = (
            f"no source of this host's names Debian's security archive, and there is none known beside {host.archive}"
        )
        return replace(host, notes=(*host.notes, note))
    note = f"no source of this host's names Debian's security archive: {beside} is tried"
    return replace(host, security=beside, notes=(*host.notes, note))


def _indextargets(*options: str) -> tuple[str, str]:
    """Return what apt prints of its sources, and its complaints."""
    command = ["apt-get", "indextargets", *options, "--format", FORMAT, "Created-By: Packages"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    complaints = [line for line in done.stderr.splitlines() if line.startswith("E: ")]
    return done.stdout, complaints[0].removeprefix("E: ") if done.returncode and complaints else ""
