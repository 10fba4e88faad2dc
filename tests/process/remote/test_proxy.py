"""A proxy whose caller does not read: it was stopped, by Ctrl-Z say, and is to find its machine when it goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.waiting import until
from vmtasks.process.isolated import isolated_argv

SAMPLES = 500
SSH = """
import json, sys, threading

def say(event, **more):
    print(json.dumps({"event": event, **more}), flush=True)

say("ready")
for number in range(int(sys.argv[1])):
    say("sample", sample={"number": number, "text": "x" * 1000})
say("answer", id=1)
with open(sys.argv[2], "w") as file:
    for line in sys.stdin:
        print("alive", file=file, flush=True)
"""


def test_a_caller_that_does_not_read_its_samples_keeps_its_machine(tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    ssh = [sys.executable, "-c", SSH, str(SAMPLES), str(alive)]
    command = isolated_argv("vmtasks.remote.proxy", "big", "a command", "/nowhere", *ssh)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as proxy:
        try:
            until("sign of life", lambda: alive.exists() and alive.read_text().count("alive") > 1, 30.0)
        finally:
            proxy.terminate()
        assert proxy.stdout
        told = [json.loads(line) for line in proxy.stdout]
    assert 0 < [message["event"] for message in told].count("sample") < SAMPLES
    assert told[-1] == {"event": "answer", "id": 1}, "whatever is waited for comes all the same"
