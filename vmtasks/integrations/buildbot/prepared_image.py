"""An image with what builds need on top, for a worker that exists only while it builds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from vmtasks.debian import apt
from vmtasks.errors import HostError, TestFailed
from vmtasks.guest import Guest
from vmtasks.providers.preparation import Preparation


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """An image, and what is done to a machine of it before a worker gets that.

    Where machines can be kept, it is done once, by the first build, and later ones start from a checkpoint. That is
    found again as long as the image, the form of the machine and all that is said here stay the same.

    :param image: the name of the image.
    :param packages: Debian packages to install.
    :param commands: lines of shell that root runs then, each as ``/bin/sh -euxc``.
    """

    image: str
    packages: Sequence[str] = ()
    commands: Sequence[str] = ()

    @classmethod
    def of(cls, image: str | PreparedImage) -> PreparedImage:
        """Return an image, by its name as well, with nothing on top then."""
        return image if isinstance(image, PreparedImage) else cls(image)

    @property
    def preparation(self) -> Preparation | None:
        """What is to be done; None: nothing."""
        if not (self.packages or self.commands):
            return None
        key = f"for Buildbot's workers: {json.dumps([[*self.packages], [*self.commands]])}"
        return Preparation(name=f"what builds on {self.image} need", key=key, run=self._prepare)

    def _prepare(self, guest: Guest) -> bool:
        try:
            apt.install(guest, self.packages)
            for command in self.commands:
                guest.succeed(["/bin/sh", "-euxc", command])
        except TestFailed as problem:  # of no project: the master's configuration says what is done here
            raise HostError(f"cannot prepare {self.image}: {problem!s}", details=problem.details) from problem
        return True
