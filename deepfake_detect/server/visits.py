"""Which pages are open, by visit. Once the last of a visit is closed, and stays closed for a while, its files go."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from .guard import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

# A page is open until it says that it is closed. One that is heard no more may have been put away by its browser, or its
# machine sleeps: it is waited for so long. Without a stream of events it says every 20 s that it is open, in the background
# once a minute.
_HEARD_S = 900
_MOST_HEARD = 500


class Visits:
    """The pages that are open. To be used from the thread of the event loop alone, but for `needed`.

    Args:
        gone_s: A visit without a page for so long has ended.
        forget: Called, in another thread, with a visit that has ended; None where files outlive their pages.
    """

    def __init__(self, gone_s: float, forget: Callable[[str], object] | None) -> None:
        self._gone_s, self._forget = gone_s, forget
        self._open_pages: Counter[str] = Counter()
        # By visit and page: when those that are open are taken for closed.
        self._heard: dict[tuple[str, str], asyncio.TimerHandle] = {}
        # When the files of those go that have no page open.
        self._leaving: dict[str, asyncio.TimerHandle] = {}

    @property
    def needed(self) -> frozenset[str]:
        """The visits whose files are not to go: those with a page open, or closed a moment ago."""
        return frozenset((*self._open_pages, *self._leaving))

    def is_open(self, visit: str, page: str) -> bool:
        """It was heard, and has not said that it is closed."""
        return (visit, page) in self._heard

    def hear(self, visit: str, page: str, *, closed: bool = False) -> None:
        """A page says that it is open, or that it is closed. Without a visit it has no files.

        Raises:
            RefusedError: There are too many.
        """
        if not visit:
            return
        if timer := self._heard.pop((visit, page), None):
            timer.cancel()
        elif closed:
            return
        elif len(self._heard) >= _MOST_HEARD:
            raise RefusedError(429, "full", "too many pages are open", retry_after_s=_HEARD_S)
        else:
            self._open(visit)
        if closed:
            self._close(visit)
        else:
            loop = asyncio.get_running_loop()
            self._heard[visit, page] = loop.call_later(_HEARD_S, lambda: self.hear(visit, page, closed=True))

    def _open(self, visit: str) -> None:
        self._open_pages[visit] += 1
        if timer := self._leaving.pop(visit, None):
            timer.cancel()

    def _close(self, visit: str) -> None:
        self._open_pages[visit] -= 1
        if self._open_pages[visit]:
            return
        del self._open_pages[visit]
        if self._forget is not None:
            # Not at once, for it may only be loaded anew.
            self._leaving[visit] = asyncio.get_running_loop().call_later(self._gone_s, self._end, visit, self._forget)

    def _end(self, visit: str, forget: Callable[[str], object]) -> None:
        del self._leaving[visit]
        asyncio.get_running_loop().run_in_executor(None, forget, visit)
