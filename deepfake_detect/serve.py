"""A page on this machine and an interface for programs: files in, reports out, judged by workers one after another.

    serve(Place(), Settings())          blocks until it is interrupted

What is asked for lies in `jobs`, who may ask is for `guard` to say, what is sent comes in through `upload`. The pages are
made here from templates in `pages/`, with one script of our own and nothing from elsewhere.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import secrets
import signal
import socket
import sqlite3
import sys
import tempfile
import threading
import time
import webbrowser
import zipfile
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import parse_qs

import h11
import jinja2
import prometheus_client
import uvicorn
from fastapi import FastAPI, Query, Request
from fastapi import Path as PathParameter
from fastapi.exceptions import RequestValidationError
from fastapi.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from uvicorn.protocols.http.h11_impl import H11Protocol

from . import __version__, media, upload
from .confine import Limits
from .errors import MediaError, OptionsError
from .guard import COOKIE, LOOPBACK, Guard, Rate, RefusedError, drain
from .jobs import REPORTS, FullError, Jobs, Status
from .options import Options
from .page import plain
from .words import LANGUAGES, Words
from .worker import Pool

if TYPE_CHECKING:
    import io
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

    from starlette.types import Receive, Scope, Send

    from .jobs import Standing, Ticket

PAGES = Path(__file__).with_name("pages")
VISIT, LANGUAGE = "deepfake-detect-visit", "deepfake-detect-lang"
_STATIC = {"style.css": "text/css", "script.js": "text/javascript", "icon.svg": "image/svg+xml"}
# The report brings its own style, and shows nothing but what is in it.
_REPORT_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'self'; sandbox allow-same-origin"
)
_COPIES = {"annotated.mp4": "video/mp4", "annotated.jpg": "image/jpeg", "annotated.png": "image/png"}
# How often a stream of events looks whether there is anything new, and says that it is alive.
_LOOK_S, _ALIVE_S = 0.25, 15
# A page without such a stream says every 20 s that it is open, in the background once a minute; without, it is closed.
_HEARD_S = 180
# So long may an answer be put off; meanwhile it is looked so often whether somebody still waits for it.
_LONGEST_WAIT_S, _GONE_S = 60, 5
# Headers that take longer end the connection.
_HEADERS_S = 15
_MOST_CONNECTIONS = 500
_SWITCH_S = 0.0005
_CHUNK = 2**18
# The drawing of the evidence over time, in its own units, and how far it reaches in logits.
_WIDTH, _HEIGHT, _REACH = 720, 120, 8.0
_MOST_DRAWN, _MOST_MOMENTS = 4, 5
_LEAST_TOKEN = 16


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


@dataclass(frozen=True)
class Place:
    """Where a server listens and what it may use.

    Attributes:
        host: An address or a name of this machine.
        port: 0 for any that is free.
        data: Folder for what is sent and made; None for one of the system's choice.
        keep_s: How long what is done is kept, seconds; None for no longer than it is needed.
        workers: How many files are judged at a time.
        most_waiting: Of all that wait, so many are taken.
        seconds: A file may take, with its report.
        weights_folder: Folder with another manifest.json and its files; None for the one that ships.
    """

    host: str = LOOPBACK[0]
    port: int = 8765
    data: Path | None = None
    keep_s: float | None = None
    workers: int = 1
    most_waiting: int = 100
    seconds: float = 1800
    weights_folder: Path | None = None


# Of a job, in an address.
Id = Annotated[str, PathParameter(alias="id", max_length=100)]
Wait = Annotated[
    float, Query(ge=0, le=_LONGEST_WAIT_S, description="so many seconds at most until it is over is the answer put off")
]


# What programs read


class Problem(BaseModel):
    """Why something is not as it was wanted."""

    kind: str
    message: str


class Refusal(BaseModel):
    """A request that was not served."""

    error: Problem


class Taken(BaseModel):
    """A job that was taken."""

    id: str
    status: Status


class JobState(BaseModel):
    """A job as it stands."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str
    status: Status
    name: str
    """What its sender calls the file."""
    size_bytes: int
    stage: str
    """`queued`, `loading`, `judging` or `writing`; empty once it is over."""
    progress: float
    """Share that is done, 0 to 1."""
    seconds_left: float | None
    """About how long it still takes; null where nothing can be said yet."""
    ahead: int
    """How many wait in front of it."""
    created_s: float
    """Unix time."""
    ended_s: float | None
    label: str | None
    """Of the verdict, or of the comparison."""
    error: Problem | None
    """Why nothing came of it."""
    confinement: str
    """What held in the process that judged it, such as `landlock+seccomp+rlimits`; empty until it is over."""


def create_app(jobs: Jobs, settings: Settings, *, closing: Callable[[], bool] = lambda: False) -> Guard:
    """The server as an ASGI application.

    Args:
        jobs: What is asked for; started and closed by the caller.
        closing: Whether the server is about to end: streams of events then do.
    """
    app = FastAPI(
        title="deepfake-detect", version=__version__, docs_url=None, redoc_url=None, redirect_slashes=False,
        # Nothing is told to anybody, whatever the environment says.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )  # fmt: skip
    server = _Server(jobs, settings, closing)
    guard = Guard(app, names=settings.names, token=settings.token, refused=server.count_refusal)
    server.guard = guard
    _add_interface(app, server)
    _add_pages(app, server)

    @app.exception_handler(RefusedError)
    async def refused(request: Request, error: RefusedError) -> JSONResponse:
        server.count_refusal(error.kind)
        read = await drain(request.receive)
        return JSONResponse(error.body, error.status, error.headers(read=read))

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, __: ClientDisconnect) -> JSONResponse:
        # Nobody hears it; without, it would be taken for a bug.
        server.count_refusal("gone")
        return JSONResponse(RefusedError(400, "gone", "the request ended before its end").body, 400)

    @app.exception_handler(HTTPException)
    async def not_there(request: Request, error: HTTPException) -> JSONResponse:
        kinds = {404: "not_found", 405: "method"}
        found = RefusedError(error.status_code, kinds.get(error.status_code, "request"), str(error.detail).lower())
        headers = dict(error.headers or {})
        if found.status == 405:
            headers["Allow"] = ", ".join(_methods_at(app, request))
        return JSONResponse(found.body, found.status, headers)

    @app.exception_handler(RequestValidationError)
    async def senseless(_: Request, error: RequestValidationError) -> JSONResponse:
        said = "; ".join(f"{one['loc'][-1]}: {one['msg']}" for one in error.errors())
        return JSONResponse(RefusedError(422, "request", said).body, 422)

    @app.exception_handler(sqlite3.Error)
    async def unwritten(_: Request, error: sqlite3.Error) -> JSONResponse:
        server.count_refusal("disk")
        said = f"the list of jobs can't be written ({error}); free some space and try again"
        return JSONResponse(RefusedError(507, "disk", said).body, 507)

    @app.exception_handler(Exception)
    async def internal(_: Request, error: Exception) -> JSONResponse:
        said = f"internal error ({type(error).__name__}); please report it"
        return JSONResponse(RefusedError(500, "internal", said).body, 500)

    return guard


def _methods_at(app: FastAPI, request: Request) -> list[str]:
    """What an address can be asked for. Starlette names the methods of the first route alone that leads there."""
    fitting = (route for route in app.routes if route.matches(request.scope)[0] is not Match.NONE)
    return sorted({method for route in fitting for method in getattr(route, "methods", None) or ()})


class _Server:
    """What the handlers share."""

    guard: Guard

    def __init__(self, jobs: Jobs, settings: Settings, closing: Callable[[], bool]) -> None:
        self.jobs, self.settings, self.closing = jobs, settings, closing
        self.rate = None if settings.jobs_a_minute is None else Rate(settings.jobs_a_minute)
        self.refused: Counter[str] = Counter()
        self.received_bytes = 0
        self._open_pages: Counter[str] = Counter()
        # By visit and page: of those that have no stream of events, when they are taken for closed.
        self._heard: dict[tuple[str, str], asyncio.TimerHandle] = {}
        # When the files of those go that have no page open.
        self._leaving: dict[str, asyncio.TimerHandle] = {}
        self.registry = prometheus_client.CollectorRegistry()
        self.registry.register(self)
        prometheus_client.ProcessCollector(registry=self.registry)

    def count_refusal(self, kind: str) -> None:
        """For the metrics."""
        self.refused[kind] += 1

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """What is measured, for Prometheus."""
        ended = CounterMetricFamily("deepfake_detect_jobs", "Jobs that are over, by status", labels=["status"])
        for status, count in self.jobs.counts.items():
            ended.add_metric([status], count)
        refused = CounterMetricFamily(
            "deepfake_detect_refused_requests", "Requests not served, by kind", labels=["kind"]
        )
        for kind, count in dict(self.refused).items():
            refused.add_metric([kind], count)
        yield ended
        yield refused
        yield CounterMetricFamily(
            "deepfake_detect_job_seconds", "Time that jobs took, without waiting", value=self.jobs.seconds
        )
        yield CounterMetricFamily(
            "deepfake_detect_received_bytes", "Sizes of the files taken", value=self.received_bytes
        )
        yield GaugeMetricFamily("deepfake_detect_jobs_waiting", "Jobs in the queue", value=self.jobs.waiting())
        yield GaugeMetricFamily("deepfake_detect_jobs_running", "Jobs being judged", value=self.jobs.running())

    def ticket(self, name: str, *, whole: bool = False) -> Ticket:
        """
        Raises:
            RefusedError: There is no such job, or no longer.
        """
        found = self.jobs.get(name, whole=whole)
        if found is None:
            raise RefusedError(404, "not_found", "there is no such job, or no longer")
        return found

    async def take(self, request: Request, *, suspect: str | None = None) -> Ticket:
        """Take the file that a request brings.

        Raises:
            RefusedError: It is not taken.
        """
        wait_s = self.rate.wait_s(request.client.host if request.client else "") if self.rate else 0.0
        if wait_s:
            raise RefusedError(429, "rate", "too many files in a minute; wait a little", retry_after_s=int(wait_s) + 1)
        expected = upload.announced(request.headers)
        try:
            with self.jobs.room(min(expected, self.settings.uploads.file_bytes)) as name:
                form = await upload.receive(
                    request.stream(), request.headers, self.jobs.file_of(name), self.settings.uploads,
                    words=("language", "contents"), check_space=self.jobs.check_space,
                )  # fmt: skip
                language = form.words.get("language", _language(request, self.settings))
                contents = form.words.get("contents", "report")
                if language not in LANGUAGES:
                    raise RefusedError(
                        400, "language", f"expected one of {', '.join(LANGUAGES)}, found {language[:20]!r}"
                    )
                if contents not in ("report", "record"):
                    raise RefusedError(400, "contents", f"expected report or record, found {contents[:20]!r}")
                ticket = self.jobs.add(
                    name, called=form.name, page=_visit(request), language=language,
                    contents="record" if contents == "record" else "report", suspect=suspect,
                )  # fmt: skip
        except FullError as error:
            found = "too many files wait already; try again a little later"
            raise RefusedError(429, "full", found, retry_after_s=error.retry_after_s) from error
        except KeyError as error:
            raise RefusedError(404, "not_found", "there is no such job any more") from error
        except (OSError, sqlite3.Error) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise RefusedError(507, "disk", f"the file can't be stored ({why})") from error
        self.received_bytes += form.size_bytes
        return ticket

    def state(self, ticket: Ticket) -> JobState:
        """What programs are told."""
        now, error = self.jobs.standing(ticket), ticket.error
        return JobState(
            id=ticket.id, status=ticket.status, name=ticket.name, size_bytes=ticket.size_bytes, stage=now.stage,
            progress=round(now.progress, 4), seconds_left=now.seconds_left and round(now.seconds_left, 1),
            ahead=now.ahead, created_s=ticket.created_s, ended_s=ticket.ended_s,
            label=ticket.label, confinement=ticket.confinement,
            error=Problem(kind=error.kind, message=error.message) if error else None,
        )  # fmt: skip

    async def wait(self, request: Request, name: str, seconds: float) -> None:
        """Until this job is over or gone, so many seconds have passed, who asked is gone, or the server is about to end."""
        end = time.monotonic() + seconds
        over = asyncio.wrap_future(self.jobs.when_over(name))
        try:
            while not over.done() and not self.closing() and (left := end - time.monotonic()) > 0:
                await asyncio.wait([over], timeout=min(left, _GONE_S))
                if not over.done() and await request.is_disconnected():
                    return
        finally:
            over.cancel()

    async def follow(self, look: Callable[[], tuple[Any, bool]]) -> AsyncIterator[bytes]:
        """Events: what `look` finds, whenever it changes, until it says that nothing more will come."""
        last, silent = None, 0.0
        while not self.closing():
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

    @contextmanager
    def open_page(self, visit: str) -> Iterator[None]:
        """While a page of this visit is open. When the last is closed, its files go."""
        self._open(visit)
        try:
            yield
        finally:
            self._close(visit)

    def hear(self, visit: str, page: str, *, closed: bool) -> None:
        """A page that has no stream of events says that it is open, or that it is closed.

        Raises:
            RefusedError: There are too many.
        """
        if timer := self._heard.pop((visit, page), None):
            timer.cancel()
        elif closed:
            return
        elif len(self._heard) >= _MOST_CONNECTIONS:
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
        if not self._open_pages[visit]:
            del self._open_pages[visit]
            if self.jobs.keep_s is None:
                loop = asyncio.get_running_loop()
                # Not at once, for it may only be loaded anew.
                self._leaving[visit] = loop.call_later(self.settings.page_gone_s, self._forget, loop, visit)

    def _forget(self, loop: asyncio.AbstractEventLoop, visit: str) -> None:
        del self._leaving[visit]
        loop.run_in_executor(None, self.jobs.delete_page, visit)


# For programs


def _add_interface(app: FastAPI, server: _Server) -> None:
    jobs = server.jobs
    body = {
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": ["file"],
                        "additionalProperties": False,
                        "properties": {
                            "file": {
                                "type": "string", "format": "binary", "minLength": 1, "description": "a picture or a video",
                            },
                            "language": {"type": "string", "enum": list(LANGUAGES), "description": "of the report"},
                            "contents": {
                                "type": "string", "enum": ["report", "record"], "default": "report",
                                "description": "a whole report, or report.json alone, which is quicker",
                            },
                        },
                    }
                }
            },
        }
    }  # fmt: skip
    refusals: dict[int | str, dict[str, Any]] = {
        status: {"model": Refusal, "description": said}
        for status, said in {
            400: "The form makes no sense", 404: "There is no such job", 408: "It came too slowly",
            409: "Not in this state", 413: "The file is too large", 415: "Not a form",
            429: "Too many; Retry-After says when", 507: "The disk is full",
        }.items()
    }  # fmt: skip

    def some(*statuses: int, of: Iterable[str] = ()) -> dict[int | str, dict[str, Any]]:
        """These refusals, and what the answer is made of where it is no JSON."""
        found: dict[int | str, dict[str, Any]] = {200: {"content": {kind: {} for kind in of}}} if of else {}
        return found | {status: refusals[status] for status in statuses}

    sending = some(400, 404, 408, 413, 415, 429, 507)

    @app.post("/v1/jobs", status_code=202, response_model=Taken, responses=sending, openapi_extra=body, tags=["jobs"])
    async def send_a_file(request: Request) -> Taken:
        """Have a picture or a video judged. It waits for its turn."""
        ticket = await server.take(request)
        return Taken(id=ticket.id, status=ticket.status)

    @app.get("/v1/jobs/{id}", responses=some(404), tags=["jobs"])
    async def ask_how_it_stands(request: Request, name: Id, wait: Wait = 0) -> JobState:
        """How far it is, with the time that is left; at once, or as soon as it is over."""
        if wait:
            await server.wait(request, name, wait)
        return server.state(server.ticket(name))

    @app.get(
        "/v1/jobs/{id}/events",
        responses=some(404, of=["text/event-stream"]),
        response_class=StreamingResponse,
        tags=["jobs"],
    )
    def follow_it(name: Id) -> StreamingResponse:
        """The same whenever it changes, as server-sent events, until it is over."""
        server.ticket(name)

        def look() -> tuple[Any, bool]:
            ticket = jobs.get(name)
            return (None, True) if ticket is None else (server.state(ticket).model_dump(), ticket.over)

        return StreamingResponse(server.follow(look), media_type="text/event-stream")

    @app.post("/v1/jobs/{id}/cancel", responses=some(404), tags=["jobs"])
    def cancel_it(name: Id) -> JobState:
        """End it; what was sent stays until it is deleted."""
        server.ticket(name)
        jobs.cancel(name)
        return server.state(server.ticket(name))

    @app.delete("/v1/jobs/{id}", status_code=204, responses=some(404), tags=["jobs"])
    def delete_it(name: Id) -> Response:
        """End it, and delete what was sent and all that came of it, for good."""
        if not jobs.delete(name):
            raise RefusedError(404, "not_found", "there is no such job, or no longer")
        return Response(status_code=204)

    @app.get("/v1/jobs/{id}/report.json", responses=some(404, 409), response_class=JSONResponse, tags=["results"])
    def get_the_record(name: Id) -> Response:
        """Every figure: the contract `deepfake-detect/1`, or `deepfake-detect/compare/1` of a comparison."""
        ticket = server.ticket(name, whole=True)
        if not ticket.over:
            raise _too_early(ticket)
        if ticket.status == "done" and ticket.suspect is None and ticket.contents == "report":
            return _file(_report_of(server, name) / "report.json", "application/json")
        return JSONResponse(ticket.record)

    @app.get(
        "/v1/jobs/{id}/report.html",
        responses=some(404, 409, of=["text/html"]),
        response_class=Response,
        tags=["results"],
    )
    def get_the_page(name: Id) -> Response:
        """The report as a page that needs nothing else."""
        path = _report_of(server, name) / "report.html"
        return _file(path, "text/html; charset=utf-8", headers={"Content-Security-Policy": _REPORT_POLICY})

    @app.get(
        "/v1/jobs/{id}/report.zip",
        responses=some(404, 409, of=["application/zip"]),
        response_class=StreamingResponse,
        tags=["results"],
    )
    def get_the_folder(name: Id) -> StreamingResponse:
        """The whole folder, which `deepfake-detect verify` checks."""
        folder = _report_of(server, name)
        headers = {"Content-Disposition": 'attachment; filename="report.zip"'}
        return StreamingResponse(_zipped(folder), media_type="application/zip", headers=headers)

    @app.get(
        "/v1/jobs/{id}/annotated",
        responses=some(404, 409, of=_COPIES.values()),
        response_class=FileResponse,
        tags=["results"],
    )
    def get_the_annotated_copy(name: Id) -> Response:
        """The picture or the video with boxes, heat and time; all but judged faces is made unrecognisable."""
        folder = _report_of(server, name)
        found = next((copy for copy in _COPIES if (folder / copy).is_file()), None)
        if found is None:
            raise RefusedError(404, "not_found", "there is no annotated copy")
        return _file(folder / found, _COPIES[found])

    @app.post("/v1/jobs/{id}/comparisons", status_code=202, responses=sending, openapi_extra=body, tags=["comparing"])
    async def compare_it(request: Request, name: Id) -> Taken:
        """Was the face taken from the innocent photo that is sent? This is a job of its own, with a report.json."""
        if server.ticket(name).suspect is not None:
            raise RefusedError(404, "not_found", "a comparison can't be compared")
        ticket = await server.take(request, suspect=name)
        return Taken(id=ticket.id, status=ticket.status)

    @app.get(
        "/v1/jobs/{id}/picture.jpg",
        responses=some(404, of=["image/jpeg"]),
        response_class=FileResponse,
        tags=["comparing"],
    )
    def get_the_picture(name: Id) -> Response:
        """Of a comparison: both faces and their difference side by side."""
        return _file(jobs.folder / server.ticket(name).id / "picture.jpg", "image/jpeg")

    @app.get("/healthz", tags=["operation"])
    def ask_whether_it_lives() -> dict[Literal["status"], Literal["ok"]]:
        """For whoever watches the server; needs no token."""
        return {"status": "ok"}

    @app.get("/metrics", response_class=PlainTextResponse, tags=["operation"])
    def get_the_metrics() -> Response:
        """For Prometheus."""
        return Response(
            prometheus_client.generate_latest(server.registry), media_type=prometheus_client.CONTENT_TYPE_LATEST
        )


def _too_early(ticket: Ticket) -> RefusedError:
    return RefusedError(409, "not_over", f"the job is {ticket.status}; ask again when it is over")


def _report_of(server: _Server, name: str) -> Path:
    """
    Raises:
        RefusedError: It has none, or not yet.
    """
    ticket = server.ticket(name)
    if not ticket.over:
        raise _too_early(ticket)
    if ticket.status != "done" or ticket.suspect is not None or ticket.contents != "report":
        raise RefusedError(404, "not_found", "it has no such report; report.json says why")
    try:
        return server.jobs.report_of(name)
    except FileNotFoundError as error:
        raise RefusedError(404, "not_found", "it has no such report any more") from error


class _OpenFile(FileResponse):
    """A file that is open already: a worker that a hostile file has taken over may have laid a link in its place."""

    def __init__(self, file: io.BufferedReader, path: Path, media_type: str, headers: dict[str, str] | None) -> None:
        self._file = file
        place: str | os.PathLike[str] = f"/dev/fd/{file.fileno()}" if Path("/dev/fd").exists() else path
        super().__init__(place, media_type=media_type, headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._file:
            await super().__call__(scope, receive, send)


def _file(path: Path, media_type: str, *, headers: dict[str, str] | None = None) -> _OpenFile:
    try:
        return _OpenFile(media.open_file(path, follow=False), path, media_type, headers)
    except MediaError as error:
        raise RefusedError(404, "not_found", "there is no such file, or no longer") from error


class _Sink:
    """Takes what is written until it is fetched."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def write(self, data: bytes) -> int:
        """Like a file's."""
        self._waiting += data
        return len(data)

    def flush(self) -> None:
        """Like a file's."""

    def close(self) -> None:
        """Like a file's."""

    def fetch(self) -> bytes:
        """What was written since."""
        found = bytes(self._waiting)
        self._waiting.clear()
        return found


def _zipped(folder: Path) -> Iterator[bytes]:
    """A folder as a ZIP, in pieces. Pictures, videos and maps are compressed already."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
            with (
                media.open_file(path, follow=False) as file,
                archive.open(
                    zipfile.ZipInfo.from_file(path, Path("report", path.relative_to(folder)).as_posix()), "w"
                ) as entry,
            ):
                while chunk := file.read(_CHUNK):
                    entry.write(chunk)
                    yield sink.fetch()
            yield sink.fetch()
    yield sink.fetch()


# For people


@dataclass(frozen=True)
class _Moment:
    """When a person's evidence is strong; `time_s` is that of the annotated copy."""

    person: int
    time_s: float
    logit: float


@dataclass(frozen=True)
class _Timeline:
    """Evidence over a video, in the drawing's units: a line a person, and the strongest moments."""

    duration_s: float
    lines: tuple[tuple[int, str], ...]
    moments: tuple[_Moment, ...]


@cache
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGES), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters["plain"] = plain
    return environment


def _add_pages(app: FastAPI, server: _Server) -> None:
    jobs, settings = server.jobs, server.settings

    def show(request: Request, template: str, **values: object) -> HTMLResponse:
        words = Words(_language(request, settings))
        text = _templates().get_template(template).render(
            w=words, languages=LANGUAGES, server=server, kept=jobs.keep_s, elsewhere=settings.token is not None,
            said=_said, path=request.url.path, most_bytes=settings.uploads.file_bytes, width=_WIDTH, height=_HEIGHT,
            **values,
        )  # fmt: skip
        response = HTMLResponse(text)
        if request.query_params.get("lang") in LANGUAGES:
            _set_cookie(response, LANGUAGE, words.language)
        return response

    @app.get("/", include_in_schema=False)
    def home(request: Request) -> Response:
        visit = _visit(request)
        response = show(
            request, "home.html.j2", tickets=[one for one in jobs.of_page(visit, whole=True) if one.suspect is None]
        )
        if not visit or jobs.keep_s is not None:
            # As long as its files, which nobody else could find: anew with each look at them.
            _set_cookie(response, VISIT, visit or secrets.token_urlsafe(16), max_age_s=jobs.keep_s)
        return response

    @app.get("/jobs/{id}", include_in_schema=False)
    def job(request: Request, name: Id) -> Response:
        ticket = jobs.get(name, whole=True)
        if ticket is None or ticket.suspect is not None:
            return RedirectResponse("/", 303)
        record = ticket.record or {}
        copy = ""
        if ticket.status == "done" and ticket.contents == "report":
            folder = _report_of(server, name)
            copy = next((kind for name_, kind in _COPIES.items() if (folder / name_).is_file()), "")
        timeline = _timeline(record) if copy.startswith("video/") else None
        return show(
            request, "job.html.j2", ticket=ticket, verdict=record.get("verdict"), copy=copy, timeline=timeline,
            comparisons=jobs.comparisons(name),
        )  # fmt: skip

    @app.get("/jobs/{id}/row", include_in_schema=False)
    def row(request: Request, name: Id) -> Response:
        return show(request, "row.html.j2", ticket=server.ticket(name, whole=True))

    @app.get("/events", include_in_schema=False)
    async def events(request: Request) -> StreamingResponse:
        visit, words = _visit(request), Words(_language(request, settings))

        def look() -> tuple[Any, bool]:
            found = ((ticket, jobs.standing(ticket)) for ticket in jobs.of_page(visit))
            return [
                {
                    "id": ticket.id,
                    "status": ticket.status,
                    "progress": round(now.progress, 3),
                    "said": _said(ticket, now, words),
                }
                for ticket, now in found
            ], False

        async def follow() -> AsyncIterator[bytes]:
            with server.open_page(visit):
                async for event in server.follow(look):
                    yield event

        return StreamingResponse(follow(), media_type="text/event-stream")

    @app.post("/open", include_in_schema=False)
    async def still_open(
        request: Request, page: Annotated[str, Query(min_length=1, max_length=40)], closed: bool = False
    ) -> Response:
        server.hear(_visit(request), page, closed=closed)
        return Response(status_code=204)

    @app.get("/docs", include_in_schema=False)
    def docs(request: Request) -> Response:
        return show(request, "interface.html.j2", schema=app.openapi())

    @app.get("/login", include_in_schema=False)
    def login(request: Request, token: Annotated[str, Query(max_length=1000)] = "") -> Response:
        if not token:
            return show(request, "login.html.j2", wrong=False)
        server.guard.check_token(request.client.host if request.client else "", token)
        return _entered(token, settings)

    @app.post("/login", include_in_schema=False)
    async def enter(request: Request) -> Response:
        form = bytearray()
        try:
            # Whoever has no token yet can't make it wait.
            async with asyncio.timeout(_HEADERS_S):
                async for chunk in request.stream():
                    form += chunk
                    if len(form) > 2000:
                        raise RefusedError(413, "too_large", "that is no token")
        except TimeoutError as error:
            raise RefusedError(408, "slow", "the token came too slowly") from error
        given = parse_qs(form.decode("latin-1")).get("token", [""])[0].strip()
        try:
            server.guard.check_token(request.client.host if request.client else "", given or "?")
        except RefusedError as error:
            server.count_refusal(error.kind)
            page = show(request, "login.html.j2", wrong=True)
            page.status_code = error.status
            return page
        return _entered(given, settings)

    @app.get("/static/{name}", include_in_schema=False)
    def static(name: str) -> Response:
        if name not in _STATIC:
            raise RefusedError(404, "not_found", "there is no such file")
        return FileResponse(PAGES / name, media_type=_STATIC[name], headers={"Cache-Control": "no-cache"})


def _entered(token: str, settings: Settings) -> Response:
    response = RedirectResponse("/", 303)
    # Where none is asked for, whatever was sent stays out of the answer.
    if settings.token is not None:
        _set_cookie(response, COOKIE, token)
    return response


def _set_cookie(response: Response, name: str, value: str, *, max_age_s: float | None = None) -> None:
    # Gone when the browser is closed, unless it has an age; never sent with what another site asks for, nor shown to a
    # script. But a link from elsewhere leads to the same visit: what that cookie names, its files, the guard keeps from
    # other sites.
    age = None if max_age_s is None else math.ceil(max_age_s)
    response.set_cookie(name, value, max_age=age, httponly=True, samesite="lax" if name == VISIT else "strict")


def _visit(request: Request) -> str:
    found = request.cookies.get(VISIT, "")
    return found if re.fullmatch(r"[\w-]{22}", found, re.ASCII) else ""


def _language(request: Request, settings: Settings) -> str:
    """The reader's: as chosen on the page, else as the browser asks, else the server's."""
    for found in (request.query_params.get("lang"), request.cookies.get(LANGUAGE)):
        if found in LANGUAGES:
            return str(found)
    for asked in request.headers.get("accept-language", "").split(","):
        language = asked.partition(";")[0].strip().partition("-")[0].lower()
        if language in LANGUAGES:
            return language
    return settings.language


def _said(ticket: Ticket, now: Standing, words: Words) -> str:
    """Where a job stands, in a few words."""
    if ticket.status == "done":
        return words(f"{'label' if ticket.suspect is None else 'compare_label'}_{ticket.label}")
    if ticket.over:
        return words(f"serve_{ticket.status}")
    said = words(f"serve_stage_{now.stage}", percent=int(100 * now.progress), place=now.ahead + 1)
    if now.seconds_left is None:
        return said
    return f"{said}, {_left(now.seconds_left, words)}"


def _left(seconds: float, words: Words) -> str:
    if seconds < 90:
        # In steps, since it is not known better.
        return words("serve_left_seconds", seconds=max(1, round(seconds) if seconds < 10 else 5 * round(seconds / 5)))
    return words("serve_left_minutes", minutes=round(seconds / 60))


def _timeline(record: dict[str, Any]) -> _Timeline | None:
    """
    Args:
        record: The contract; it came from a worker, so nothing in it is relied on.
    """
    try:
        times = [float(time_s) for time_s in record["media"]["sampled_times_s"]]
        duration = max(float(record["media"]["duration_s"] or 0), times[-1] - times[0], 0.001)
        # The copy begins at 0, whenever the media say that they begin. Frames are looked at in the middle of their parts.
        begin = max(0.0, times[0] - (duration - (times[-1] - times[0])) / 2)
        lines, moments = [], []
        for track in record["tracks"][:_MOST_DRAWN]:
            seen = [
                (float(face["time_s"]) - begin, float(face["logit"]))
                for face in track["faces"]
                if face["logit"] is not None
            ]
            if seen:
                points = (f"{_WIDTH * min(max(at / duration, 0), 1):.1f},{_height(logit):.1f}" for at, logit in seen)
                lines.append((int(track["id"]), " ".join(points)))
                moments += [_Moment(int(track["id"]), round(at, 2), logit) for at, logit in seen]
        return _Timeline(duration, tuple(lines), _strongest(moments, apart_s=duration / 20)) if lines else None
    except (KeyError, TypeError, ValueError, IndexError, OverflowError):
        return None


def _strongest(moments: list[_Moment], *, apart_s: float) -> tuple[_Moment, ...]:
    """The strongest, in order of time: of each person's that lie close together only one."""
    chosen: list[_Moment] = []
    for moment in sorted(moments, key=lambda moment: -moment.logit):
        near = any(one.person == moment.person and abs(one.time_s - moment.time_s) < apart_s for one in chosen)
        if not near and len(chosen) < _MOST_MOMENTS:
            chosen.append(moment)
    return tuple(sorted(chosen, key=lambda moment: moment.time_s))


def _height(logit: float) -> float:
    return _HEIGHT * (0.5 - min(max(logit, -_REACH), _REACH) / (2 * _REACH))


# Listening


class _Patient(H11Protocol):
    """A connection whose requests must come within a time: uvicorn itself waits for ever for the end of a header."""

    _waits: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._look()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._waits is not None:
            self._waits.cancel()

    def _look(self) -> None:
        expected = self.conn.their_state is h11.IDLE
        if expected and self._waits is None:
            self._waits = self.loop.call_later(_HEADERS_S, self._give_up)
        elif not expected and self._waits is not None:
            self._waits.cancel()
            self._waits = None

    def _give_up(self) -> None:
        self._waits = None
        if self.conn.their_state is h11.IDLE:
            self.transport.close()


class Listener(uvicorn.Server):
    """A server that can say when it is ready.

    Args:
        config: Of uvicorn.
        ready: Called once requests are served.
        ending: Called once no more are.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        ready: Callable[[], None] = lambda: None,
        ending: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(config)
        self._ready, self._ending = ready, ending

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End in good order when told to, also when the terminal is closed: what was sent must not be left behind."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
        heard = [getattr(signal, name) for name in names if hasattr(signal, name)]
        before = {number: signal.signal(number, self.handle_exit) for number in heard}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve."""
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End, with an answer for those who wait."""
        self._ending()
        await super().shutdown(sockets)


def listen(jobs: Jobs, settings: Settings, ready: Callable[[], None] = lambda: None) -> Listener:
    """A server for these jobs; `run` serves, on sockets that are given there."""
    running: list[Listener] = []
    app = create_app(jobs, settings, closing=lambda: running[0].should_exit)
    config = uvicorn.Config(
        app, http=_Patient, ws="none", lifespan="off", loop="asyncio", log_level="error", access_log=False,
        server_header=False, proxy_headers=False, limit_concurrency=_MOST_CONNECTIONS, timeout_keep_alive=_HEADERS_S,
        timeout_graceful_shutdown=2,
    )  # fmt: skip
    running.append(Listener(config, ready, jobs.let_go))
    return running[0]


def serve(place: Place, settings: Settings, *, ready: Callable[[str], None], browser: bool = False) -> None:
    """Serve until interrupted.

    Args:
        ready: Told the address to open, with the token where there is one.
        browser: Open it there.

    Raises:
        OptionsError: The port is taken, the token is too short or missing, or the folder can't be used.
        WeightsError: The weights can't be used.
    """
    settings = secured(place, settings)
    data = place.data or default_folder(keep=place.keep_s is not None)
    # Written are reports, and the annotated copy of a video may be larger than the video.
    limits = Limits(
        seconds=place.seconds, cpu_s=2 * place.seconds, file_bytes=settings.uploads.file_bytes,
        written_bytes=4 * settings.uploads.file_bytes, written_below=str(Path.cwd() / data / REPORTS),
    )  # fmt: skip
    pool = Pool(Options(provenance=True), weights_folder=place.weights_folder, limits=limits, workers=place.workers)
    try:
        family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
        door = socket.create_server((place.host, place.port), family=family, backlog=1024)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "no name of a machine"
        found = f"{place.host}, port {place.port}: can't listen there ({why}); give another --port or --host"
        raise OptionsError(found) from error
    shown = f"[{place.host}]" if ":" in place.host else place.host
    address = f"http://{shown}:{door.getsockname()[1]}/"
    # No browser goes to all addresses. And what it is started with other users can see: the page asks for the token.
    own = re.sub(r"//(0\.0\.0\.0|\[::\]):", f"//{LOOPBACK[0]}:", address)

    def tell() -> None:
        ready(address + (f"login?token={settings.token}" if settings.token else ""))
        if browser:
            threading.Thread(target=webbrowser.open, args=(own,), daemon=True).start()

    with (
        door,
        pool,
        _quick_turns(),
        Jobs(data, pool, workers=place.workers, keep_s=place.keep_s, most_waiting=place.most_waiting) as jobs,
    ):
        jobs.start()
        listen(jobs, settings, tell).run(sockets=[door])


@contextmanager
def _quick_turns() -> Iterator[None]:
    """Threads take turns more often: one that has an answer for a worker, or for a client, has little to do and should not
    wait for one that has much."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def secured(place: Place, settings: Settings) -> Settings:
    """The settings with what is needed where others than this machine can reach the server: a token. Where none is needed
    all clients have one address, and the queue alone says how many are taken.

    Raises:
        OptionsError: The token is too short.
    """
    token = settings.token
    if token is not None and (len(token) < _LEAST_TOKEN or not re.fullmatch(r"[\w.~-]+", token, re.ASCII)):
        raise OptionsError(
            f"--token: expected {_LEAST_TOKEN} or more letters, digits, or any of -._~; leave it out to get one"
        )
    if token is None and place.host not in LOOPBACK:
        token = secrets.token_urlsafe(24)
    rate = settings.jobs_a_minute if token is not None else None
    return replace(settings, token=token, names=(*settings.names, place.host.lower()), jobs_a_minute=rate)


def default_folder(*, keep: bool) -> Path:
    """Where files lie if nobody says: with the user's own data if they are kept, else with what is temporary."""
    user = str(os.getuid()) if hasattr(os, "getuid") else "user"
    if not keep:
        return Path(tempfile.gettempdir()) / f"deepfake-detect-serve-{user}"
    home = os.environ.get("XDG_STATE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(home) if home else Path.home() / ".local" / "state") / "deepfake-detect" / "serve"
