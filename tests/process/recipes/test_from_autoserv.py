"""The examples of docs/from-autoserv.md, each run as it stands there, in machines that are none."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.process.documented import DocumentedCall, documented
from tests.process.played_boot_loader import NEW, OLD, play
from tests.small_kernel import RELEASE, bz_image, deb, kernel_files, rpm
from vmtasks import Run, Suite, TimedOut, events, use_provider
from vmtasks.errors import TestFailed as ProjectFailed
from vmtasks.frameworks.suite import suite as suite_module
from vmtasks.run.options import RecipeOptions
from vmtasks.run.task import Recipe
from vmtasks.testing import FakeProvider

PAGE = Path(__file__).resolve().parents[3] / "docs/from-autoserv.md"
SERVER, CLIENT = "iperf3 --server --one-off", "iperf3 --client 198.18.0.1 --time 1"
INSTEAD = {
    "apt-get *": ":",
    "dpkg-deb --field *": "echo linux-image-own",
    "# find the kernel of a package*": f"echo /boot/vmlinuz-{NEW}",
    SERVER: "echo 'Server listening on 5201'",
    CLIENT: "echo '941 Mbits/sec'",
}


def examples() -> dict[str, Recipe]:
    """Return the recipes of the page, by their names."""
    found: dict[str, Recipe] = {}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        space: dict[str, Any] = {"__name__": "example"}
        exec(compile(block, str(PAGE), "exec"), space)  # noqa: S102 - our own page
        found |= {name: value for name, value in space.items() if isinstance(value, Recipe)}
    return found


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    play(monkeypatch)
    monkeypatch.setenv("VMTASKS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Suite, "preparation", lambda _: None)
    with tempfile.TemporaryDirectory(prefix="vmtasks-test-") as home:
        Path(home).chmod(0o777)
        monkeypatch.setattr(suite_module, "HOME", home)
        yield


def ran(
    name: str, path: Path, instead: dict[str, str] | None = None, kernel: str = "", on: str = "", **options: Any
) -> DocumentedCall:
    """Run an example, and return what came of it."""

    def call(run: Run) -> None:
        run.flags = RecipeOptions(kernel=kernel, on=on)
        examples()[name](run, **options)

    with use_provider(FakeProvider(instead={**INSTEAD, **(instead or {})})):
        return documented(name.replace("_", "-"), path / "run", call)


@pytest.fixture
def tests(tmp_path: Path) -> Path:
    (tmp_path / "smoke").mkdir()
    (tmp_path / "smoke/works").write_text("#!/bin/sh\ntrue\n")
    (tmp_path / "smoke/works").chmod(0o755)
    return tmp_path / "smoke"


def test_a_kernel_that_is_installed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    package = deb(kernel_files(), tmp_path / "linux.deb")
    assert ran("deb_kernel", tmp_path, package=str(package)).problem is None
    assert capsys.readouterr().out.split() == [OLD, NEW]


@pytest.mark.parametrize("is_it", [True, False])
def test_an_rpm_on_several_hosts(tmp_path: Path, is_it: bool) -> None:
    package = rpm(kernel_files(), tmp_path / "kernel.rpm")
    running = {"uname --kernel-release; cat /proc/cmdline": f"printf '{RELEASE if is_it else OLD}\\nquiet\\n'"}
    problem = ran("rpm_kernel", tmp_path, running, kernel=str(package)).problem
    assert (problem is None) is is_it
    assert is_it or f"came back with the kernel {OLD}, and not with {RELEASE}" in str(problem)


def test_a_job_of_autotest(tmp_path: Path, tests: Path) -> None:
    done = ran("job", tmp_path, tests=str(tests))
    assert done.problem is None
    assert [(one.case, one.outcome) for one in done.heard if isinstance(one, events.CaseEnded)] == [("works", "passed")]


def test_a_kvm_guest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ran("kvm_guest", tmp_path).problem is None
    assert capsys.readouterr().out == f"{OLD}\n"


def test_profiling_while_a_guest_works(tmp_path: Path, tests: Path) -> None:
    done = ran("profiled_job", tmp_path, tests=str(tests))
    assert done.problem is None
    assert [one for one in done.heard if isinstance(one, events.Profiled)]


def test_a_kernel_that_is_not_installed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    package = deb(kernel_files(), tmp_path / "linux.deb")
    out = tmp_path / "out"
    assert ran("extracted", tmp_path, kernel=str(package), out=str(out)).problem is None
    assert (out / f"kernel/boot/vmlinuz-{RELEASE}").read_bytes() == bz_image()
    assert capsys.readouterr().out.startswith(f"{RELEASE} #1 SMP")


def test_client_and_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    package = deb(kernel_files(), tmp_path / "linux.deb")
    done = ran("netperf_pair", tmp_path, release=NEW, package=str(package), seconds=1)
    assert done.problem is None
    assert capsys.readouterr().out.startswith("941 Mbits/sec")
    printed = {branch: done.directory / f"branches/{branch}/iperf3.txt" for branch in ("serve", "measure")}
    assert printed["serve"].read_text() == "Server listening on 5201\n"
    assert printed["measure"].read_text() == "941 Mbits/sec\n"
    assert sorted(done.artifacts) == sorted(printed.values())


def test_a_server_and_a_client_that_are_a_pair_of_hosts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    package = deb(kernel_files(), tmp_path / "linux.deb")
    pair = "ssh://192.168.1.1,ssh://192.168.1.2"
    done = ran("netperf_pair", tmp_path, on=pair, release=NEW, package=str(package), seconds=1)
    assert done.problem is None
    assert capsys.readouterr().out.startswith("941 Mbits/sec")
    assert "pairs" in examples()["netperf_pair"].help


def test_a_server_that_fails_ends_the_client(tmp_path: Path) -> None:
    package = deb(kernel_files(), tmp_path / "linux.deb")
    instead = {SERVER: "echo no port >&2; exit 1", CLIENT: "sleep 600"}
    problem = ran("netperf_pair", tmp_path, instead, release=NEW, package=str(package), seconds=1).problem
    assert isinstance(problem, ProjectFailed)
    assert not isinstance(problem, TimedOut)


def test_each_example_is_tried_here() -> None:
    assert set(examples()) == {
        "deb_kernel", "rpm_kernel", "job", "kvm_guest", "profiled_job", "extracted", "netperf_pair",
    }  # fmt: skip
