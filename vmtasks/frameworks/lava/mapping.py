"""What stands here for what a job of LAVA names by its lab's words: images for device types and URLs, paths for URLs.

A device type may also stand for an existing host, which is used as it is: ``arndale = "ssh://root@board"``.
It is a small file of TOML, ``lava.toml`` beside the job, or in the current directory::

    [devices]
    kvm = "bookworm"
    [images]
    "http://images.example.org/debian/" = "trixie"
    [kernels]
    "http://images.example.org/rt/vmlinuz" = "linux-image-rt-amd64"
    [paths]
    "https://git.example.org/tests.git" = "../tests"

A URL fits a line if it is the same, or goes on below it; of several lines the longest counts.

Jobs may be a stranger's. So a path of this host stands for itself beneath the job's directory alone, and a file that
only lies beside the job, and not where the user is, gives away no path outside of it, and no host.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from vmtasks.config import toml
from vmtasks.errors import UsageError
from vmtasks.frameworks.lava.architectures import fits, is_arm64, is_foreign, stand_in, stand_in_kernel
from vmtasks.kernel.origin import is_address, is_path

NAME = "lava.toml"
_HOST = "ssh://"
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class LavaMapping:
    """The file; without one, nothing stands for anything."""

    devices: dict[str, str] = field(default_factory=dict, metadata={"says": "device types, and the images for them"})
    images: dict[str, str] = field(default_factory=dict, metadata={"says": "URLs of images, and ours for them"})
    kernels: dict[str, str] = field(default_factory=dict, metadata={"says": "URLs of kernels, and kernels of ours"})
    paths: dict[str, str] = field(default_factory=dict, metadata={"says": "URLs of tests, and where they are here"})
    file: Path = field(default=Path(NAME), metadata={"key": None})
    job_directory: Path = field(default=Path(), metadata={"key": None})
    is_own: bool = field(default=True, metadata={"key": None})
    """Whether it is the user's, and not the job's."""

    @classmethod
    def load(cls, path: Path | None, *, job: Path) -> LavaMapping:
        """Read a file; by default the one beside the job, or else that of the current directory, if any.

        :raise UsageError: it cannot be read, or is none.
        """
        beside = job.parent / NAME
        chosen = path or next((one for one in (beside, Path(NAME)) if one.exists()), None)
        if chosen is None:
            return cls(file=beside, job_directory=job.parent)
        found = toml.load(cls, chosen)
        hosts = {what: host for what, host in found.devices.items() if host.startswith(_HOST)}
        for what, host in hosts.items():
            _expect_host(host, where=f"{chosen}: '{what}'")
        for what, image in (*found.images.items(), *(one for one in found.devices.items() if one[0] not in hosts)):
            if "://" in image or not image:
                raise UsageError(
                    f"{chosen}: '{what}' cannot be '{image}': that is no name of an image",
                    hint="`images.list` shows the images; a device type may also be an existing host, ssh://root@HOST",
                )
        is_own = chosen is not beside or job.parent.resolve() == Path.cwd()
        return replace(found, file=chosen, job_directory=job.parent, is_own=is_own)

    def host(self, device: str, *, where: str) -> str:
        """Return the existing host that stands for a device type; nothing if none does.

        :raise UsageError: the file is the job's, and may not give it away.
        """
        host = self.devices.get(device, "")
        if not host.startswith(_HOST):
            return ""
        if not self.is_own:
            raise UsageError(
                f"{where}: {self.file} has {host} for '{device}', and is the job's own: jobs name no hosts of yours",
                hint=f"if you want it so: --mapping {self.file}, or run this in {self.job_directory}",
            )
        return host

    def image(self, url: str, *, device: str, where: str) -> str:
        """Return the image of ours for a machine: what stands for the URL of its image, or else for its device type.

        A device type that says of itself that it is of another architecture than the image needs a line of its own,
        which goes before the URL's for one for arm64 where its image is for arm64, and the URL's is not.

        :param where: what messages begin with: the file and the key.
        :raise UsageError: nothing does.
        """
        nearest = stand_in(device)
        of_device = self._line("devices", device, nearest)
        if device not in self.devices and is_foreign(device):
            raise UsageError(
                f"{where}: device type '{device}' is of another architecture than the images here, which are for "
                f"amd64, i386 and arm64: {of_device} is missing, by which a machine of that image stands for it",
                hint="a line for its image's URL is not enough; what the tests bring must be for that machine then",
            )
        line = _longest(self.images, url) or (device if device in self.devices else "")
        if not line:
            raise UsageError(
                f"{where}: no image of ours stands for {url}: {self._line('images', url, nearest)} is missing, or "
                f"{of_device}"
            )
        image = self.images.get(line) or self.devices[line]
        if not is_arm64(device) or fits(image, device):
            return image
        if device not in self.devices:
            raise UsageError(
                f"{where}: device type '{device}' is for arm64, and '{image}', which stands for {url}, is not: "
                f"{of_device} is missing",
                hint="where that line has an image for amd64, such a machine stands for it, of whichever image",
            )
        own = self.devices[device]
        return own if fits(own, device) else image

    def kernel(self, url: str, *, image: str, where: str) -> str:
        """Return the kernel that stands for that of a URL, as ``--kernel`` names it.

        :param image: the image of ours that it is for.
        :raise UsageError: none does.
        """
        if line := _longest(self.kernels, url):
            names = self.kernels[line].split(",")
            return ",".join(self._kernel(name, url, where) for name in names)
        missing = self._line("kernels", url, stand_in_kernel(image))
        raise UsageError(f"{where}: no kernel stands for {url}: {missing} is missing")

    def _kernel(self, name: str, url: str, where: str) -> str:
        """Return one name of a kernel, with its path from here.

        :raise UsageError: the file is the job's, and may not have it.
        """
        if is_path(name):
            return str(self._granted(self.file.parent / name, url, where))
        if is_address(name) and not self.is_own:
            raise UsageError(
                f"{where}: {self.file} has {name} for {url}, and what only lies beside a job has nothing fetched",
                hint=f"if you want it so: --mapping {self.file}, or run this in {self.job_directory}",
            )
        return name

    def local(self, url: str, *, where: str) -> Path:
        """Return the path that stands for a URL; one beneath the job's directory stands for itself.

        :raise UsageError: nothing does.
        """
        if found := self._mapped(url, where):
            return found
        is_here = Path(url.removeprefix("file://"))
        leads = ""
        if url.startswith(("file:///", "/")) and os.path.exists(is_here):  # noqa: PTH110 - any error is a no
            if is_beneath(is_here, self.job_directory):
                return is_here
            leads = f"it is outside of the job's directory {self.job_directory.absolute()}, and "
        raise UsageError(
            f"{where}: nothing here stands for {url}: {leads}{self._line('paths', url, 'PATH')} is missing",
            hint="PATH is relative to that file; the line may also have the beginning of the URL alone",
        )

    def repository(self, url: str, *, beside: Path) -> tuple[str, bool]:
        """Return what git is to clone for a definition, and whether that is a path that nobody has given away.

        :param beside: the directory whose files go along: a path is relative to it, and stands for itself beneath it.
        :raise UsageError: it is a path that leads out of it.
        """
        if found := self._mapped(url, f"cannot clone {url}"):
            return str(found), False
        if url.startswith("file://"):
            path = Path(unquote(url.removeprefix("file://")))
        elif "://" in url or ":" in url.partition("/")[0]:
            return url, False
        else:
            path = Path(url)
        if "\0" not in str(path) and is_beneath(beside / path, beside):
            return str(beside / path), True
        raise UsageError(
            f"cannot clone {url}: it is outside of {beside}, and {self._line('paths', url, 'PATH')} is missing",
            hint="the files of a definition may name others of this host only if that file gives them away",
        )

    def _mapped(self, url: str, where: str) -> Path | None:
        """Return what a line has for a URL; None if there is none."""
        if line := _longest(self.paths, url):
            rest = PurePosixPath(url.removeprefix(line).lstrip("/"))
            if ".." in rest.parts:
                raise UsageError(f"{where}: {url} leads out of what {self.file} has for it")
            try:
                return self._granted(self.file.parent / Path(self.paths[line]).expanduser() / rest, url, where)
            except RuntimeError as problem:  # there is no such user
                raise UsageError(f"{self.file}: '{self.paths[line]}' is no path: {problem}") from problem
        return None

    def _granted(self, path: Path, url: str, where: str) -> Path:
        """Return a path that the file has.

        :raise UsageError: the file is the job's, and may not give it away.
        """
        if self.is_own or is_beneath(path, self.job_directory):
            return path
        raise UsageError(
            f"{where}: {self.file} has {path} for {url}, which is outside of the job's directory",
            hint=f"if you want it so: --mapping {self.file}, or run this in {self.job_directory}",
        )

    def _line(self, table: str, key: str, value: str) -> str:
        shown = key if _BARE_KEY.fullmatch(key) else json.dumps(key, ensure_ascii=False)
        return f"the line `{shown} = {json.dumps(value)}` under [{table}] of {self.file}"


def _expect_host(host: str, *, where: str) -> None:
    """See that a text names an existing host.

    :raise UsageError: it does not.
    """
    from vmtasks.providers.static_host.provider import StaticHost

    try:
        StaticHost.at(host)
    except UsageError as problem:
        raise UsageError(f"{where}: {problem}", hint=problem.hint) from problem


def is_beneath(path: Path, directory: Path) -> bool:
    """Tell whether a path, links followed, is a directory or lies in it."""
    return path.resolve().is_relative_to(directory.resolve())


def _longest(table: Mapping[str, str], url: str) -> str:
    """Return the longest key that is the URL, or above it; nothing if there is none."""
    fits = (one for one in table if one and (url == one or url.startswith(f"{one.rstrip('/')}/")))
    return max(fits, key=len, default="")
