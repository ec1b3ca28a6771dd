"""The server as an ASGI application: what can be asked for, behind its guard, and how errors are answered."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from .. import __version__
from . import endpoints, login, website
from .guard import Guard, RefusedError, drain
from .service import Service, Settings, service_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.responses import JSONResponse

    from .jobs import Jobs


def create_app(jobs: Jobs, settings: Settings, *, closing: Callable[[], bool] = lambda: False) -> Guard:
    """
    Args:
        jobs: What is asked for; started and closed by the caller.
        closing: Whether the server is about to end: streams of events then do.
    """
    app = _App(
        title="deepfake-detect", version=__version__, docs_url=None, redoc_url=None, redirect_slashes=False,
        # As they are: routers that are included are searched twice.
        routes=[route for part in (endpoints, website, login) for route in part.router.routes],
        exception_handlers={
            RefusedError: _refused, ClientDisconnect: _gone, HTTPException: _not_there,
            RequestValidationError: _senseless, sqlite3.Error: _unwritten, Exception: _internal,
        },
        # Nothing is told to anybody, whatever the environment says.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )  # fmt: skip
    service = app.state.service = Service(jobs, settings, closing)
    return Guard(app, names=settings.names, lock=service.lock, refused=service.monitor.count_refusal)


class _App(FastAPI):
    """One whose description says how the token is shown."""

    def openapi(self) -> dict[str, Any]:
        """What programs can ask for."""
        found = super().openapi()
        if not self.state.service.lock.open:
            found["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            found["security"] = [{"token": []}]
        return found


async def _refused(request: Request, error: RefusedError) -> JSONResponse:
    service_of(request).monitor.count_refusal(error.kind)
    return error.answer(read=await drain(request.receive))


async def _gone(request: Request, _: ClientDisconnect) -> JSONResponse:
    # Nobody hears it; without, it would be taken for a bug.
    service_of(request).monitor.count_refusal("gone")
    return RefusedError(400, "gone", "the request ended before its end").answer()


async def _not_there(request: Request, error: HTTPException) -> JSONResponse:
    kind = {404: "not_found", 405: "method"}.get(error.status_code, "request")
    answer = RefusedError(error.status_code, kind, str(error.detail).lower()).answer()
    answer.headers.update(error.headers or {})
    if error.status_code == 405:
        answer.headers["Allow"] = ", ".join(_methods_at(request))
    return answer


async def _senseless(_: Request, error: RequestValidationError) -> JSONResponse:
    said = "; ".join(f"{one['loc'][-1]}: {one['msg']}" for one in error.errors())
    return RefusedError(422, "request", said).answer()


async def _unwritten(request: Request, error: sqlite3.Error) -> JSONResponse:
    service_of(request).monitor.count_refusal("disk")
    said = f"the list of jobs can't be written ({error}); free some space and try again"
    return RefusedError(507, "disk", said).answer()


async def _internal(_: Request, error: Exception) -> JSONResponse:
    said = f"internal error ({type(error).__name__}); please report it"
    return RefusedError(500, "internal", said).answer()


def _methods_at(request: Request) -> list[str]:
    """What an address can be asked for. Starlette names the methods of the first route alone that leads there."""
    fitting = (route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE)
    return sorted({method for route in fitting for method in getattr(route, "methods", None) or ()})
