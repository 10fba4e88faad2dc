"""Sources as they come to be in a machine: dpkg-source, git and tar themselves, in machines that are none."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.process.workshop import PROVIDER, workshop_of_ones_own
from vmtasks import BootOptions, Guest, Source, UsageError, events
from vmtasks.errors import CommandFailed
from vmtasks.project import source_package
from vmtasks.providers.base import MachineRequest

pytestmark = pytest.mark.skipif(not shutil.which("dpkg-source"), reason="dpkg-source is not installed")

CHANGELOG = (
    "tiny ({version}) unstable; urgency=medium\n\n  * First.\n\n"
    " -- A Tester <tester@example.org>  Thu, 01 Jan 2026 00:00:00 +0000\n"
)
CONTROL = (
    "Source: tiny\nMaintainer: A Tester <tester@example.org>\nBuild-Depends: debhelper-compat (= 13)\n\n"
    "Package: tiny\nArchitecture: all\nDescription: a tiny thing\n"
)
PATCH = "--- a/tiny.c\n+++ b/tiny.c\n@@ -1 +1 @@\n-as upstream has it\n+patched\n"


@pytest.fixture
def workshop() -> Iterator[Path]:
    with workshop_of_ones_own() as directory:
        yield directory


@pytest.fixture
def guest(workshop: Path) -> Iterator[Guest]:
    with PROVIDER.machine(MachineRequest(image="bookworm", options=BootOptions())) as one:
        yield one


@pytest.fixture
def notes() -> Iterator[list[str]]:
    """Yield what notes say."""
    texts: list[str] = []

    def hear(event: events.Event) -> None:
        if isinstance(event, events.Note):
            texts.append(event.text)

    with events.listening(hear):
        yield texts


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def packaged(root: Path, form: str = "3.0 (quilt)", version: str = "1.0-1", **more: str) -> Path:
    return write(
        root,
        {
            "debian/changelog": CHANGELOG.format(version=version),
            "debian/control": CONTROL,
            "debian/rules": "#!/usr/bin/make -f\n%:\n\tdh $@\n",
            "debian/source/format": f"{form}\n",
            "tiny.c": "as upstream has it\n",
            **more,
        },
    )


PATCHED = {"debian/patches/series": "one.patch\n", "debian/patches/one.patch": PATCH}


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Ida", "-c", "user.email=ida@example.org", "-c", "init.defaultBranch=main"]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | {
        "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1",
    }  # fmt: skip
    command = ["git", "-C", str(root), *identity, *arguments]
    return subprocess.run(command, env=environ, check=True, capture_output=True, text=True).stdout.strip()


def tar(target: Path, tree: Path, *options: str) -> None:
    subprocess.run(["tar", "-c", "-a", "-f", target, "-C", tree.parent, *options, tree.name], check=True)


def unpacked(dsc: Path, target: Path) -> Path:
    subprocess.run(["dpkg-source", "--no-check", "-x", dsc, target], check=True, capture_output=True)
    return target


def files(tree: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(tree)): path.read_bytes()
        for path in sorted(tree.rglob("*"))
        if path.is_file() and ".pc" not in path.parts
    }


# ---- deliver


@pytest.mark.parametrize("form", ["1.0", "3.0 (quilt)", "3.0 (native)"])
def test_a_dsc_is_unpacked_as_dpkg_source_does_it(guest: Guest, tmp_path: Path, form: str) -> None:
    is_native = "native" in form
    tree = packaged(
        tmp_path / "tiny-1.0", form, "2:1.0" if is_native else "2:1.0-1", **(PATCHED if "quilt" in form else {})
    )
    if not is_native:
        upstream = write(tmp_path / "up" / "tiny-1.0", {"tiny.c": "as upstream has it\n"})
        tar(tmp_path / "tiny_1.0.orig.tar.gz", upstream)
        if "quilt" in form:
            tar(tmp_path / "tiny_1.0.orig-data.tar.gz", write(tmp_path / "up" / "data", {"words": "words\n"}))
            write(tree, {"data/words": "words\n"})
    subprocess.run(["dpkg-source", "-b", tree.name], cwd=tmp_path, check=True, capture_output=True)
    (dsc,) = tmp_path.glob("*.dsc")
    delivered = Path(Source.of(dsc).deliver(guest))
    assert delivered.name == "tiny-1.0"
    assert files(delivered) == files(unpacked(dsc, tmp_path / "expected"))
    assert os.access(delivered / "debian" / "rules", os.X_OK)
    if "quilt" in form:
        assert (delivered / "tiny.c").read_text() == "patched\n"


def test_a_tree_and_a_tarball_have_their_patches_applied(guest: Guest, tmp_path: Path) -> None:
    tree = packaged(tmp_path / "tiny", **PATCHED)
    delivered = Path(Source.of(tree).deliver(guest))
    assert (delivered / "tiny.c").read_text() == "patched\n"
    assert (tree / "tiny.c").read_text() == "as upstream has it\n"
    shutil.rmtree(delivered)
    upstream = write(tmp_path / "up" / "tiny-1.0", {"tiny.c": "as upstream has it\n", "debian/old": "upstream's\n"})
    tar(tmp_path / "tiny-1.0.tar.xz", upstream)
    delivered = Path(Source.of(tmp_path / "tiny-1.0.tar.xz", debian=tree / "debian").deliver(guest))
    assert (delivered / "tiny.c").read_text() == "patched\n"
    assert not (delivered / "debian" / "old").exists()


def test_a_patch_that_does_not_apply_is_the_projects_failure(guest: Guest, tmp_path: Path) -> None:
    tree = packaged(tmp_path / "tiny", **(PATCHED | {"debian/patches/series": "one.patch\ntwo.patch\n"}))
    write(tree, {"debian/patches/two.patch": PATCH})
    with pytest.raises(CommandFailed):
        Source.of(tree).deliver(guest)


@pytest.mark.parametrize("name", ["tiny app", "tiny[v2]", "tiny (copy)", "it's", '"tiny"', "-rf", "grüß", "a*b?"])
def test_directories_may_be_called_anything(guest: Guest, tmp_path: Path, name: str) -> None:
    delivered = Path(Source.of(write(tmp_path / name, {"a.c": "words\n"})).deliver(guest))
    assert files(delivered) == {"a.c": b"words\n"}
    tar(tmp_path / "packed.tar.gz", delivered, "--")
    shutil.rmtree(delivered)
    again = Path(Source.of(tmp_path / "packed.tar.gz").deliver(guest))
    assert again == delivered
    assert files(again) == {"a.c": b"words\n"}


def test_a_tarball_holds_one_directory(guest: Guest, tmp_path: Path) -> None:
    subprocess.run(
        ["tar", "-czf", tmp_path / "a.tar.gz", "-C", write(tmp_path / "x", {"a": "", "b": ""}), "a", "b"], check=True
    )
    with pytest.raises(UsageError, match="it must hold one directory, and holds 2 files"):
        Source.of(tmp_path / "a.tar.gz").deliver(guest)


# ---- git


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = write(tmp_path / "tiny", {"Makefile": "V := $(shell git describe --tags)\n", "a": "1\n"})
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "first")
    git(root, "tag", "-a", "-m", "one", "v1.0")
    git(root, "checkout", "--quiet", "-b", "side")
    git(root, "commit", "--quiet", "--allow-empty", "-m", "beside")
    git(root, "checkout", "--quiet", "main")
    write(root, {"secret": "thrown away\n"})
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "a secret")
    git(root, "rm", "--quiet", "secret")
    git(root, "commit", "--quiet", "-m", "no secret")
    git(root, "merge", "--quiet", "--no-edit", "side")
    git(root, "tag", "light")
    git(root, "commit", "--quiet", "--allow-empty", "-m", "last")
    git(root, "remote", "add", "origin", "https://user:password@example.org/tiny.git")
    hook = root / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\n")
    hook.with_name("pre-commit").symlink_to("/usr/bin/true")
    return root


def test_history_travels_where_it_is_asked_for_unless_somebody_says_otherwise(
    guest: Guest, checkout: Path, workshop: Path, notes: list[str]
) -> None:
    def sent(settings: str) -> bool:
        notes.clear()
        shutil.rmtree(workshop / "tiny", ignore_errors=True)
        write(checkout, {"vmtasks.toml": settings})
        return Path(Source.of(checkout).deliver(guest), ".git").is_dir()

    assert sent("")
    assert notes == ["Makefile (git describe) asks git: the history travels, without the files of older commits"]
    assert not sent("[source]\ngit = false\n")
    assert notes == ["Makefile (git describe) asks git, and '[source] git = false' keeps the history on the host"]
    (checkout / ".git" / "objects" / "info" / "alternates").write_text("/nowhere\n")
    assert not sent("")
    assert notes[0].startswith("Makefile (git describe) asks git, but cannot send the history of ")


def test_a_build_that_does_not_declare_git_has_none_and_no_history(
    checkout: Path, workshop: Path, notes: list[str]
) -> None:
    provider = replace(PROVIDER, instead={**PROVIDER.instead, "command -v git *": ":"})
    with provider.machine(MachineRequest(image="bookworm", options=BootOptions())) as guest:
        assert not Path(Source.of(checkout).deliver(guest, adds_git=False), ".git").exists()
        assert notes == [
            "Makefile (git describe) asks git, and Build-Depends do not name it: the build has no git and no history"
        ]
        shutil.rmtree(workshop / "tiny")
        write(checkout, {"vmtasks.toml": "[source]\ngit = true\n"})
        assert Path(Source.of(checkout).deliver(guest, adds_git=False), ".git").is_dir()


def test_where_nothing_asks_git_nothing_is_told(guest: Guest, checkout: Path, notes: list[str]) -> None:
    write(checkout, {"Makefile": "all:\n"})
    Source.of(checkout).deliver(guest)
    assert notes == []


def test_history_travels_without_what_is_none_of_it(guest: Guest, checkout: Path, notes: list[str]) -> None:
    write(checkout, {"vmtasks.toml": "[source]\ngit = true\n"})
    git(checkout, "add", ".")
    git(checkout, "commit", "--quiet", "-m", "settings")
    delivered = Path(Source.of(checkout).deliver(guest))
    assert len(notes) == 1
    for question in (
        ("describe", "--tags", "--long", "--dirty"),
        ("describe", "--long"),
        ("rev-parse", "HEAD"),
        ("rev-parse", "--abbrev-ref", "HEAD"),
        ("rev-list", "--count", "HEAD"),
        ("log", "--format=%s %an"),
        ("ls-files",),
        ("status", "--porcelain"),
        ("tag",),
    ):
        assert guest.query(f"git -c safe.directory='*' -C {delivered} {shlex.join(question)}").strip() == git(
            checkout, *question
        )
    everything = b"".join(path.read_bytes() for path in (delivered / ".git").rglob("*") if path.is_file())
    assert b"password" not in everything
    assert not any((delivered / ".git" / "hooks").glob("*"))
    lost = git(checkout, "rev-parse", "HEAD~1^{/a secret}:secret")
    assert guest.run(f"git -c safe.directory='*' -C {delivered} cat-file -e {lost}", warn=True).exited != 0


def test_hooks_may_be_anywhere(guest: Guest, checkout: Path) -> None:
    write(checkout, {"vmtasks.toml": "[source]\ngit = true\n"})
    hooks = checkout / ".git" / "hooks"
    shutil.rmtree(hooks)
    hooks.symlink_to("/usr/share")
    assert not Path(Source.of(checkout).deliver(guest), ".git", "hooks").exists()


def test_a_detached_and_shallow_checkout_travels_too(guest: Guest, checkout: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", "--depth=2", f"file://{checkout}", "copy")
    copy = tmp_path / "copy"
    git(copy, "checkout", "--quiet", "--detach")
    write(copy, {"vmtasks.toml": "[source]\ngit = true\n"})
    delivered = Path(Source.of(copy).deliver(guest))
    for question in ("rev-list --count HEAD", "rev-parse --abbrev-ref HEAD", "status --porcelain"):
        assert guest.query(f"git -c safe.directory='*' -C {delivered} {question}").strip() == git(
            copy, *question.split()
        )


def test_what_leads_elsewhere_does_not_travel(guest: Guest, checkout: Path, tmp_path: Path) -> None:
    def refused(root: Path, reason: str) -> None:
        write(root, {"vmtasks.toml": "[source]\ngit = true\n"})
        with pytest.raises(UsageError, match=f"cannot send the history of {root}: {reason}"):
            Source.of(root).deliver(guest)

    git(tmp_path, "clone", "--quiet", "--shared", str(checkout), "shared")
    refused(tmp_path / "shared", r"\.git/objects/info/alternates leads to files that are not its own")
    stolen = write(tmp_path / "stolen", {".git": f"gitdir: {checkout}/.git\n"})
    refused(stolen, r"it has no \.git directory of its own")
    git(tmp_path, "clone", "--quiet", str(checkout), "linked")
    shutil.rmtree(tmp_path / "linked" / ".git" / "objects")
    (tmp_path / "linked" / ".git" / "objects").symlink_to(checkout / ".git" / "objects")
    refused(tmp_path / "linked", r"\.git/objects leads to files")
    refused(write(checkout / "part", {"a": ""}), "it has no")


# ---- package


def made(guest: Guest, tree: Path, into: Path) -> Path:
    origin = Source.of(tree)
    dsc, *_ = origin.package(guest, origin.deliver(guest), into)
    return dsc


def test_lintian_is_shown_the_source_package_that_a_tree_is(guest: Guest, tmp_path: Path, notes: list[str]) -> None:
    room = tmp_path / "room"
    room.mkdir()
    origin = Source.of(packaged(tmp_path / "tiny", "3.0 (native)", "1.0"))
    assert origin.upstream() == "none"
    shown = origin.shown(guest, origin.deliver(guest), room)
    assert [path.relative_to(room) for path in shown] == [Path("tiny_1.0.dsc"), Path("tiny_1.0.tar.xz")]
    origin = Source.of(packaged(tmp_path / "tiny"))
    assert origin.upstream() == "tree"
    assert origin.shown(guest, origin.deliver(guest), room) == []
    assert notes[0].startswith("lintian sees no source: dpkg-source cannot make a package of it: ")
    (tmp_path / "tiny_1.0.orig.tar.gz").touch()
    assert origin.upstream() == "beside"
    origin = Source.of(shown[0])
    assert origin.upstream() == "none"
    assert origin.shown(guest, "anywhere", room) == shown


@pytest.mark.parametrize("form", ["1.0", "3.0 (quilt)"])
def test_a_release_is_upstreams_tarball_of_its_package(guest: Guest, tmp_path: Path, form: str) -> None:
    tree = packaged(tmp_path / "tiny", form, **(PATCHED if "quilt" in form else {}))
    tar(tmp_path / "tiny-1.0.tgz", write(tmp_path / "up" / "tiny-1.0", {"tiny.c": "as upstream has it\n"}), "-z")
    origin = Source.of(tmp_path / "tiny-1.0.tgz", debian=tree / "debian")
    dsc, *parts = origin.shown(guest, origin.deliver(guest), tmp_path)
    assert {path.name for path in parts} > {"tiny_1.0.orig.tar.gz"}
    assert files(unpacked(dsc, tmp_path / "x"))["tiny.c"] == (
        b"patched\n" if "quilt" in form else b"as upstream has it\n"
    )


def test_a_native_package_is_the_tree(guest: Guest, tmp_path: Path, notes: list[str]) -> None:
    tree = packaged(tmp_path / "tiny", "3.0 (native)", "1.0")
    dsc = made(guest, tree, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"tiny_1.0.dsc", "tiny_1.0.tar.xz"}
    assert files(unpacked(dsc, tmp_path / "x")) == files(tree)
    assert notes == []


@pytest.mark.parametrize("version", ["1.0", "2:1.0-1"])
def test_a_package_of_format_2_has_upstreams_tarball_whatever_its_version(
    guest: Guest, tmp_path: Path, version: str
) -> None:
    tree = packaged(tmp_path / "tiny", "2.0", version)
    dsc = made(guest, tree, tmp_path / "out")
    names = {path.name.replace("-1", "") for path in (tmp_path / "out").iterdir()}
    assert {"tiny_1.0.dsc", "tiny_1.0.orig.tar.gz"} < names
    assert files(unpacked(dsc, tmp_path / "x")) == files(tree)


@pytest.mark.parametrize("form", ["1.0", "3.0 (quilt)"])
def test_upstreams_tarball_is_the_one_beside_the_tree(
    guest: Guest, tmp_path: Path, notes: list[str], form: str
) -> None:
    tree = packaged(tmp_path / "tiny", form, "1:1.0-1", **{"vmtasks.toml": "[commands]\n"})
    tar(tmp_path / "tiny_1.0.orig.tar.gz", write(tmp_path / "up" / "upstream", {"tiny.c": "as upstream has it\n"}))
    (tmp_path / "tiny_1.0.orig.tar.gz.asc").write_text("a signature\n")
    (tmp_path / "tiny_1.1.orig.tar.gz").touch()
    dsc = made(guest, tree, tmp_path / "out")
    assert dsc.name == "tiny_1.0-1.dsc"
    out = tmp_path / "out" / "tiny_1.0.orig.tar.gz"
    assert out.read_bytes() == (tmp_path / out.name).read_bytes()
    assert (tmp_path / "out" / f"{out.name}.asc").exists()
    assert "vmtasks.toml" not in files(unpacked(dsc, tmp_path / "x"))
    assert notes == [f"upstream's tarball tiny_1.0.orig.tar.* is {tmp_path}/{out.name} and 1 more"]


def test_changes_that_no_patch_has_are_a_failure_that_says_what_upstreams_was(
    guest: Guest, workshop: Path, tmp_path: Path
) -> None:
    tree = packaged(tmp_path / "tiny")
    tar(tmp_path / "tiny_1.0.orig.tar.gz", write(tmp_path / "up" / "upstream", {"tiny.c": "other\n"}))
    with pytest.raises(CommandFailed, match=r"tiny_1\.0\.orig\.tar\.gz") as caught:
        made(guest, tree, tmp_path / "out")
    assert "orig" in caught.value.hint
    shutil.rmtree(workshop / "tiny-1.0")
    write(tree, {"vmtasks.toml": '[source]\norig = "tree"\n'})
    assert (
        unpacked(made(guest, tree, tmp_path / "out"), tmp_path / "x") / "tiny.c"
    ).read_text() == "as upstream has it\n"


@pytest.mark.parametrize("tag", ["upstream/1.0_rc1", "v1.0_rc1", "1.0_rc1", "release-1.0_rc1"])
def test_upstreams_tarball_is_made_of_a_tag(guest: Guest, tmp_path: Path, notes: list[str], tag: str) -> None:
    root = write(
        tmp_path / "tiny", {"tiny.c": "as upstream has it\n", ".gitattributes": "ci export-ignore\n", "ci": "x\n"}
    )
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "upstream")
    git(root, "tag", tag)
    packaged(
        root, version="1.0~rc1-1", **PATCHED, **{"debian/gbp.conf": "[DEFAULT]\nupstream-tag = release-%(version)s\n"}
    )
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "debian")
    dsc = made(guest, root, tmp_path / "out")
    assert (unpacked(dsc, tmp_path / "x") / "tiny.c").read_text() == "patched\n"
    assert notes == [f"upstream's tarball tiny_1.0~rc1.orig.tar.* is made of the tag {tag}"]


@pytest.mark.skipif(not shutil.which("pristine-tar"), reason="pristine-tar is not installed")
def test_upstreams_tarball_is_the_one_that_pristine_tar_has(guest: Guest, tmp_path: Path, notes: list[str]) -> None:
    root = write(tmp_path / "tiny-1.0", {"tiny.c": "as upstream has it\n"})
    tar(tmp_path / "up.tar.xz", root)
    shutil.copy(tmp_path / "up.tar.xz", tmp_path / "tiny_1.0.orig.tar.xz")
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "upstream")
    git(root, "config", "user.name", "Ida")
    git(root, "config", "user.email", "ida@example.org")
    subprocess.run(
        ["pristine-tar", "commit", "../tiny_1.0.orig.tar.xz", "main"], cwd=root, check=True, capture_output=True
    )
    packaged(root)
    (tmp_path / "tiny_1.0.orig.tar.xz").unlink()
    made(guest, root, tmp_path / "out")
    assert (tmp_path / "out" / "tiny_1.0.orig.tar.xz").read_bytes() == (tmp_path / "up.tar.xz").read_bytes()
    assert notes == ["upstream's tarball tiny_1.0.orig.tar.* is what heads/pristine-tar has"]


WATCH = {"debian/watch": "version=4\nhttp://example.org/ tiny-(.+).tar.gz\n"}
USCAN = r"""#!/bin/sh
# What uscan(1) does here: it has a tree with debian/ alone, and brings what the files beside it are.
set -eu
for word; do case $word in --destdir=*) target=${word#*=} ;; esac; done
[ "$(ls)" = debian ] && grep -q example.org debian/watch
echo "uscan: looking" && echo "uscan warn: no matching hrefs" >&2
cp -- {found}/* "$target/" && exit 1
"""


@pytest.fixture
def upstreams_site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield the directory that a played uscan finds files in; it needs one at least."""
    with tempfile.TemporaryDirectory(prefix="vmtasks-test-") as name:  # which everybody may enter
        place = Path(name)
        place.chmod(0o755)
        (place / "site").mkdir()
        (place / "uscan").write_text(USCAN.replace("{found}", str(place / "site")))
        (place / "uscan").chmod(0o755)
        monkeypatch.setattr(source_package, "_FROM_WATCH", f"PATH={place}:$PATH\n{source_package._FROM_WATCH}")
        yield place / "site"


def test_upstreams_tarball_is_what_debian_watch_leads_to(
    guest: Guest, tmp_path: Path, notes: list[str], upstreams_site: Path
) -> None:
    tree = packaged(tmp_path / "tiny", "3.0 (quilt)", "1:1.0-1", **WATCH, **PATCHED, **{"extra/words": "words\n"})
    tar(tmp_path / "up.tgz", write(tmp_path / "up" / "upstream", {"tiny.c": "as upstream has it\n"}), "-z")
    shutil.copy(tmp_path / "up.tgz", upstreams_site / "tiny_1.0.orig.tar.gz")
    tar(upstreams_site / "tiny_1.0.orig-extra.tar.xz", write(tmp_path / "up" / "extra", {"words": "words\n"}))
    (upstreams_site / "tiny-1.0.tar.gz").touch()
    (upstreams_site / "tiny_1.1.orig.tar.gz").touch()
    assert Source.of(tree).upstream() == "watch"
    dsc = made(guest, tree, tmp_path / "out")
    found = tmp_path / "out" / "tiny_1.0.orig.tar.gz"
    assert found.read_bytes() == (upstreams_site / found.name).read_bytes()
    assert (unpacked(dsc, tmp_path / "x") / "extra/words").read_text() == "words\n"
    assert notes == ["upstream's tarball tiny_1.0.orig.tar.* is what debian/watch leads to"]


@pytest.mark.parametrize("brought", ["tiny_1.1.orig.tar.gz", "tiny_1.0.orig-extra.tar.xz"])
def test_where_debian_watch_leads_to_none_it_is_the_tree_and_the_note_says_why(
    guest: Guest, tmp_path: Path, notes: list[str], upstreams_site: Path, brought: str
) -> None:
    (upstreams_site / brought).touch()
    tree = packaged(tmp_path / "tiny", **WATCH)
    dsc = made(guest, tree, tmp_path / "out")
    assert "tiny_1.0.orig.tar.gz" in dsc.read_text()
    assert brought not in dsc.read_text()
    assert notes[0].endswith(", and debian/watch leads to none: uscan warn: no matching hrefs")


@pytest.mark.parametrize("text", ["", "version=4\n", "# version=4\n# http://example.org\n\n", "Version: 5\n"])
def test_a_debian_watch_that_names_no_site_leads_nowhere(tmp_path: Path, text: str) -> None:
    assert Source.of(packaged(tmp_path / "tiny", **{"debian/watch": text})).upstream() == "tree"


def test_what_is_nearer_than_debian_watch_goes_before_it(tmp_path: Path) -> None:
    tree = packaged(tmp_path / "tiny", **WATCH)
    (tmp_path / "tiny_1.0.orig.tar.gz").touch()
    assert Source.of(tree).upstream() == "beside"
    write(tree, {"vmtasks.toml": '[source]\norig = "tree"\n'})
    assert Source.of(tree).upstream() == "tree"


def test_else_upstreams_tarball_is_made_of_the_tree(guest: Guest, tmp_path: Path, notes: list[str]) -> None:
    tree = packaged(tmp_path / "tiny", **PATCHED)
    dsc = made(guest, tree, tmp_path / "out")
    assert (unpacked(dsc, tmp_path / "x") / "tiny.c").read_text() == "patched\n"
    listing = subprocess.run(
        ["tar", "-tf", tmp_path / "out" / "tiny_1.0.orig.tar.gz"], capture_output=True, text=True, check=True
    )
    assert listing.stdout.split() == ["tiny-1.0/", "tiny-1.0/tiny.c"]
    assert notes == [
        "upstream's tarball tiny_1.0.orig.tar.* is made of the tree without debian/: "
        "none was found beside it, with pristine-tar or at a tag"
    ]


def test_patches_that_the_tree_has_applied_already_are_none_of_upstreams(guest: Guest, tmp_path: Path) -> None:
    tree = packaged(tmp_path / "tiny", **PATCHED)
    write(
        tree, {"debian/patches/two.patch": PATCH.replace("patched", "twice").replace("as upstream has it", "patched")}
    )
    write(tree, {"debian/patches/series": "# in order\none.patch\n\ntwo.patch # the second\n", "tiny.c": "twice\n"})
    dsc = made(guest, tree, tmp_path / "out")
    assert (unpacked(dsc, tmp_path / "x") / "tiny.c").read_text() == "twice\n"
    upstream = subprocess.run(
        ["tar", "-xOf", tmp_path / "out" / "tiny_1.0.orig.tar.gz", "tiny-1.0/tiny.c"], check=True, capture_output=True
    )
    assert upstream.stdout == b"as upstream has it\n"


def test_a_source_package_is_the_same_for_the_same_tree(guest: Guest, workshop: Path, tmp_path: Path) -> None:
    tree = packaged(tmp_path / "tiny", **PATCHED)
    first = made(guest, tree, tmp_path / "one")
    for path in workshop.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in tree.rglob("*"):
        os.utime(path, (1000, 1000))
    assert made(guest, tree, tmp_path / "two").read_bytes() == first.read_bytes()


@pytest.mark.parametrize(("ending", "asked"), [("tar.gz", []), ("tar.zst", [("zstd", "zstd")])])
def test_a_machine_has_what_unpacks_a_tarball(
    guest: Guest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, asked: list[tuple[str, str]]
) -> None:
    if ending == "tar.zst" and not shutil.which("zstd"):
        pytest.skip("zstd is not installed")
    write(tmp_path / "tiny-1.0", {"tiny.c": ""})
    packed = tmp_path / f"tiny-1.0.{ending}"
    subprocess.run(["tar", "-caf", packed, "tiny-1.0"], cwd=tmp_path, check=True)
    tools: list[tuple[str, str]] = []
    monkeypatch.setattr(source_package, "expect_tool", lambda _, *names: tools.append(names))
    assert Source.of(packed).deliver(guest).endswith("/tiny-1.0")
    assert tools == asked
