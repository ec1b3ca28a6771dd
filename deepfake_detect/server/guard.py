"""Who may speak to the server, how often, and what a browser may do with the answers.

A page anywhere on the web can make its reader's browser send requests to this machine, and can have its own name lead here
(DNS rebinding). So a request must call this server by one of its own names, a request that a browser sends on behalf of
another site is refused, and where others than this machine can reach the server each request needs the token. What a proxy
passed on to a server without one is refused, where the proxy says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import re
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from starlette.requests import cookie_parser
from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, MutableMapping

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

LOOPBACK = ("127.0.0.1", "localhost", "::1")
# What has no secret: how to enter, whether the server lives, and how its pages look.
_OPEN = ("/login", "/healthz", "/static/")
_HEADERS = {
    b"content-security-policy": b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    b" media-src 'self'; connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"SAMEORIGIN",
    # Not "no-referrer": browsers then send our own forms with the origin "null".
    b"referrer-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"permissions-policy": b"camera=(), microphone=(), geolocation=()",
    b"cache-control": b"no-store",
}
# Proxies say so for whom they ask; not all do, nor nginx unless it is told to.
_PASSED_ON = (b"forwarded", b"x-forwarded-for")
_WRONG_TOKENS_A_MINUTE = 10
_MOST_ADDRESSES = 10_000
# What is read of a request that is refused.
_DRAINED_BYTES, _DRAINED_S, _DRAINED_PAUSE_S = 4 * 2**20, 2, 0.1


class RefusedError(Exception):
    """A request is not served.

    Args:
        status: Of HTTP.
        kind: A stable word for programs.
        message: One line for people.
        retry_after_s: When it may be tried again, seconds; None where that would not help.
    """

    def __init__(self, status: int, kind: str, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.status, self.kind, self.message, self.retry_after_s = status, kind, message, retry_after_s

    def answer(self, *, read: bool = True) -> JSONResponse:
        """What is sent.

        Args:
            read: Whether all of the request was. What is still being sent is not waited for.
        """
        headers = {} if read else {"Connection": "close"}
        if self.retry_after_s is not None:
            headers["Retry-After"] = str(self.retry_after_s)
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse({"error": {"kind": self.kind, "message": self.message}}, self.status, headers)


class Rate:
    """At most so many a minute from each address, some of them at once. What is known of an address is soon forgotten.

    Args:
        a_minute: How many.
        clock: Seconds.
    """

    def __init__(self, a_minute: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._each_s, self._full, self._clock = 60 / a_minute, a_minute, clock
        self._known: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, address: str) -> float:
        """Seconds until the next is allowed; 0 if it is now, which counts as one."""
        now = self._clock()
        left, then = self._known.get(address, (self._full, now))
        left = min(self._full, left + (now - then) / self._each_s)
        allowed = left >= 1
        self._known[address] = (left - 1 if allowed else left, now)
        self._known.move_to_end(address)
        while len(self._known) > _MOST_ADDRESSES:
            self._known.popitem(last=False)
        return 0.0 if allowed else (1 - left) * self._each_s


class Lock:
    """What the token opens. Guessing it is slow.

    Args:
        token: That each request must show; None where only this machine can reach the server, and everything is open.
    """

    def __init__(self, token: str | None) -> None:
        self._token = token
        self._wrong = Rate(_WRONG_TOKENS_A_MINUTE)

    @property
    def open(self) -> bool:
        """No token is needed."""
        return self._token is None

    def check(self, address: str, given: str) -> None:
        """
        Raises:
            RefusedError: It is not the token, or too many wrong ones came from there.
        """
        # First of all: behind a proxy all have one address, and somebody else's wrong ones must lock nobody out.
        if self._token is None or hmac.compare_digest(given.encode(), self._token.encode()):
            return
        wait_s = self._wrong.wait_s(address) if given else 0.0
        if wait_s:
            raise RefusedError(429, "rate", "too many wrong tokens; wait a minute", retry_after_s=int(wait_s) + 1)
        raise RefusedError(
            401, "token", "this server needs its token: Authorization: Bearer TOKEN, or log in at /login"
        )


class Guard:
    """Lets through what may be served, and sends its headers with every answer.

    Args:
        app: What serves.
        names: By which the server may be called, beside IP addresses where it takes a token to enter.
        lock: What the token opens.
        refused: Told the kind of each refusal.
    """

    def __init__(
        self, app: App, *, names: Iterable[str] = LOOPBACK, lock: Lock, refused: Callable[[str], None]
    ) -> None:
        self._app, self._names, self._lock, self._refused = app, frozenset(names), lock, refused

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", []))
                named = {name.lower() for name, _ in given}
                message = {**message, "headers": given + [one for one in _HEADERS.items() if one[0] not in named]}
            await send(message)

        try:
            self._check(scope)
        except RefusedError as error:
            self._refused(error.kind)
            answer = error.answer(read=await drain(receive))
            if error.status == 401 and _asks_for_page(scope):
                answer.status_code, answer.headers["Location"] = 303, "/login"
            await answer(scope, receive, guarded)
            return
        await self._app(scope, receive, guarded)

    def _check(self, scope: MutableMapping[str, Any]) -> None:
        headers: dict[bytes, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value.decode("latin-1"))
        hosts = headers.get(b"host", [])
        if len(hosts) != 1 or not self._is_own(hosts[0]):
            raise RefusedError(421, "host", "this server does not answer to that name")
        _check_origin(scope, hosts[0], headers)
        if self._lock.open and any(name in headers for name in _PASSED_ON):
            found = "a proxy passed this on, so that others can reach this server: start it with DEEPFAKE_DETECT_TOKEN"
            raise RefusedError(403, "proxy", found)
        if not scope["query_string"].isascii():
            raise RefusedError(400, "request", "an address has only ASCII in it")
        if not self._lock.open and not scope["path"].startswith(_OPEN):
            self._lock.check(address_in(scope), _token_in(headers, hosts[0]))

    def _is_own(self, host: str) -> bool:
        name, _ = _parted(host)
        if name in self._names:
            return True
        if self._lock.open:
            return False
        # No name of somebody else's can be an address.
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def cookie_name(what: str, host: str) -> str:
    """What the cookie with the token, or with the visit, is called where the server is called so. Cookies know no ports:
    another server on this machine would get this one's, and set its own in their place."""
    _, port = _parted(host)
    return f"deepfake-detect-{what}-{port}" if port else f"deepfake-detect-{what}"


def _parted(host: str) -> tuple[str, str]:
    """The name and the port, or nothing, in a Host header."""
    found = re.fullmatch(r"(.*?)(?::(\d{1,5}))?", host, re.ASCII | re.DOTALL)
    assert found is not None
    return found[1].removeprefix("[").removesuffix("]").lower(), found[2] or ""


def _check_origin(scope: MutableMapping[str, Any], host: str, headers: dict[bytes, list[str]]) -> None:
    own = {f"http://{host}".lower(), f"https://{host}".lower()}
    if any(origin.lower() not in own for origin in headers.get(b"origin", [])):
        raise RefusedError(403, "origin", "requests of other sites are not served")
    if any(site not in ("same-origin", "none") for site in headers.get(b"sec-fetch-site", [])):
        # A link to a page may be followed; nothing may be fetched, framed or sent.
        page = headers.get(b"sec-fetch-mode") == ["navigate"] and headers.get(b"sec-fetch-dest") == ["document"]
        if scope["method"] != "GET" or not page:
            raise RefusedError(403, "origin", "requests of other sites are not served")


def _asks_for_page(scope: MutableMapping[str, Any]) -> bool:
    """As a browser does that is led to an address; programs and scripts take anything, or say what."""
    accepted = b",".join(value for name, value in scope["headers"] if name.lower() == b"accept")
    return scope["method"] == "GET" and b"text/html" in accepted


def _token_in(headers: dict[bytes, list[str]], host: str) -> str:
    for value in headers.get(b"authorization", []):
        scheme, _, token = value.partition(" ")
        if scheme.lower() == "bearer":
            return token.strip()
    for value in headers.get(b"cookie", []):
        # As browsers write them: others' cookies, in whatever form, do not hide ours.
        if found := cookie_parser(value).get(cookie_name("token", host)):
            return found
    return ""


def address_in(scope: MutableMapping[str, Any]) -> str:
    """Where a request comes from; empty where nothing says so."""
    return str((scope.get("client") or ("",))[0])


async def drain(receive: Receive) -> bool:
    """Read some of what is still being sent, or its sender would not read the answer.

    Returns:
        Whether that was all of it.
    """
    read, began = 0, time.monotonic()
    with contextlib.suppress(TimeoutError):
        while read < _DRAINED_BYTES and time.monotonic() - began < _DRAINED_S:
            async with asyncio.timeout(_DRAINED_PAUSE_S):
                message = await receive()
            read += len(message.get("body", b""))
            if not message.get("more_body", False):
                return True
    return False
