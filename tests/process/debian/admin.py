"""dpkg's own records, made by hand beneath a directory: real dpkg-query and dpkg-divert read them there."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

_ARCHITECTURE = "amd64"


class Admin:
    """What dpkg knows of packages whose files lie beneath *root*, which stands for / in scripts of a guest's."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.admin = root / "var/lib/dpkg"
        (self.admin / "info").mkdir(parents=True)
        (self.admin / "updates").mkdir()
        (self.admin / "info/format").write_text("1\n")
        (self.admin / "status").touch()

    def add(
        self,
        name: str,
        files: Mapping[str, str],
        conffiles: Mapping[str, str] = {},
        status: str = "installed",
        flags: str = "",
    ) -> None:
        """Unpack a package: its files, and its conffiles, by their names with their contents."""
        listed = [*files, *conffiles]
        for path, text in {**files, **conffiles}.items():
            self.write(path, text)
        (self.admin / f"info/{name}.list").write_text("".join(f"{self.root}{path}\n" for path in listed))
        # The names in md5sums have no slash at their beginning.
        below = str(self.root)[1:]
        sums = "".join(f"{_md5(text)}  {below}{path}\n" for path, text in files.items())
        (self.admin / f"info/{name}.md5sums").write_text(sums)
        lines = "".join(f" {self.root}{path} {_md5(text)}{flags}\n" for path, text in conffiles.items())
        with (self.admin / "status").open("a") as file:
            file.write(
                f"Package: {name}\nStatus: install ok {status}\nVersion: 1\nArchitecture: {_ARCHITECTURE}\n"
                f"Maintainer: A Tester <tester@example.org>\nDescription: a package\n"
                + (f"Conffiles:\n{lines}" if lines else "")
                + "\n"
            )

    def write(self, path: str, text: str) -> Path:
        """Write a file, by its name beneath the root."""
        file = Path(f"{self.root}{path}")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def run(self, script: str, *words: str, path: Sequence[Path] = ()) -> list[str]:
        """Run a script that is meant for a guest, and return its lines, in which the root is /.

        :param path: directories with programs that go before this host's.
        """
        names = ("etc", "var")
        for name in names:
            script = script.replace(f"/{name}/", f"{self.root}/{name}/")
        environment = {**os.environ, "DPKG_ADMINDIR": str(self.admin)}
        environment["PATH"] = ":".join([*map(str, path), os.environ["PATH"]])
        done = subprocess.run(
            ["/bin/sh", "-c", script, "sh", *words], env=environment, capture_output=True, text=True, check=True
        )
        assert done.stderr == ""
        return done.stdout.replace(str(self.root), "").splitlines()


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
