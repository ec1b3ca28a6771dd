"""Ctrl-C that can't get lost."""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


def unbroken(do: Callable[[], object]) -> None:
    """Do it to its end. A Ctrl-C meanwhile has it begun again, and comes out when it is done."""
    interrupt: KeyboardInterrupt | None = None
    while True:
        try:
            do()
            break
        except KeyboardInterrupt as again:
            interrupt = again
    if interrupt is not None:
        raise interrupt


class Interrupt:
    """Ctrl-C is heard wherever it comes, while this is used in a `with` statement.

    Python raises KeyboardInterrupt wherever it happens to be, and from some places no exception gets out: FFmpeg calls back
    into Python to write a video, and PyAV drops what is raised there. That it was dropped is told to `sys.unraisablehook`,
    and from there it is sent once more, until it arrives. Others print it and go on, as NumPy while a module of compiled
    code is loaded that needs it: they ask `sys.excepthook` to.

    Attributes:
        seen: Whether there was one, whatever came of it.
    """

    def __init__(self) -> None:
        self.seen = False

    def __enter__(self) -> Interrupt:
        self._handler, self._hook = signal.getsignal(signal.SIGINT), sys.unraisablehook
        self._printing = sys.excepthook
        # Whoever started us may want it ignored, and only the main thread may handle it.
        self._ours = (
            self._handler is signal.default_int_handler and threading.current_thread() is threading.main_thread()
        )
        if self._ours:
            signal.signal(signal.SIGINT, self._raise)
            sys.unraisablehook, sys.excepthook = self._dropped, self._print
        return self

    def __exit__(self, *_: object) -> None:
        if self._ours:
            self._ours = False
            signal.signal(signal.SIGINT, self._handler)
            sys.unraisablehook, sys.excepthook = self._hook, self._printing

    def _raise(self, *_: object) -> None:
        self.seen = True
        raise KeyboardInterrupt

    def _dropped(self, lost: sys.UnraisableHookArgs) -> None:
        if lost.exc_type is KeyboardInterrupt:
            self._send_again()
        else:
            self._hook(lost)

    def _print(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if kind is KeyboardInterrupt:
            self._send_again()
        else:
            self._printing(kind, error, trace)

    def _send_again(self) -> None:
        # From another thread and a little later, or it would be raised in here and lost again.
        threading.Timer(0.01, self._again).start()

    def _again(self) -> None:
        if self._ours:
            _thread.interrupt_main()
