"""How a server listens: patient with clients for so long and no longer, and ended in good order."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Callable, Iterator

    from .guard import Guard

# Headers that take longer end the connection, and so does silence between requests.
_HEADERS_S = 15
_MOST_CONNECTIONS = 500
# So many beyond these are answered, by a bare 503 that says why. All others are closed: each takes one of the files that
# may be open, of which jobs need some.
_ANSWERED = 20


class Listener(uvicorn.Server):
    """A server that can say when it is ready; `run` serves, on sockets that are given there.

    Args:
        app: What is served.
        ready: Called once requests are served.
        ending: Called once no more are.
    """

    def __init__(self, app: Guard, *, ready: Callable[[], None], ending: Callable[[], None]) -> None:
        super().__init__(uvicorn.Config(
            app, http=_Patient, ws="none", lifespan="off", loop="asyncio", log_level="error", access_log=False,
            server_header=False, proxy_headers=False, limit_concurrency=_MOST_CONNECTIONS,
            timeout_keep_alive=_HEADERS_S, timeout_graceful_shutdown=2,
        ))  # fmt: skip
        self._ready, self._ending = ready, ending

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End in good order when told to, also when the terminal is closed: what was sent must not be left behind. Windows
        does not wait for that when its window is closed, which the pages say."""
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


class _Patient(H11Protocol):
    """A connection, of which there are only so many, and whose requests must come within a time: uvicorn itself takes any
    number, and waits for ever for the end of a header."""

    _waits: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > _MOST_CONNECTIONS + _ANSWERED:
            transport.abort()
            return
        self._look()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._look()

    def send_400_response(self, msg: str) -> None:
        """Also of a body that goes wrong while its request is at work, or answered, which uvicorn logs as faults of the
        server: who is at work hears that nobody waits any more, and what was begun is not answered once more."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        # Nor has what is answered to HEAD a body.
        with suppress(h11.LocalProtocolError):
            super().send_400_response(msg)
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._waits is not None:
            self._waits.cancel()

    def _look(self) -> None:
        if self._is_expected and self._waits is None:
            self._waits = self.loop.call_later(_HEADERS_S, self._give_up)
        elif not self._is_expected and self._waits is not None:
            self._waits.cancel()
            self._waits = None

    @property
    def _is_expected(self) -> bool:
        """The next request: the rest of its headers, or first the rest of a body that was answered before its end."""
        theirs, answered = self.conn.their_state, self.conn.our_state is h11.DONE
        return theirs is h11.IDLE or (theirs is h11.SEND_BODY and answered)

    def _give_up(self) -> None:
        self._waits = None
        if self._is_expected:
            self.transport.close()
