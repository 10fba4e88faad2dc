"""``make check-kvm``: see what vmtasks does under a KVM that works, and write it down in docs/kvm.md.

QEMU's emulator can be an AMD processor with nested paging. So a machine of the image ``kvm-host`` has a /dev/kvm that
works, on a host that has none or one of no use; vmtasks runs in there, and its machines are real ones under KVM.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.kvm import proof
from vmtasks import Guest, boot, events
from vmtasks.errors import VmtasksError
from vmtasks.image.definition import find
from vmtasks.process.signals import interrupt_on_signals
from vmtasks.providers.qemu.provider import ensure_baked
from vmtasks.report.display.plain import Plain
from vmtasks.report.display.stream import SafeStream

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/kvm.md"
IMAGES = ("bookworm", "bookworm-i386")
PYTHON = "3.11"
"""The guest's."""
LIMIT_S = 5400.0
CHECKOUT, LIBRARIES, CACHE = "/srv/vmtasks", "/srv/libraries", "/var/cache/vmtasks"
_SINCE = "<!-- all below is written by `make check-kvm` -->"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What came of one test."""

    says: str
    verdict: str
    duration_s: float


def main() -> int:
    """Be the program: 0 if all is as it should be, 1 if not."""
    parser = argparse.ArgumentParser(prog="python -m tests.kvm", description=__doc__)
    parser.add_argument("-k", default="", metavar="WORDS", help="only these tests, as pytest has it; writes no page")
    options = parser.parse_args()
    report = ROOT / "build/kvm"
    report.mkdir(parents=True, exist_ok=True)
    try:
        with events.listening(Plain(SafeStream(sys.stderr))), interrupt_on_signals():
            facts = _proven(report, options.k)
    except VmtasksError as problem:
        sys.stderr.write(f"{problem}\n{problem.hint}\n")
        return problem.outcome.exit_code
    rows = list(rows_of((report / "junit.xml").read_text(encoding="utf-8")))
    if not options.k:
        PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), facts, rows), encoding="utf-8")
    return int(not rows or any(row.verdict == "failed" for row in rows))


def _proven(report: Path, words: str) -> dict[str, str]:
    """Run the tests in a machine with KVM, leave their report in a directory, and return what they ran on."""
    libraries = _libraries()
    baked = {name: ensure_baked(find(name)) for name in IMAGES}
    with boot("kvm-host", cold=True, log_dir=report, purpose="make check-kvm") as guest:
        guest.succeed("test -w /dev/kvm || { modprobe kvm_amd; test -w /dev/kvm; }")
        guest.put(ROOT, CHECKOUT, files=_of_git())
        guest.put(libraries, LIBRARIES)
        for image in baked.values():
            guest.put(image.directory, f"{CACHE}/images/{image.serial}")
        chosen = ["-k", words] if words else []
        guest.run(
            ["python3", "-m", "pytest", "-v", "-p", "no:cacheprovider", "--junitxml=/srv/junit.xml",
             "--override-ini=python_files=*.py", *chosen, "tests/kvm/proof.py"],
            cwd=CHECKOUT,
            env={"PYTHONPATH": f"{CHECKOUT}:{LIBRARIES}", "VMTASKS_CACHE": CACHE},
            timeout_s=LIMIT_S,
            warn=True,
        )  # fmt: skip
        guest.get("/srv/junit.xml", report / "junit.xml")
        return _facts(guest)


def _libraries() -> Path:
    """Return a directory of what the lock has, for the guest's Python."""
    target = ROOT / "build/kvm/libraries"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--upgrade",
         "--only-binary=:all:", "--python-version", PYTHON, "--require-hashes", "-r", ROOT / "requirements.lock",
         "--target", target],
        check=True,
    )  # fmt: skip
    return target


def _of_git() -> list[Path]:
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True, check=True).stdout
    return [Path(name) for name in listed.split("\0") if name and (ROOT / name).exists()]


def _facts(guest: Guest) -> dict[str, str]:
    """Return what the machines ran on."""
    commit = subprocess.run(
        ["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True, check=True
    ).stdout
    processor = guest.succeed("grep --max-count=1 'model name' /proc/cpuinfo").partition(":")[2]
    return {
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit.strip(),
        "kernel of the host with KVM": guest.succeed(["uname", "--kernel-release"]).strip(),
        "its processor": processor.strip(),
        "QEMU": guest.succeed(["qemu-system-x86_64", "--version"]).splitlines()[0],
    }


def rows_of(junit: str) -> Iterator[Row]:
    """Yield what came of each test, by its docstring: a pure function of a JUnit file's text."""
    for case in ET.fromstring(junit).iter("testcase"):  # noqa: S314 - our own pytest's
        name, _, parameter = case.get("name", "").partition("[")
        says = (getattr(proof, name).__doc__ or name).replace("{other}", parameter.rstrip("]"))
        failed = any(case.find(kind) is not None for kind in ("failure", "error"))
        skipped = case.find("skipped")
        why = "" if skipped is None else f"skipped: {skipped.get('message', '')}"
        verdict = "failed" if failed else why or "passed"
        yield Row(says=says, verdict=verdict, duration_s=float(case.get("time", "0")))


def page(before: str, facts: dict[str, str], rows: list[Row]) -> str:
    """Return the page with another result: a pure function."""
    kept = re.split(rf"(?m)^{re.escape(_SINCE)}$", before)[0].rstrip()
    lines = [
        *(f"- {name}: {value}" for name, value in facts.items()), "",
        "| under KVM | | seconds |", "|---|---|---|",
        *(f"| {row.says} | {row.verdict} | {row.duration_s:.0f} |" for row in rows),
    ]  # fmt: skip
    return "\n".join([kept, "", _SINCE, "", *lines, ""])


if __name__ == "__main__":
    sys.exit(main())
