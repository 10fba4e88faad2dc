"""What pip installs: the command, in directories that know nothing of it. From a real wheel, without a network."""

from __future__ import annotations

import os
import re
import site
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vmtasks import __version__

ROOT = Path(__file__).resolve().parents[3]
RECIPE = '''"""Greet."""

from vmtasks import Run, recipe
from recipes.tarbake import tarbake


@recipe
def {name}(run: Run) -> None:
    """{says}"""
    print("{says}", tarbake.__module__)
'''

Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the bin/ of an environment in which the wheel is installed; what it depends on is lent from this one."""
    home = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    offline = ["--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, "wheel", *offline, "--no-build-isolation", "--wheel-dir", home, ROOT], check=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home / "venv"], check=True)
    (wheel,) = home.glob("*.whl")
    subprocess.run([*pip, "--python", home / "venv/bin/python", "install", *offline, wheel], check=True)
    (place,) = (home / "venv/lib").glob("python*/site-packages")
    (place / "lent.pth").write_text(f"{site.getsitepackages()[0]}\n")  # its own .pth files are not read
    return home / "venv/bin"


@pytest.fixture
def call(installed: Path, tmp_path: Path) -> Call:
    def run(*words: str, program: str = "vmtasks", **environ: str) -> subprocess.CompletedProcess[str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("VMTASKS_")}
        return subprocess.run(
            [installed / program, *words],
            cwd=tmp_path,
            env=own
            | {"PATH": f"{installed}:{os.environ['PATH']}", "VMTASKS_CACHE": str(tmp_path / "cache"), **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def test_what_is_installed_is_one_package_with_all_that_belongs_to_it(installed: Path) -> None:
    (place,) = (installed.parent / "lib").glob("python*/site-packages")
    assert {path.name.partition("-")[0] for path in place.iterdir()} == {"vmtasks", "lent.pth"}
    files = [path for path in (ROOT / "vmtasks").rglob("*") if path.is_file() and path.parent.name != "__pycache__"]
    assert ROOT / "vmtasks/frameworks/lava/guest/bin/lava-test-case" in files
    for path in files:
        there = place / path.relative_to(ROOT)
        assert there.read_bytes() == path.read_bytes()
        assert os.access(there, os.X_OK) == os.access(path, os.X_OK), there
    assert (place / "vmtasks/_recipes/test_in_vm.py").is_file()
    assert (place / "vmtasks/_images/bookworm.toml").is_file()
    assert (place / "vmtasks/py.typed").is_file()


def test_it_has_its_own_name_and_version(call: Call) -> None:
    assert call("--version").stdout == f"vmtasks {__version__}\n"
    assert "complete -F _complete_vmtasks -o default vmtasks" in call("--print-completion-script", "bash").stdout
    completed = call("--complete", "--", "vmtasks", "test")
    assert completed.stdout.split().count("test") == 1


COMPLETE = """eval "$(vmtasks --print-completion-script bash)"
COMP_WORDS=(vmtasks test --image tri) COMP_CWORD=3
_complete_vmtasks vmtasks tri --image
printf '%s\\n' "${COMPREPLY[@]}"
"""


def test_bash_completes_the_names_of_images(installed: Path, tmp_path: Path) -> None:
    path = f"{installed}:{os.environ['PATH']}"
    environ = {**os.environ, "PATH": path, "VMTASKS_CACHE": str(tmp_path)}
    done = subprocess.run(
        ["bash", "-c", COMPLETE], env=environ, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["trixie", "trixie-build", "trixie-kernel"]


def test_every_task_is_there_in_an_empty_directory(call: Call) -> None:
    listing = call("--help")
    assert listing.returncode == 0, listing.stderr
    for name in ("test", "build-deb", "tarbake", "install-test", "images.list", "vm.gc", "doctor", "setup", "help"):
        assert f"\n  vmtasks {name} " in listing.stdout
    images = call("images.list").stdout
    assert "bookworm-build" in images


def test_what_goes_wrong_names_only_what_is_there(call: Call, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused = call("build-deb", "--source", "empty")
    assert refused.returncode == 64
    assert "`vmtasks test-in-vm`" in refused.stderr
    assert "`inv" not in refused.stderr
    assert "docs/" not in call("test", "--help").stdout
    for program in ("runvm", "autopkgtest-virt-vmtasks"):
        told = call("--help", program=program).stdout
        assert "vmtasks images." in told
        assert "inv images." not in told
    (tmp_path / "bin").mkdir()
    unready = call("images.bake", "bookworm", PATH=str(tmp_path / "bin"))
    assert unready.returncode == 69
    assert "run `vmtasks setup`" in unready.stderr


def test_setup_asks_nothing_and_says_the_line(call: Call, tmp_path: Path) -> None:
    bare = tmp_path / "bin"
    bare.mkdir()
    (bare / "dpkg-query").write_text("#!/bin/sh\necho git installed\n")
    (bare / "apt-get").write_text(f'#!/bin/sh\necho "$*" >>{tmp_path}/asked\n')
    (bare / "sudo").write_text('#!/bin/sh\nexec "$@"\n')
    for program in bare.iterdir():
        program.chmod(0o755)
    path = f"{bare}:{os.environ['PATH']}"
    told = call("setup", PATH=path)
    assert told.returncode == 69
    assert "missing: mmdebstrap (bakes Debian images)" in told.stdout
    assert "apt-get install --no-install-recommends qemu-system-x86" in told.stderr
    assert "python3-venv" not in told.stdout + told.stderr  # pip has been here
    assert not (tmp_path / "asked").exists()
    done = call("setup", "--yes", PATH=path)
    assert done.returncode == 0, done.stderr
    assert "--yes" in (tmp_path / "asked").read_text()


def test_the_documents_are_there_and_help_knows_tasks(call: Call) -> None:
    assert call("help", "recipes").stdout.startswith("# Writing a recipe\n")
    for name in ("test", "test-in-vm"):
        assert "memory of each machine in MiB" in call("help", name).stdout
    unknown = call("help", "recipies")
    assert unknown.returncode == 64
    assert "the pages are buildbot, " in unknown.stderr


def test_manual_pages_tell_of_every_task_and_name_only_what_is_there(call: Call, tmp_path: Path) -> None:
    made = call(str(ROOT / "debian/manual.py"), "man", program="python", SOURCE_DATE_EPOCH="86400")
    assert made.returncode == 0, made.stderr
    pages = {path.name: path.read_text(encoding="utf-8").replace("\\-", "-") for path in (tmp_path / "man").iterdir()}
    assert set(pages) == {"vmtasks.1", "runvm.1", "autopkgtest-virt-vmtasks.1"}
    for name, page in pages.items():
        assert page.startswith(f'.TH "{name.removesuffix(".1").upper()}" 1 "1970-01-02" "vmtasks {__version__}" ')
        assert not re.findall(r"\binv [a-z]|\bdocs/|\bimages/", page)
        assert "\n.SH SEE ALSO\n" in page
    for line in call("--help").stdout.splitlines():
        if line.startswith("  vmtasks "):
            assert f"\n.B {line.strip().partition('  ')[0]}\n" in pages["vmtasks.1"]
    assert "\n.B --upgrade-from=TEXT\nalso upgrade from older packages" in pages["vmtasks.1"]
    assert "\n.B 69\ninfrastructure failure" in pages["vmtasks.1"]
    assert "\n.B VMTASKS_CACHE\nwhere baked images are kept" in pages["vmtasks.1"]
    assert "\n.B -p, --port=N\nPort of this host" in pages["runvm.1"]
    assert "\n.B --on ON\nwhere machines run" in pages["autopkgtest-virt-vmtasks.1"]


def test_a_reader_that_goes_away_ends_it_with_141(installed: Path, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [installed / "vmtasks", "--help"],
            cwd=tmp_path,
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_recipes_of_the_directory_come_along_and_go_before_ours(call: Call, tmp_path: Path) -> None:
    own = tmp_path / "recipes"
    own.mkdir()
    (own / "greet.py").write_text(RECIPE.format(name="greet", says="Hello."))
    called = call("greet")
    assert called.stdout == "Hello. recipes.tarbake\n"
    assert "vmtasks:" not in called.stderr
    assert "Of this directory:\n  vmtasks greet " in call("--help").stdout
    (own / "test_in_vm.py").write_text(RECIPE.format(name="test_in_vm", says="Mine."))
    (own / "models.py").write_text("import a_thing_that_is_not_there\n")
    (own / "broken.py").write_text("from vmtasks import no_such_name\n")
    (own / "__init__.py").write_text("raise SystemExit('nobody asked for this')\n")
    called = call("test")
    assert called.stdout.startswith("Mine. ")
    assert f"test-in-vm is this directory's own, from {own}" in called.stderr
    assert f"cannot use {own}/broken.py: ImportError" in called.stderr


def test_a_directory_called_recipes_that_holds_other_things_is_left_alone(call: Call, tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/tarbake.py").write_text("raise SystemExit('soup')\n")
    listing = call("--help")
    assert (listing.returncode, listing.stderr) == (0, "")
    assert "\n  vmtasks tarbake " in listing.stdout


def test_images_of_the_directory_go_before_ours_also_from_where_its_settings_say(call: Call, tmp_path: Path) -> None:
    (tmp_path / "ci").mkdir()
    (tmp_path / "ci/bookworm.toml").write_text('description = "my own"\nsuite = "bookworm"\n')
    assert "my own" not in call("images.list").stdout
    (tmp_path / "vmtasks.toml").write_text('[paths]\nimages = "ci"\n')
    assert "my own" in call("images.list").stdout
    assert f"{tmp_path}/ci/bookworm.toml" in call("images.show", "bookworm").stdout


def test_one_line_gives_them_to_a_tasks_py_with_tasks_of_its_own(call: Call, tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(
        "from invoke import task\nfrom vmtasks import collect\n\n\n"
        '@task\ndef mine(c):\n    """My own."""\n\n\nnamespace = collect(__name__)\n'
    )
    listing = call("-m", "invoke", "--list", program="python")
    assert listing.returncode == 0, listing.stderr
    assert "\n  mine " in listing.stdout
    assert "\n  test-in-vm " in listing.stdout
