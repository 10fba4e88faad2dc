"""tarbake and the artifacts of tests, with real shells and tars, in machines that are none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from recipes.tarbake import tarbake
from recipes.test_in_vm import test_in_vm as the_recipe
from tests.process.workshop import PROVIDER, workshop_of_ones_own
from vmtasks import Run, TestFailed, UsageError, use_provider

DIST = "dist:\n\trm -rf {top}; mkdir {top}; cp tiny.c Makefile {top}; tar -caf {name} {top}; rm -r {top}\n"


@pytest.fixture(autouse=True)
def _workshop() -> Iterator[None]:
    with workshop_of_ones_own(), use_provider(PROVIDER):
        yield


@pytest.fixture
def run(tmp_path: Path) -> Run:
    (tmp_path / "run").mkdir()
    return Run(recipe="tarbake", directory=tmp_path / "run")


def project(root: Path, **files: str) -> Path:
    for name, text in {"tiny.c": "int main(void) { return 0; }\n", **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def baked(run: Run, root: Path, out: Path) -> dict[str, Path]:
    return {path.name: path for path in tarbake(run, source=str(root), out=str(out))}


def names(tarball: Path) -> list[str]:
    with tarfile.open(tarball) as archive:
        return [member.name for member in archive if member.isfile()]


@pytest.mark.parametrize(
    "name", ["my tiny app", "tiny[v2]", "tiny (copy)", "it's", '"tiny"', "-rf", "grüß", "a*b?", "$(id)", "back\\slash"]
)
@pytest.mark.parametrize("kind", ["plain", "dist"])
def test_directories_may_be_called_anything(run: Run, tmp_path: Path, name: str, kind: str) -> None:
    root = project(tmp_path / name)
    if kind == "dist":
        project(root, Makefile=DIST.format(top="tiny-1.0", name="tiny-1.0.tar.gz"))
    artifacts = baked(run, root, tmp_path / "out")
    (tarball,) = (path for path in artifacts.values() if path.name.endswith(".tar.gz"))
    top = artifacts["distdirname.txt"].read_text().strip()
    assert f"{top}/tiny.c" in names(tarball)
    assert top == ("tiny-1.0" if kind == "dist" else name.lstrip("-"))
    subprocess.run(["sha256sum", "--check", "--strict", f"{tarball.name}.sha256"], cwd=tarball.parent, check=True)


@pytest.mark.parametrize("ending", ["tar.gz", "tgz", "tar.xz", "tar.bz2", "tar.zst", "tar"])
@pytest.mark.parametrize("where", ["", "dist/"])
def test_tarballs_of_every_usual_kind_are_found(run: Run, tmp_path: Path, ending: str, where: str) -> None:
    name = f"{where}tiny-1.0.{ending}"
    root = project(tmp_path / "tiny", Makefile=DIST.format(top="tiny-1.0", name=name).replace("mkdir", "mkdir -p dist"))
    artifacts = baked(run, root, tmp_path / "out")
    assert set(artifacts) == {f"tiny-1.0.{ending}", f"tiny-1.0.{ending}.sha256", "distdirname.txt"}
    assert artifacts["distdirname.txt"].read_text() == "tiny-1.0\n"


def test_a_zip_is_found_too(run: Run, tmp_path: Path) -> None:
    line = "dist:\n\tmkdir tiny-1.0; cp tiny.c tiny-1.0; python3 -m zipfile -c tiny-1.0.zip tiny-1.0/\n"
    artifacts = baked(run, project(tmp_path / "tiny", Makefile=line), tmp_path / "out")
    assert set(artifacts) == {"tiny-1.0.zip", "tiny-1.0.zip.sha256", "distdirname.txt"}


def test_a_tarball_that_is_made_anew_under_its_name_is_this_runs(run: Run, tmp_path: Path) -> None:
    root = project(tmp_path / "tiny", Makefile=DIST.format(top="tiny-1.0", name="tiny-1.0.tar.gz"))
    subprocess.run(["make", "-s", "dist"], cwd=root, check=True)
    project(root, **{"tiny.c": "changed\n"})
    with tarfile.open(baked(run, root, tmp_path / "out")["tiny-1.0.tar.gz"]) as archive:
        member = archive.extractfile("tiny-1.0/tiny.c")
        assert member is not None
        assert member.read() == b"changed\n"


def test_make_does_not_take_an_old_tarball_for_a_new_one(run: Run, tmp_path: Path) -> None:
    rule = DIST.format(top="tiny-1.0", name="tiny-1.0.tar.gz")
    rule = rule.replace("dist:", "dist: tiny-1.0.tar.gz\ntiny-1.0.tar.gz: tiny.c")
    root = project(tmp_path / "tiny", Makefile=rule, **{"tiny-1.0.tar.gz": "stale"})
    assert names(baked(run, root, tmp_path / "out")["tiny-1.0.tar.gz"]) == ["tiny-1.0/Makefile", "tiny-1.0/tiny.c"]


def test_a_tarball_that_was_there_before_is_no_product(run: Run, tmp_path: Path) -> None:
    root = project(tmp_path / "tiny", Makefile="dist:\n\t@echo nothing\n", **{"vendored-3.tar.gz": "theirs"})
    with pytest.raises(TestFailed, match=r"`make dist` made no tarball"):
        baked(run, root, tmp_path / "out")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("false | gzip -n >tiny-1.0.tar.gz", "which holds no file"),
        ("mkdir tiny-1.0; tar -czf tiny-1.0.tar.gz tiny-1.0", "which holds no file"),
        (": >tiny-1.0.tar.gz", "which cannot be unpacked"),
        ("echo words >tiny-1.0.tar.gz", "which cannot be unpacked"),
        ("tar -cf - tiny.c | gzip -n | head -c 30 >tiny-1.0.tar.gz", "which cannot be unpacked"),
        ("echo words >tiny-1.0.zip", "which cannot be unpacked"),
    ],
)
def test_a_release_that_is_empty_or_broken_is_a_failure(run: Run, tmp_path: Path, line: str, reason: str) -> None:
    root = project(tmp_path / "tiny", Makefile=f"dist:\n\t{line}\n")
    with pytest.raises(TestFailed, match=rf"`make dist` made tiny-1\.0\.\S+, {reason}"):
        baked(run, root, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("packing", "top"),
    [
        ("mkdir t; cp tiny.c t; chmod 555 t; tar -czf tiny-1.0.tar.gz t; chmod 755 t; rm -r t", "t"),
        ("mkdir t; cp tiny.c t; tar -czf tiny-1.0.tar.gz ./t; rm -r t", "t"),
        ("mkdir t; cp tiny.c t; tar -czf tiny-1.0.tar.gz -C t .; rm -r t", ""),
        ("tar -czf tiny-1.0.tar.gz tiny.c", ""),
        ("mkdir t; cp tiny.c t; tar -czf tiny-1.0.tar.gz t tiny.c; rm -r t", ""),
    ],
)
def test_the_directory_in_a_release_is_named_where_there_is_one(
    run: Run, tmp_path: Path, packing: str, top: str
) -> None:
    artifacts = baked(run, project(tmp_path / "tiny", Makefile=f"dist:\n\t{packing}\n"), tmp_path / "out")
    assert artifacts["distdirname.txt"].read_text() == f"{top}\n"


def two(tmp_path: Path, first: str, second: str) -> Path:
    lines = "".join(
        f"\tmkdir {top}; cp tiny.c {top}; tar -czf {top}.tar.gz {top}; rm -r {top}\n" for top in (first, second)
    )
    settings = '[source]\nversion = "1.0"\n'
    return project(tmp_path / "tiny", Makefile=f"dist:\n{lines}", **{"vmtasks.toml": settings})


def test_of_two_tarballs_the_one_that_is_called_like_the_project_is_the_release(run: Run, tmp_path: Path) -> None:
    artifacts = tarbake(run, source=str(two(tmp_path, "tiny-1.0", "tiny-1.0-doc")), out=str(tmp_path / "out"))
    assert artifacts[0].name == "tiny-1.0.tar.gz"
    assert (tmp_path / "out" / "distdirname.txt").read_text() == "tiny-1.0\n"
    assert (tmp_path / "out" / "tiny-1.0-doc.tar.gz").is_file()


def test_where_that_cannot_be_told_it_is_asked(run: Run, tmp_path: Path) -> None:
    root = two(tmp_path, "parts-1", "parts-2")
    names_ = {path.name for path in tarbake(run, source=str(root), out=str(tmp_path / "out"))}
    assert "distdirname.txt" not in names_
    project(
        root,
        **{
            "vmtasks.toml": '[commands]\ndist = "make dist"\n',
            "debian/control": "Source: tiny\n",
            "debian/changelog": "tiny (1.0) u; urgency=low\n\n -- A <a@example.org>  Thu, 01 Jan 2026 00:00:00 +0000\n",
        },
    )
    with (
        workshop_of_ones_own(),
        pytest.raises(UsageError, match=r"cannot tell which of parts-1\.tar\.gz, parts-2\.tar"),
    ):
        the_recipe(run, source=str(root), out=str(tmp_path / "again"))


# ---- what tests leave

ODD = (
    *(b"sp ace.txt", b'q"uote.txt', b"-rf.txt", b"$(id).txt", b"star*.txt", b"br[a]c.txt", b"back\\slash.txt"),
    *(b"lat\xe9in.txt", "ünï.txt".encode(), b"zz.txt"),
)


def test_artifacts_come_out_whatever_they_are_called(tmp_path: Path) -> None:
    writing = "; ".join(f"open({name!r}, 'w').write('x')" for name in (*ODD, b"nl\nx.txt"))
    root = project(
        tmp_path / "ti[n]y",
        **{
            "make.py": writing,
            "vmtasks.toml": (
                '[commands]\ntest = "mkdir o; cd o; python3 ../make.py"\n[artifacts]\ntest = ["nothing*", "o/*.txt"]\n'
            ),
        },
    )
    script = (
        "from tests.process.workshop import *; from vmtasks import use_provider\n"
        "from vmtasks.run.record import run_recorded; from vmtasks.run.options import RecipeOptions\n"
        "from recipes.test_in_vm import test_in_vm\n"
        "with workshop_of_ones_own(), use_provider(PROVIDER), run_recorded('test-in-vm', RecipeOptions()) as run:\n"
        f"    test_in_vm(run, source={str(root)!r}, out={str(tmp_path / 'out')!r})\n"
    )
    environ = {**os.environ, "VMTASKS_RESULTS": str(tmp_path / "results"), "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    assert {os.fsencode(path.name) for path in (tmp_path / "out").iterdir()} == {*ODD, b"nl\nx.txt"}
    told = {line.rpartition(b"/")[2] for line in done.stdout.splitlines()}
    assert told == set(ODD)
    latest = tmp_path / "results" / "latest"
    result = json.loads((latest / "result.json").read_text(encoding="utf-8"))
    assert result["outcome"] == "passed"
    assert len(result["artifacts"]) == len(ODD)
    assert 'errors="0"' in (latest / "junit.xml").read_text(encoding="utf-8")
