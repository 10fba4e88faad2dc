"""The recipes as their users call them: make and inv, real machines, real apt, a package that nobody here wrote."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4
from xml.etree import ElementTree as ET

import pytest

from tests.debian_source import fetched
from tests.results import commands_of, machines_of
from tests.same_build import undated
from vmtasks.host.lease import machines_dir
from vmtasks.project import tree_files

ROOT = Path(__file__).resolve().parents[2]
HELLO = ROOT / "examples" / "hello"
INV = (str(Path(sys.executable).with_name("inv")), "-r", str(ROOT))
LIMIT_S = 900.0
"""Of one call: waiting for a slot behind somebody else's machines is part of it."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """What came of a call."""

    status: int
    stdout: str
    stderr: str
    cwd: Path

    @cached_property
    def directory(self) -> Path:
        """Where the run is written down."""
        match = re.search(r"logs and results go to (\S+)$", self.stderr, re.MULTILINE)
        assert match, self.stderr
        return self.cwd / match[1]

    @cached_property
    def result(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.directory / "result.json").read_text(encoding="utf-8"))
        return document

    @property
    def cases(self) -> dict[str, str]:
        return {case["case"]: case["outcome"] for case in self.result["cases"]}

    def passed(self) -> bool:
        assert self.status == 0, self.stderr
        return True


RUNS: list[Done] = []


@contextmanager
def started(cwd: Path, argv: Sequence[str]) -> Iterator[Callable[[], Done]]:
    """Start a program, and yield what waits for its end. Whatever happens, it and its children end here."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(argv, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=err, process_group=0)

        def done() -> Done:
            status = process.wait(LIMIT_S)
            out.seek(0)
            err.seek(0)
            return Done(status=status, stdout=out.read().decode(), stderr=err.read().decode(), cwd=cwd)

        try:
            yield done
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def all_of(*calls: tuple[Path, Sequence[str]]) -> list[Done]:
    """Make several calls at once, and wait for all of them."""
    with ExitStack() as stack:
        waits = [stack.enter_context(started(cwd, argv)) for cwd, argv in calls]
        ended = [wait() for wait in waits]
    RUNS.extend(ended)
    return ended


def inv(cwd: Path, *words: str | Path) -> tuple[Path, Sequence[str]]:
    return cwd, [*INV, *map(str, words)]


@pytest.fixture(scope="module", autouse=True)
def _nothing_stays_behind() -> Iterator[None]:
    yield
    # A machine's directory, which its QEMU's command line names, bears the number of the process that asked for it.
    callers = {done.directory.name.split("-")[-1] for done in RUNS if "results go to" in done.stderr}
    ours = re.compile(rf"{re.escape(str(machines_dir()))}/[\w.-]+-({'|'.join(callers) or 'none'})-[0-9a-f]{{8}}")
    assert [path for path in machines_dir().glob("*") if ours.fullmatch(str(path))] == []
    assert [line for line in command_lines() if "qemu" in line and ours.search(line)] == []


def command_lines() -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_text(errors="replace").replace("\0", " ")
        except OSError:
            continue  # it has ended


# ---- what there is to work with


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory that is no checkout, and whose name makes careless shell lines stumble."""
    path = tmp_path_factory.mktemp("recipes") / "it's a room"
    path.mkdir()
    return path


@pytest.fixture(scope="module")
def hello(room: Path) -> Path:
    """Return the example as somebody else's checkout has it: other times, and modes that only the owner can use."""
    copy = room / "hello world"
    for path in tree_files(HELLO):
        (copy / path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copyfile(HELLO / path, copy / path)
        (copy / path).chmod(0o700 if os.access(HELLO / path, os.X_OK) else 0o600)
    return copy


@pytest.fixture(scope="module")
def cowsay(room: Path) -> Path:
    """Return the .dsc of a source package from Debian's archive."""
    return fetched("cowsay", room / "apt")


@pytest.fixture(scope="module")
def made() -> Done:
    (done,) = all_of((ROOT, ["make", "test-in-vm"]))
    return done


@pytest.fixture(scope="module")
def built(room: Path, hello: Path, cowsay: Path) -> tuple[Done, Done]:
    no_lintian = ["env", "VMTASKS_LINTIAN=off", *INV]  # which takes as long as the build, and has seen it already
    first, second = all_of(
        (room, [*no_lintian, "build-deb", "--source", str(hello.relative_to(room)), "--out", "debs of hello"]),
        inv(room, "build-deb", "--source", cowsay, "--out", "debs of cowsay"),
    )
    return first, second


def artifacts(done: Done) -> dict[str, Path]:
    """Return what standard output names; it names nothing else."""
    paths = [done.cwd / line for line in done.stdout.splitlines()]
    assert [path for path in paths if not path.is_file()] == []
    return {path.name: path for path in paths}


def junit(done: Done) -> ET.Element:
    return ET.fromstring((done.directory / "junit.xml").read_text(encoding="utf-8"))  # noqa: S314 - our own


def repacked(deb: Path, version: str, target: Path) -> Path:
    """Make another version of a package, natively."""
    name, _, architecture = deb.stem.split("_")
    tree = target / f"{name}.tree"
    target.mkdir(exist_ok=True)
    subprocess.run(["dpkg-deb", "--raw-extract", deb, tree], check=True)
    control = tree / "DEBIAN" / "control"
    control.write_text(re.sub(r"(?m)^Version: .*", f"Version: {version}", control.read_text(encoding="utf-8")))
    made = target / f"{name}_{version}_{architecture}.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Zxz", "--build", tree, made], check=True)
    shutil.rmtree(tree)
    return made


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# ---- make test-in-vm


def test_make_test_in_vm_brings_out_everything_and_says_only_where(made: Done) -> None:
    assert made.passed()
    assert sorted(artifacts(made)) == [
        "distdirname.txt",
        "greeting-1.2.0.tar.gz",
        "greeting-1.2.0.tar.gz.sha256",
        "greeting-dbgsym_1.2.0_amd64.deb",
        "greeting_1.2.0_amd64.buildinfo",
        "greeting_1.2.0_amd64.changes",
        "greeting_1.2.0_amd64.deb",
    ]
    assert made.stderr.splitlines()[-1].startswith("test-in-vm passed in ")
    latest = ROOT / "build" / "vmtasks" / "latest"
    assert latest.is_symlink()
    assert latest.resolve().parent == made.directory.resolve().parent


def test_make_test_in_vm_writes_everything_down(made: Done) -> None:
    result = made.result
    assert (result["outcome"], result["exit_code"], result["message"]) == ("passed", 0, "")
    assert {"slot", "overlay", "start", "restore", "ssh", "upload", "download", "stop"} <= {
        phase["phase"] for phase in result["phases"]
    }
    assert [phase for phase in result["phases"] if phase["duration_s"] is None or phase["error"]] == []
    machines = machines_of(result)
    found = [(machine["machine"], machine["image"], machine["start"]) for machine in machines]
    assert found[:2] == [  # machines with what they build with may be there already
        ("tarbake", "bookworm-build", machines[0]["start"]),
        ("build", "bookworm-build", machines[1]["start"]),
    ]
    assert [one for one in found[2:] if one[0] != "lintian"] == [
        ("source", "bookworm-build", "clone"),
        ("install", "bookworm", "clone"),
        ("test-greets", "bookworm", "fork"),
    ]
    assert ("lintian", "bookworm-build", "clone") in found[2:]
    for machine in machines:
        assert machine["argv"][0].startswith("qemu-system-")
        assert machine["accelerator"] in ("kvm", "tcg")
        assert re.fullmatch(r"[0-9a-f]{16,}", machine["image_key"])
        assert "systemd-sysv" in machine["manifest"]["packages"]
        assert Path(machine["console"]).is_file()
    assert "dpkg-buildpackage --build=binary --no-sign" in [command["command"] for command in result["commands"]]
    for command in commands_of(result):
        assert command["exit_code"] == 0
        assert (ROOT / command["log"]).is_file()
    assert sorted(map(Path, result["artifacts"])) == sorted(artifacts(made).values())
    assert not (made.directory / "leftovers.txt").exists()
    assert "greeting" in (made.directory / "install-logs" / "dpkg.log").read_text(encoding="utf-8")
    assert (made.directory / "install-logs" / "journal.log").stat().st_size > 0


def test_make_test_in_vm_reports_its_cases(made: Done) -> None:
    (suite,) = junit(made)
    cases = ["tarbake", "build-deb", "lintian", "install", "debian/tests/greets", "smoke", "purge", "leftovers"]
    assert sorted(case.get("name", "") for case in suite) == sorted(cases)
    assert (suite.get("failures"), suite.get("errors"), suite.get("skipped")) == ("0", "0", "0")
    assert made.cases == dict.fromkeys(cases, "passed")


# ---- build-deb and tarbake


def test_the_same_source_gives_the_same_packages(made: Done, built: tuple[Done, Done]) -> None:
    before, after = artifacts(made), artifacts(built[0])
    assert built[0].passed()
    names = sorted(name for name in before if name.endswith((".deb", ".changes", ".buildinfo")))
    assert len(names) == 4
    assert [name for name in names if undated(after[name]) != undated(before[name])] == []
    assert {path.parent.name for path in after.values()} == {"debs of hello"}


def test_a_package_from_debians_archive_is_built(built: tuple[Done, Done]) -> None:
    assert built[1].passed()
    kinds = sorted(path.suffix for path in artifacts(built[1]).values())
    assert kinds == [".buildinfo", ".changes", ".deb", ".deb"]
    assert built[1].cases == {"build-deb": "passed", "lintian": "passed"}


def test_the_same_tree_gives_the_same_tarball_and_any_tree_gives_one(
    made: Done, room: Path, hello: Path, cowsay: Path
) -> None:
    tree = unpacked(cowsay, room / "cowsay's tree")
    ours, theirs = all_of(
        inv(room, "tarbake", "--source", hello, "--out", "tarball of hello"),
        inv(room, "tarbake", "--source", tree),
    )
    assert ours.passed()
    tarball = artifacts(ours)["greeting-1.2.0.tar.gz"]
    assert sha256(tarball) == sha256(artifacts(made)[tarball.name])
    assert artifacts(ours)["distdirname.txt"].read_text() == "greeting-1.2.0\n"
    subprocess.run(["sha256sum", "--check", "--strict", f"{tarball.name}.sha256"], cwd=tarball.parent, check=True)

    assert theirs.passed()
    directory = artifacts(theirs)["distdirname.txt"].read_text().strip()
    with tarfile.open(artifacts(theirs)[f"{directory}.tar.gz"]) as archive:
        packed = {member.name for member in archive if not member.isdir()}
    assert packed == {f"{directory}/{path}" for path in tree_files(tree)}


def unpacked(dsc: Path, target: Path) -> Path:
    """Unpack a source package without dpkg-dev, which not every host has."""
    safely: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    (upstream,) = dsc.parent.glob("*.orig.tar.*")
    (debian,) = dsc.parent.glob("*.debian.tar.*")
    with tarfile.open(upstream) as archive:
        archive.extractall(target, **safely)  # noqa: S202 - Debian's own
    (tree,) = target.iterdir()
    with tarfile.open(debian) as archive:
        archive.extractall(tree, **safely)  # noqa: S202
    return tree


# ---- install-test

INSTALLED_AND_UPGRADED = [
    *("install", "smoke", "purge", "leftovers"),
    *("install-old", "upgrade", "smoke after the upgrade", "purge after the upgrade", "leftovers after the upgrade"),
]


def test_a_failed_smoke_test_is_told_and_an_upgrade_is_one(made: Done, room: Path, tmp_path: Path) -> None:
    deb = artifacts(made)["greeting_1.2.0_amd64.deb"]
    repacked(deb, "1.1.0", tmp_path / "old ones")
    failed, upgraded = all_of(
        inv(room, "install-test", "--debs", deb.parent, "--smoke", "echo smoke and mirrors; exit 3"),
        inv(
            tmp_path,
            *("install-test", "--debs", deb, "--upgrade-from", "old ones"),
            *("--smoke", "dpkg-query --show greeting | grep --word-regexp 1.2.0"),
        ),
    )
    assert (failed.status, failed.stdout, failed.result["outcome"]) == (1, "", "test-failed")
    assert failed.cases == {"install": "passed", "smoke": "test-failed", "purge": "passed", "leftovers": "passed"}
    (row,) = junit(failed).iter("failure")
    assert row.text == "smoke and mirrors"
    assert {"dpkg.log", "journal.log"} <= {path.name for path in (failed.directory / "install-logs").iterdir()}
    last_screen = failed.stderr.splitlines()[-15:]
    rerun = next(line.split(None, 1)[1] for line in last_screen if line.strip().startswith("rerun:"))
    shell = next(line.split(None, 1)[1] for line in last_screen if line.strip().startswith("shell:"))
    program, *words = shlex.split(rerun)
    assert (room / program).samefile(INV[0])
    assert words == [*INV[1:], "install-test", "--debs", str(deb.parent), "--smoke", "echo smoke and mirrors; exit 3"]
    assert shell == f"{rerun} --shell"
    assert any("smoke and mirrors" in line for line in last_screen if "rerun" not in line and "shell" not in line)

    assert upgraded.passed()
    assert upgraded.cases == dict.fromkeys(INSTALLED_AND_UPGRADED, "passed")
    assert " upgrade greeting:amd64 1.1.0 1.2.0\n" in (upgraded.directory / "upgrade-logs" / "dpkg.log").read_text()


def test_a_package_from_debians_archive_is_installed_and_upgraded(
    built: tuple[Done, Done], cowsay: Path, tmp_path: Path
) -> None:
    debs = [path for path in artifacts(built[1]).values() if path.suffix == ".deb"]
    version = debs[0].name.split("_")[1]
    newer = [repacked(deb, f"{version}+newer", tmp_path / "newer") for deb in debs]
    installed, upgraded = all_of(
        inv(tmp_path, "install-test", "--debs", debs[0].parent, "--source", cowsay, "--smoke", "cowsay moo"),
        inv(
            tmp_path,
            *("install-test", "--upgrade-from", "archive", "--smoke", "cowsay moo"),
            *(word for deb in newer for word in ("--debs", deb)),
        ),
    )
    assert installed.passed()
    assert installed.cases == dict.fromkeys(["install", "smoke", "purge", "leftovers"], "passed")
    (smoke,) = installed.directory.glob("install-*-cowsay-moo.log")
    assert "< moo >" in smoke.read_text()
    assert not (installed.directory / "leftovers.txt").exists()

    assert upgraded.passed()
    assert upgraded.cases == dict.fromkeys(INSTALLED_AND_UPGRADED, "passed")
    assert (
        f" upgrade cowsay:all {version} {version}+newer\n"
        in (upgraded.directory / "upgrade-logs" / "dpkg.log").read_text()
    )


NEEDY = {
    "debian/changelog": (
        "needy (1.0) unstable; urgency=medium\n\n  * First.\n\n"
        " -- A Tester <tester@example.org>  Thu, 01 Jan 2026 00:00:00 +0000\n"
    ),
    "debian/control": (
        "Source: needy\nMaintainer: A Tester <tester@example.org>\nBuild-Depends: ed\n\n"
        "Package: needy\nArchitecture: all\nDescription: needs an editor to be built\n"
    ),
    "debian/rules": (
        "#!/usr/bin/make -f\nbuild clean binary-arch:\nbinary: binary-indep\nbinary-indep:\n"
        "\tmkdir -p debian/tmp/DEBIAN debian/tmp/usr/share/needy\n"
        "\tprintf 'a\\nwords\\n.\\nw debian/tmp/usr/share/needy/words\\n' | ed -s\n"
        "\tdpkg-gencontrol\n\tdpkg-deb --root-owner-group --build debian/tmp ..\n"
    ),
    "debian/tests/control": (
        "Test-Command: test -e /usr/share/needy/words && echo mine >$AUTOPKGTEST_ARTIFACTS/note\n"
        "Features: test-name=alone\nRestrictions: isolation-machine\n\n"
        "Test-Command: exit 77\nFeatures: test-name=not-today\nRestrictions: skippable\n\n"
        "Test-Command: false\nFeatures: test-name=elsewhere\nArchitecture: !amd64\n"
    ),
    "vmtasks.toml": '[commands]\nlintian = "off"\nsmoke = "test -e /usr/share/needy/words"\n',
}


def test_what_is_needed_to_build_is_installed_once_and_a_test_brings_out_what_it_leaves(tmp_path: Path) -> None:
    for name, text in NEEDY.items():
        path = tmp_path / "needy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "needy" / "debian" / "rules").chmod(0o755)
    (first,) = all_of(inv(tmp_path, "build-deb", "--source", "needy"))
    (second,) = all_of(inv(tmp_path, "build-deb", "--source", "needy"))
    assert first.passed()
    assert second.passed()
    assert not [one for one in second.result["commands"] if one["command"].startswith("apt-get")]
    (machine,) = second.result["machines"]
    assert machine["start"] == "fork"
    assert "these build dependencies" in machine["start_reason"]
    (deb,) = [path for path in artifacts(second).values() if path.suffix == ".deb"]
    assert sha256(deb) == sha256(artifacts(first)[deb.name])

    (tried,) = all_of(inv(tmp_path, "install-test", "--debs", deb, "--source", "needy"))
    assert tried.passed()
    assert tried.cases == {
        **dict.fromkeys(["install", "smoke", "purge", "leftovers"], "passed"),
        "debian/tests/alone": "passed",
        **{f"debian/tests/{name}": "skipped" for name in ("not-today", "elsewhere")},
    }
    starts = {machine["machine"]: machine["start"] for machine in tried.result["machines"]}
    assert starts == {**starts, "install": "clone", "test-alone": "fork"}
    assert (tried.directory / "autopkgtest" / "alone" / "artifacts" / "note").read_text() == "mine\n"


# ---- test-in-vm of a project that is no package


def test_a_project_without_debian_has_its_own_tests_run(tmp_path: Path) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    for project, verdict in ((good, "true"), (bad, "false")):
        project.mkdir()
        (project / "Makefile").write_text(
            f"check:\n\t@echo 'checked by' $$(id -un) | tee report.log\n\t@printf 'caf\\351\\n'\n\t{verdict}\n"
        )
        (project / "vmtasks.toml").write_text('[artifacts]\ntest = ["*.log"]\n')
    passed, failed = all_of(
        inv(tmp_path, "test-in-vm", "--source", "good", "--out", "good reports"),
        inv(bad, "test-in-vm"),
    )
    assert passed.passed()
    assert passed.cases == {"test": "passed"}
    assert artifacts(passed)["report.log"] == tmp_path / "good reports" / "report.log"

    assert (failed.status, failed.result["outcome"]) == (1, "test-failed")
    assert failed.cases == {"test": "test-failed"}
    assert failed.result["details"][:2] == ["checked by builder", "caf�"]
    assert artifacts(failed)["report.log"].read_text() == "checked by builder\n"


def test_what_a_projects_tests_need_is_fetched_once_until_what_decides_it_changes(tmp_path: Path) -> None:
    project = tmp_path / "app"
    project.mkdir()
    (project / "lock").write_text(f"{uuid4()}\n")  # an earlier call of this test has left its machines
    (project / "vmtasks.toml").write_text(
        '[commands]\ntest = "cat fetched"\nprepare = "ls >fetched; cat /proc/sys/kernel/random/uuid >>fetched"\n'
        'prepare_files = ["lock"]\n[artifacts]\ntest = ["fetched"]\n'
    )

    def one_run() -> tuple[str, str]:
        (done,) = all_of(inv(tmp_path, "test-in-vm", "--source", "app"))
        assert done.passed()
        assert done.cases == {"test": "passed"}
        (machine,) = machines_of(done.result)
        return artifacts(done)["fetched"].read_text(), machine["start"]

    first, start = one_run()
    assert first.startswith("fetched\nlock\n")
    assert start != "fork"
    (project / "src.c").write_text("int main;\n")
    assert one_run() == (first, "fork")
    (project / "lock").write_text(f"{uuid4()}\n")
    another, start = one_run()
    assert another != first
    assert start != "fork"


# ---- bad input


@pytest.fixture
def oddments(tmp_path: Path) -> Path:
    for directory in ("bare", "broken", "mistyped", "empty"):
        (tmp_path / directory).mkdir()
    (tmp_path / "broken" / "vmtasks.toml").write_text("[machine\n")
    (tmp_path / "mistyped" / "vmtasks.toml").write_text('[machine]\nmemory_mib = "much"\n')
    (tmp_path / "notes.txt").write_text("a file\n")
    (tmp_path / "x_1_all.deb").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("build-deb --source bare", r"cannot build packages of bare: it has no debian/control"),
        ("build-deb --source nowhere", r"there is no source nowhere"),
        ("build-deb --source notes.txt", r"cannot build notes\.txt: it is neither a directory, nor a tarball"),
        ("build-deb --source HELLO --image bokworm-build", r"no image.*bokworm-build.*bookworm-build"),
        ("build-deb --source HELLO --out notes.txt/below", r"cannot write artifacts to notes\.txt/below: Not a dir"),
        ("build-deb --source HELLO --accel xen", r"there is no accelerator 'xen'"),
        ("tarbake --source nowhere", r"cannot open the project .*/nowhere: No such file"),
        ("tarbake --source broken", r"broken/vmtasks\.toml"),
        (
            "tarbake --source mistyped",
            r"mistyped/vmtasks\.toml: key 'memory_mib' in \[machine\] must be a whole number",
        ),
        ("install-test --debs y_1_all.deb", r"cannot install y_1_all\.deb: there is no such file"),
        ("install-test --debs notes.txt", r"cannot install notes\.txt: it is neither a \.deb file"),
        ("install-test --debs empty", r"there are no packages in empty"),
        ("install-test --debs x_1_all.deb --upgrade-from nowhere", r"cannot install nowhere"),
        ("install-test --debs x_1_all.deb --source nowhere", r"cannot open the project .*/nowhere: No such file"),
        ("kernel-test", r"no kernel is named"),
        ("kernel-test --kernel nowhere.rpm", r"cannot install the kernel nowhere\.rpm: that takes a Debian package"),
        ("test-in-vm --source bare", r"there is no command that tests .*/bare"),
    ],
)
def test_bad_input_is_one_sentence_before_anything_boots(oddments: Path, words: str, says: str) -> None:
    (done,) = all_of(inv(oddments, *(HELLO if word == "HELLO" else word for word in words.split())))
    assert (done.status, done.stdout, done.result["outcome"]) == (64, "", "usage"), done.stderr
    assert re.search(says, done.result["message"]), done.result["message"]
    assert "\n" not in done.result["message"]
    assert done.stderr.count(done.result["message"]) == 1
    assert "Traceback" not in done.stderr
    assert (done.result["machines"], done.result["phases"]) == ([], [])


# ---- a dry run


@pytest.mark.parametrize("recipe", ["test-in-vm", "build-deb", "tarbake"])
def test_a_dry_run_prints_a_command_line_and_does_nothing(tmp_path: Path, recipe: str) -> None:
    (done,) = all_of(inv(tmp_path, recipe, "--source", HELLO, "--dry-run", "--memory-mib", "1234", "--accel", "tcg"))
    assert done.passed()
    (line,) = done.stdout.splitlines()
    argv = shlex.split(line)
    assert argv[0].startswith("qemu-system-")
    assert argv[argv.index("-m") + 1] == "1234M"
    assert list(tmp_path.iterdir()) == []
