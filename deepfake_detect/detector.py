"""Loads once, runs the stages in order: open, find, track, cut, score, decide. The one place that knows the order."""

from __future__ import annotations

import heapq
import logging
import time
from collections import defaultdict, deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from threading import Event, Lock
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from . import checkpoint, engine, media, provenance, verdict
from .ahead import ahead
from .credentials import certificates
from .errors import DeepfakeDetectError, OptionsError
from .faces import FaceFollower, quality, sharpness
from .options import Options
from .pdq import perceptual_hash
from .source import LeftError
from .tracking import Tracker
from .types import Crop, Effort, Face, FaceTrack, Failure, HashedMoment, Heatmap, Provenance, Report, Score
from .words import Words

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from os import PathLike

    from .engine import Examiner
    from .media import Source
    from .types import Frame

    Progress = Callable[[float], None]


_Item = TypeVar("_Item")

log = logging.getLogger(__name__)

# How many files are worked on at a time. More would take more memory than they save time.
_AT_A_TIME = 2


class _TellingError(Exception):
    """The caller's own `progress` raised something, which is no fault of the file."""

    def __init__(self, raised: Exception) -> None:
        super().__init__(raised)
        self.raised = raised


def _waited_for(report: Future[Report]) -> Report:
    """Its result. A wait without an end can't be interrupted on Windows, before Python 3.14."""
    while not wait([report], timeout=0.5).done:
        pass
    error = report.exception()
    if isinstance(error, _TellingError):
        raise error.raised
    return report.result()


def _done(report: Report) -> Future[Report]:
    """One that need not be waited for."""
    done: Future[Report] = Future()
    done.set_result(report)
    return done


class Detector:
    """Judges pictures and videos of faces.

    Args:
        options: Settings of every run.
        weights: Name of a net in the manifest; None for the default.
        weights_folder: Folder with another manifest.json and its files; None for the one that ships.

    Attributes:
        tool: What does the judging: version, net, calibration.
        evidence_sha256: Of all that the logits come from, see `ManifestEntry.evidence_sha256`.
        calibration: What the net's logits mean.

    Raises:
        WeightsError: The weights are missing, altered or do not fit.
        OptionsError: The device is not there, or the file of trusted certificates holds one that can't be read, or none.
    """

    def __init__(
        self,
        options: Options | None = None,
        *,
        weights: str | None = None,
        weights_folder: str | PathLike[str] | None = None,
    ) -> None:
        self.options = options or Options()
        entry = checkpoint.find(weights, folder=weights_folder)
        self.calibration = entry.calibration
        chosen = engine.choose(self.options)
        if self.options.engine == "auto" and entry.graph is None:
            # Exported before there were graphs.
            chosen = engine.TorchEngine(self.options.device)
        # The record of a run says which one it was.
        self.options = replace(self.options, engine=chosen.name)
        self._examiner = engine.Examiner(chosen, entry)
        self._finder = engine.face_finder(chosen, smallest_px=self.options.min_face_px)
        self._trust_anchors = _read_trust(self.options.trust)
        self.tool, self.evidence_sha256 = entry.tool, entry.evidence_sha256

    def detect(self, source: Source, *, progress: Progress | None = None) -> Report:
        """Judge one picture or video.

        Args:
            source: A path, or a picture as uint8 (H, W, 3) RGB, of which the report keeps a copy.
            progress: Called with the share that is done, 0 to 1.

        Raises:
            MediaError: The file can't be read. An error is never turned into a score.
        """
        return self._detect(media.kept(source, self.options), progress, Event())

    def _detect(self, source: Source, progress: Progress | None, left: Event) -> Report:
        """As `detect`; gives up as soon as nobody waits any more."""
        clock = _Clock()
        began = datetime.now(UTC).isoformat(timespec="seconds")
        with clock.stage("open"):
            opened = media.take(source, self.options, left=left)
        kind = opened.info.kind
        times: list[float] = []
        hashes: list[HashedMoment] = []
        # Where a picture in memory comes from nobody can say.
        file = None if isinstance(source, np.ndarray) or not self.options.provenance else opened.info.path
        looks: list[int] = []
        settled = False
        tracks: tuple[FaceTrack, ...] = ()
        with ThreadPoolExecutor(self._examiner.at_a_time, thread_name_prefix="classify") as pool, opened:
            planned = self.options.looks if kind == "video" else self.options.looks[:1]
            for count in planned:
                # The views of the look before are let go of first: of some a map is kept.
                tracks = ()
                decoded = opened.frames(count, each_second=file is not None and not looks)
                if file is not None:
                    # After the seconds that are all hashed come those of this look alone.
                    hashes = [one for one in hashes if _second_from(hashes[0].time_s, one.time_s) < media.MOST_SECONDS]
                    decoded = _hashing(decoded, hashes)
                times, tracks = self._look(decoded, opened, pool, clock, _share(progress, len(looks), planned))
                looks.append(opened.planned)
                with clock.stage("verdict"):
                    tracks = tuple(verdict.judge(track, kind=kind, calibration=self.calibration) for track in tracks)
                    settled = not verdict.is_open(tracks, kind=kind, calibration=self.calibration)
                if settled or opened.planned >= opened.available:
                    break
        known: Provenance | None = None
        if file is not None:
            with clock.stage("provenance"):
                hashed_s = media.MOST_SECONDS if opened.has_more_seconds else None
                known = provenance.examine(
                    file, kind=kind, hashes=hashes, hashed_s=hashed_s, trust_anchors=self._trust_anchors
                )
        with clock.stage("verdict"):
            answer = verdict.decide(tracks, kind=kind, calibration=self.calibration, provenance=known)
        if progress:
            progress(1.0)
        return Report(
            path=opened.info.path,
            tool=self.tool,
            media=opened.info,
            sampled_times_s=tuple(times),
            effort=Effort(opened.available, tuple(looks), settled) if kind == "video" else None,
            verdict=answer,
            tracks=tracks,
            warnings=verdict.warnings(opened.notes, tracks, kind=kind, calibration=self.calibration, words=Words()),
            notes=tuple(opened.notes),
            timing_s={**clock.seconds, "total": time.perf_counter() - clock.began},
            options=self.options,
            calibration=self.calibration,
            provenance=known,
            created_utc=began,
            pixels=source if isinstance(source, np.ndarray) else None,
        )

    def _look(
        self,
        decoded: Generator[Frame, None, None],
        opened: media.Media,
        pool: ThreadPoolExecutor,
        clock: _Clock,
        progress: Progress | None,
    ) -> tuple[list[float], tuple[FaceTrack, ...]]:
        """The times of these frames, and the people in them."""
        kind = opened.info.kind
        times: list[float] = []
        tracker, sightings = Tracker(), _Sightings(self.options, self._examiner, kind, pool, clock)
        # Frames are decoded, searched and judged side by side: decoder and search each work ahead in a thread of their own,
        # and are stopped before the file is let go.
        with closing(_beside(decoded, opened)) as frames, closing(_beside(self._find(frames, clock), opened)) as found:
            for frame, faces in found:
                times.append(frame.time_s)
                with clock.stage("track"):
                    people = tracker.update(frame, faces)
                with clock.stage("crop"):
                    for face, person in zip(faces, people, strict=True):
                        sightings.add(person, frame.time_s, face, self._examiner.cut(frame, face, kind=kind))
                if progress:
                    progress(min(0.99, len(times) / opened.planned))
            return times, sightings.tracks()

    def _find(self, frames: Iterator[Frame], clock: _Clock) -> Generator[tuple[Frame, tuple[Face, ...]], None, None]:
        """Each frame with the faces in it."""
        follower = FaceFollower(self._finder)
        while True:
            with clock.stage("decode"):
                frame = next(frames, None)
            if frame is None:
                return
            with clock.stage("detect"):
                faces = follower.find(frame)
            yield frame, faces

    def detect_many(
        self, sources: Iterable[Source], *, progress: Callable[[Source, float], None] | None = None
    ) -> Iterator[Report]:
        """Judge many, lazily and in order. What can't be judged gives a report with `error` set, and the rest go on.

        Two are worked on at a time, so that one is read while the other is judged; with that, up to two reports more than
        were asked for may be there.

        Args:
            progress: Called with the source whose report is waited for and the share that is done, from another thread;
                what it raises ends all and comes out here.
        """
        if isinstance(sources, str | bytes):
            # It would be taken for a list of its letters.
            raise TypeError(f"sources: expected several, found one, {sources!r}; put it into a list")
        awaited, over = 0, False
        at_work: set[Event] = set()

        def judge(number: int, source: Source, kept: Source) -> Report:
            def tell(share: float) -> None:
                if over:
                    raise LeftError
                if progress and number == awaited:
                    try:
                        progress(source, share)
                    except Exception as error:
                        raise _TellingError(error) from error

            # One for each: where a file is given up, its own is set, too.
            left = source.left if isinstance(source, media.Opening) else Event()
            at_work.add(left)
            try:
                if over:
                    raise LeftError
                return self._report(kept, tell, left)
            finally:
                at_work.discard(left)

        with ThreadPoolExecutor(_AT_A_TIME, thread_name_prefix="judge") as pool:
            try:
                begun: deque[Future[Report]] = deque()
                for number, source in enumerate(sources):
                    try:
                        # Before the next is asked for: it may come in the same array.
                        kept = media.kept(source, self.options)
                    except Exception as error:
                        begun.append(_done(self._failed(source, error)))
                    else:
                        begun.append(pool.submit(judge, number, source, kept))
                    if len(begun) > _AT_A_TIME:
                        yield _waited_for(begun.popleft())
                        awaited += 1
                while begun:
                    yield _waited_for(begun.popleft())
                    awaited += 1
            finally:
                over = True
                for left in list(at_work):
                    left.set()
                pool.shutdown(cancel_futures=True)

    def _report(self, source: Source, progress: Progress, left: Event) -> Report:
        """As `detect`, with an error of the file as a report of its own."""
        try:
            return self._detect(source, progress, left)
        except (LeftError, _TellingError):
            raise
        except Exception as error:
            return self._failed(source, error)

    def _failed(self, source: Source, error: Exception) -> Report:
        name = media.name_of(source)
        if isinstance(error, DeepfakeDetectError):
            failure = Failure(error.kind, str(error))
        else:
            # A bug, ours or a decoder's. It must not cost the files that come after, and is told as what it is.
            log.debug("internal error", exc_info=error)
            found = (
                f"{media.shown(name)}: internal error ({type(error).__name__}); please report it, --verbose shows more"
            )
            failure = Failure("internal", found)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return Report(path=name, tool=self.tool, error=failure, options=self.options, created_utc=now)


def _beside(items: Generator[_Item, None, None], opened: media.Media) -> Generator[_Item, None, None]:
    """The same items, those of a video made ahead by a thread. A picture is a single frame: nothing is ahead of it."""
    return ahead(items, stopped=opened.left) if opened.info.kind == "video" else items


def _hashing(frames: Iterator[Frame], hashes: list[HashedMoment]) -> Generator[Frame, None, None]:
    """The sampled frames; those that begin a second leave their hash on the way."""
    for frame in frames:
        if _begins_second(frame, hashes):
            hashes.append(HashedMoment(frame.time_s, perceptual_hash(frame.pixels)))
        if frame.sampled:
            yield frame


def _share(progress: Progress | None, number: int, looks: Sequence[int]) -> Progress | None:
    """What tells of this look: the first one ends halfway, the second at three quarters, the last one at the end. Most
    files need no second look; that one is over sooner than was said is better than to go back."""
    if progress is None or len(looks) == 1:
        return progress
    begins = 1 - 0.5**number
    ends = 1.0 if number == len(looks) - 1 else 1 - 0.5 ** (number + 1)
    return lambda share: progress(begins + (ends - begins) * share)


def _second_from(first_s: float, time_s: float) -> int:
    return media.second_of(time_s - first_s)


def _begins_second(frame: Frame, hashes: Sequence[HashedMoment]) -> bool:
    """Whether no frame of its second was hashed yet, counted from the first that was."""
    if not hashes:
        return True
    now, last = (_second_from(hashes[0].time_s, time_s) for time_s in (frame.time_s, hashes[-1].time_s))
    return now > last


def _read_trust(name: str | None) -> str:
    if name is None:
        return ""
    try:
        # Names of authorities stand in comments, in whatever encoding; certificates are ASCII.
        with open(name, encoding="utf-8", errors="replace") as file:
            text = file.read()
    except (OSError, ValueError) as error:
        raise OptionsError(
            f"trust: expected a file of certificates in PEM, found {media.shown(name)} ({error})"
        ) from error
    return certificates(text, of=f"trust: {media.shown(name)}")


@dataclass
class _Clock:
    """Seconds by stage, of all threads."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    began: float = field(default_factory=time.perf_counter)
    lock: Lock = field(default_factory=Lock)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            with self.lock:
                self.seconds[name] += time.perf_counter() - began


@dataclass(frozen=True, eq=False)
class _Waiting:
    """A face whose crop is still to be judged; `place` is where its score belongs among the person's."""

    person: int
    place: int
    time_s: float
    face: Face
    quality: float
    crops: tuple[Crop, ...]


class _Sightings:
    """The faces of a file by person, and those whose crop still waits to be judged.

    Judges in threads of its own, while the next frames are searched. Keeps memory flat: few crops wait at a time, and they
    are let go once judged, but for the most telling ones.
    """

    def __init__(
        self, options: Options, examiner: Examiner, kind: str, pool: ThreadPoolExecutor, clock: _Clock
    ) -> None:
        self._options, self._examiner, self._kind, self._pool, self._clock = options, examiner, kind, pool, clock
        # None holds the place of a face that waits.
        self._scores: dict[int, list[Score | None]] = defaultdict(list)
        self._waiting: list[_Waiting] = []
        self._at_work: deque[tuple[list[_Waiting], Future[tuple[np.ndarray, np.ndarray]]]] = deque()
        self._kept: list[tuple[float, int, int]] = []

    def add(self, person: int, time_s: float, face: Face, crops: tuple[Crop, ...]) -> None:
        """A face, as each look sees it; it waits to be judged unless it may not vote."""
        scores = self._scores[person]
        detail = sharpness(crops[0].pixels)
        worth, excluded = quality(face, detail), verdict.exclusion(face, detail, self._options)
        if excluded is None:
            self._waiting.append(_Waiting(person, len(scores), time_s, face, worth, crops))
            scores.append(None)
            if len(self._waiting) >= self._options.batch_size:
                self._begin()
        else:
            scores.append(Score(time_s, face, worth, excluded))

    def _begin(self) -> None:
        """Have judged what waits. What is judged together depends on their order alone, so that a run can be repeated."""
        batch, self._waiting = self._waiting, []
        self._at_work.append((batch, self._pool.submit(self._judge, batch)))
        while len(self._at_work) > 2 * self._examiner.at_a_time:
            self._finish()

    def _judge(self, batch: Sequence[_Waiting]) -> tuple[np.ndarray, np.ndarray]:
        with self._clock.stage("classify"):
            views = [one.crops for one in batch]
            return self._examiner.score(views, kind=self._kind, batch_size=self._options.batch_size)

    def _finish(self) -> None:
        """Wait for what was begun first."""
        batch, judged = self._at_work.popleft()
        for one, evidence, raw in zip(batch, *judged.result(), strict=True):
            logit = float(raw)
            heatmap = Heatmap(evidence, one.crops[0]) if self._keeps(one, logit) else None
            self._scores[one.person][one.place] = Score(one.time_s, one.face, one.quality, logit=logit, heatmap=heatmap)

    def _keeps(self, one: _Waiting, logit: float) -> bool:
        """Whether this heatmap is among the most telling; the one it displaces is dropped."""
        entry = (logit, one.person, one.place)
        if len(self._kept) < self._options.max_heatmaps:
            heapq.heappush(self._kept, entry)
            return True
        if not self._kept or entry <= self._kept[0]:
            return False
        _, person, place = heapq.heapreplace(self._kept, entry)
        dropped = self._scores[person][place]
        if dropped is not None:
            self._scores[person][place] = replace(dropped, heatmap=None)
        return True

    def tracks(self) -> tuple[FaceTrack, ...]:
        """The people, in order of appearance, once all faces are judged."""
        if self._waiting:
            self._begin()
        while self._at_work:
            self._finish()
        return tuple(
            FaceTrack(person, tuple(score for score in scores if score is not None))
            for person, scores in sorted(self._scores.items())
        )
