"""What the host's side takes: listing tasks, memory, whole recipes, a bake."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measurement import ROOT, Rows, at_most, call, in_turn, python_s, slower, timed
from benchmarks.measurement import bake as bake_first
from vmtasks import events
from vmtasks.image import mirror
from vmtasks.image.definition import find
from vmtasks.process.tail import last_lines

LIST_AT_MOST_TIMES = 2.0
MEMORY_AT_MOST_MIB = 120.0
EXAMPLE_AT_MOST_S = 120.0
_LIST_RUNS = 10


def inv_list() -> Rows:
    """Measure how long `inv --list` takes here, and where there is nothing to list."""
    command = [sys.executable, "-m", "invoke", "--list"]
    with TemporaryDirectory(prefix="vmtasks-bench-") as room, events.phase("inv --list"):
        empty, compiled = Path(room, "empty"), Path(room, "compiled")
        empty.mkdir()
        (empty / "tasks.py").touch()
        ours, against = in_turn(
            _LIST_RUNS,
            lambda: python_s(command, ROOT, compiled),
            lambda: python_s(command, empty, compiled, check=False),  # where there is nothing to list, it ends with 1
        )
    yield slower("inv --list; against an empty tasks.py", LIST_AT_MOST_TIMES, ours, against)


def memory(output_mib: int) -> Rows:
    """Measure the memory of the process that controls a machine, in a process of its own, while its guest prints."""
    program = f"from benchmarks.host import listen_to_much; listen_to_much({output_mib})"
    with TemporaryDirectory(prefix="vmtasks-bench-") as directory, events.phase("print", detail=f"{output_mib} MiB"):
        log = Path(directory, "log")
        call([sys.executable, "-c", program], log)
        peak_mib = int(last_lines(log)[-1]) / 1024
    yield at_most(f"peak memory while a guest prints {output_mib} MiB", MEMORY_AT_MOST_MIB, (peak_mib,), unit="MiB")


def listen_to_much(size_mib: int) -> None:
    """Let a guest print so many MiB, with all that listens to a recipe, and print this process's peak in KiB."""
    from vmtasks import boot
    from vmtasks.process.signals import interrupt_on_signals
    from vmtasks.report import reporting

    with (
        TemporaryDirectory(prefix="vmtasks-bench-") as directory,
        Path(os.devnull).open("w") as nowhere,
        reporting(Path(directory), stderr=nowhere),
        interrupt_on_signals(),
        boot("bookworm", purpose="a measurement of memory", log_dir=Path(directory)) as guest,
    ):
        guest.succeed(f"head -c {size_mib}M /dev/zero | tr '\\0' x")
    # Not getrusage(2): its maximum begins with the parent's.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    sys.stdout.write(status["VmHWM"].split()[0] + "\n")


_NEEDY = {
    "debian/changelog": (
        "needy (1.0) unstable; urgency=medium\n\n  * For a measurement.\n\n"
        " -- Nobody <nobody@example.org>  Thu, 01 Jan 2026 00:00:00 +0000\n"
    ),
    "debian/control": (
        "Source: needy\nMaintainer: Nobody <nobody@example.org>\nBuild-Depends: ed, sharutils\n\n"
        "Package: needy\nArchitecture: all\nDescription: needs more than the image has\n"
    ),
    "debian/rules": (
        "#!/usr/bin/make -f\nbuild clean binary-arch:\nbinary: binary-indep\nbinary-indep:\n"
        "\tmkdir -p debian/tmp/DEBIAN\n\tdpkg-gencontrol\n\tdpkg-deb --root-owner-group --build debian/tmp ..\n"
    ),
}


def second_build() -> Rows:
    """Measure a second build-deb of a package that asks for what the image lacks."""
    bake_first("bookworm-build")
    with TemporaryDirectory(prefix="vmtasks-bench-") as directory, events.phase("inv build-deb", detail="twice"):
        tree = Path(directory, "needy")
        for name, text in _NEEDY.items():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_text(text)
        (tree / "debian/rules").chmod(0o755)
        (tree / "vmtasks.toml").write_text('[commands]\nlintian = "none"\n')
        inv = [sys.executable, "-m", "invoke", "--search-root", str(ROOT)]
        runs = []
        for _ in range(2):
            call([*inv, "build-deb", "--source", str(tree)], Path(directory, "log"), cwd=Path(directory))
            runs.append(json.loads(Path(directory, "build/vmtasks/latest/result.json").read_text()))
    first, second = ((run["duration_s"],) for run in runs)
    apt = [command for command in runs[1]["commands"] if command["command"].startswith("apt-get")]
    title = "calls of apt in a second build-deb of the same project"
    yield at_most(title, 0, (float(len(apt)),), unit="")
    yield slower("a second build-deb; against the first", None, second, first)


def second_example() -> Rows:
    """Measure `make test-in-vm` of the example where its images are baked already."""
    from vmtasks.project import Project

    images = Project.load(ROOT / "examples" / "hello").images
    bake_first(images.build, images.install)
    with TemporaryDirectory(prefix="vmtasks-bench-") as directory, events.phase("make test-in-vm"):
        duration_s = timed(lambda: call(["make", "test-in-vm"], Path(directory, "log")))
    yield at_most("a second `make test-in-vm` of the example", EXAMPLE_AT_MOST_S, (duration_s,))


def bake() -> Rows:
    """Measure a bake from nothing against bare mmdebstrap with the same packages."""
    definition = find("bookworm")
    sources = mirror.find(definition.mirror or "").sources(definition.suite or "")
    with TemporaryDirectory(prefix="vmtasks-bench-") as directory, events.phase("bake", detail="from nothing"):
        env = {**os.environ, "VMTASKS_CACHE": str(Path(directory, "cache"))}
        inv = [sys.executable, "-m", "invoke", "images.bake", "bookworm"]
        ours_s = timed(lambda: subprocess.run(inv, cwd=ROOT, env=env, capture_output=True, check=True))
        list_ = Path(directory, "sources.list")
        list_.write_text("".join(f"{line}\n" for line in sources))
        bare = [
            "mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(definition.packages)}",
            definition.suite or "", str(Path(directory, "bare.tar")), *([str(list_)] if sources else []),
        ]  # fmt: skip
        bare_s = timed(lambda: subprocess.run(bare, stdin=subprocess.DEVNULL, capture_output=True, check=True))
        shutil.rmtree(Path(directory, "cache"))
    yield slower("baking bookworm into a disk; against bare mmdebstrap into a tar file", 1.3, (ours_s,), (bare_s,))
