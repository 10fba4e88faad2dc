"""Our own code, as it travels: sent once for each version, unpacked below the cache there, and run by python3 alone."""

from __future__ import annotations

import base64
import hashlib
import io
import shlex
import zipfile
from functools import cache
from pathlib import Path

import invoke.exceptions

from vmtasks.process.isolated import isolated_argv

SENDING_LIMIT_S = 120
"""How long the payload may be on its way."""
_PACKAGE = Path(__file__).resolve().parents[1]
_KEPT_DAYS = 30
"""How long a version stays there that no process has used."""

_UNPACK = f"""
import io, json, os, shutil, signal, sys, time, zipfile
from contextlib import suppress
def say(event, **more): print(json.dumps(dict(event=event, **more)), flush=True)
key, call, *arguments = sys.argv[1:]
if sys.version_info < (3, 11):
    say("unfit", error="its python3 is %d.%d, and 3.11 is the oldest that serves" % sys.version_info[:2])
    sys.exit()
cache = os.environ.get("VMTASKS_CACHE") or os.path.join(
    os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "vmtasks")
home = os.path.join(cache, "code")
code = os.path.join(home, key)
try:
    if not os.path.isdir(code):
        say("send")
        signal.alarm({SENDING_LIMIT_S})
        line = open(0, "rb", closefd=False)
        data = line.read(int(line.readline()))
        signal.alarm(0)
        part = "%s.%d" % (code, os.getpid())
        try:
            zipfile.ZipFile(io.BytesIO(data)).extractall(part)
            for directory, _, names in os.walk(part):  # or a power cut may leave a version here that never runs
                for name in names:
                    with open(os.path.join(directory, name)) as file:
                        os.fsync(file.fileno())
            try:
                os.rename(part, code)
            except OSError:
                if not os.path.isdir(code):  # somebody else was not quicker
                    raise
        finally:
            shutil.rmtree(part, ignore_errors=True)
        for old in os.scandir(home):
            with suppress(FileNotFoundError):
                if old.stat().st_mtime < time.time() - {_KEPT_DAYS * 86400}:
                    shutil.rmtree(old.path, ignore_errors=True)
    os.utime(code)
except OSError as problem:
    say("unfit", error="its cache %s cannot be written: %s" % (cache, problem.strerror))
    sys.exit()
os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", call, code, *arguments])
"""

_DECODE = "import sys, base64; exec(base64.b64decode(sys.argv.pop(1)))"


@cache
def files() -> dict[str, bytes]:
    """Return what is in the payload: this package, and what its errors stand on."""
    ours = {path: path.relative_to(_PACKAGE.parent).as_posix() for path in sorted(_PACKAGE.rglob("*.py"))}
    theirs = Path(invoke.exceptions.__file__)
    return {
        **{name: path.read_bytes() for path, name in ours.items()},
        "invoke/__init__.py": b"",
        "invoke/exceptions.py": theirs.read_bytes(),
    }


@cache
def key() -> str:
    """Return what tells this version from all others."""
    digest = hashlib.sha256()
    for name, content in files().items():
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]


def payload() -> bytes:
    """Return it as a zip archive."""
    encode = io.BytesIO()
    with zipfile.ZipFile(encode, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files().items():
            archive.writestr(name, content)
    return encode.getvalue()


def first_command(module: str, *arguments: str) -> str:
    """Return the line of shell that does what :func:`command` says on a host that may not have the payload yet.

    If it first prints ``send``, it reads a line with the size of the payload, and the payload.
    """
    program = base64.b64encode(_UNPACK.encode()).decode()
    *_, call, _code = isolated_argv(module, package_parent="")
    return shlex.join(["exec", "python3", "-I", "-c", _DECODE, program, key(), call, *arguments])


def command(code: str, module: str, *arguments: str) -> str:
    """Return the line of shell that calls ``main()`` of one of our modules; the payload is in the directory *code*."""
    return shlex.join(["exec", "python3", *isolated_argv(module, *arguments, package_parent=code)[1:]])
