"""selftest: what it does with the wheel, in a machine that is none; what the tests say of it, they say elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.process.workshop import PROVIDER, workshop_of_ones_own
from vmtasks import Run, TestFailed, UsageError, use_provider
from vmtasks.testing import FakeProvider

MODULE = import_module("recipes.selftest")
WHEEL = "vmtasks-0.1.0-py3-none-any.whl"
# As autopkgtest runs a test: in the tree, with a directory of its own, here with the environment's programs first.
A_TEST = """#!/bin/sh
set -e
test -e debian/control
test -d "$AUTOPKGTEST_TMP"
case $PATH in /var/tmp/*/venv/bin:*) ;; *) exit 3 ;; esac
"""
CHANGELOG = "vmtasks (0.1.0) u; urgency=low\n\n -- A <a@example.org>  Thu, 01 Jan 2026 00:00:00 +0000\n"


@pytest.fixture
def workshop() -> Iterator[Path]:
    with workshop_of_ones_own() as directory:
        made = f"{directory}/vmtasks-0.1.0/build/wheel"
        instead = {
            "python3 -m build --wheel *": f"mkdir -p {made} && echo wheel >{made}/{WHEEL}",
            "python3 -m venv --clear /var/tmp/*": f"test -e {made}/*.whl",
        }
        with use_provider(FakeProvider(instead={**PROVIDER.instead, **instead})):
            yield directory


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "checkout"
    files = {
        "vmtasks/__init__.py": "",
        "pyproject.toml": '[project]\nname = "vmtasks"\n',
        "debian/control": "Source: vmtasks\n",
        "debian/changelog": CHANGELOG,
        "debian/tests/images": A_TEST,
        "debian/tests/existing-host": A_TEST,
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    return root


@pytest.fixture
def run(tmp_path: Path) -> Run:
    (tmp_path / "run").mkdir()
    return Run(recipe="selftest", directory=tmp_path / "run")


@pytest.fixture
def packaged(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return what the recipe for Debian packages was called with: it has tests of its own."""
    calls: list[dict[str, Any]] = []

    def record(_: Run, **options: Any) -> None:
        calls.append(options)

    monkeypatch.setattr(MODULE, "test_in_vm", record)
    return calls


@pytest.mark.usefixtures("workshop")
def test_the_wheel_comes_out_and_is_tested_and_then_the_package(
    run: Run, checkout: Path, tmp_path: Path, packaged: list[dict[str, Any]]
) -> None:
    MODULE.selftest(run, source=str(checkout), out=str(tmp_path / "out"), image="trixie")
    assert [path.name for path in run.artifacts] == [WHEEL]
    assert (tmp_path / "out" / WHEEL).read_text() == "wheel\n"
    assert packaged == [{"source": str(checkout), "out": str(tmp_path / "out"), "image": "trixie"}]
    assert not run.failed


@pytest.mark.usefixtures("packaged")
def test_each_call_installs_anew_and_leaves_nothing(run: Run, checkout: Path, workshop: Path, tmp_path: Path) -> None:
    paths = workshop / "paths"
    paths.touch()
    paths.chmod(0o666)
    for name in ("images", "existing-host"):
        (checkout / "debian/tests" / name).write_text(f'{A_TEST}echo "${{PATH%%:*}}" >>{paths}\n')
    for _ in range(2):
        MODULE.selftest(run, source=str(checkout), out=str(tmp_path / "out"))
    first, again, second, _ = paths.read_text().splitlines()
    assert first == again != second
    for path in (first, second):
        assert not Path(path).parents[1].exists()


@pytest.mark.usefixtures("workshop")
def test_a_test_that_fails_keeps_no_other_from_being_run(
    run: Run, checkout: Path, packaged: list[dict[str, Any]]
) -> None:
    (checkout / "debian/tests/images").write_text("#!/bin/sh\necho another key >&2\nexit 1\n")
    MODULE.selftest(run, source=str(checkout))
    assert list(run.failed) == ["wheel: images"]
    assert len(packaged) == 1


@pytest.mark.usefixtures("workshop")
def test_a_wheel_that_cannot_be_built_ends_it(run: Run, checkout: Path, packaged: list[dict[str, Any]]) -> None:
    broken = FakeProvider(instead={**PROVIDER.instead, "python3 -m build *": "exit 1"})
    with use_provider(broken), pytest.raises(TestFailed, match="python3 -m build"):
        MODULE.selftest(run, source=str(checkout))
    assert packaged == []


def test_only_vmtasks_itself_is_tested_so(run: Run, checkout: Path) -> None:
    (checkout / "debian/tests/images").unlink()
    with pytest.raises(UsageError, match=r"cannot test vmtasks itself from .*/checkout: it has no debian/tests/images"):
        MODULE.selftest(run, source=str(checkout))
    (checkout / "debian/tests/images").touch()
    (checkout / "debian/changelog").write_text(CHANGELOG.replace("vmtasks (", "parrot ("))
    with pytest.raises(UsageError, match="it is parrot") as refusal:
        MODULE.selftest(run, source=str(checkout))
    assert "--source names a checkout" in refusal.value.hint
