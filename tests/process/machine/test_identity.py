"""The clock of a copied machine, in Perl: the numbers of the system calls are those of the architecture it runs on."""

from __future__ import annotations

import struct
import subprocess
import time
from pathlib import Path

import pytest

from vmtasks.machine import identity

SAY_CALLS = 'print "$set $get $pair\\n";'
LOOK = r"""
my $ticks = "\0" x 16;
syscall($get, 1, $ticks) == 0 or die "clock_gettime: $!\n";
my ($whole, $nano) = unpack $pair, $ticks;
print $whole + $nano / 1e9, "\n";
"""


def perl(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["perl", "-e", program], capture_output=True, text=True, check=False)


def test_the_clock_is_read_by_the_number_that_it_has_here() -> None:
    before_s = time.clock_gettime(time.CLOCK_MONOTONIC)
    done = perl(identity._BECOME + LOOK)
    assert done.returncode == 0, done.stderr
    assert before_s - 1e-3 <= float(done.stdout) <= time.clock_gettime(time.CLOCK_MONOTONIC)


@pytest.mark.parametrize(
    ("machine", "calls"),
    [
        pytest.param(62, "164 228 q2", id="x86_64"),
        pytest.param(3, "79 265 l2", id="80386"),
        pytest.param(183, "170 113 q2", id="AArch64"),
    ],
)
def test_the_calls_are_those_of_perls_own_header(machine: int, calls: str, tmp_path: Path) -> None:
    done = perl(seen_in(header(machine), tmp_path) + SAY_CALLS)
    assert done.stdout.strip() == calls


def test_on_an_unknown_architecture_no_clock_is_set(tmp_path: Path) -> None:
    done = perl(seen_in(header(243), tmp_path) + SAY_CALLS)
    assert done.returncode != 0
    assert "no clock of this architecture is known" in done.stderr


def header(machine: int) -> bytes:
    """Return the beginning of an ELF file; see elf(5)."""
    return b"\x7fELF\2\1\1".ljust(16, b"\0") + struct.pack("<HH", 2, machine)


def seen_in(beginning: bytes, tmp_path: Path) -> str:
    """Return the program, with a file of the test's in place of its own."""
    (tmp_path / "exe").write_bytes(beginning)
    program = identity._BECOME.replace('"/proc/self/exe"', f'"{tmp_path}/exe"')
    assert program != identity._BECOME
    return program
