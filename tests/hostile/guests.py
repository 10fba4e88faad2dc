"""What a guest can do to its host, and what must come of it: an end within a limit, in one sentence of the project's.

Not among the tests of `make check`, which have most of these with exact words; this is all of them in a row, to be
counted: `make hostile`.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.hostile.archives import ARCHIVES, write_archive
from vmtasks import Guest, boot
from vmtasks.errors import InfrastructureError, VmtasksError
from vmtasks.guest.allowance import Allowance
from vmtasks.host.lease import leases
from vmtasks.ssh import session

END_LIMIT_S = 120.0
"""Of everything that is asked of one guest, its end included; the limits of the verbs are far below."""
Asked = Callable[[Guest, Path], object]


def _get(guest: Guest, out: Path) -> object:
    return guest.get("/srv/product", out, timeout_s=20)


def _get_many(guest: Guest, out: Path) -> object:
    guest.share(Allowance(max_bytes=64 << 20, max_names=5000))
    return guest.get("/srv/product", out, timeout_s=60)


def _put(guest: Guest, out: Path) -> None:
    guest.put(out.parent / "given", "/srv/given", timeout_s=20)


def _run(guest: Guest, out: Path) -> object:
    del out
    return guest.run("echo hello", timeout_s=10, warn=True)


def _wait(guest: Guest, out: Path) -> object:
    del out
    return guest.run("sleep 300", timeout_s=15, warn=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """A guest that is hostile in one way."""

    name: str
    line: str
    """What root does in it."""
    asked: Asked = _run
    """What is asked of it afterwards."""
    timeout_s: float = 20.0
    fails: bool = False
    """Whether what is asked cannot come to a good end."""

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


_PUT_INSTEAD = "cat >/srv/instead"


def _instead_of(program: str, script: str) -> str:
    """Return shell that puts a script in the place of a program, whose dpkg diversion nobody needs."""
    return (
        f"{_PUT_INSTEAD} <<'END'\n{script}\nEND\nchmod 755 /srv/instead; mv {program} {program}.honest; "
        f"mv /srv/instead {program}"
    )


ATTACKS = [
    # its tar
    Attack(
        name="tar never ends", fails=True, line=_instead_of("/usr/bin/tar", "#!/bin/sh\nexec sleep 600"), asked=_get
    ),
    Attack(
        name="tar gives zeros for ever",
        fails=True,
        line=_instead_of("/usr/bin/tar", "#!/bin/sh\nexec cat /dev/zero"),
        asked=_get,
    ),
    Attack(
        name="tar gives noise for ever",
        fails=True,
        line=_instead_of("/usr/bin/tar", "#!/bin/sh\nexec cat /dev/urandom"),
        asked=_get,
    ),
    Attack(
        name="tar takes nothing", fails=True, line=_instead_of("/usr/bin/tar", "#!/bin/sh\nexec sleep 600"), asked=_put
    ),
    Attack(
        name="tar lies about its end", fails=True, line=_instead_of("/usr/bin/tar", "#!/bin/sh\nexit 0"), asked=_get
    ),
    Attack(name="tar dies", fails=True, line=_instead_of("/usr/bin/tar", "#!/bin/sh\nkill -9 $$"), asked=_get),
    # its shell and its commands
    Attack(
        name="a shell that says more",
        line=_instead_of("/usr/bin/dash", '#!/bin/bash\necho 99999999999999999999\nexec /usr/bin/dash.honest "$@"'),
    ),
    Attack(
        name="a shell that never ends", fails=True, line=_instead_of("/usr/bin/dash", "#!/bin/bash\nexec sleep 600")
    ),
    Attack(name="a shell that prints for ever", line=_instead_of("/usr/bin/dash", "#!/bin/bash\nexec yes")),
    Attack(name="no shell", line="rm -f /bin/sh /usr/bin/dash /usr/bin/bash"),
    Attack(
        name="output without an end",
        fails=True,
        line="true",
        asked=lambda guest, _: guest.run("yes 'a line'", timeout_s=15, warn=True, hide=True),
    ),
    Attack(
        name="one line without an end",
        fails=True,
        line="true",
        asked=lambda guest, _: guest.run("tr '\\0' x </dev/zero", timeout_s=15, warn=True, hide=True),
    ),
    Attack(
        name="output that is no text",
        line="true",
        asked=lambda guest, _: guest.run("head -c 1000000 /dev/urandom", timeout_s=15, warn=True),
    ),
    Attack(
        name="sequences for a terminal",
        line="true",
        asked=lambda guest, _: guest.run(r"printf '\033]0;owned\007\033[2J\342\200\256'", warn=True),
    ),
    Attack(
        name="a command that does not hear its end",
        fails=True,
        line="true",
        asked=lambda guest, _: guest.run("trap '' TERM INT HUP; while :; do sleep 1; done", timeout_s=5, warn=True),
    ),
    Attack(
        name="a daemon that holds the output",
        line="true",
        asked=lambda guest, _: guest.run("setsid sleep 300 & echo done", timeout_s=20, warn=True),
    ),
    Attack(
        name="a fork bomb",
        line="true",
        asked=lambda guest, _: guest.run(":(){ :|:& };:; sleep 300", user="builder", timeout_s=10, warn=True),
    ),
    # its ways out
    Attack(name="no sshd", fails=True, line="systemctl stop ssh ssh.socket sshd; pkill -KILL sshd", asked=_run),
    Attack(
        name="another host key",
        fails=True,
        line=(
            "rm /etc/ssh/ssh_host_*; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key; "
            "systemctl restart ssh; pkill -KILL -f sshd:"
        ),
        asked=lambda guest, _: guest.wait_up(timeout_s=20),
    ),
    Attack(name="no network", fails=True, line="(sleep 1; ip link set eth0 down) >/dev/null 2>&1 &", asked=_wait),
    Attack(
        name="no keys of ours",
        fails=True,
        line="rm -rf /root/.ssh; pkill -KILL -f sshd:",
        asked=lambda guest, _: guest.wait_up(timeout_s=20),
    ),
    # its end
    Attack(name="power off", fails=True, line="(sleep 1; poweroff -f) >/dev/null 2>&1 &", asked=_wait),
    Attack(name="reboot", fails=True, line="(sleep 1; reboot -f) >/dev/null 2>&1 &", asked=_wait),
    Attack(name="a panic", fails=True, line="(sleep 1; echo c >/proc/sysrq-trigger) >/dev/null 2>&1 &", asked=_wait),
    Attack(name="a panic that is none", line="echo 'Kernel panic - not syncing: forged' >/dev/ttyS0", asked=_run),
    Attack(name="a halt that hangs", fails=True, line="(sleep 1; halt -f) >/dev/null 2>&1 &", asked=_wait),
    # its console, disk, memory, clock
    Attack(
        name="a console that never ends",
        line="(timeout 15 yes 'a line of no interest' >/dev/ttyS0) >/dev/null 2>&1 &",
        asked=_wait,
    ),
    Attack(
        name="a console that rules a terminal",
        line=r"printf '\033]0;owned\007\033[2J\000\377\n' >/dev/ttyS0",
        asked=_run,
    ),
    Attack(name="a full disk", fails=True, line="cat /dev/zero >/srv/full 2>/dev/null", asked=_put, timeout_s=90),
    Attack(
        name="a full memory", line="true", asked=lambda guest, _: guest.run("tail /dev/zero", timeout_s=40, warn=True)
    ),
    Attack(name="the year 2090", line="date -s 2090-01-01", asked=_get),
    Attack(
        name="no places for files",
        line="rm -rf /tmp /var/tmp /home/builder; ln -s /nowhere /var/tmp",
        asked=lambda guest, _: guest.tmp_dir().__enter__(),
    ),
    Attack(
        name="a transfer disk of noise",
        line=(
            "head -c 40000000 /dev/urandom >/srv/product/f; "
            "(while :; do dd if=/dev/urandom of=/dev/vdb bs=1M count=64 conv=notrunc; done) >/dev/null 2>&1 &"
        ),
        asked=_get,
    ),
]


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "KEEPALIVE_S", 0.5)
    monkeypatch.setattr(session, "SILENCE_LIMIT_S", 6.0)
    monkeypatch.setattr(session, "END_LIMIT_S", 3.0)


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """Yield a directory beside the one that files come to, and see that nothing has come there, nor changed."""
    directory = tmp_path / "outside"
    directory.mkdir()
    (directory / "precious").write_text("precious\n")
    passwd = hashlib.sha256(Path("/etc/passwd").read_bytes()).hexdigest()
    yield directory
    assert [path.name for path in directory.iterdir()] == ["precious"]
    assert (directory / "precious").read_text() == "precious\n"
    assert (directory / "precious").stat().st_nlink == 1
    assert hashlib.sha256(Path("/etc/passwd").read_bytes()).hexdigest() == passwd
    assert sorted(path.name for path in tmp_path.iterdir() if path.name not in ("logs", "archive")) == [
        "given",
        "out",
        "outside",
    ]
    for path in (tmp_path / "out").rglob("*"):
        assert path.is_symlink() or path.is_file() or path.is_dir(), f"{path} is neither"
        assert not path.lstat().st_mode & 0o6000 or path.is_dir(), f"{path} would run as somebody else"
        assert path.resolve().is_relative_to((tmp_path / "out").resolve()), f"{path} leads out"


def _attacked(attack: Attack, tmp_path: Path, archive: Path | None = None) -> None:
    (tmp_path / "given").write_bytes(bytes(1 << 20))
    (tmp_path / "out").mkdir()
    (tmp_path / "logs").mkdir()
    began_s = time.monotonic()
    ended: VmtasksError | None = None
    with boot("bookworm", log_dir=tmp_path / "logs", memory_mib=512) as guest:
        guest.run("mkdir -p /srv/product && echo words >/srv/product/words")
        if archive:
            guest.put(archive, "/srv/evil.tar")
        try:
            done = guest.run(attack.line, timeout_s=attack.timeout_s, warn=True)
            assert done.ok or not attack.line.startswith(_PUT_INSTEAD), "it did not take place"
            attack.asked(guest, tmp_path / "out")
        except VmtasksError as problem:
            ended = problem
    assert ended is not None or not attack.fails, "what cannot have gone well is told as if it had"
    assert ended is None or str(ended).isprintable(), repr(str(ended))
    assert not isinstance(ended, InfrastructureError), f"a guest has its run tried again: {ended}"
    assert time.monotonic() - began_s < END_LIMIT_S
    assert [lease for lease in leases() if lease.info["caller_pid"] == os.getpid()] == []


@pytest.mark.usefixtures("_impatient", "outside")
@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_what_a_guest_does(attack: Attack, tmp_path: Path) -> None:
    _attacked(attack, tmp_path)


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize("name", ARCHIVES)
def test_what_a_guest_hands_out(name: str, outside: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    write_archive(name, archive, outside)
    line = _instead_of("/usr/bin/tar", "#!/bin/sh\nexec cat /srv/evil.tar")
    _attacked(Attack(name=name, line=line, asked=_get_many), tmp_path, archive)
