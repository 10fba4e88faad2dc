"""A project with debian/ that takes seconds: what it is good for is all that happens around it."""

from __future__ import annotations

from pathlib import Path

# No debhelper: what it takes to build this is in the image, and no program of Perl's runs a dozen times.
_FILES = {
    "Makefile": (
        "NAME = parrot-1.0\n"
        "dist:\n\ttar --create --gzip --file=$(NAME).tar.gz --transform='s,^,$(NAME)/,' Makefile parrot debian\n"
    ),
    "parrot": '#!/bin/sh\necho "$@"\n',
    "debian/changelog": (
        "parrot (1.0) unstable; urgency=medium\n\n  * First.\n\n"
        " -- A Tester <tester@example.org>  Thu, 01 Jan 2026 00:00:00 +0000\n"
    ),
    "debian/control": (
        "Source: parrot\nMaintainer: A Tester <tester@example.org>\n\n"
        "Package: parrot\nArchitecture: any\nDescription: says again what it is told\n"
    ),
    "debian/rules": (
        "#!/usr/bin/make -f\nclean build binary-indep:\nbinary: binary-arch\nbinary-arch:\n"
        "\tinstall -D parrot debian/parrot/usr/bin/parrot\n\tmkdir debian/parrot/DEBIAN\n"
        "\tdpkg-gencontrol -Pdebian/parrot\n\tdpkg-deb --root-owner-group --build debian/parrot ..\n"
    ),
    "debian/source/format": "3.0 (native)\n",
    "debian/tests/control": "Test-Command: parrot hello | grep hello\nFeatures: test-name=speaks\n",
    "vmtasks.toml": '[commands]\ndist = "make dist"\nlintian = "off"\nsmoke = "parrot hello | grep -x hello"\n',
}
_PROGRAMS = ("parrot", "debian/rules")
DEB = "parrot_1.0_amd64.deb"


def write_small_package(root: Path, *, with_tests: bool = True) -> Path:
    """Write the project, with or without debian/tests, and return its directory."""
    for name, text in _FILES.items():
        if name.startswith("debian/tests/") and not with_tests:
            continue
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755 if name in _PROGRAMS else 0o644)
    return root
