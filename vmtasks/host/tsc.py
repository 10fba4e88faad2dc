"""How fast the time stamp counter of this host ticks, which is what emulated machines have as theirs.

A kernel counts it against another timer as it boots. QEMU that emulates may have to wait for a processor just then, and
the result is anything: on a busy host, one found 57 MHz in place of 2,596, and its clock ran 45 times too fast, as did
those of all copies. So an emulated kernel is told (``tsc_early_khz``, Linux 5.8 and later).

Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, RDTSC; Linux,
Documentation/admin-guide/kernel-parameters.txt.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from vmtasks.config.paths import cache_dir
from vmtasks.files import typed_json
from vmtasks.host.findings import remember

_RDTSC = bytes.fromhex(
    "0f31"  # rdtsc
    "48c1e220"  # shl rdx, 32
    "4809d0"  # or rax, rdx
    "c3"  # ret
)
_COUNT_S = 0.05
_LOOKS = 20
_SAME = 1 / 1000
"""By which part of itself a frequency may differ from one boot of the host to the next and be the same."""
_SHAPE = {"boot_id": str, "khz": int}


def tsc_khz() -> int:
    """Return how fast the counter ticks, in kHz; 0 where that cannot be found out.

    It is counted once per boot of the host, and stays what it was if it is about that: machines that were made with it
    are found by it.
    """
    memory = cache_dir() / "tsc.json"
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    known = typed_json.read(memory, _SHAPE)  # none where it was never counted
    if known and known["boot_id"] == boot_id:
        return int(known["khz"])
    khz = counted_khz()
    if known and abs(khz - known["khz"]) < khz * _SAME:
        khz = int(known["khz"])
    remember(memory, {"boot_id": boot_id, "khz": khz})
    return khz


def counted_khz() -> int:
    """Count the ticks for a while, and return how fast they come, in kHz; 0 where they cannot be read."""
    if platform.machine() != "x86_64":
        return 0
    try:
        with _counter() as count:
            first_ns, first = _looked_at(count)
            time.sleep(_COUNT_S)
            last_ns, last = _looked_at(count)
    except OSError:  # a host that lets no program make code
        return 0
    return round((last - first) * 1_000_000 / (last_ns - first_ns))


def _looked_at(count: Callable[[], int]) -> tuple[float, int]:
    """Return a moment, in nanoseconds, and the counter then: of several looks the one that took least."""
    looks = []
    for _ in range(_LOOKS):
        before_ns, ticks, after_ns = time.monotonic_ns(), count(), time.monotonic_ns()
        looks.append((after_ns - before_ns, (before_ns + after_ns) / 2, ticks))
    _, moment_ns, ticks = min(looks)
    return moment_ns, ticks


@contextmanager
def _counter() -> Iterator[Callable[[], int]]:
    """Yield what reads the counter.

    :raise OSError: no page of memory can be had that is executed.
    """
    import ctypes
    import mmap

    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(_RDTSC)
    code = ctypes.c_char.from_buffer(page)
    try:
        yield ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(code))
    finally:
        del code
        page.close()
