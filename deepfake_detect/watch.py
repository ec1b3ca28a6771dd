"""Sees that nothing takes longer than it may.

    with watch.at_most(300, process.kill):
        ...

One thread does so for all that runs: one for each would cost more than what they watch does, where that is short. The clock
goes on while a process is stopped, as by Ctrl-Z or with its container; such time is nobody's, and does not count.
"""

from __future__ import annotations

import math
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# How often it looks, and how much later it may come to that, since others keep the processor, before that was a pause.
_LOOKS_EVERY_S, _BUSY_S = 1, 2


class Watch:
    """Watches from when it is first needed until it is closed."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        # When what runs was begun, when its time is over, and what is done then; and when the thread looks next.
        self._ends: dict[object, tuple[float, float, Callable[[], None]]] = {}
        self._next_s = math.inf
        self._thread: threading.Thread | None = None
        self._closed = False

    @contextmanager
    def at_most(self, seconds: float, expire: Callable[[], None]) -> Iterator[None]:
        """Calls `expire`, from another thread, if the `with` statement lasts longer, pauses aside; never after its end."""
        turn, now_s = object(), time.monotonic()
        end_s = now_s + seconds
        with self._changed:
            self._ends[turn] = now_s, end_s, expire
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True, name="deepfake-detect watch")
                self._thread.start()
            elif end_s < self._next_s:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._ends.pop(turn, None)
                if self._closed:
                    self._changed.notify()

    def close(self) -> None:
        """Nothing more is begun. What runs is still watched."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _run(self) -> None:
        used_s = time.process_time()
        with self._changed:
            while self._ends or not self._closed:
                now_s, used_before_s, used_s = time.monotonic(), used_s, time.process_time()
                # Who is stopped uses no processor. What keeps this thread alone from it does, and counts.
                late_s = now_s - self._next_s - (used_s - used_before_s)
                paused_s = late_s if late_s > _BUSY_S else 0.0
                for turn, (begun_s, end_s, expire) in list(self._ends.items()):
                    end_s += min(paused_s, now_s - begun_s)
                    self._ends[turn] = begun_s, end_s, expire
                    if end_s <= now_s:
                        del self._ends[turn]
                        expire()
                self._next_s = min((end_s for _, end_s, _ in self._ends.values()), default=math.inf)
                if self._ends:
                    self._next_s = min(self._next_s, now_s + _LOOKS_EVERY_S)
                self._changed.wait(min(self._next_s - now_s, threading.TIMEOUT_MAX))


_readers = Watch()


@contextmanager
def time_over(seconds: float) -> Iterator[Callable[[], bool]]:
    """Whether the `with` statement lasts longer, for who asks so now and then."""
    over = threading.Event()
    with _readers.at_most(seconds, over.set):
        yield over.is_set
