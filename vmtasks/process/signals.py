"""What asks us to end becomes an exception, so that every ``with`` on the way out does its work."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import FrameType

from vmtasks.errors import Interrupted
from vmtasks.process import parent

ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGINT)


class InterruptedBySignal(Interrupted):
    """A signal, or the going of the caller, asks us to end."""


def interrupt_behind(problem: BaseException) -> BaseException:
    """Return the interrupt by a signal that was on its way out when *problem* took its place; else *problem* itself.

    What is cleaned up after an interrupt may fail, which is no news: somebody wanted an end.
    """
    one: BaseException | None = problem
    while one is not None:
        if isinstance(one, KeyboardInterrupt | InterruptedBySignal):
            return one
        one = one.__cause__ or one.__context__
    return problem


@contextmanager
def interrupt_on_signals(*, outputs: Mapping[int, str] = parent.OUTPUTS) -> Iterator[None]:
    """Raise :class:`InterruptedBySignal` in the main thread when a signal asks us to end, or the caller is gone.

    A second signal changes nothing: somebody who presses Ctrl-C twice gets no less clean an end. A caller that uses
    nohup(1) may go, and so may the terminal.

    :param outputs: the file descriptors whose readers are callers, too, and what they are called.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python handles signals in the main thread only
        return
    main = threading.get_ident()
    losses: list[str] = []

    def interrupt(number: int, _: FrameType | None) -> None:
        _deafen()
        if losses:
            raise InterruptedBySignal(
                f"interrupted: {losses[0]}", hint="what is to outlive its caller is called with nohup"
            )
        raise InterruptedBySignal(f"interrupted by {signal.Signals(number).name}")

    def lose(loss: str) -> None:
        losses.append(loss)
        signal.pthread_kill(main, signal.SIGTERM)  # this one, because it may be waiting for something

    alone = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    with ExitStack() as stack:
        for number in ENDING:
            if not (alone and number is signal.SIGHUP):
                stack.callback(signal.signal, number, signal.signal(number, interrupt))
        if not alone:
            stack.enter_context(parent.watch_parent(lose, outputs=outputs))
        stack.callback(_deafen)  # the end of the block is the end: nothing interrupts what is left of it
        yield


def _deafen() -> None:
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
