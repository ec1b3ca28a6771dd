"""What those who answer requests share: the jobs, how the server is to behave, who may enter, which pages are open."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Path as PathParameter

from . import upload
from .guard import LOOPBACK, Lock, Rate, RefusedError, address_in
from .monitoring import Monitor
from .visits import Visits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from starlette.requests import Request

    from .jobs import Jobs
    from .ledger import Ticket

#: Of a job, in an address.
Id = Annotated[str, PathParameter(alias="id", max_length=100)]
# How often a stream of events looks whether there is anything new, and says that it is alive.
_LOOK_S, _ALIVE_S = 0.25, 15


@dataclass(frozen=True)
class Settings:
    """How a server behaves.

    Attributes:
        token: That each request must show; None where only this machine can reach the server.
        names: By which the server may be called.
        language: Of the pages where the browser asks for none of ours.
        uploads: What sending a file may take.
        jobs_a_minute: So many are taken from an address; None for no limit but the queue's. Default 600.
        page_gone_s: A page that is closed for so long takes its files along, unless they are kept. Default 60.
    """

    token: str | None = None
    names: tuple[str, ...] = LOOPBACK
    language: str = "en"
    uploads: upload.Limits = field(default_factory=upload.Limits)
    jobs_a_minute: float | None = 600
    page_gone_s: float = 60


class Service:
    """
    Args:
        jobs: What is asked for.
        settings: How the server behaves.
        closing: Whether the server is about to end.
    """

    def __init__(self, jobs: Jobs, settings: Settings, closing: Callable[[], bool]) -> None:
        self.jobs, self.settings, self.closing = jobs, settings, closing
        self.lock = Lock(settings.token)
        self.monitor = Monitor(jobs)
        self.visits = Visits(settings.page_gone_s, jobs.delete_page if jobs.keep_s is None else None)
        jobs.open_visits = lambda: self.visits.needed
        self._rate = None if settings.jobs_a_minute is None else Rate(settings.jobs_a_minute)

    def check_rate(self, request: Request) -> None:
        """
        Raises:
            RefusedError: Too many files came from there.
        """
        wait_s = self._rate.wait_s(address_in(request.scope)) if self._rate else 0.0
        if wait_s:
            raise RefusedError(429, "rate", "too many files in a minute; wait a little", retry_after_s=int(wait_s) + 1)

    def ticket(self, name: str, *, whole: bool = False) -> Ticket:
        """
        Raises:
            RefusedError: There is no such job, or no longer.
        """
        found = self.jobs.get(name, whole=whole)
        if found is None:
            raise no_such_job()
        return found

    def ended_ticket(self, name: str) -> Ticket:
        """
        Raises:
            RefusedError: There is no such job, or it is not over.
        """
        found = self.ticket(name)
        if not found.over:
            said = f"the job is {found.status}; ask again when it is over"
            raise RefusedError(409, "not_over", said, retry_after_s=1)
        return found

    def report_of(self, name: str) -> Path:
        """The folder of a job's report.

        Raises:
            RefusedError: It has none, or not yet.
        """
        if not self.ended_ticket(name).has_report:
            raise RefusedError(404, "not_found", "it has no such report; report.json says why")
        try:
            return self.jobs.report_of(name)
        except FileNotFoundError as error:
            raise RefusedError(404, "not_found", "it has no such report any more") from error

    async def follow(self, look: Callable[[], tuple[Any, bool]]) -> AsyncIterator[bytes]:
        """Events: what `look` finds in the jobs, whenever it changes, until it says that nothing more will come."""
        last, seen, silent = None, None, 0.0
        while not self.closing():
            # Before the look: what changes meanwhile is looked at next time.
            if (changes := self.jobs.changes) != seen:
                seen = changes
                found, over = await asyncio.to_thread(look)
                if found != last:
                    yield b"data: " + json.dumps(found).encode("ascii") + b"\n\n"
                    last, silent = found, 0.0
                if over:
                    return
            if silent > _ALIVE_S:
                yield b": alive\n\n"
                silent = 0.0
            await asyncio.sleep(_LOOK_S)
            silent += _LOOK_S


def service_of(request: Request) -> Service:
    """Whose request it is."""
    found: Service = request.app.state.service
    return found


def no_such_job() -> RefusedError:
    """Nor is it said whether there ever was one."""
    return RefusedError(404, "not_found", "there is no such job, or no longer")
