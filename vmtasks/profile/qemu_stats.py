"""What QEMU itself counts, taken from its answers on the control line. Standard library only.

Source: qapi/block-core.json (query-blockstats) and qapi/stats.json (query-stats, since QEMU 7.1).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from vmtasks.profile.sample import Counters

BLOCK_QUERY = "query-blockstats"
KVM_QUERY = "query-stats"
KVM_COUNTERS = (
    "exits", "halt_exits", "io_exits", "mmio_exits", "irq_exits", "irq_injections", "nmi_injections", "hypercalls",
    "pf_taken", "pf_guest", "tlb_flush", "insn_emulation", "preemption_reported", "halt_attempted_poll",
    "halt_successful_poll", "halt_poll_success_ns", "halt_poll_fail_ns", "halt_wait_ns",
)  # fmt: skip
"""What is asked of KVM's counters of a vCPU; a kernel that lacks one leaves it out. Source: Linux's kvm_vcpu_stat."""
KVM_ARGUMENTS = {"target": "vcpu", "providers": [{"provider": "kvm", "names": list(KVM_COUNTERS)}]}
NO_KVM = "QEMU counts this with KVM alone, and this machine is emulated"
_BLOCK = {
    "rd_bytes": "read_bytes", "wr_bytes": "written_bytes", "rd_operations": "reads", "wr_operations": "writes",
    "flush_operations": "flushes",
}  # fmt: skip


def block_counters(answer: Iterable[Mapping[str, Any]]) -> dict[str, Counters]:
    """Return what the guest asked of each drive that has a name."""
    return {
        str(one["device"]): {name: int(one["stats"][theirs]) for theirs, name in _BLOCK.items()}
        for one in answer
        if one.get("device")
    }


def kvm_counters(answer: Iterable[Mapping[str, Any]]) -> tuple[Counters, ...]:
    """Return what KVM counts of each vCPU, in QEMU's order; nothing of a machine that is emulated."""
    return tuple(
        {
            str(stat["name"]): int(stat["value"])
            for stat in one["stats"]
            if isinstance(stat["value"], int) and stat["name"] in KVM_COUNTERS
        }
        for one in answer
        if one["provider"] == "kvm"
    )
