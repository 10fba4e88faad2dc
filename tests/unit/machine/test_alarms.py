"""What kernels say when something is wrong, as it was met elsewhere: each with the public report that it is from."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from vmtasks.machine.alarms import ALARMS, LONGEST_LINE, MOST_LINES, MOST_OF_A_TYPE, Alarm, AlarmScanner, alarms_in

# ssrg-vt/popcorn-kernel#85, 5.2 in QEMU
PAGE_FAULT = """\
[   57.658354][  T650] BUG: unable to handle page fault for address: ffff888058a67000
[   57.659526][  T650] #PF: supervisor write access in kernel mode
[   57.659526][  T650] Oops: 000b [#3] SMP NOPTI
[   57.659526][  T650] CPU: 1 PID: 650 Comm: bash Tainted: G      D W  O      5.2.0-rc4-popcorn+ #15
[   57.659526][  T650] RIP: 0010:clear_page_orig+0x12/0x40
"""
# multipath-tcp/mptcp_net-next#433, 6.5 in QEMU
KASAN = """\
[ 1502.520319][T14140] ==================================================================
[1502.527398][T14140] BUG: KASAN: slab-use-after-free in kernfs_test_super (fs/kernfs/mount.c:286)
[ 1502.534436][T14140] Read of size 8 at addr ffff88800853aa88 by task ip/14140
[ 1502.541084][T14140]
[ 1502.543122][T14140] CPU: 1 PID: 14140 Comm: ip Tainted: G                 N 6.5.0-g7088bf643393 #1
"""
# koverstreet/bcachefs#187, 5.10
LOCKDEP = """\
[ 1028.365890] ======================================================
[ 1028.366165] WARNING: possible circular locking dependency detected
[ 1028.366348] 5.10.0-00479-g1c1358a0a606 #87 Tainted: G                T
[ 1028.366620] ------------------------------------------------------
[ 1028.366838] kswapd0/79 is trying to acquire lock:
[ 1028.367052] ffff8b1654603e08 (&c->mark_lock){++++}-{0:0}, at: bch2_clear_page_bits+0x12a/0x140 [bcachefs]
[ 1028.367385]
               but task is already holding lock:
[ 1028.367676] ffffffffba151dc0 (fs_reclaim){+.+.}-{0:0}, at: __fs_reclaim_acquire+0x5/0x30
"""
# ungureanuvladvictor/BBBlfs#27, Debian 8
INITRAMFS = """\
[    2.388529] bone_capemgr bone_capemgr: slot #3: No cape found
Loading, please wait...
Gave up waiting for root device.  Common problems:
ALERT!  /dev/mmcblk1p1 does not exist.  Dropping to a shell!

BusyBox v1.22.1 (Debian 1:1.22.0-9+deb8u1) built-in shell (ash)
Enter 'help' for a list of built-in commands.

/bin/sh: can't access tty; job control turned off
(initramfs) """

MET = [
    pytest.param(PAGE_FAULT, "oops", "error", 5, id="page fault"),
    pytest.param(KASAN, "bug", "error", 4, id="KASAN"),
    pytest.param(LOCKDEP, "lockdep", "error", 8, id="lockdep"),
    pytest.param(INITRAMFS, "initramfs", "error", 8, id="initramfs"),
    # colo-ft in dolohow/uksm#18, 3.10
    pytest.param(
        "[494558.706128] BUG: unable to handle kernel NULL pointer dereference at           (null)\n"
        "[494558.706135] IP: [<ffffffff811c5050>] scan_vma_one_page+0x1a0/0x1430\n"
        "[494558.706144] Oops: 0000 [#1] SMP \n",
        "oops", "error", 3, id="NULL pointer",
    ),
    # x86 since 5.1
    pytest.param(
        "[   10.123456] BUG: kernel NULL pointer dereference, address: 0000000000000000\n"
        "[   10.123460] #PF: supervisor write access in kernel mode\n"
        "[   10.123470] Oops: 0002 [#1] PREEMPT SMP PTI\n",
        "oops", "error", 3, id="NULL pointer, address",
    ),
    # libre-computer-project/libretech-linux#8, arm64
    pytest.param("[    1.076797] Internal error: Oops: 96000004 [#1] PREEMPT SMP\n", "oops", "error", 1, id="arm64"),
    # apple/container#614, arm64, 6.12
    pytest.param(
        "[ 1684.141613] Unable to handle kernel NULL pointer dereference at virtual address 00000000000000a0\n"
        "[ 1684.142396] Internal error: Oops: 0000000096000004 [#1] SMP\n",
        "oops", "error", 2, id="arm64, NULL pointer",
    ),
    # tempesta-tech/tempesta#2323
    pytest.param(
        "[  426.590454] Kernel panic - not syncing: Fatal exception in interrupt\n", "panic", "error", 1, id="panic"
    ),
    # tempesta-tech/tempesta#646, 4.1
    pytest.param(
        "        [  797.753308] BUG tfw_cli_conn_cache (Tainted: P    B      O   ): kasan: bad access detected\n",
        "bug", "error", 1, id="SLUB",
    ),
    # openzfs/zfs#557; oxidecomputer/propolis#376; Evlers/linux_kernel_t113#2; raspberrypi/linux#1777
    pytest.param("[ 3556.510903] INFO: rcu_sched_state detected stall on CPU 0 (t=105060 jiffies)\n",
                 "rcu-stall", "warning", 1, id="RCU, 3.2"),
    pytest.param("[  553.456118] rcu: INFO: rcu_sched detected stalls on CPUs/tasks:\n"
                 "[  553.457413] rcu: \t0-...!: (0 ticks this GP) idle=5fc/0/0x0 softirq=11204/11204 fqs=0\n",
                 "rcu-stall", "warning", 2, id="RCU, a copied machine"),
    pytest.param("[   89.892668] rcu: INFO: rcu_sched self-detected stall on CPU\n",
                 "rcu-stall", "warning", 1, id="RCU, self"),
    pytest.param("[  324.072607] INFO: rcu_sched self-detected stall on CPU\n",
                 "rcu-stall", "warning", 1, id="RCU, 4.4"),
    # sonic-net/sonic-buildimage#4822, Debian 10
    pytest.param("[26825.855448] INFO: task kworker/2:1:5747 blocked for more than 120 seconds.\n"
                 "[26825.860651]       Tainted: G        W   E     4.19.0-6-amd64 #1 Debian 4.19.67-2+deb10u2\n",
                 "hung-task", "warning", 2, id="hung task"),
    # docker/for-linux#1001; genular/pandora#49
    pytest.param("[  518.050606] Out of memory: Killed process 15784 (python3) total-vm:11964kB, anon-rss:4288kB\n",
                 "oom", "warning", 1, id="OOM"),
    pytest.param("[  518.050606] Out of memory: Kill process 27438 (R) score 31 or sacrifice child\n",
                 "oom", "warning", 1, id="OOM, 4.x"),
    # kernel/rcu/tasks.h and tree_stall.h
    pytest.param("[  624.108322] rcu: INFO: rcu_tasks detected stalls on tasks:\n"
                 "[  624.108401] 00000000d2b9ac9e: .N nvcsw: 2/2 holdout: 1 idle_cpu: -1/0\n",
                 "rcu-stall", "warning", 2, id="RCU tasks"),
    pytest.param("[  624.108322] INFO: rcu_tasks_trace detected stalls on tasks:\n",
                 "rcu-stall", "warning", 1, id="RCU tasks trace"),
    pytest.param("[  553.456118] rcu: rcu_preempt kthread starved for 21003 jiffies! g2629 f0x0 RCU_GP_WAIT_FQS(5)\n",
                 "rcu-stall", "warning", 1, id="RCU kthread"),
    # mm/oom_kill.c: the level "warning", before it is said who was killed
    pytest.param("[  518.040606] Web Content invoked oom-killer: gfp_mask=0x140cca(GFP_HIGHUSER_MOVABLE), order=0\n"
                 "[  518.050606] Out of memory: Killed process 15784 (python3) total-vm:11964kB, anon-rss:4288kB\n",
                 "oom", "warning", 2, id="OOM killer"),
    pytest.param("[  518.050606] Out of memory and no killable processes...\n", "oom", "warning", 1, id="OOM, nobody"),
    # kernel/locking/spinlock_debug.c
    pytest.param("[  118.050606] BUG: spinlock lockup suspected on CPU#1, swapper/1/0\n",
                 "lockup", "warning", 1, id="spinlock lockup"),
    # arch/x86/kernel/traps.c
    pytest.param("[   18.050606] traps: PANIC: double fault, error_code: 0x0\n"
                 "[   18.050610] double fault: 0000 [#1] PREEMPT SMP\n", "oops", "error", 2, id="double fault"),
    # kernel/locking/lockdep.c, now and in 2.6.34
    pytest.param("[    3.050606] BUG: MAX_LOCKDEP_ENTRIES too low!\n", "lockdep", "error", 1, id="lockdep is full"),
    pytest.param("[    3.050606] BUG: MAX_LOCK_DEPTH too low!\n", "lockdep", "error", 1, id="lockdep, depth"),
    pytest.param("[    3.050606] BUG: key ffff888105a2c0e8 has not been registered!\n",
                 "lockdep", "error", 1, id="lockdep, key"),
    pytest.param("[    3.050606] INFO: trying to register non-static key.\n"
                 "[    3.050607] The code is fine but needs lockdep annotation, or maybe\n",
                 "lockdep", "error", 2, id="lockdep, no key"),
    pytest.param("[    3.050606] WARNING: bad contention detected!\n", "lockdep", "error", 1, id="lockdep, contention"),
    pytest.param("[    3.050606] BUG: bad unlock balance detected!\n", "lockdep", "error", 1, id="lockdep, unlock"),
    pytest.param("[    3.050606] BUG: lock held at task exit time!\n", "lockdep", "error", 1, id="lockdep, exit"),
    pytest.param("[    3.050606] [ INFO: suspicious rcu_dereference_check() usage. ]\n",
                 "lockdep", "error", 1, id="lockdep, 2.6.34"),
    # kernel/debug/kdb/kdb_main.c
    pytest.param("\r\nEntering kdb (current=0x1, pid 1) on processor 0 due to Keyboard Entry\r\n[0]kdb> ",
                 "kdb", "error", 1, id="kdb"),
    pytest.param("[    3.050606] sysrq: DEBUG\r\n[0]kdb> ", "kdb", "error", 2, id="kdb, with a number"),
    pytest.param("kdb> ", "kdb", "error", 1, id="kdb, one processor"),
    # EDK2 on arm64
    pytest.param("EFI stub: Booting Linux Kernel...\r\nSynchronous Exception at 0x000000003FD04000\r\n",
                 "firmware", "error", 2, id="UEFI"),
    # openrisc/linux#12 in QEMU, behind a prompt; openzfs/zfs#4536
    pytest.param("/ # [90216.140000] watchdog: BUG: soft lockup - CPU#0 stuck for 186s! [kworker/u3:3:2073]\n"
                 "[90216.140000] Modules linked in:\n",
                 "lockup", "warning", 2, id="soft lockup behind a prompt"),
    pytest.param("[  100.000000] NMI watchdog: BUG: soft lockup - CPU#2 stuck for 22s! [SimpleCacheWork:8140]\n",
                 "lockup", "warning", 1, id="soft lockup, 4.x"),
    # oops-kernel-org/kerneloops#6, Debian's 4.5
    pytest.param("[12690.421772] WARNING: CPU: 1 PID: 3012 at lib/list_debug.c:62 __dentry_kill+0x56/0x1d0()\n",
                 "warning", "warning", 1, id="WARN"),
    # ceph/teuthology#829, 4.5
    pytest.param("[   10.526425] [ INFO: possible circular locking dependency detected ]\n",
                 "lockdep", "error", 1, id="lockdep, 4.5"),
    pytest.param("[   10.526425] kernel BUG at fs/bcachefs/btree_iter.c:1332!\n"  # koverstreet/bcachefs#301
                 "[   10.526430] invalid opcode: 0000 [#1] PREEMPT SMP\n", "bug", "error", 2, id="BUG"),
    pytest.param("error: unknown filesystem.\r\nEntering rescue mode...\r\ngrub rescue> ",
                 "grub", "error", 3, id="GRUB"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "type_", "severity", "line_count"), MET)
def test_what_was_met_elsewhere_is_one_alarm(text: str, type_: str, severity: str, line_count: int) -> None:
    (alarm,) = alarms_in(text)
    assert (alarm.type, alarm.severity, len(alarm.lines)) == (type_, severity, line_count)


@pytest.mark.parametrize("text", [param.values[0] for param in MET])
def test_any_pieces_give_the_same(text: object) -> None:
    assert isinstance(text, str)
    scanner = AlarmScanner()
    found = [alarm for byte in text.encode() for alarm in scanner.feed(bytes([byte]))]
    assert (*found, *scanner.finish()) == alarms_in(text)


@pytest.mark.parametrize(
    "line",
    [
        "BUG: unable to handle page fault",  # a program, which knows no kernel's time stamp
        "TAP: not ok 3 - Kernel panic - not syncing is reported",
        "[   10.000000] systemd[1]: BUG: this service is deprecated",
        "[   10.000000] traps: cc1[123] general protection fault ip:7f3c sp:7ffd error:0 in libc.so[7f3c+1000]",
        "[   10.000000] cc1[271]: segfault at 0 ip 00005581 sp 00007ffc error 4 in cc1[5581+1000]",
        "[   10.000000] pci 0000:00:01.0: [8086:7000] type 00 class 0x060100",
        "[   10.000000] EXT4-fs (vda): warning: mounting fs with errors, running e2fsck is recommended",
        '[   10.000000] audit: type=1400 audit(1.2:3): comm="BUG: unable to handle"',
        "[  OK  ] Started INFO: task of the day blocked for more than 120 seconds",
        "[   10.000000] ------------[ cut here ]------------",
        "[   10.000000] oom_reaper: reaped process 15784 (python3), now anon-rss:0kB",
        "echo (initramfs) grub rescue>",
        "echo [0]kdb> kdb>",
        "[   10.000000] INFO: lockdep is turned off.",
        "[   10.000000] rcu: Hierarchical RCU implementation.",
        "[   10.000000] KGDB: Registered I/O driver kgdboc",
        "[ 10] BUG: a time stamp of some program",
    ],
)  # fmt: skip
def test_what_is_no_kernels_report_gives_none(line: str) -> None:
    assert alarms_in(f"{line}\n") == ()


def test_a_report_ends_with_its_trace_and_what_comes_next_is_another() -> None:
    text = f"{PAGE_FAULT}[   57.700000] ---[ end trace 0000000000000000 ]---\n[   57.800000] eth0: link is up\n"
    text += "[   57.900000] Kernel panic - not syncing: Fatal exception\n"
    oops, panic = alarms_in(text)
    assert "end trace" in oops.lines[-1]
    assert (panic.type, panic.message) == ("panic", "Kernel panic - not syncing: Fatal exception")


def test_a_report_ends_where_the_kernels_clock_goes_on_by_a_second() -> None:
    (alarm,) = alarms_in(f"{PAGE_FAULT}[   59.000000] EXT4-fs (vda): re-mounted\n")
    assert len(alarm.lines) == PAGE_FAULT.count("\n")


def test_what_processes_print_in_between_is_no_part_of_it() -> None:
    head, rest = PAGE_FAULT.split("\n", 1)
    (alarm,) = alarms_in(f"{head}\n[\x1b[0;32m  OK  \x1b[0m] Started cron.service\n         Starting getty…\n{rest}")
    assert alarm.lines == tuple(PAGE_FAULT.splitlines())


def test_several_hung_tasks_at_once_are_one_alarm() -> None:
    line = "[26825.855448] INFO: task kworker/2:{}:5747 blocked for more than 120 seconds.\n"
    (alarm,) = alarms_in("".join(line.format(number) for number in range(4)))
    assert len(alarm.lines) == 4


def test_a_guest_that_never_stops_is_bounded() -> None:
    scanner = AlarmScanner()
    found: list[Alarm] = []
    for second in range(200):
        lines = (f"[{second * 9}.{number:06}] BUG: {'x' * 10_000}\n" for number in range(100))
        found += scanner.feed("".join(lines).encode())
    found += scanner.finish()
    assert len(found) == MOST_OF_A_TYPE
    assert {len(alarm.lines) for alarm in found} == {MOST_LINES}
    assert max(len(line) for alarm in found for line in (*alarm.lines, alarm.message)) <= LONGEST_LINE
    assert scanner.left_out() == ("bug",)


def test_a_line_without_an_end_is_bounded() -> None:
    scanner = AlarmScanner()
    for _ in range(100):
        assert scanner.feed(b"BUG" * 10_000) == []
    assert len(scanner._rest) <= 8192


@pytest.mark.parametrize("letter", ["x", "[", "[ 1.000000] ", "[#", ": 0 ", "WARNING: possible ", "\x1b["])
def test_no_text_takes_long(letter: str) -> None:
    began_s = time.process_time()
    alarms_in(f"[    1.000000] WARNING: possible {letter * 20_000}\n" * 20)
    assert time.process_time() - began_s < 5


def test_a_prompt_is_told_once_and_before_its_line_ends() -> None:
    scanner = AlarmScanner()
    assert [alarm.type for alarm in scanner.feed(b"\n(initramfs) ")] == ["initramfs"]
    assert scanner.feed(b"ls\r\nbin dev\r\n(initramfs) ") == []


def test_bytes_that_are_no_text_are_no_traceback() -> None:
    (alarm,) = alarms_in("[    1.000000] BUG: \udcff\x00\x1b[31mred\n")
    assert alarm.message == "BUG: ?\x00red"


def test_each_type_has_an_example_here() -> None:
    assert {row.type for row in ALARMS} == {param.values[1] for param in MET}


def test_the_table_is_fixed() -> None:
    with pytest.raises(AttributeError):
        ALARMS[0].type = "other"  # type: ignore[misc]
    assert replace(alarms_in(PAGE_FAULT)[0], type="x").type == "x"
