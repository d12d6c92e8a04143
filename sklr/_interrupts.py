"""Seeing Ctrl-C, which skorch swallows: the one place that knows how."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any


class InterruptWatch:
    """Remember whether Ctrl-C was pressed, and raise it again if something swallowed it.

    skorch ends a training on any KeyboardInterrupt and returns as if all were well, and callbacks
    such as EarlyStopping raise one to end a training. So the exception alone does not say whether
    the user asked to stop; only the signal does. While the watch is on, SIGINT goes to the handler
    that was there before, and a KeyboardInterrupt that this one raises is remembered.

    Used as a context manager, it raises KeyboardInterrupt on leaving if one was swallowed within.
    Outside the main thread, where Python delivers no signals, it does nothing.

    Attributes
    ----------
    interrupted : bool
        Whether the user pressed Ctrl-C while the watch was on.
    """

    def __init__(self) -> None:
        self.interrupted = False
        self._previous: Any = None

    def start(self) -> InterruptWatch:
        """Begin to watch."""
        self.interrupted = False
        # A handler that Python did not set, or that ignores Ctrl-C, is left alone.
        in_main_thread = threading.current_thread() is threading.main_thread()
        if in_main_thread and callable(signal.getsignal(signal.SIGINT)):
            self._previous = signal.signal(signal.SIGINT, self._handle)
        return self

    def stop(self) -> None:
        """Put the handler back that was there before."""
        current = signal.getsignal(signal.SIGINT)
        # A watch within that is still on was passed by: an exception came before its stop.
        while isinstance(inner := getattr(current, "__self__", None), InterruptWatch):
            if inner is self:
                break
            current = inner._previous
        # Not over the handler of someone who came later, who may go on through this one.
        if self._previous is not None and current == self._handle:
            signal.signal(signal.SIGINT, self._previous)
            self._previous = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        try:
            self._previous(number, frame)
        except KeyboardInterrupt:
            self.interrupted = True
            raise

    def __enter__(self) -> InterruptWatch:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self.stop()
        if self.interrupted and kind is None:
            raise KeyboardInterrupt
