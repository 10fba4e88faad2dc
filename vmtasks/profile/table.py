"""A profile as text: a table for people, and its gist in one sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vmtasks.profile.usage import Usage

_MIB = 1024 * 1024
_SHOWN_THREADS = 3
NOT_SUPPORTED = "not supported"
SUBJECTS = {
    "storage": "storage of the host",
    "block": "drives of the machine",
    "network": "network cards, as the guest counts",
    "kvm": "KVM, over all vCPUs",
    "perf": "perf stat",
    "pss": "proportional set size",
}
"""What each key of ``not_supported`` is called; others are events of perf."""

Row = tuple[str, str]


def table(machine: str, usage: Usage) -> str:
    """Return all that was counted, a line for each, and what was not, with the reason."""
    rows = [("profile of", f"{machine}, {usage.duration_s:.1f} s"), *_rows(usage)]
    width = max(len(label) for label, _ in rows)
    return "".join(f"{label.ljust(width)}  {value}".rstrip() + "\n" for label, value in rows)


def gist(usage: Usage) -> str:
    """Return the profile in one sentence."""
    busiest = ", ".join(
        f"{name} {seconds:.1f} s" for name, seconds in [*usage.threads.items()][:_SHOWN_THREADS] if seconds > 0
    )
    parts = [
        f"{usage.cpu_s:.1f} s of processor time in {usage.duration_s:.1f} s" + (f" ({busiest})" if busiest else ""),
        f"at most {_mib(usage.memory['resident_peak_bytes'])} in memory",
    ]
    if usage.block is not None:
        read, written = (sum(one[name] for one in usage.block.values()) for name in ("read_bytes", "written_bytes"))
        parts.append(f"{_mib(read)} read from its drives and {_mib(written)} written")
    parts.append(f"the profile itself took {usage.cost_percent:.1f} % of one core")
    return "; ".join(parts)


def _rows(usage: Usage) -> Iterator[Row]:
    yield "", ""
    yield "processor time", "seconds   of one core"
    for name, seconds in usage.threads.items():
        yield f"  {name}", _share(seconds, usage)
    yield "  all of QEMU", _share(usage.cpu_s, usage)
    yield "page faults", f"{usage.faults['minor']} minor, {usage.faults['major']} major (waited for a disk)"
    yield "", ""
    yield "memory", ""
    peak, end = (_mib(usage.memory[f"resident_{when}_bytes"]) for when in ("peak", "end"))
    yield "  resident", f"{peak} at most, {end} at the end"
    yield "  of no file", f"{_mib(usage.memory['own_peak_bytes'])} at most"
    pss_bytes = usage.memory["pss_bytes"]
    yield f"  {SUBJECTS['pss']}", _mib(pss_bytes) if pss_bytes is not None else _reason(usage, "pss")
    yield "", ""
    yield from _traffic(usage, "block", usage.block, ("read_bytes", "read"), ("written_bytes", "written"))
    host = None if usage.storage is None else {"read and written by QEMU": usage.storage}
    yield from _traffic(usage, "storage", host, ("read_bytes", "read"), ("written_bytes", "written"))
    yield from _traffic(usage, "network", usage.network, ("received_bytes", "received"), ("sent_bytes", "sent"))
    yield from _counters(usage, "kvm", usage.kvm)
    yield from _counters(usage, "perf", usage.perf)
    yield "", ""
    yield "cost of the profile", _share(usage.cost_s, usage)


def _traffic(
    usage: Usage, subject: str, found: Mapping[str, Mapping[str, int]] | None, *columns: tuple[str, str]
) -> Iterator[Row]:
    yield SUBJECTS[subject], "" if found is not None else _reason(usage, subject)
    for name, counters in (found or {}).items():
        words = [f"{_mib(counters[key])} {word}" for key, word in columns]
        operations = [f"{counters[key]} {key}" for key in ("reads", "writes", "flushes") if key in counters]
        yield f"  {name}", ", ".join(words) + (f" ({', '.join(operations)})" if operations else "")


def _counters(usage: Usage, subject: str, found: Mapping[str, float | int | None] | None) -> Iterator[Row]:
    yield SUBJECTS[subject], "" if found is not None else _reason(usage, subject)
    for name, value in (found or {}).items():
        yield f"  {name}", _reason(usage, name) if value is None else f"{value:,.15g}"


def _share(seconds: float, usage: Usage) -> str:
    return f"{seconds:7.2f} {100 * seconds / usage.duration_s:9.1f} %"


def _reason(usage: Usage, subject: str) -> str:
    return f"{NOT_SUPPORTED}: {usage.not_supported.get(subject, 'it was not counted from beginning to end')}"


def _mib(size_bytes: int | None) -> str:
    return "" if size_bytes is None else f"{size_bytes / _MIB:.1f} MiB"
