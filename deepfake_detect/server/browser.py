"""What a browser says of itself in headers and cookies: which visit it belongs to, and what its reader speaks."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from ..words import LANGUAGES
from .guard import cookie_name

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

_LANGUAGE = "deepfake-detect-lang"


def visit_of(request: Request) -> str:
    """Whose the files are that it sends; empty for programs."""
    found = request.cookies.get(_own("visit", request), "")
    return found if re.fullmatch(r"[\w-]{22}", found, re.ASCII) else ""


def language_of(request: Request, *, default: str) -> str:
    """The reader's: as chosen on the page, else as the browser asks."""
    for found in (request.query_params.get("lang"), request.cookies.get(_LANGUAGE)):
        if found in LANGUAGES:
            return str(found)
    for asked in request.headers.get("accept-language", "").split(","):
        language = asked.partition(";")[0].strip().partition("-")[0].lower()
        if language in LANGUAGES:
            return language
    return default


def remember_visit(request: Request, response: Response, visit: str, *, max_age_s: float | None) -> None:
    """
    Args:
        max_age_s: None for until the browser is closed.
    """
    age = None if max_age_s is None else math.ceil(max_age_s)
    # A link from elsewhere leads to the same visit: what it names, its files, the guard keeps from other sites.
    response.set_cookie(_own("visit", request), visit, max_age=age, httponly=True, samesite="lax")


def remember_language(response: Response, language: str) -> None:
    """Until the browser is closed."""
    response.set_cookie(_LANGUAGE, language, httponly=True, samesite="strict")


def remember_token(request: Request, response: Response, token: str) -> None:
    """Until the browser is closed; never sent with what another site asks for, nor shown to a script."""
    response.set_cookie(_own("token", request), token, httponly=True, samesite="strict")


def _own(what: str, request: Request) -> str:
    return cookie_name(what, request.headers["host"])
