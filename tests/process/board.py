"""An existing host that is this one, in a directory: real ssh to a real port, and real locks."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import paramiko
import pytest

from vmtasks.guest.power import BOOT_ID
from vmtasks.providers.static_host import power, reservation, visit
from vmtasks.testing.fake_sshd import FakeSshd

TEST_LIMIT_S = 60.0
SILENCE_LIMIT_S = 1
IS_ROOT = "id -u; for name"
"""How the question begins that a machine has to answer as root."""


class Board(FakeSshd):
    """A host with a port, which lets one key in."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.answers = {IS_ROOT: "echo $$; echo 0"}
        """Parts of commands, and what is run instead."""
        self.lets_in: paramiko.PKey | None = None
        self.at_a_login: Callable[[], object] = lambda: None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:  # closed
                return
            self.serve(line)

    def close(self) -> None:
        with suppress(OSError):  # it is closed already
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        super().close()

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        self.at_a_login()
        return super().check_auth_publickey(username, key) if (username, key) == ("root", self.lets_in) else 2

    def hang_up_on_the_newest(self) -> None:
        self._transports[-1].close()

    def boot_anew(self, boot_id: Path) -> None:
        """Lose all that runs, as a reset does, but for the connections."""
        while self._children:
            child = self._children.pop()
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        boot_id.write_text(f"{uuid.uuid4()}\n")

    def forget_holder(self) -> None:
        (holding,) = [child for child in self._children if reservation.LOCK in str(child.args)]
        os.killpg(holding.pid, signal.SIGKILL)

    def execute(self, channel: paramiko.Channel, command: str) -> None:
        super().execute(channel, next((line for part, line in self.answers.items() if part in command), command))


def know(home: Path, name: str, key: paramiko.PKey) -> None:
    (home / ".ssh" / "known_hosts").write_text(f"{name} {key.get_name()} {key.get_base64()}\n")


def on(board: Board) -> str:
    return f"ssh://root@127.0.0.1:{board.port}"


@contextmanager
def home_in(directory: Path) -> Iterator[Path]:
    """Yield the user's home, with a key and nobody known."""
    with pytest.MonkeyPatch.context() as patch:
        ssh = directory / "home" / ".ssh"
        ssh.mkdir(mode=0o700, parents=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", ssh / "id_ed25519"], check=True)
        patch.setenv("HOME", str(directory / "home"))
        patch.delenv("SSH_AUTH_SOCK", raising=False)
        yield directory / "home"


@contextmanager
def place_in(directory: Path) -> Iterator[Path]:
    """Have all that would be all over such a host be in a directory, which is yielded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reservation, "LOCK", str(directory / "state" / "lock"))
        patch.setattr(reservation, "CONTROL_GROUPS", str(directory / "no groups"))
        patch.setattr(reservation, "SILENCE_LIMIT_S", SILENCE_LIMIT_S)
        patch.setattr(reservation, "HEARTBEAT_S", 0.1)
        patch.setattr(visit, "OURS", (str(directory / "it's a build"), str(directory / "repository")))
        patch.setattr(visit, "SCRATCH", ())
        patch.setattr(visit, "DPKG_JOURNAL", str(directory / "journal"))
        patch.setattr(visit, "DPKG_FINISH", f"rm {directory}/journal/*")
        patch.setattr(visit, "apply_image", lambda *_: None)
        yield directory


@contextmanager
def board_in(place: Path, home: Path, limit_s: float = TEST_LIMIT_S) -> Iterator[Board]:
    """Yield a host that the user knows, and that knows the user; it ends after *limit_s* in any case."""
    with closing(Board(place)) as board:
        board.lets_in = paramiko.Ed25519Key.from_private_key_file(str(home / ".ssh" / "id_ed25519"))
        know(home, f"[127.0.0.1]:{board.port}", board.key)
        patience = threading.Timer(limit_s, board.close)  # who waits for ever is to fail
        patience.start()
        yield board
        patience.cancel()


@contextmanager
def switched_power(board: Board, place: Path) -> Iterator[Callable[[str], Path]]:
    """Yield what has the host's power switched by these lines of settings, and returns what notes each press."""
    boot_id, pressed, presses = place / "boot_id", place / "pressed", place / "presses"
    board.boot_anew(boot_id)
    board.answers |= {
        "/proc/uptime": f"echo $$; cat {boot_id}; echo 0.01 0.01",
        BOOT_ID: f"echo $$; cat {boot_id}",
        "systemctl is-system-running": "echo $$; echo running",
    }

    def log_in() -> None:
        if pressed.exists():  # it comes back another one
            pressed.unlink()
            board.boot_anew(boot_id)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(power, "RETRY_S", 0.01)

        def lines(settings: str) -> Path:
            (place / "config.toml").write_text(
                f'[hosts."127.0.0.1"]\n{settings.replace("PRESS", f"echo $$ >>{presses}")}\n'
            )
            patch.setenv("VMTASKS_CONFIG", str(place / "config.toml"))
            return presses

        board.at_a_login = log_in
        yield lines
