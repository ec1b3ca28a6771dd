"""Many files -> one table with a row each: found, judged by workers, kept in a journal, written when all are judged.

    results.parquet            the table (or .csv, .jsonl), in order of path
    index.html                 the same to look at and to sort, what is called manipulated first
    results.parquet.journal    what is known so far

`walk.py` finds the files, `journal.py` knows what is known of them, `table.py` writes. What is not in the journal is in no
other place: memory stays flat however many files there are.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter, deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from . import content, source, table
from .cluster import ActorLostError, ActorUnfitError, Cluster, Look
from .confine import cores, raise_open_files
from .errors import MediaError, WorkerError
from .journal import Journal
from .options import Options
from .table import PAGE, Summary
from .types import Failure, Label
from .walk import Walk
from .words import Words
from .worker import Pool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from os import PathLike

    from .cluster import Actor
    from .confine import Limits
    from .process import Judge
    from .walk import Sighting

log = logging.getLogger(__name__)

_PASSES = 3
# So many files does an actor get at once, or as many as come to so many bytes, and so many actors a file.
_AT_ONCE, _AT_ONCE_BYTES, _ACTORS_A_FILE = 32, 64 * 2**20, 3


@dataclass(frozen=True)
class Progress:
    """How far a scan is.

    Attributes:
        files: How many were found.
        done: How many of them have their row.
        judged: How many of those this run looked at; the others were in the journal.
        seconds: Since this run began to judge.
    """

    files: int
    done: int
    judged: int
    seconds: float


def scan(
    paths: Iterable[str | PathLike[str]],
    out: Path,
    *,
    options: Options | None = None,
    weights_folder: Path | None = None,
    limits: Limits | None = None,
    workers: int | None = None,
    images: bool = True,
    language: str = "en",
    follow_links: bool = False,
    restart: bool = False,
    retry: bool = False,
    progress: Callable[[Progress], None] | None = None,
    prepare: Callable[[], Judge] | None = None,
    ray: bool = False,
    ray_address: str | None = None,
) -> Summary:
    """Judge many files and write a table of them. Run again, it goes on where it was.

    Args:
        paths: Files, folders (with all that is in them) and patterns such as `queue/**/*.jpg` (a `walk.Name` is none); URLs
            too, see `remote`.
        out: The table; its ending says how it is written, one of `table.FORMATS`. `index.html` and the journal lie beside
            it.
        options: Settings of every file.
        weights_folder: Folder with another manifest.json and its files; None for the one that ships.
        limits: What judging one file may take.
        workers: How many files are judged at a time; None for as many as there are cores, here or in the cluster.
        images: Whether page and journal hold crops of faces.
        language: Of the page.
        follow_links: Whether links found in folders are followed; those given are.
        restart: Forget the journal.
        retry: Judge anew what a limit or a worker's end decided.
        progress: Called now and then, from this thread.
        prepare: As for `worker.Pool`.
        ray: Whether a Ray cluster judges, whose machines see the files under the same names.
        ray_address: Where that is, see `cluster.Cluster`.

    Raises:
        OptionsError: Something stands in the way of the output, its ending is unknown, pyarrow or Ray is missing, the
            journal was begun with other settings or is in use, or an option can't be had here.
        WeightsError: The weights can't be used.
        WorkerError: No worker can be started.
        OSError: The output can't be written.
    """
    if isinstance(paths, str | bytes | os.PathLike):
        raise TypeError(f"paths: expected several, found one, {paths!r}; put it into a list")
    out, options, words = Path.cwd() / out, options or Options(), Words(language)
    page, beside = out.with_name(PAGE), out.with_name(out.name + ".journal")
    table.check_way(out, page, beside)
    raise_open_files()
    pool: Pool | Cluster
    if ray:
        pool = Cluster(options, weights_folder=weights_folder, limits=limits, workers=workers, address=ray_address,
                       prepare=prepare)  # fmt: skip
    else:
        pool = Pool(options, weights_folder=weights_folder, limits=limits, workers=workers or cores(), prepare=prepare)
    with pool, Journal(beside, {**asdict(pool.tool), **asdict(options)}, restart=restart) as journal:
        walk = Walk(paths, _own(out, page, beside), follow=follow_links)
        journal.look_for(walk, retry=retry)
        if not images:
            journal.forget_crops()
        _judge(journal, pool, progress or (lambda _: None), images=images)
        journal.forget_lost(walk.is_gone)
        summary = _summary(journal, out, page)
        first = journal.first_to_see(table.ON_PAGE)
        # Another scan may have begun beside this one.
        table.check_way(out, page, beside)
        table.write_page(summary, first, tool=pool.tool, options=options, words=words, images=images)
        table.write(out, journal.rows())
    return summary


def _own(*paths: Path) -> set[str]:
    """Real paths of what a scan writes, half-written and beside a database included: nothing of it is to be judged."""
    endings = ("", ".part", "-wal", "-shm", "-journal")
    return {os.path.realpath(f"{path}{ending}") for path in paths for ending in endings}


def _summary(journal: Journal, out: Path, page: Path) -> Summary:
    labels, errors, confinements = Counter[str](), Counter[str](), set()
    for row in journal.rows():
        (errors if row["error_kind"] else labels)[row["error_kind"] or row["label"]] += 1
        confinements |= {row["confinement"]} - {None}
    return Summary(
        labels.total() + errors.total(), {label: labels[label] for label in get_args(Label) if label in labels},
        dict(sorted(errors.items())), journal.duplicates(), tuple(sorted(confinements)), out, page,
    )  # fmt: skip


# Judging


def _judge(journal: Journal, pool: Pool | Cluster, tell: Callable[[Progress], None], *, images: bool) -> None:
    """Until every file has an answer."""
    files, pending = journal.count()
    began_s, judged = time.monotonic(), 0
    tell(Progress(files, files - pending, 0, 0.0))
    with _threads(2 * pool.workers, pool) as (threads, stopped):
        way: _Here | _There
        if isinstance(pool, Cluster):
            way = _There(journal, pool, stopped, images=images)
        else:
            way = _Here(journal, pool, stopped, images=images)
        # Again, for the content of one that changed under our hands may have been another one's.
        for _ in range(_PASSES):
            for count in _counted(threads, way):
                judged += count
                answered = min(files, files - pending + judged)
                tell(Progress(files, answered, judged, time.monotonic() - began_s))
        for one in journal.pending():
            journal.keep_failure(one.path, Failure("changed", "changes while it is read; scan it when it is complete"))


@contextmanager
def _threads(count: int, pool: Pool | Cluster) -> Iterator[tuple[ThreadPoolExecutor, threading.Event]]:
    """Threads that wait for workers, and what tells them to stop. What goes wrong in here, an interrupt above all, ends the
    workers first, and then the threads that wait for them."""
    stopped = threading.Event()
    with ThreadPoolExecutor(count) as threads:
        try:
            yield threads, stopped
        except BaseException:
            stopped.set()
            threads.shutdown(wait=False, cancel_futures=True)
            pool.close()
            raise


def _counted(threads: ThreadPoolExecutor, way: _Here | _There) -> Iterator[int]:
    """Has all that is pending examined, some of it at a time; yields now and then how many more are done."""
    running: set[Future[int]] = set()
    portions = way.portions()
    while True:
        running |= {threads.submit(way.examine, some) for some in islice(portions, way.ahead - len(running))}
        if not running:
            return
        # Also if nothing ends, so that the time that passes is seen to.
        done, running = wait(running, timeout=1, return_when=FIRST_COMPLETED)
        yield sum(one.result() for one in done)


class _Here:
    """This machine's workers judge, and the files are opened and hashed here, one by one.

    Attributes:
        ahead: So many portions are begun, or wait, at a time.
    """

    def __init__(self, journal: Journal, pool: Pool, stopped: threading.Event, *, images: bool) -> None:
        self._journal, self._pool, self._stopped, self._images = journal, pool, stopped, images
        self.ahead = 4 * pool.workers

    def portions(self) -> Iterator[list[Sighting]]:
        """What is pending."""
        return ([one] for one in self._journal.pending())

    def examine(self, files: list[Sighting]) -> int:
        """Their content, and a verdict unless that is known. Runs in a thread. Returns how many got what they can get."""
        return sum(self._examine(one) for one in files)

    def _examine(self, one: Sighting) -> bool:
        path, journal = one.path, self._journal
        try:
            with content.opened(
                path, follow=one.follow, limits=self._pool.limits, stopped=self._stopped.is_set
            ) as found:
                if self._stopped.is_set():
                    # Of a part of the file, perhaps, and a part may be another file.
                    return False
                if not journal.claim(found.sha256):
                    journal.keep(path, found.stamp, found.sha256, None)
                    return True
                try:
                    # Where there is none it is looked at again.
                    if (answer := content.judge(self._pool, path, found, images=self._images)) is not None:
                        journal.keep(path, found.stamp, found.sha256, answer)
                finally:
                    journal.release(found.sha256)
        except MediaError as error:
            journal.keep_failure(path, Failure(error.kind, str(error)))
        return True


class _There:
    """Actors of a cluster judge, and the files are opened and hashed where they are, some at a time.

    Attributes:
        ahead: So many portions are begun, or wait, at a time.
    """

    def __init__(self, journal: Journal, cluster: Cluster, stopped: threading.Event, *, images: bool) -> None:
        self._journal, self._cluster, self._stopped, self._images = journal, cluster, stopped, images
        self.ahead = 2 * cluster.workers

    def portions(self) -> Iterator[list[Sighting]]:
        """What is pending."""
        _, count = self._journal.count()
        return _portions(self._journal.pending(), count, self._cluster.workers)

    def examine(self, files: list[Sighting]) -> int:
        """As `_Here.examine`, by an actor, or more where one is lost."""
        left, looks, losses = deque(files), dict[str, Look](), 0
        while left and not self._stopped.is_set():
            # If an actor was lost because of a file, then of the first that it left. That one goes to the next actor alone.
            some = [left[0]] if losses else list(left)
            try:
                with self._cluster.actor() as actor:
                    for _ in self._settled(some, actor, looks):
                        left.popleft()
                        losses = 0
            except ActorLostError as error:
                if self._stopped.is_set():
                    break
                # Where it could not even begin no file is the reason.
                losses += not isinstance(error, ActorUnfitError)
                log.debug("%s: an actor was lost: %s", source.shown(left[0].path), error)
                if losses == _ACTORS_A_FILE:
                    lost = left.popleft().path
                    self._give_up(lost, looks.get(lost))
                    losses = 0
            except WorkerError as error:
                if error.kind != "cancelled":
                    raise
                break
        return len(files) - len(left)

    def _settled(self, files: list[Sighting], actor: Actor, looks: dict[str, Look]) -> Iterator[None]:
        """Each file looked at and judged, in order; yields when one of them is done."""
        journal = self._journal
        found = actor.look([(one.path, one.follow) for one in files])
        mine: list[int] = []
        try:
            for i, look in enumerate(found):
                if isinstance(look, Look):
                    looks[files[i].path] = look
                    if journal.claim(look.sha256):
                        mine.append(i)
            answers = actor.judge(mine, images=self._images)
            for i, (one, look) in enumerate(zip(files, found, strict=False)):
                if isinstance(look, Failure):
                    journal.keep_failure(one.path, look)
                elif i not in mine:
                    journal.keep(one.path, look.stamp, look.sha256, None)
                elif (answer := next(answers)) is not None:
                    journal.keep(one.path, look.stamp, look.sha256, answer)
                yield
        finally:
            for i in mine:
                journal.release(looks[files[i].path].sha256)

    def _give_up(self, path: str, look: Look | None) -> None:
        """So many actors were lost with this file in their hands that there shall be no more."""
        found = f"{_ACTORS_A_FILE} times the process or machine that looked at it was lost; the file may be hostile"
        if look is None:
            self._journal.keep_failure(path, Failure("crashed", found))
        else:
            known: dict[str, Any] = {"probability": None, "error_kind": "crashed", "error": found, "reasons": {}}
            self._journal.keep(path, look.stamp, look.sha256, content.Answer(known, b""))


def _portions(pending: Iterator[Sighting], count: int, workers: int) -> Iterator[list[Sighting]]:
    """Some at a time, fewer towards the end and of large ones, so that none has much to do when the others are done."""
    for one in pending:
        some, size = [one], one.stamp[0] if one.stamp else 0
        most = min(_AT_ONCE, count // (4 * workers))
        while len(some) < most and size < _AT_ONCE_BYTES and (another := next(pending, None)) is not None:
            some.append(another)
            size += another.stamp[0] if another.stamp else 0
        count -= len(some)
        yield some
