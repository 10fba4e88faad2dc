"""build-deb as a Debian builder would have it: profiles, no network, nothing undeclared, all that .changes names."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.debian_source import fetched
from tests.results import commands_of, newest

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 900.0
HOST = "10.0.2.2"
"""What a guest calls the host that it runs on."""

CONTROL = """\
Source: parcel
Section: misc
Maintainer: A Tester <tester@example.org>
Standards-Version: 4.6.2
Build-Depends: no-such-test-suite <!nocheck>, no-such-manual (>= 2) <!nocheck>, mawk | no-such-awk,
 libtool, python3
Build-Conflicts: equivs

Package: parcel
Architecture: all
Description: what is shipped
 With a companion for the installer.

Package: parcel-udeb
Package-Type: udeb
Section: debian-installer
Architecture: all
Description: what the installer takes
"""
RULES = """\
#!/usr/bin/make -f
clean binary-arch:
build:
\tsetsid sleep 4000 >/dev/null 2>&1 </dev/null &
binary: binary-indep
binary-indep:
\ttest ! -e /usr/bin/equivs-build
\tfor tool in dh git autoreconf pkg-config lintian debuild; do ! command -v $$tool || exit 1; done
\tlibtoolize --version
\ttest ! -w "$$HOME"
\ttest "$(sort $(filter terse nocheck,$(DEB_BUILD_OPTIONS)))" = "nocheck terse"
\tpython3 debian/reach.py
\tmkdir -p debian/parcel/DEBIAN debian/parcel-udeb/DEBIAN
\tdpkg-gencontrol -pparcel -Pdebian/parcel
\tdpkg-gencontrol -pparcel-udeb -Pdebian/parcel-udeb -nparcel-udeb_1.0_all.udeb
\tdpkg-deb --root-owner-group --build debian/parcel ..
\tdpkg-deb --root-owner-group --build debian/parcel-udeb ../parcel-udeb_1.0_all.udeb
\techo words >../parcel_1.0_words.txt
\tdpkg-distaddfile parcel_1.0_words.txt byhand -
"""
REACH = """\
import socket, threading, time

for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    with socket.create_server((address, 0), family=family) as server:
        threading.Thread(target=lambda: server.accept()[0].sendall(b"hello")).start()
        with socket.create_connection(server.getsockname()[:2]) as client:
            assert client.recv(5) == b"hello"
began = time.monotonic()
try:
    socket.getaddrinfo("name.invalid", 80)
except socket.gaierror:
    print("a name took", "no time" if time.monotonic() - began < 5 else "long", flush=True)
with socket.create_connection(("HOST", PORT), timeout=30) as outside:
    print("reached the outside", flush=True)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What came of a call."""

    status: int
    stderr: str
    result: dict[str, Any]
    artifacts: dict[str, Path]

    @property
    def output(self) -> str:
        """All that the commands of the run printed."""
        return "".join(Path(command["log"]).read_text(errors="replace") for command in commands_of(self.result))


def build_deb(cwd: Path, *words: str | Path, **environ: str) -> Done:
    argv = [Path(sys.executable).with_name("inv"), "-r", ROOT, "build-deb", *words]
    environment = {**os.environ, "VMTASKS_RESULTS": str(cwd / "results"), **environ}
    ended = subprocess.run(
        argv, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_S,
        check=False,
    )  # fmt: skip
    result = json.loads(newest(cwd / "results").read_text(encoding="utf-8"))
    artifacts = {Path(line).name: cwd / line for line in ended.stdout.splitlines()}
    return Done(status=ended.returncode, stderr=ended.stderr, result=result, artifacts=artifacts)


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / "debian" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "debian/rules").chmod(0o755)


@pytest.fixture
def port() -> Iterator[int]:
    """Yield a port of this host's that takes connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def parcel(tmp_path: Path, port: int) -> Path:
    """Return a source that cannot be built without a network, and not without the profile nocheck."""
    root = tmp_path / "parcel"
    changelog = (
        "parcel (1.0) unstable; urgency=low\n\n  * First.\n\n -- N <n@example.org>  Thu, 01 Jan 2026 00:00:00 +0000\n"
    )
    reach = REACH.replace("HOST", HOST).replace("PORT", str(port))
    write(
        root,
        changelog=changelog,
        control=CONTROL,
        rules=RULES,
        **{"reach.py": reach, "source/format": "3.0 (native)\n"},
    )
    (root / "vmtasks.toml").write_text('[build]\noptions = ["terse"]\n[commands]\nlintian = "off"\n')
    return tmp_path


def test_what_cannot_be_installed_is_named(parcel: Path) -> None:
    done = build_deb(parcel, "--source", "parcel")
    assert (done.status, done.result["outcome"]) == (1, "test-failed"), done.stderr
    assert "no-such-test-suite" in done.result["message"]
    assert "no-such-manual (>= 2)" in done.result["message"]
    assert "no-such-awk" not in done.result["message"]


def test_a_build_reaches_itself_and_nothing_else_unless_it_may(parcel: Path) -> None:
    failed = build_deb(parcel, "--source", "parcel", DEB_BUILD_PROFILES="nocheck")
    assert (failed.status, failed.result["outcome"]) == (1, "test-failed"), failed.stderr
    assert "a name took no time\n" in failed.output
    assert "Network is unreachable" in failed.output
    assert '[build] network = "user"' in failed.result["hint"]

    passed = build_deb(
        parcel, "--source", "parcel", "--with-source", DEB_BUILD_PROFILES="nocheck", VMTASKS_BUILD_NETWORK="user"
    )
    assert passed.status == 0, passed.stderr
    assert "reached the outside\n" in passed.output
    assert list(passed.artifacts) == [
        *("parcel_1.0.dsc", "parcel_1.0.tar.xz", "parcel-udeb_1.0_all.udeb", "parcel_1.0_all.deb"),
        *("parcel_1.0_amd64.buildinfo", "parcel_1.0_words.txt", "parcel_1.0_amd64.changes"),
    ]
    assert 'DEB_BUILD_PROFILES="nocheck"\n' in passed.artifacts["parcel_1.0_amd64.buildinfo"].read_text()
    assert "the build left 1 processes running, `sleep 4000` among them" in passed.stderr
    starts = {machine["machine"]: machine["start"] for machine in passed.result["machines"]}
    assert starts["build"] == "fork", "what nocheck leaves to be installed was kept"


def test_a_source_for_other_machines_alone_is_one_sentence(tmp_path: Path) -> None:
    root = tmp_path / "elsewhere"
    changelog = (
        "elsewhere (1) unstable; urgency=low\n\n  * x\n\n -- N <n@example.org>  Thu, 01 Jan 2026 00:00:00 +0000\n"
    )
    control = "Source: elsewhere\nMaintainer: N <n@example.org>\n\nPackage: elsewhere\nArchitecture: arm64 hurd-any\n"
    write(root, changelog=changelog, control=control, rules="#!/bin/false\n")
    done = build_deb(tmp_path, "--source", "elsewhere")
    assert (done.status, done.result["outcome"]) == (64, "usage"), done.stderr
    assert re.search(r"cannot build packages of elsewhere: it has none for amd64", done.result["message"])
    assert "Traceback" not in done.stderr


def test_a_source_package_of_debians_installer_gives_its_udebs(tmp_path: Path) -> None:
    apt_setup = fetched("apt-setup", tmp_path / "apt")
    done = build_deb(tmp_path, "--source", apt_setup, VMTASKS_LINTIAN="off")  # which would take longer than the build
    assert done.status == 0, done.stderr
    named = re.findall(r"(?m)^ ([0-9a-f]{64}) \d+ (\S+)$", done.artifacts.popitem()[1].read_text())
    assert {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in done.artifacts.items()} == {
        name: checksum for checksum, name in named
    }
    assert sorted(Path(name).suffix for name in done.artifacts) == [".buildinfo", ".udeb", ".udeb", ".udeb"]
    assert [case["case"] for case in done.result["cases"]] == ["build-deb"]
