"""For programs: files in, how they fare, results out."""

# FastAPI reads the annotations of handlers when it runs, so they are not put off.

import asyncio
import sqlite3
import time
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict

from ..words import LANGUAGES
from . import upload
from .browser import language_of, visit_of
from .download import COPIES, annotated_copy, one_file, whole_folder
from .guard import RefusedError
from .jobs import FullError
from .ledger import Contents, Status, Ticket
from .monitoring import CONTENT_TYPE
from .service import Id, Service, no_such_job, service_of

# So long may an answer be put off; meanwhile it is looked so often whether somebody still waits for it.
_LONGEST_WAIT_S, _GONE_S = 60, 5
# The report brings its own style, and shows nothing but what is in it.
_REPORT_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'self'; sandbox allow-same-origin"
)

Wait = Annotated[
    float, Query(ge=0, le=_LONGEST_WAIT_S, description="so many seconds at most until it is over is the answer put off")
]


# What is answered


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


def _state(service: Service, ticket: Ticket) -> JobState:
    now, error = service.jobs.standing(ticket), ticket.error
    return JobState(
        id=ticket.id, status=ticket.status, name=ticket.name, size_bytes=ticket.size_bytes, stage=now.stage,
        progress=round(now.progress, 4), seconds_left=now.seconds_left and round(now.seconds_left, 1),
        ahead=now.ahead, created_s=ticket.created_s, ended_s=ticket.ended_s,
        label=ticket.label, confinement=ticket.confinement,
        error=Problem(kind=error.kind, message=error.message) if error else None,
    )  # fmt: skip


# How it is described

_FORM = {
    "type": "object",
    "required": ["file"],
    "additionalProperties": False,
    "properties": {
        "file": {"type": "string", "format": "binary", "minLength": 1, "description": "a picture or a video"},
        "language": {"type": "string", "enum": list(LANGUAGES), "description": "of the report"},
        "contents": {
            "type": "string", "enum": ["report", "record"], "default": "report",
            "description": "a whole report, or report.json alone, which is quicker",
        },
    },
}  # fmt: skip
_BODY = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}}
#: Whatever is asked for may be answered so.
EVERYWHERE = {
    400: "The request, or its form, makes no sense", 401: "No token or a wrong one",
    403: "On behalf of another site, or through a proxy to a server without a token",
    421: "Not a name of this server", 422: "A parameter makes no sense", 429: "Too many; Retry-After says when",
    503: "Too many requests at a time",
}  # fmt: skip
_REFUSALS = EVERYWHERE | {
    404: "There is no such job", 408: "It came too slowly", 409: "Not in this state",
    413: "The file is too large", 415: "Not a form", 507: "The disk is full",
}  # fmt: skip


def _answers(*refusals: int, of: Iterable[str] = ()) -> dict[int | str, dict[str, Any]]:
    """Some refusals, and what the answer is made of where it is no JSON."""
    found: dict[int | str, dict[str, Any]] = {200: {"content": {kind: {} for kind in of}}} if of else {}
    found |= {status: {"model": Refusal, "description": _REFUSALS[status]} for status in (*EVERYWHERE, *refusals)}
    return found | {503: {"description": _REFUSALS[503], "content": {"text/plain": {}}}}


_SENDING = _answers(404, 408, 413, 415, 507)
# Of what a player asks for in parts.
_PARTS: dict[int | str, dict[str, Any]] = {
    206: {"description": "The part that was asked for", "content": {kind: {} for kind in COPIES.values()}},
    416: {"description": "There is no such part", "content": {"text/plain": {}}},
}

router = APIRouter()


# Jobs


@router.post("/v1/jobs", status_code=202, responses=_SENDING, openapi_extra=_BODY, tags=["jobs"])
async def send_a_file(request: Request) -> Taken:
    """Have a picture or a video judged. It waits for its turn."""
    return await _take(request)


@router.get("/v1/jobs/{id}", responses=_answers(404), tags=["jobs"])
async def ask_how_it_stands(request: Request, name: Id, wait: Wait = 0) -> JobState:
    """How far it is, with the time that is left; at once, or as soon as it is over."""
    service = service_of(request)
    if wait:
        await _wait(request, name, wait)
    return _state(service, service.ticket(name))


@router.get(
    "/v1/jobs/{id}/events",
    responses=_answers(404, of=["text/event-stream"]),
    response_class=StreamingResponse,
    tags=["jobs"],
)
def follow_it(request: Request, name: Id) -> StreamingResponse:
    """The same whenever it changes, as server-sent events, until it is over."""
    service = service_of(request)
    service.ticket(name)

    def look() -> tuple[Any, bool]:
        ticket = service.jobs.get(name)
        return (None, True) if ticket is None else (_state(service, ticket).model_dump(), ticket.over)

    return StreamingResponse(service.follow(look), media_type="text/event-stream")


@router.post("/v1/jobs/{id}/cancel", responses=_answers(404, 507), tags=["jobs"])
def cancel_it(request: Request, name: Id) -> JobState:
    """End it; what was sent stays until it is deleted."""
    service = service_of(request)
    service.ticket(name)
    service.jobs.cancel(name)
    return _state(service, service.ticket(name))


@router.delete("/v1/jobs/{id}", status_code=204, responses=_answers(404, 507), tags=["jobs"])
def delete_it(request: Request, name: Id) -> Response:
    """End it, and delete what was sent and all that came of it, for good."""
    try:
        found = service_of(request).jobs.delete(name)
    except OSError as error:
        raise RefusedError(507, "disk", f"not all of it can be deleted ({error.strerror}); try again") from error
    if not found:
        raise no_such_job()
    return Response(status_code=204)


# Results


@router.get("/v1/jobs/{id}/report.json", responses=_answers(404, 409), response_class=JSONResponse, tags=["results"])
async def get_the_record(request: Request, name: Id, wait: Wait = 0) -> Response:
    """Every figure: the contract `deepfake-detect/1`, or `deepfake-detect/compare/1` of a comparison; at once, or as
    soon as it is over."""
    service = service_of(request)
    if wait:
        await _wait(request, name, wait)
    if service.ended_ticket(name).has_report:
        return one_file(service.report_of(name) / "report.json", "application/json")
    record = service.jobs.record_of(name)
    if record is None:
        raise no_such_job()
    return Response(record, media_type="application/json")


@router.get(
    "/v1/jobs/{id}/report.html",
    responses=_answers(404, 409, of=["text/html"]),
    response_class=Response,
    tags=["results"],
)
def get_the_page(request: Request, name: Id) -> Response:
    """The report as a page that needs nothing else."""
    path = service_of(request).report_of(name) / "report.html"
    return one_file(path, "text/html; charset=utf-8", headers={"Content-Security-Policy": _REPORT_POLICY})


@router.get(
    "/v1/jobs/{id}/report.zip",
    responses=_answers(404, 409, of=["application/zip"]),
    response_class=StreamingResponse,
    tags=["results"],
)
def get_the_folder(request: Request, name: Id) -> StreamingResponse:
    """The whole folder, which `deepfake-detect verify` checks."""
    return whole_folder(service_of(request).report_of(name))


@router.get(
    "/v1/jobs/{id}/annotated",
    responses=_answers(404, 409, of=COPIES.values()) | _PARTS,
    response_class=FileResponse,
    tags=["results"],
)
def get_the_annotated_copy(request: Request, name: Id) -> Response:
    """The picture or the video with boxes, heat and time; all but judged faces is made unrecognisable."""
    found = annotated_copy(service_of(request).report_of(name))
    if found is None:
        raise RefusedError(404, "not_found", "there is no annotated copy")
    return one_file(found, COPIES[found.name])


# Comparing


@router.post("/v1/jobs/{id}/comparisons", status_code=202, responses=_SENDING, openapi_extra=_BODY, tags=["comparing"])
async def compare_it(request: Request, name: Id) -> Taken:
    """Was the face taken from the innocent photo that is sent? This is a job of its own, with a report.json."""
    if service_of(request).ticket(name).suspect is not None:
        raise RefusedError(404, "not_found", "a comparison can't be compared")
    return await _take(request, suspect=name)


@router.get(
    "/v1/jobs/{id}/picture.jpg",
    responses=_answers(404, of=["image/jpeg"]),
    response_class=FileResponse,
    tags=["comparing"],
)
def get_the_picture(request: Request, name: Id) -> Response:
    """Of a comparison: both faces and their difference side by side."""
    service = service_of(request)
    return one_file(service.jobs.picture_of(service.ticket(name).id), "image/jpeg")


# Operation


@router.get("/healthz", responses=_answers(), openapi_extra={"security": []}, tags=["operation"])
def ask_whether_it_lives() -> dict[Literal["status"], Literal["ok"]]:
    """For whoever watches the server; needs no token."""
    return {"status": "ok"}


@router.get("/metrics", responses=_answers(of=["text/plain"]), response_class=Response, tags=["operation"])
def get_the_metrics(request: Request) -> Response:
    """For Prometheus."""
    return Response(service_of(request).monitor.figures(), media_type=CONTENT_TYPE)


# How a file is taken, and waited for


async def _take(request: Request, *, suspect: str | None = None) -> Taken:
    """
    Raises:
        RefusedError: It is not taken.
    """
    service = service_of(request)
    service.check_rate(request)
    try:
        ticket = await _received(request, service, suspect)
    except FullError as error:
        found = "too many files wait already; try again a little later"
        raise RefusedError(429, "full", found, retry_after_s=error.retry_after_s) from error
    except KeyError as error:
        raise RefusedError(404, "not_found", "there is no such job any more") from error
    except (OSError, sqlite3.Error) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise RefusedError(507, "disk", f"the file can't be stored ({why})") from error
    service.monitor.received_bytes += ticket.size_bytes
    return Taken(id=ticket.id, status=ticket.status)


async def _received(request: Request, service: Service, suspect: str | None) -> Ticket:
    jobs, limits = service.jobs, service.settings.uploads
    with jobs.room(min(upload.announced(request.headers), limits.file_bytes)) as name:
        form = await upload.receive(
            request.stream(), request.headers, jobs.file_of(name), limits,
            words=("language", "contents"), check_space=jobs.check_space,
        )  # fmt: skip
        language = form.words.get("language", language_of(request, default=service.settings.language))
        if language not in LANGUAGES:
            raise RefusedError(400, "language", f"expected one of {', '.join(LANGUAGES)}, found {language[:20]!r}")
        return jobs.add(
            name, called=form.name, page=visit_of(request), language=language, contents=_contents(form), suspect=suspect
        )


def _contents(form: upload.Form) -> Contents:
    found = form.words.get("contents", "report")
    if found not in ("report", "record"):
        raise RefusedError(400, "contents", f"expected report or record, found {found[:20]!r}")
    return "record" if found == "record" else "report"


async def _wait(request: Request, name: str, seconds: float) -> None:
    """Until this job is over or gone, so many seconds have passed, who asked is gone, or the server is about to end."""
    service = service_of(request)
    end = time.monotonic() + seconds
    over = asyncio.wrap_future(service.jobs.when_over(name))
    try:
        while not over.done() and not service.closing() and (left := end - time.monotonic()) > 0:
            await asyncio.wait([over], timeout=min(left, _GONE_S))
            if not over.done() and await request.is_disconnected():
                return
    finally:
        over.cancel()
