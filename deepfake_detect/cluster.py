"""The same work on many machines: an actor of Ray for each core, which looks at files, and judges those it is told to.

    with Cluster(options, limits=limits) as cluster, cluster.actor() as actor:
        looks = actor.look([("a.jpg", True), ("b.mp4", True)])      # what is in them, or why that can't be told
        for answer in actor.judge([0, 1], images=True): ...         # one after another, as they come

Plain actors and not Ray Data: what is known lies in the scan's journal, file by file, while Ray Data knows whole blocks of
rows, which it does again when one of them is lost; nobody could be asked in between whether a content is judged already.
An actor holds a `worker.Pool` of one, so that files are decoded by a confined process there as here: no actor reads media.
An actor that is lost, with its machine or alone, is replaced wherever there is room, and who asked it learns so.
"""

from __future__ import annotations

import logging
import math
import os
import re
import socket
import sys
import threading
import time
from collections import deque
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import checkpoint, content, remote
from .confine import Limits
from .errors import DeepfakeDetectError, MediaError, OptionsError, WeightsError, WorkerError
from .options import Options
from .types import Failure, ToolInfo
from .worker import Pool

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from .content import Answer, Content
    from .process import Judge

log = logging.getLogger(__name__)

# A machine may have to be started for an actor, and loads the net from a cold disk.
_LOADING_S = 900
# How often, for each actor, a start may fail, and how long after one that did no other is tried.
_STARTS, _PAUSE_S = 3, 5
_ENDING_S, _REACHED_S = 30, 10
# So much of what was fetched does an actor hold, unless one file is more.
_HELD_BYTES = 2**30


class ActorLostError(Exception):
    """An actor, or its machine, is gone, and with it what it was about to do. For those who ask actors, not for users."""


class ActorUnfitError(ActorLostError):
    """An actor starts no process that judges, most often for want of memory on its machine."""


@dataclass(frozen=True)
class Look:
    """What is in a file.

    Attributes:
        stamp: What changes when it does.
        sha256: Of all of it.
    """

    stamp: list[int]
    sha256: str


class Cluster:
    """Actors that judge, as many as there are cores. Use it in a `with` statement; closing it ends them at once.

    Args:
        options: Settings of every run.
        weights_folder: As for `worker.Pool`; at the same place on every machine. A relative one is meant, as are names of
            files, from where this process is now.
        limits: For each file.
        workers: How many actors; None for one for each core.
        address: Of the cluster, as `host:port`; None for that of the environment variable RAY_ADDRESS, else that which
            runs on this machine, else one that is started here until this is closed; `local` for the last in any case.
        prepare: As for `worker.Pool`.

    Attributes:
        tool: What does the judging.
        workers: How many actors.

    Raises:
        OptionsError: Ray is missing, or the address makes no sense.
        WeightsError: The weights' manifest is missing or does not fit.
        WorkerError: There is no cluster.
    """

    def __init__(
        self,
        options: Options | None = None,
        *,
        weights_folder: Path | None = None,
        limits: Limits | None = None,
        workers: int | None = None,
        address: str | None = None,
        prepare: Callable[[], Judge] | None = None,
    ) -> None:
        entry = checkpoint.find(folder=weights_folder)
        self.tool = entry.tool
        self.limits = limits or Limits()
        self._ray, self._ours = _connected(address)
        self.workers = workers or max(1, int(self._ray.cluster_resources().get("CPU", 1)))
        kind = self._ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD")(_Examiner)
        # Ray begins actors where it was begun itself.
        folder = Path.cwd()
        weights = weights_folder and folder / weights_folder
        self._new: Callable[[], Any] = lambda: kind.remote(options or Options(), weights, self.limits, prepare, folder)
        self._changed = threading.Condition()
        # What says that one is ready: which, and since when it begins.
        self._starting: dict[Any, tuple[Any, float]] = {}
        self._idle: list[Any] = []
        # Since when, and who of all has answered for a file.
        self._busy: dict[Any, float] = {}
        self._proved: set[Any] = set()
        self._wanted, self._next_start_s = self.workers, 0.0
        # When starts failed since one did not, when actors were unfit since anybody answered, and what was said of it.
        self._unbegun_s, self._unfit_s = (deque[float](maxlen=_STARTS * self.workers) for _ in range(2))
        self._told = set[str]()
        self._failure: DeepfakeDetectError | None = None
        self._closed = False
        self._none_since_s = time.monotonic()
        self._attendant = threading.Thread(target=self._attend, daemon=True, name="deepfake-detect cluster")
        self._attendant.start()

    @contextmanager
    def actor(self) -> Iterator[Actor]:
        """An actor of one's own, for the length of the `with` statement; waits until one is free.

        Raises:
            WorkerError: None can be started, or this was closed.
            WeightsError, OptionsError: As `worker.Pool.judge`.
        """
        handle = self._answering()
        good, unfit = False, None
        try:
            yield Actor(self._ray, handle, lambda: self._begun_well(handle))
            good = True
        except ActorUnfitError as error:
            unfit = error
            raise
        finally:
            self._give_back(handle, good=good)
            if unfit is not None:
                self._found_unfit(unfit)

    def close(self) -> None:
        """End all actors, and with them what they do."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
        self._attendant.join()
        with self._changed:
            for handle in [*self._idle, *self._busy, *(handle for handle, _ in self._starting.values())]:
                self._end(handle)
            # Who asks Ray for something after its end would start it anew.
            self._changed.wait_for(lambda: not self._busy, timeout=_ENDING_S)
        if self._ours:
            self._ray.shutdown()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answering(self) -> Any:
        """A free actor that is there. Those that idled on a machine that was lost are no loss of any file."""
        while True:
            handle, there = self._taken(), False
            try:
                self._ray.get(handle.here.remote())
                there = True
                return handle
            except self._ray.exceptions.RayError as error:
                log.debug("an idle actor was lost: %s", _first_line(error))
            finally:
                if not there:
                    self._give_back(handle, good=False)

    def _give_back(self, handle: Any, *, good: bool) -> None:
        with self._changed:
            del self._busy[handle]
            if good:
                self._idle.append(handle)
            else:
                self._proved.discard(handle)
                if not self._closed:
                    # Of what it may still be doing nobody wants to know.
                    self._wanted += 1
                    self._end(handle)
            self._none_since_s = time.monotonic()
            self._changed.notify_all()

    def _taken(self) -> Any:
        with self._changed:
            while True:
                if self._closed:
                    raise WorkerError("the scan was ended", kind="cancelled")
                if self._failure is not None:
                    raise self._failure
                if self._idle:
                    break
                if not self._busy and time.monotonic() - self._none_since_s > _LOADING_S:
                    found = f"the cluster had no core for us in {_LOADING_S} s; see what it does with `ray status`"
                    raise WorkerError(found, kind="not_started")
                self._changed.wait(1)
            handle = self._idle.pop()
            self._busy[handle] = time.monotonic()
            return handle

    def _end(self, handle: Any) -> None:
        with suppress(Exception):
            self._ray.kill(handle)

    def _attend(self) -> None:
        """Starts actors, those that take another one's place too. The life of a thread."""
        while not self._closed:
            try:
                while self._may_start():
                    handle = self._new()
                    self._starting[handle.ready.remote()] = handle, time.monotonic()
                    with self._changed:
                        self._wanted -= 1
                ready, _ = self._ray.wait(list(self._starting), timeout=0.2) if self._starting else ([], [])
                for one in ready:
                    self._welcome(one, self._starting.pop(one)[0])
                if not self._starting:
                    with self._changed:
                        self._changed.wait_for(lambda: self._may_start() or self._closed, timeout=1)
            except Exception as error:
                # Whatever it is, those who wait must hear of it.
                self._fail(WorkerError(f"the cluster can't be used ({_first_line(error)})", kind="not_started"))
                return

    def _may_start(self) -> bool:
        return self._wanted > 0 and time.monotonic() >= self._next_start_s

    def _welcome(self, ready: Any, handle: Any) -> None:
        try:
            found = self._ray.get(ready)
        except self._ray.exceptions.RayError as error:
            # No lost machine but its installation: the package is missing there, or is not what it is here.
            if isinstance(error, self._ray.exceptions.RayTaskError) or getattr(error, "actor_init_failed", False):
                found = f"no actor can be started {_reason(error)}; install the same everywhere"
                self._fail(WorkerError(found, kind="not_started"))
                return
            self._begun_badly(error)
            with self._changed:
                self._wanted += self._failure is None
            return
        if isinstance(found, _Unable):
            self._fail(found.error())
        # By what they hold: another version may know other things of itself.
        elif vars(found.tool) != vars(self.tool):
            there, here = vars(found.tool), vars(self.tool)
            differing = [key for key in {**here, **there} if there.get(key) != here.get(key)]
            other = "; ".join(f"{key} {there.get(key)}, this machine {here.get(key)}" for key in differing)
            self._fail(WorkerError(f"{found.node} has {other}; install the same everywhere", kind="not_started"))
        else:
            with self._changed:
                self._unbegun_s.clear()
                self._idle.append(handle)
                self._changed.notify()

    def _begun_well(self, handle: Any) -> None:
        with self._changed:
            self._proved.add(handle)
            self._unfit_s.clear()

    def _begun_badly(self, error: Exception) -> None:
        """Where that is all that happens, on all machines, the scan ends."""
        with self._changed:
            self._unbegun_s.append(time.monotonic())
            self._next_start_s = time.monotonic() + _PAUSE_S
            none_there = not self._idle and not self._busy
            begun_s = [since_s for _, since_s in self._starting.values()]
            self._take_down(error, hopeless=none_there and self._none_outlasts(self._unbegun_s, begun_s))

    def _found_unfit(self, error: ActorUnfitError) -> None:
        """As `_begun_badly`."""
        with self._changed:
            self._unfit_s.append(time.monotonic())
            hopeless = not self._proved and self._none_outlasts(self._unfit_s, self._busy.values())
            self._take_down(error, hopeless=hopeless)

    def _none_outlasts(self, failed_s: deque[float], since_s: Collection[float]) -> bool:
        """Whether it failed as often as it may. Who outlasts as many as there are actors is none of them: it may have got a
        long video first, or its machine may have to be started."""
        return len(failed_s) == failed_s.maxlen and min(since_s, default=math.inf) >= failed_s[-self.workers]

    def _take_down(self, error: Exception, *, hopeless: bool) -> None:
        """An actor could not be started, or none that judges; of each reason it is told once."""
        reason = _reason(error)
        if hopeless:
            self._fail(WorkerError(f"no actor could be started {reason}", kind="not_started"))
        elif reason not in self._told:
            self._told.add(reason)
            log.warning("an actor could not be started %s", reason)

    def _fail(self, error: DeepfakeDetectError) -> None:
        with self._changed:
            self._failure = self._failure or error
            self._changed.notify_all()


class Actor:
    """One actor, as who asks it sees it. Each method raises an `ActorLostError` where it is gone."""

    def __init__(self, ray: Any, handle: Any, answered: Callable[[], None]) -> None:
        self._ray, self._handle, self._answered = ray, handle, answered

    def look(self, files: Sequence[tuple[str, bool]]) -> list[Look | Failure]:
        """Open files, hash them, and keep them open until it looks at others.

        Args:
            files: Each with its name and whether that may be a link.

        Returns:
            What is in each, or why that can't be told; of the first ones only, if all would take too much room.
        """
        found = self._got(self._handle.look.remote(list(files)))
        if isinstance(found, _Unable):
            raise found.error()
        return list(found)

    def judge(self, numbers: Sequence[int], *, images: bool) -> Iterator[Answer | None]:
        """Judge some of the files last looked at, in this order; see `content.judge`.

        Raises:
            WeightsError, OptionsError: As `worker.Pool.judge`.
        """
        if not numbers:
            return
        answers = self._handle.judge.options(num_returns="streaming").remote(list(numbers), images=images)
        for _ in numbers:
            try:
                one = next(answers)
            except self._ray.exceptions.RayError as error:
                raise self._lost(error) from error
            except StopIteration as error:
                raise ActorLostError("it stopped answering") from error
            answer = self._got(one)
            if isinstance(answer, _Unable):
                raise ActorUnfitError(answer.message) if answer.kind == "not_started" else answer.error()
            self._answered()
            yield answer

    def _got(self, reference: Any) -> Any:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            raise self._lost(error) from error

    def _lost(self, error: Exception) -> Exception:
        # A bug over there is one here, too.
        return error if isinstance(error, self._ray.exceptions.RayTaskError) else ActorLostError(_first_line(error))


def _connected(address: str | None) -> tuple[Any, bool]:
    """The module ray, connected, and whether that is to be undone."""
    # Ray, too, takes the variable where no address is given, or auto.
    given = address if address not in (None, "auto") else None
    place = given or os.environ.get("RAY_ADDRESS", "")
    # Read when ray is imported. It would tell its maker about every cluster that is started.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if address == "local":
        # What Ray does by itself, with a word about it each time.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    try:
        import ray
    except ImportError as error:
        raise OptionsError(f'--on ray needs Ray ({error}); pip install "deepfake-detect[ray]"') from error
    if ray.is_initialized():
        return ray, False
    if "://" in place:
        found = "expected HOST:PORT, auto or local; run the command on a machine of the cluster"
        raise OptionsError(f"{'--ray-address' if given else 'RAY_ADDRESS'} {place}: {found}")
    try:
        _check_there(place)
        ray.init(
            address=address, include_dashboard=False, log_to_driver=False, logging_level="ERROR", configure_logging=False
        )  # fmt: skip
    except (OSError, RuntimeError, ValueError) as error:
        where, what = place or "this machine", "start one with `ray start`"
        if place and not given:
            where, what = f"{place} (RAY_ADDRESS)", "start one there with `ray start`, or unset that variable"
        found = f"there is no Ray cluster at {where} ({_first_line(error)}); {what}"
        raise WorkerError(found, kind="not_started") from error
    return ray, True


def _check_there(address: str) -> None:
    """Ray itself would go on asking for many minutes."""
    host, _, port = address.rpartition(":")
    if host:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACHED_S).close()


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _reason(error: Exception) -> str:
    """Where no actor could be started, if that is told, and why: Ray tells the way to it first."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    place = re.search(r"\bip[=:] ?([^\s,)]+)", "\n".join(lines))
    return f"(on {place[1]}: {lines[-1]})" if place else f"({lines[-1]})"


# On the machines


@dataclass(frozen=True)
class _Ready:
    """An actor has begun."""

    tool: ToolInfo
    node: str


@dataclass(frozen=True)
class _Unable:
    """Nothing can be judged there, and why. It is returned, since what an actor raises stands, as Ray hands it on, for a
    bug."""

    kind: str
    message: str

    def error(self) -> DeepfakeDetectError:
        """What it was."""
        known = {"weights": WeightsError, "options": OptionsError}.get(self.kind)
        return known(self.message) if known else WorkerError(self.message, kind=self.kind)


def _unable(error: DeepfakeDetectError) -> _Unable:
    """What it names may be in order at the same place on other machines."""
    return _Unable(error.kind, f"on {_node()}: {error}")


def _node() -> str:
    return os.uname().nodename if hasattr(os, "uname") else "another machine"


class _Examiner:
    """An actor."""

    def __init__(
        self,
        options: Options,
        weights_folder: Path | None,
        limits: Limits,
        prepare: Callable[[], Judge] | None,
        folder: Path,
    ) -> None:
        # A worker that is spawned imports its parent's program anew, and that is Ray's, with all of Ray.
        vars(sys.modules["__main__"]).pop("__file__", None)
        self._arguments = (options, weights_folder, limits, prepare)
        self._limits, self._folder = limits, folder
        self._open = ExitStack()
        self._files: list[tuple[str, Content | None]] = []

    def ready(self) -> _Ready | _Unable:
        options, weights_folder, limits, prepare = self._arguments
        try:
            self._pool = Pool(options, weights_folder=weights_folder, limits=limits, prepare=prepare)
        except DeepfakeDetectError as error:
            return _unable(error)
        return _Ready(self._pool.tool, _node())

    def here(self) -> None:
        """Answers."""

    def look(self, files: list[tuple[str, bool]]) -> list[Look | Failure] | _Unable:
        self._open.close()
        self._files, found, held = [], list[Look | Failure](), 0
        for path, follow in files:
            kept: Content | None = None
            place = path if remote.is_url(path) else str(self._folder / path)
            try:
                kept = self._open.enter_context(
                    content.opened(place, follow=follow, limits=self._limits, stopped=lambda: False)
                )
                found.append(Look(kept.stamp, kept.sha256))
            except MediaError as error:
                found.append(Failure(error.kind, content.without_name(str(error), place)))
            except OptionsError as error:
                return _unable(error)
            self._files.append((path, kept))
            held += kept.stamp[0] if kept is not None and kept.private else 0
            if held > _HELD_BYTES:
                break
        return found

    def judge(self, numbers: list[int], *, images: bool) -> Iterator[Answer | _Unable | None]:
        for number in numbers:
            path, kept = self._files[number]
            if kept is None:
                raise ValueError(f"{path}: could not be looked at")
            try:
                answer = content.judge(self._pool, path, kept, images=images)
            except (WeightsError, OptionsError, WorkerError) as error:
                yield _unable(error)
                return
            yield answer
