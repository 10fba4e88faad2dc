"""The supervisor's plan of one machine."""

from __future__ import annotations

import os
from pathlib import Path

from vmtasks.host import capacity
from vmtasks.host.availability import rules_of
from vmtasks.machine.identity import CloneIdentity
from vmtasks.machine.launch import BootSource, LaunchConfig, copies_of, lock_files_of
from vmtasks.machine.reach import reach_of
from vmtasks.process.user import user_name
from vmtasks.qemu.argv import overlay_argv, qemu_argv
from vmtasks.spec import NOTE_AT, TRANSFER_DISK_BYTES, Machine
from vmtasks.supervisor.plan import BlankFile, FileCopy, GuestNote, Owner, Plan, SlotRequest


def plan_of(
    machine: Machine,
    form: Machine,
    launch: LaunchConfig,
    source: BootSource,
    identity: CloneIdentity | None,
    *,
    directory: Path,
    console: Path,
    qemu_log: Path,
) -> Plan:
    """Return the supervisor's orders for a machine that starts from *source* in the form that it has then.

    :param directory: the machine's own, on the host that runs it.
    :param console: a file of this host, as *qemu_log* is.
    """
    snapshot = source.snapshot
    is_laid_over = form.ephemeral and not snapshot
    overlay = (overlay_argv(machine.disk, machine.disk_format, form.disk),)
    copies = copies_of(form, snapshot) if snapshot else ()
    return Plan(
        directory=str(directory),
        argv=qemu_argv(form, disk=form.disk),
        slot=_slot(machine, launch),
        owner=Owner(
            name=machine.name,
            image=launch.image,
            user=user_name(),
            what=launch.purpose,
            caller_pid=os.getpid(),
            memory_mib=machine.memory_mib,
        ),
        qemu_log=str(qemu_log),
        console=str(console),
        # A caller's own arguments may name files beside the caller.
        cwd=str(Path.cwd()) if form.extra_args else None,
        prepare=overlay if is_laid_over else launch.persistent_disk.prepare,
        reach=reach_of(machine, form, launch, source, directory),
        blank=(BlankFile(str(form.transfer_disk), TRANSFER_DISK_BYTES),) if form.transfer_disk else (),
        copy=tuple(FileCopy(str(original), str(target)) for original, target in copies),
        scratch=tuple(str(work) for work, _ in launch.persistent_disk.move),
        written_mib=launch.settings.machine_disk_mib,
        lifetime_s=launch.lifetime_s,
        load=str(snapshot.state) if snapshot else None,
        note=GuestNote(str(form.transfer_disk), NOTE_AT, identity.note) if identity and form.transfer_disk else None,
        hold=tuple(map(str, lock_files_of(launch, source))),
    )


def _slot(machine: Machine, launch: LaunchConfig) -> SlotRequest:
    settings = launch.settings
    usual = launch.place.call(capacity.default_limits, emulated=launch.choice.accelerator == "tcg")
    return SlotRequest(
        machines=settings.machines or usual.machines,
        memory_mib=settings.memory_mib or usual.memory_mib,
        claim_mib=machine.memory_mib,
        purpose=launch.public_purpose,
        # Those of a group have been waited for by then.
        rules=() if launch.queue else tuple(rules_of(settings)),
        directory=str(launch.queue) if launch.queue else None,
    )
