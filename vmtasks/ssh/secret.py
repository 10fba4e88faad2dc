"""Secrets: variables of the host's environment that a guest command gets by name, and that no output shows.

A value goes in over standard input, in front of what the command itself reads: a command line, also the guest's, is
there for all to see. What comes out has stars where a value would stand.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping

from vmtasks.errors import UsageError

LEAST_BYTES = 4
"""Shorter texts are not masked: they stand in words that have nothing to do with them."""
STARS = b"***"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def values(names: Iterable[str], environ: Mapping[str, str] = os.environ) -> dict[str, bytes]:
    """Return the variables *names* of the host's environment.

    :raise UsageError: one of them is not set, or none can be called so.
    """
    found: dict[str, bytes] = {}
    for name in names:
        if not _NAME.fullmatch(name):
            # What follows an equals sign would be the secret itself.
            raise UsageError(f"cannot hand on a variable of the name '{name.partition('=')[0]}': none is called so")
        if name not in environ:
            raise UsageError(
                f"cannot hand on the variable {name}: it is not set here",
                hint="set it, or take it out of env_from (vmtasks.toml) or VMTASKS_ENV_FROM",
            )
        found[name] = os.fsencode(environ[name])
    return found


def receiver(names: Iterable[str]) -> list[str]:
    """Return the words to put before a command's: a shell that reads the variables, and becomes the command."""
    # Command substitution drops line feeds at the end of a value, but for the x behind them. All of it is built in:
    # no program is called that would have a value among its arguments.
    lines = [f'IFS= read -r {n} && {n}=$(printf %bx "${n}") && {n}=${{{n}%x}} && export {n} && ' for n in names]
    return ["/bin/sh", "-c", "".join([*lines, 'exec "$@"']), "sh"] if lines else []


def sent(given: Mapping[str, bytes]) -> bytes:
    """Return what that shell reads: a line for each variable, in which only letters and figures are themselves."""
    return b"".join(
        b"".join(b"%c" % byte if chr(byte).isascii() and chr(byte).isalnum() else b"\\0%03o" % byte for byte in value)
        + b"\n"
        for value in given.values()
    )


class Mask:
    """Puts stars in the place of secrets in one stream, which may come in any pieces.

    Each line of a value is a secret too, because programs split logs into lines. Of the stream, only what may
    be the beginning of a secret is held back.

    :param secrets: the values.
    """

    def __init__(self, secrets: Iterable[bytes]) -> None:
        texts = {text.strip() for value in secrets for text in (value, *value.splitlines())}
        self._secrets = [text for text in texts if len(text) >= LEAST_BYTES]
        self._held = b""
        self._starred = 0
        """So many bytes of what is held back belong to a secret that there are stars for already."""

    def take(self, data: bytes, *, final: bool = False) -> bytes:
        """Take in one piece, and return what can be shown by now.

        :param final: whether nothing follows.
        """
        text = self._held + data
        end = len(text) if final else min((_begun(secret, text) for secret in self._secrets), default=len(text))
        shown: list[bytes] = []
        at = self._starred
        for start, stop in sorted(span for secret in self._secrets for span in _spans(secret, text)):
            if start >= end:
                break
            if start >= at:
                shown += (text[at:start], STARS)
            at = max(at, stop)
        shown.append(text[at:end])
        self._held, self._starred = text[end:], max(0, at - end)
        return b"".join(shown)


def _spans(secret: bytes, text: bytes) -> Iterator[tuple[int, int]]:
    """Yield where *secret* stands in *text*, also where it overlaps itself."""
    start = text.find(secret)
    while start >= 0:
        yield start, start + len(secret)
        start = text.find(secret, start + 1)


def _begun(secret: bytes, text: bytes) -> int:
    """Return where a *secret* begins that *text* breaks off in; the end of *text* if none does."""
    start = text.find(secret[:1], max(0, len(text) - len(secret) + 1))
    while start >= 0:
        if secret.startswith(text[start:]):
            return start
        start = text.find(secret[:1], start + 1)
    return len(text)
