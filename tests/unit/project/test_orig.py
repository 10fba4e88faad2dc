"""What is taken of a checkout's history for upstream's tarball: its own objects, and nothing else of this host."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from vmtasks.errors import UsageError
from vmtasks.project import orig
from vmtasks.project.history import History

TAG = "refs/tags/upstream/1.0"
DEEP = 1500
"""As deep as a call within a call would not go."""


def git(root: Path, *arguments: str, stdin: bytes = b"") -> str:
    identity = ("-c", "user.name=A Tester", "-c", "user.email=tester@example.org", "-c", "init.defaultBranch=main")
    done = subprocess.run(["git", "-C", root, *identity, *arguments], input=stdin, check=True, capture_output=True)
    return done.stdout.decode().strip()


def repository(root: Path, text: str = "a text\n") -> Path:
    root.mkdir()
    (root / "file").write_text(text)
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "first")
    git(root, "tag", "upstream/1.0")
    return root


def packaged(root: Path) -> Path:
    (root / "debian" / "source").mkdir(parents=True)
    (root / "debian" / "changelog").write_text("tiny (1.0-1) unstable; urgency=low\n")
    (root / "debian" / "source" / "format").write_text("3.0 (quilt)\n")
    return root


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """Return another repository of this host, which the project has no business with."""
    return repository(tmp_path / "secret", "S3CRET\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "project").mkdir()
    return packaged(repository(tmp_path / "project" / "tiny"))


def borrow_objects(git_dir: Path, secret: Path) -> None:
    (git_dir / "objects/info/alternates").write_text(f"{secret}/.git/objects\n")
    (git_dir / TAG).write_text(git(secret, "rev-parse", "HEAD") + "\n")


def borrow_objects_and_a_name(git_dir: Path, secret: Path) -> None:
    (git_dir / "objects/info/alternates").write_text(f"{secret}/.git/objects\n")
    (git_dir / TAG).unlink()
    (git_dir / TAG).symlink_to(secret / ".git" / TAG)


def link_objects(git_dir: Path, secret: Path) -> None:
    (git_dir / "objects").rename(git_dir / "own")
    (git_dir / "objects").symlink_to(secret / ".git/objects")
    (git_dir / TAG).write_text(git(secret, "rev-parse", "HEAD") + "\n")


def become_a_file(git_dir: Path, secret: Path) -> None:
    git_dir.rename(git_dir.with_name("own"))
    git_dir.write_text(f"gitdir: {secret}/.git\n")


def become_a_link(git_dir: Path, secret: Path) -> None:
    git_dir.rename(git_dir.with_name("own"))
    git_dir.symlink_to(secret / ".git")


def borrow_all(git_dir: Path, secret: Path) -> None:
    (git_dir / "commondir").write_text(f"{secret}/.git\n")


@pytest.mark.parametrize(
    "attack",
    [borrow_objects, borrow_objects_and_a_name, link_objects, become_a_file, become_a_link, borrow_all],
)
def test_another_repository_of_the_host_is_not_handed_out(
    root: Path, secret: Path, attack: Callable[[Path, Path], None]
) -> None:
    attack(root / ".git", secret)
    with pytest.raises(UsageError, match=r"cannot send the history of .*(its own|\.git directory of its own)") as one:
        orig.find(root)
    assert "VMTASKS_ORIG=tree" in str(one.value.hint)
    assert orig.find(root, only_tree=True).kind == "tree"


def test_a_directory_that_is_no_repository_does_not_lead_to_the_one_above(root: Path) -> None:
    (root / "part").mkdir()
    (root / "part" / ".git").mkdir()
    with pytest.raises(UsageError, match=r"git does not take its \.git for a repository"):
        History.of_one(root / "part", TAG, name=TAG)


def test_what_is_its_own_is_taken_and_hooks_may_be_links(root: Path, tmp_path: Path) -> None:
    (root / ".git/hooks/pre-commit").symlink_to("/nowhere")
    subprocess.run(["mkdir", "--parents", root / ".git/d" / "/".join("d" * DEEP)], check=True)
    try:
        found = orig.find(root)
    finally:
        subprocess.run(["rm", "-rf", root / ".git/d"], check=True)  # shutil.rmtree does not go so deep either
    assert (found.kind, found.ref) == ("tag", TAG)
    target = tmp_path / "target"
    target.mkdir()
    found.history.write(root, target)
    assert (target / "objects.pack").read_bytes().startswith(b"PACK")


def pristine(root: Path, *files: tuple[str, bytes]) -> None:
    """Commit files to a branch pristine-tar."""
    entries = "".join(
        f"100644 blob {git(root, 'hash-object', '-w', '--stdin', stdin=content)}\t{name}\n" for name, content in files
    )
    tree = git(root, "mktree", stdin=entries.encode())
    git(root, "update-ref", "refs/heads/pristine-tar", git(root, "commit-tree", tree, "-m", "pristine"))


def test_the_tree_that_a_tarball_was_made_of_travels(root: Path) -> None:
    tree = git(root, "rev-parse", "HEAD^{tree}")
    pristine(root, ("tiny_1.0.orig.tar.gz.delta", b"x"), ("tiny_1.0.orig.tar.gz.id", f"{tree}\n".encode()))
    found = orig.find(root)
    assert found.kind == "pristine-tar"
    assert tree in found.history.objects


@pytest.mark.parametrize("content", [b"\xff\xfe\n", bytes(8 * 1024 * 1024), b"0" * 1025])
def test_what_is_no_name_of_a_tree_is_none(root: Path, content: bytes) -> None:
    pristine(root, ("tiny_1.0.orig.tar.gz.delta", b"x"), ("tiny_1.0.orig.tar.gz.id", content))
    assert orig.find(root).kind == "pristine-tar"


def test_git_is_not_asked_about_tarballs_without_end(root: Path) -> None:
    names = ["tiny_1.0.orig.tar.gz.delta", *(f"tiny_1.0.orig-{number}.tar.gz.delta" for number in range(200))]
    pristine(root, *((name, b"x") for name in sorted(names)))
    with pytest.raises(UsageError, match="it has more than 100 of this version"):
        orig.find(root)


@pytest.mark.parametrize("pattern", ["a\0b", "a\n b", "x" * 1000])
def test_a_tag_that_can_have_no_such_name_is_refused(root: Path, pattern: str) -> None:
    (root / "debian/gbp.conf").write_text(f"[DEFAULT]\nupstream-tag = {pattern}\n")
    with pytest.raises(UsageError, match="is no name that a tag can have"):
        orig.find(root)


@pytest.mark.parametrize(
    ("form", "version", "why"),
    [
        ("3.0 (quilt)", "1.0-1", ""),
        ("3.0 (quilt)", "1.0", r"has a revision, as 1\.0-1 has; in debian/changelog it is 1\.0"),
        ("3.0 (native)", "1.0-1", r"has no revision; in debian/changelog it is 1\.0-1"),
        ("3.0 (native)", "1.0", ""),
        ("1.0", "1.0", ""),
        ("2.0", "1.0", ""),
    ],
)
def test_a_version_that_the_format_does_not_allow_is_told_with_the_reason(
    tmp_path: Path, form: str, version: str, why: str
) -> None:
    root = packaged(tmp_path / "tree")
    (root / "debian/source/format").write_text(f"{form}\n")
    (root / "debian/changelog").write_text(f"tiny ({version}) unstable; urgency=low\n")
    assert re.search(why, orig.misfit(root)) if why else orig.misfit(root) == ""
