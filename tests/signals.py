"""The signals that end a program, where whoever started the tests has them ignored: nohup(1), a job in the background."""

from __future__ import annotations

import signal


def have_signals_heard_below() -> None:
    """Have what this process starts end by them, as usual: exec(2) keeps a signal ignored, and drops a handler."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
