"""How people get in: they show the token once, and their browser from then on."""

# FastAPI reads the annotations of handlers when it runs, so they are not put off.

import asyncio
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from .browser import remember_token
from .guard import RefusedError, address_in
from .service import service_of
from .website import show

# Whoever has no token yet can't make it wait, nor keep much.
_LONGEST_S, _LONGEST_FORM = 15, 2000

router = APIRouter(include_in_schema=False)


@router.get("/login")
def login(request: Request, token: Annotated[str, Query(max_length=1000)] = "") -> Response:
    """A place to type the token; or it is in the address already, as it was printed."""
    if not token:
        return show(request, "login.html.j2", wrong=False)
    service_of(request).lock.check(address_in(request.scope), token)
    return _entered(request, token)


@router.post("/login")
async def enter(request: Request) -> Response:
    """The token as it was typed."""
    token, service = await _typed(request), service_of(request)
    try:
        service.lock.check(address_in(request.scope), token or "?")
    except RefusedError as error:
        service.monitor.count_refusal(error.kind)
        page = show(request, "login.html.j2", wrong=True)
        page.status_code = error.status
        return page
    return _entered(request, token)


async def _typed(request: Request) -> str:
    """
    Raises:
        RefusedError: It is too long, or came too slowly.
    """
    form = bytearray()
    try:
        async with asyncio.timeout(_LONGEST_S):
            async for chunk in request.stream():
                form += chunk
                if len(form) > _LONGEST_FORM:
                    raise RefusedError(413, "too_large", "that is no token")
    except TimeoutError as error:
        raise RefusedError(408, "slow", "the token came too slowly") from error
    return parse_qs(form.decode("latin-1")).get("token", [""])[0].strip()


def _entered(request: Request, token: str) -> Response:
    response = RedirectResponse("/", 303)
    # Where none is asked for, whatever was sent stays out of the answer.
    if not service_of(request).lock.open:
        remember_token(request, response, token)
    return response
