"""QEMU's answers, as QEMU has them."""

from __future__ import annotations

from vmtasks.profile.qemu_stats import block_counters, kvm_counters

STATS = {
    "rd_bytes": 1, "wr_bytes": 2, "rd_operations": 3, "wr_operations": 4, "flush_operations": 5, "rd_merged": 6,
}  # fmt: skip


def test_drives() -> None:
    answer = [{"device": "disk", "node-name": "#block1", "stats": STATS}, {"device": "", "stats": STATS}]
    assert block_counters(answer) == {
        "disk": {"read_bytes": 1, "written_bytes": 2, "reads": 3, "writes": 4, "flushes": 5}
    }
    assert block_counters([]) == {}


def test_vcpus() -> None:
    def vcpu(exits: int) -> dict[str, object]:
        stats = [{"name": "exits", "value": exits}, {"name": "halt_wait_hist", "value": [1, 2]}]
        return {"provider": "kvm", "qom-path": "/machine/unattached/device[0]", "stats": stats}

    assert kvm_counters([vcpu(7), vcpu(8)]) == ({"exits": 7}, {"exits": 8})
    assert kvm_counters([{"provider": "cryptodev", "stats": [{"name": "exits", "value": 1}]}]) == ()
