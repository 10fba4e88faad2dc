"""Sources of every kind, from real trees to real packages in real machines: what dpkg-source would say."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.results import newest

ROOT = Path(__file__).resolve().parents[2]
INV = (str(Path(sys.executable).with_name("inv")), "-r", str(ROOT))
LIMIT_S = 1800.0
"""Of one call: waiting for a slot behind somebody else's machines is part of it."""

CHANGELOG = (
    "tiny ({version}) unstable; urgency=medium (a note)\n\n  * First.\n\n"
    " -- A Tester <tester@example.org>  Thu, 01 Jan 2026 00:00:00 +0000\n"
)
# No debhelper: what it takes to build this is in the image.
RULES = (
    "#!/usr/bin/make -f\nbuild clean binary-arch:\nbinary: binary-indep\nbinary-indep:\n"
    "\tmkdir -p debian/tmp/DEBIAN debian/tmp/usr/share/tiny\n\tcp words data/more debian/tmp/usr/share/tiny\n"
    "\tdpkg-gencontrol\n\tdpkg-deb --root-owner-group --build debian/tmp ..\n"
)
CONTROL = (
    "Source: tiny\nMaintainer: A Tester <tester@example.org>\n\n"
    "Package: tiny\nArchitecture: all\nDescription: a tiny thing\n"
)
PATCH = "--- a/words\n+++ b/words\n@@ -1 +1 @@\n-as upstream has it\n+patched\n"
DEBIAN = {
    "debian/control": CONTROL,
    "debian/rules": RULES,
    "debian/patches/series": "one.patch\n",
    "debian/patches/one.patch": PATCH,
    "debian/source/format": "3.0 (quilt)\n",
}


def inv(cwd: Path, *words: str | Path, **environ: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """Call a recipe, and return what came of it and what it wrote down."""
    done = subprocess.run(
        [*INV, *map(str, words)],
        cwd=cwd,
        env={**os.environ, "VMTASKS_RESULTS": str(cwd / "results"), **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    return done, json.loads(newest(cwd / "results").read_text(encoding="utf-8"))


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755 if name == "debian/rules" else 0o644)
    return root


def git(root: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=Ida", "-c", "user.email=ida@example.org"]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | {
        "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1",
    }  # fmt: skip
    subprocess.run(["git", "-C", str(root), *identity, *arguments], env=environ, check=True, capture_output=True)


def packed(path: Path, top: str, files: dict[str, str]) -> Path:
    with tarfile.open(path, "w:xz" if path.suffix == ".xz" else "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"{top}/{name}")
            member.size = len(text)
            member.mode = 0o755 if name.endswith("rules") else 0o644
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


def dsc_of(path: Path, version: str, parts: list[Path]) -> Path:
    text = f"Format: 3.0 (quilt)\nSource: tiny\nBinary: tiny\nArchitecture: all\nVersion: {version}\n"
    text += "Maintainer: A Tester <tester@example.org>\n"
    for field, kind in (("Checksums-Sha256", "sha256"), ("Files", "md5")):
        text += f"{field}:\n"
        for one in parts:
            text += f" {hashlib.new(kind, one.read_bytes()).hexdigest()} {one.stat().st_size} {one.name}\n"
    path.write_text(text)
    return path


def content(deb: Path) -> dict[str, str]:
    """Return the files of a package."""
    data = subprocess.run(["dpkg-deb", "--fsys-tarfile", deb], check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = [(member.name, archive.extractfile(member)) for member in archive if member.isfile()]
        return {name.rpartition("/")[2]: file.read().decode() for name, file in members if file}


@pytest.fixture
def dsc(tmp_path: Path) -> Path:
    """Return a source package with a component, a patch and an epoch."""
    upstream = {"words": "as upstream has it\n", "data/more": "the main tarball's\n"}
    debian = {name.removeprefix("debian/"): text for name, text in DEBIAN.items()}
    debian["changelog"] = CHANGELOG.format(version="2:1.0~rc1-1")
    parts = [
        packed(tmp_path / "tiny_1.0~rc1.orig.tar.gz", "tiny-whatever", upstream),
        packed(tmp_path / "tiny_1.0~rc1.orig-data.tar.gz", "anything", {"more": "a component\n"}),
        packed(tmp_path / "tiny_1.0~rc1-1.debian.tar.xz", "debian", debian),
    ]
    return dsc_of(tmp_path / "tiny_1.0~rc1-1.dsc", "2:1.0~rc1-1", parts)


def test_a_dsc_is_built_as_dpkg_source_unpacks_it(tmp_path: Path, dsc: Path) -> None:
    done, result = inv(tmp_path, "build-deb", "--source", dsc, "--out", "out", VMTASKS_LINTIAN="off")
    assert done.returncode == 0, done.stderr
    assert content(tmp_path / "out" / "tiny_1.0~rc1-1_all.deb") == {"words": "patched\n", "more": "a component\n"}
    assert [machine["image"] for machine in result["machines"] if machine["machine"] == "build"] == ["bookworm-build"]


def test_a_dsc_whose_tarball_is_another_one_is_refused_before_anything_boots(tmp_path: Path, dsc: Path) -> None:
    with (tmp_path / "tiny_1.0~rc1.orig.tar.gz").open("ab") as orig:
        orig.write(b"x")
    done, result = inv(tmp_path, "build-deb", "--source", dsc)
    assert (done.returncode, result["outcome"], result["machines"], result["phases"]) == (64, "usage", [], [])
    assert re.search(r"tiny_1\.0~rc1\.orig\.tar\.gz is not the file that it names", result["message"])


def test_vmtasks_image_holds_for_a_file_too(tmp_path: Path, dsc: Path) -> None:
    for words in (("build-deb", "--source", dsc), ("install-test", "--debs", dsc, "--source", dsc)):
        done, result = inv(tmp_path, *words, VMTASKS_IMAGE="no-such-image")
        assert done.returncode == 64, done.stderr
        assert "no-such-image" in result["message"] or "cannot install" in result["message"]


def test_a_packaged_checkout_is_its_source_package(tmp_path: Path) -> None:
    upstream = {"words": "as upstream has it\n", "data/more": "more\n", "Makefile": "dist:\n\tfalse\n"}
    root = write(tmp_path / "tiny here", upstream)
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "upstream")
    git(root, "tag", "v1.0")
    write(root, {**DEBIAN, "debian/changelog": CHANGELOG.format(version="1.0-1")})
    write(root, {"vmtasks.toml": '[commands]\nlintian = "off"\nsmoke = "grep patched /usr/share/tiny/words"\n'})
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "debian")
    done, result = inv(tmp_path, "test-in-vm", "--source", root, "--out", "out")
    assert done.returncode == 0, done.stderr
    assert content(tmp_path / "out" / "tiny_1.0-1_all.deb") == {"words": "patched\n", "more": "more\n"}
    made = {Path(path).name for path in result["artifacts"]}
    assert {"tiny_1.0-1.dsc", "tiny_1.0.orig.tar.gz", "tiny_1.0-1.debian.tar.xz", "tiny_1.0-1_all.deb"} <= made
    notes = [note["text"] for note in result["notes"]]
    assert "upstream's tarball tiny_1.0.orig.tar.* is made of the tag v1.0" in notes
    assert {case["case"]: case["outcome"] for case in result["cases"]}["smoke"] == "passed"


def test_a_tree_is_built_from_upstreams_tarball_and_what_no_patch_has_fails(tmp_path: Path) -> None:
    upstream = {"words": "as upstream has it\n", "data/more": "more\n"}
    orig = packed(tmp_path / "tiny_1.0.orig.tar.gz", "tiny-whatever", upstream)
    root = write(tmp_path / "tree", {**upstream, **DEBIAN, "debian/changelog": CHANGELOG.format(version="1.0-1")})
    write(root, {"vmtasks.toml": '[commands]\nlintian = "off"\n'})
    done, result = inv(tmp_path, "build-deb", "--source", root, "--with-source", "--out", "out")
    assert done.returncode == 0, done.stderr
    assert content(tmp_path / "out" / "tiny_1.0-1_all.deb") == {"words": "patched\n", "more": "more\n"}
    made = {Path(path).name for path in result["artifacts"]}
    assert {"tiny_1.0-1.dsc", "tiny_1.0-1.debian.tar.xz", "tiny_1.0-1_all.deb"} <= made
    assert (tmp_path / "out" / orig.name).read_bytes() == orig.read_bytes()
    assert [machine["machine"] for machine in result["machines"]][-2:] == ["source", "build"]

    write(root, {"data/more": "edited here\n"})
    done, result = inv(tmp_path, "build-deb", "--source", root)
    assert (done.returncode, result["outcome"]) == (1, "test-failed"), done.stderr
    assert {case["case"]: case["outcome"] for case in result["cases"]} == {"source-package": "test-failed"}
    assert "tiny_1.0.orig.tar.gz" in result["message"]


def test_upstreams_tarball_is_fetched_from_where_debian_watch_leads_to(tmp_path: Path) -> None:
    upstream = {"words": "as upstream has it\n", "data/more": "more\n"}
    (tmp_path / "site").mkdir()
    orig = packed(tmp_path / "site" / "tiny-1.0.tar.gz", "tiny-whatever", upstream)
    packed(tmp_path / "site" / "tiny-1.1.tar.gz", "tiny-1.1", upstream)
    root = write(tmp_path / "tree", {**upstream, **DEBIAN, "debian/changelog": CHANGELOG.format(version="1:1.0-1")})
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "site"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as site:
        # A bound port that nobody listens to any more is refused; 10.0.2.2 is this host, in a machine's network.
        threading.Thread(target=site.serve_forever, daemon=True).start()
        where = f"http://10.0.2.2:{site.server_port}/"
        write(
            root,
            {"debian/watch": f"version=4\nopts=uversionmangle=s/x/y/ {where} tiny-(.+)\\.tar\\.gz debian uupdate\n"},
        )
        done, result = inv(tmp_path, "source-package", "--source", root, "--out", "out")
        site.shutdown()
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "tiny_1.0.orig.tar.gz").read_bytes() == orig.read_bytes()
    told = [note["text"] for note in result["notes"] if "upstream" in note["text"]]
    assert told == ["upstream's tarball tiny_1.0.orig.tar.* is what debian/watch leads to"]

    done, result = inv(tmp_path, "source-package", "--source", root, "--out", "out2")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out2" / "tiny_1.0.orig.tar.gz").read_bytes() != orig.read_bytes()
    (told,) = (note["text"] for note in result["notes"] if "upstream" in note["text"])
    assert "made of the tree without debian/" in told
    assert f"debian/watch leads to none: {where} failed: 500 Can't connect" in told


def test_the_version_that_git_describe_says_is_the_one_that_the_developer_sees(tmp_path: Path) -> None:
    root = write(tmp_path / "tiny", {"tiny.c": "int main(void) { return 0; }\n"})
    line = "mkdir tiny-$(V) && cp tiny.c tiny-$(V) && tar cJf tiny-$(V).tar.xz tiny-$(V)"
    write(root, {"Makefile": f"V := $(shell git describe --tags 2>/dev/null || echo 0.unknown)\ndist:\n\t{line}\n"})
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "first")
    git(root, "tag", "-a", "-m", "v1", "1.0")
    done, _ = inv(tmp_path, "tarbake", "--source", root, "--out", "out")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "distdirname.txt").read_text() == "tiny-1.0\n"
    assert (tmp_path / "out" / "tiny-1.0.tar.xz").is_file()


def test_a_python_project_is_itself_what_is_tested(tmp_path: Path) -> None:
    """Debian has a module of that name, and it is there: what builds the project needs it."""
    files = {
        "pyproject.toml": (
            '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
            '[project]\nname = "pep517"\nversion = "0.1"\n'
        ),
        "src/pep517/__init__.py": "OURS = True\n",
        "tests/test_it.py": "import pep517\n\ndef test_it():\n    assert pep517.OURS\n",
    }
    done, _ = inv(tmp_path, "test-in-vm", "--source", write(tmp_path / "good", files))
    assert done.returncode == 0, done.stderr
    files |= {"src/pep517/__init__.py": "raise ImportError('ours')\n", "tests/test_it.py": "import pep517\n"}
    done, result = inv(tmp_path, "test-in-vm", "--source", write(tmp_path / "bad", files))
    assert (done.returncode, result["outcome"]) == (1, "test-failed"), done.stderr
    assert any("ours" in line for line in result["details"])
