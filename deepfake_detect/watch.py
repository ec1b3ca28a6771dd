"""Sees that nothing takes longer than it may.

    with watch.at_most(300, process.kill):
        ...

One thread does so for all that runs: one for each would cost more than what they watch does, where that is short.
"""

from __future__ import annotations

import math
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Watch:
    """Watches from when it is first needed until it is closed."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        # When the time is over of what runs, and what is done then; and when the thread looks next.
        self._ends: dict[object, tuple[float, Callable[[], None]]] = {}
        self._next_s = 0.0
        self._thread: threading.Thread | None = None
        self._closed = False

    @contextmanager
    def at_most(self, seconds: float, expire: Callable[[], None]) -> Iterator[None]:
        """Calls `expire`, from another thread, if the `with` statement lasts longer, and never after its end."""
        turn, end_s = object(), time.monotonic() + seconds
        with self._changed:
            self._ends[turn] = end_s, expire
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
        with self._changed:
            while self._ends or not self._closed:
                now_s = time.monotonic()
                for turn, (end_s, expire) in list(self._ends.items()):
                    if end_s <= now_s:
                        del self._ends[turn]
                        expire()
                self._next_s = min((end_s for end_s, _ in self._ends.values()), default=math.inf)
                self._changed.wait(min(self._next_s - now_s, threading.TIMEOUT_MAX))
