"""Work done by a thread before it is asked for."""

from __future__ import annotations

from contextlib import suppress
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import TYPE_CHECKING, TypeVar

from .interrupt import unbroken

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

_Item = TypeVar("_Item")


def ahead(items: Iterator[_Item], *, stopped: Event | None = None, count: int = 2) -> Generator[_Item, None, None]:
    """The same items, such as frames, made by a thread while the caller works on those before.

    Close it before what it reads from: this stops the thread and waits until it is gone.

    Args:
        stopped: Set when no more is wanted, before the end: `Media.left`, so that what is on the way is given up.
        count: So many wait at most, which bounds the memory.

    Raises:
        MediaError: As `items` does.
    """
    waiting: Queue[_Item | BaseException | None] = Queue(count)
    stopped = stopped or Event()

    def work() -> None:
        try:
            for item in items:
                waiting.put(item)
                if stopped.is_set():
                    # Another thread may wait for one more. Where there is no room it has something to take.
                    with suppress(Full):
                        waiting.put_nowait(None)
                    return
            waiting.put(None)
        except BaseException as error:  # raised again where the items are used
            waiting.put(error)

    thread = Thread(target=work, name="ahead", daemon=True)
    ended = False
    try:
        thread.start()
        while (got := waited_for(waiting)) is not None:
            if isinstance(got, BaseException):
                raise got
            yield got
        ended = True
    finally:
        if not ended:
            stopped.set()
        # Makes room for the one that it may be waiting to hand over.
        with suppress(Empty):
            while True:
                waiting.get_nowait()
        # Not even a second Ctrl-C may let the file be closed under its hands.
        if thread.is_alive():
            unbroken(thread.join)


def waited_for(waiting: Queue[_Item]) -> _Item:
    """The next item. A wait without an end can't be interrupted on Windows, before Python 3.14."""
    while True:
        with suppress(Empty):
            return waiting.get(timeout=0.5)
