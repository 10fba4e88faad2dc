"""What stands between autopkgtest and a run, as the process that autopkgtest starts."""

from __future__ import annotations

import secrets
import socket
import subprocess

from vmtasks.process.isolated import isolated_argv


def test_an_answer_that_autopkgtest_no_longer_reads_is_no_failure_of_the_testbed() -> None:
    name = f"vmtasks-test-{secrets.token_hex(8)}"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(f"\0{name}")
        listener.listen()
        listener.settimeout(30)
        with subprocess.Popen(isolated_argv("vmtasks.frameworks.autopkgtest.relay", name), **pipes) as relay:
            try:
                assert relay.stdin
                assert relay.stdout
                assert relay.stderr
                run, _ = listener.accept()
                with run:
                    run.settimeout(30)
                    run.sendall(b"ok\n")
                    assert relay.stdout.readline() == b"ok\n"
                    relay.stdout.close()  # as autopkgtest does before its last request
                    relay.stdin.write(b"quit\n")
                    relay.stdin.flush()
                    assert run.recv(100) == b"quit\n"
                    run.sendall(b"ok\n")  # while the relay may still be waiting for its input to close
                    assert relay.wait(30) == 0, relay.stderr.read()
                    assert relay.stderr.read() == b""
            finally:
                relay.kill()
