"""For people: the pages, made from the templates in `pages/`, with one script of our own and nothing from elsewhere."""

# FastAPI reads the annotations of handlers when it runs, so they are not put off.

import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response, StreamingResponse

from ..page import templates
from ..words import LANGUAGES, Words
from . import browser, endpoints, timeline
from .download import COPIES, annotated_copy
from .guard import RefusedError
from .ledger import Ticket
from .pace import Standing
from .service import Id, service_of

PAGES = Path(__file__).with_name("pages")
_STATIC = {"style.css": "text/css", "script.js": "text/javascript", "icon.svg": "image/svg+xml"}

# Of a page, by which it says that it is open: another each time it is loaded.
Page = Annotated[str, Query(min_length=1, max_length=40)]

router = APIRouter(include_in_schema=False)


@router.get("/")
def home(request: Request) -> Response:
    """What was sent from this browser, and a place to drop more."""
    sent = service_of(request).jobs.of_page(browser.visit_of(request), reasons=True)
    tickets = [ticket for ticket in sent if ticket.suspect is None]
    return _visited(request, show(request, "home.html.j2", tickets=tickets))


@router.get("/jobs/{id}")
def job(request: Request, name: Id) -> Response:
    """A file with its report beside it, and what it was compared with."""
    service = service_of(request)
    ticket = service.jobs.get(name, whole=True)
    if ticket is None or ticket.suspect is not None:
        return RedirectResponse("/", 303)
    record = ticket.record or {}
    found = annotated_copy(service.report_of(name)) if ticket.has_report else None
    copy = "" if found is None else COPIES[found.name]
    return _visited(request, show(
        request, "job.html.j2", ticket=ticket, verdict=record.get("verdict"), copy=copy,
        timeline=timeline.timeline(record) if copy.startswith("video/") else None,
        comparisons=service.jobs.comparisons(name, whole=True),
    ))  # fmt: skip


@router.get("/jobs/{id}/row")
def row(request: Request, name: Id) -> Response:
    """A file's place in the list, for the script to put in."""
    return _visited(request, show(request, "row.html.j2", ticket=service_of(request).ticket(name, whole=True)))


def _visited(request: Request, response: Response) -> Response:
    """With the visit, so that what is sent from this browser is found again."""
    jobs, visit = service_of(request).jobs, browser.visit_of(request)
    if not visit or jobs.keep_s is not None:
        # As long as its files, which nobody else could find: anew with each look at them.
        browser.remember_visit(request, response, visit or secrets.token_urlsafe(16), max_age_s=jobs.longest_keep_s)
    return response


@router.get("/events")
async def events(
    request: Request, page: Page, name: Annotated[str, Query(alias="job", max_length=100)] = ""
) -> StreamingResponse:
    """How all files of a visit fare, or this one and its comparisons, whenever that changes; the page is open as long as it
    listens."""
    service, visit = service_of(request), browser.visit_of(request)
    jobs, visits, words = service.jobs, service.visits, _words_for(request)
    visits.hear(visit, page)

    def tickets() -> list[Ticket]:
        if not name:
            return jobs.of_page(visit)
        found = jobs.get(name)
        return [] if found is None else [found, *jobs.comparisons(name)]

    def look() -> tuple[Any, bool]:
        return [_event(ticket, jobs.standing(ticket), words) for ticket in tickets()], False

    async def follow() -> AsyncIterator[bytes]:
        async for event in service.follow(look):
            yield event
            if visit and not visits.is_open(visit, page):
                return
            visits.hear(visit, page)

    return StreamingResponse(follow(), media_type="text/event-stream")


@router.post("/open")
async def still_open(request: Request, page: Page, closed: bool = False) -> Response:
    """From a page that does not listen: that it is open, or that it was closed."""
    service_of(request).visits.hear(browser.visit_of(request), page, closed=closed)
    return Response(status_code=204)


@router.get("/docs")
def docs(request: Request) -> Response:
    """What programs can ask for."""
    return show(request, "interface.html.j2", schema=request.app.openapi(), everywhere=endpoints.EVERYWHERE)


@router.get("/static/{name}")
def static(name: str) -> Response:
    """How the pages look and what they do."""
    if name not in _STATIC:
        raise RefusedError(404, "not_found", "there is no such file")
    return FileResponse(PAGES / name, media_type=_STATIC[name], headers={"Cache-Control": "no-cache"})


def show(request: Request, template: str, **values: object) -> HTMLResponse:
    """A page in the reader's language."""
    service, words = service_of(request), _words_for(request)
    text = templates(PAGES).get_template(template).render(
        w=words, languages=LANGUAGES, path=request.url.path, said=_said, standing=service.jobs.standing,
        kept=_kept(service.jobs.keep_s, words), elsewhere=not service.lock.open,
        most_bytes=service.settings.uploads.file_bytes, width=timeline.WIDTH, height=timeline.HEIGHT, **values,
    )  # fmt: skip
    response = HTMLResponse(text)
    if request.query_params.get("lang") in LANGUAGES:
        browser.remember_language(response, words.language)
    return response


def _words_for(request: Request) -> Words:
    return Words(browser.language_of(request, default=service_of(request).settings.language))


def _event(ticket: Ticket, now: Standing, words: Words) -> dict[str, Any]:
    return {
        "id": ticket.id,
        "status": ticket.status,
        "progress": round(now.progress, 3),
        "compares": ticket.suspect is not None,
        "said": _said(ticket, now, words),
    }


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


def _kept(seconds: float | None, words: Words) -> str:
    """How long files are kept; empty where they are not."""
    if seconds is None:
        return ""
    if seconds % 3600 == 0:
        return words("serve_hours", hours=int(seconds / 3600))
    minutes = round(seconds / 60, 1)
    return words("serve_minutes", minutes=int(minutes) if minutes.is_integer() else minutes)


def _left(seconds: float, words: Words) -> str:
    if seconds < 90:
        # In steps, since it is not known better.
        return words("serve_left_seconds", seconds=max(1, round(seconds) if seconds < 10 else 5 * round(seconds / 5)))
    return words("serve_left_minutes", minutes=round(seconds / 60))
