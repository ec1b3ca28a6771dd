"""A page on this machine and an interface for programs: files in, reports out, judged by workers one after another.

    serve(Place(), Settings(), ready=print)         blocks until it is interrupted

What is asked for lies in `jobs`, who may ask is for `guard` to say, what is sent comes in through `upload`. Programs are
answered in `endpoints`, people in `website`; `app` puts them together, and `listener` has them reached.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
import sys
import tempfile
import threading
import webbrowser
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..confine import Limits, raise_open_files
from ..errors import OptionsError
from ..options import Options
from ..worker import Pool
from .app import create_app
from .guard import LOOPBACK
from .jobs import REPORTS, Jobs
from .listener import Listener
from .service import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Place", "Settings", "create_app", "default_folder", "listen", "secured", "serve"]
_SWITCH_S = 0.0005
_LEAST_TOKEN = 16


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
    raise_open_files()
    data = place.data or default_folder(keep=place.keep_s is not None)
    pool = _pool(place, settings, data)
    door = _door(place)
    shown = f"[{place.host}]" if ":" in place.host else place.host
    address = f"http://{shown}:{door.getsockname()[1]}/"

    def tell() -> None:
        ready(address + (f"login?token={settings.token}" if settings.token else ""))
        if browser:
            # No browser goes to all addresses. And what it is started with other users can see: the page asks for it.
            own = address.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
            threading.Thread(target=webbrowser.open, args=(own,), daemon=True).start()

    with (
        door,
        pool,
        _quick_turns(),
        Jobs(data, pool, keep_s=place.keep_s, most_waiting=place.most_waiting) as jobs,
    ):
        jobs.start()
        listen(jobs, settings, tell).run(sockets=[door])


def listen(jobs: Jobs, settings: Settings, ready: Callable[[], None] = lambda: None) -> Listener:
    """A server for these jobs; `run` serves, on sockets that are given there."""
    running: list[Listener] = []
    app = create_app(jobs, settings, closing=lambda: running[0].should_exit)
    running.append(Listener(app, ready=ready, ending=jobs.let_go))
    return running[0]


def _pool(place: Place, settings: Settings, data: Path) -> Pool:
    # Written are reports, and the annotated copy of a video may be larger than the video.
    limits = Limits(
        seconds=place.seconds, cpu_s=2 * place.seconds, file_bytes=settings.uploads.file_bytes,
        written_bytes=4 * settings.uploads.file_bytes, written_below=str(Path.cwd() / data / REPORTS),
    )  # fmt: skip
    return Pool(Options(provenance=True), weights_folder=place.weights_folder, limits=limits, workers=place.workers)


def _door(place: Place) -> socket.socket:
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    try:
        return socket.create_server((place.host, place.port), family=family, backlog=1024)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "no name of a machine"
        found = f"{place.host}, port {place.port}: can't listen there ({why}); give another --port or --host"
        raise OptionsError(found) from error


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
    """The settings with what is needed where others than this machine can reach the server, on an address that is theirs,
    too, or through a proxy by whose name it is called: a token. Where none is needed all clients have one address, and the
    queue alone says how many are taken.

    Raises:
        OptionsError: The token is too short.
    """
    token = settings.token
    if token is not None and (len(token) < _LEAST_TOKEN or not re.fullmatch(r"[\w.~-]+", token, re.ASCII)):
        raise OptionsError(
            f"--token: expected {_LEAST_TOKEN} or more letters, digits, or any of -._~; leave it out to get one"
        )
    if token is None and {place.host, *settings.names} - set(LOOPBACK):
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
