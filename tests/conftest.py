"""What all tests share."""

from __future__ import annotations

import signal

import pytest


@pytest.fixture(autouse=True, scope="session")
def hangups_are_heard_below() -> None:
    """Under nohup(1), too, the processes that tests start are hung up as usual: a handler does not outlive exec."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)
