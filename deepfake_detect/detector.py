"""Loads once, runs the stages in order: open, find, track, cut, score, decide. The one place that knows the order."""

from __future__ import annotations

import heapq
import os
import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from . import __version__, checkpoint, media, verdict
from .crop import cut
from .errors import DeepfakeDetectError, WeightsError
from .faces import FaceFinder, quality, sharpness
from .model import EvidenceNet
from .options import Options
from .tracking import Tracker
from .types import Crop, Face, FaceTrack, Failure, Heatmap, Report, Score, ToolInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from os import PathLike
    from pathlib import Path

    Source = str | PathLike[str] | np.ndarray
    Progress = Callable[[float], None]


class Detector:
    """Judges pictures and videos of faces.

    Args:
        options: Settings of every run.
        weights: Name of a net in the manifest; None for the default.
        weights_folder: Folder with another manifest.json and its files; None for the one that ships.

    Raises:
        WeightsError: The weights are missing, altered or do not fit.
    """

    def __init__(
        self, options: Options | None = None, *, weights: str | None = None, weights_folder: Path | None = None
    ) -> None:
        self.options = options or Options()
        entry = checkpoint.find(weights, folder=weights_folder)
        self._architecture, self._calibration = entry.architecture, entry.calibration
        self._net = EvidenceNet(entry.architecture)
        try:
            self._net.load_state_dict(checkpoint.read(entry))
        except RuntimeError as error:
            raise WeightsError(f"{entry.path}: its tensors do not fit the manifest's architecture ({error})") from error
        self._net.eval().to(self.options.device)
        self._finder = FaceFinder(device=self.options.device)
        self.tool = ToolInfo(__version__, entry.name, entry.sha256, entry.calibration.name)

    def detect(self, source: Source, *, progress: Progress | None = None) -> Report:
        """Judge one picture or video.

        Args:
            source: A path, or a picture as uint8 (H, W, 3) RGB.
            progress: Called with the share that is done, 0 to 1.

        Raises:
            MediaError: The file can't be read. An error is never turned into a score.
        """
        clock = _Clock()
        with clock.stage("open"):
            opened = (
                media.from_array(source, self.options)
                if isinstance(source, np.ndarray)
                else media.open(source, self.options)
            )
        sightings = _Sightings(self.options)
        times = []
        with opened:
            tracker = Tracker()
            frames = opened.frames()
            total = self.options.frames if opened.info.kind == "video" else 1
            while True:
                with clock.stage("decode"):
                    frame = next(frames, None)
                if frame is None:
                    break
                times.append(frame.time_s)
                with clock.stage("detect"):
                    faces = self._finder.find(frame)
                with clock.stage("track"):
                    people = tracker.update(frame, faces)
                with clock.stage("crop"):
                    for face, person in zip(faces, people, strict=True):
                        crop = cut(frame, face, size=self._architecture.size, margin=self._architecture.margin)
                        sightings.add(person, frame.time_s, face, crop)
                if sightings.waiting >= self.options.batch_size:
                    with clock.stage("classify"):
                        sightings.score(self._net)
                if progress:
                    progress(min(0.99, len(times) / total))
        with clock.stage("classify"):
            sightings.score(self._net)
        with clock.stage("verdict"):
            kind = opened.info.kind
            tracks = tuple(
                verdict.judge(track, kind=kind, calibration=self._calibration) for track in sightings.tracks()
            )
            answer = verdict.decide(tracks, kind=kind, calibration=self._calibration)
        if progress:
            progress(1.0)
        return Report(
            path=opened.info.path,
            tool=self.tool,
            media=opened.info,
            sampled_times_s=tuple(times),
            verdict=answer,
            tracks=tracks,
            warnings=tuple(opened.warnings),
            timing_s=dict(clock.seconds),
            options=self.options,
            pixels=source if isinstance(source, np.ndarray) else None,
        )

    def detect_many(
        self, sources: Iterable[Source], *, progress: Callable[[Source, float], None] | None = None
    ) -> Iterator[Report]:
        """Judge many, lazily and in order. What can't be judged gives a report with `error` set, and the rest go on."""
        for source in sources:
            try:
                yield self.detect(source, progress=(lambda share, s=source: progress(s, share)) if progress else None)
            except DeepfakeDetectError as error:
                path = "<array>" if isinstance(source, np.ndarray) else os.fspath(source)
                yield Report(path=path, tool=self.tool, error=Failure(error.kind, str(error)), options=self.options)


@dataclass
class _Clock:
    """Seconds by stage."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - began


@dataclass(frozen=True, eq=False)
class _Waiting:
    """A face whose crop is still to be judged; `place` is where its score belongs among the person's."""

    person: int
    place: int
    time_s: float
    face: Face
    quality: float
    crop: Crop


class _Sightings:
    """The faces of a file by person, and those whose crop still waits to be judged.

    Keeps memory flat: crops are let go once judged, but for the most telling of each person.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        # None holds the place of a face that waits.
        self._scores: dict[int, list[Score | None]] = defaultdict(list)
        self._waiting: list[_Waiting] = []
        self._kept: dict[int, list[tuple[float, int]]] = defaultdict(list)

    @property
    def waiting(self) -> int:
        """How many crops wait."""
        return len(self._waiting)

    def add(self, person: int, time_s: float, face: Face, crop: Crop) -> None:
        """A face; it waits to be judged unless it may not vote."""
        scores = self._scores[person]
        worth = quality(face, crop.pixels)
        excluded = verdict.exclusion(face, sharpness(crop.pixels), self._options)
        if excluded is None:
            self._waiting.append(_Waiting(person, len(scores), time_s, face, worth, crop))
            scores.append(None)
        else:
            scores.append(Score(time_s, face, worth, excluded))

    def score(self, net: EvidenceNet) -> None:
        """Judge what waits."""
        maps, logits = net.score([one.crop for one in self._waiting], batch_size=self._options.batch_size)
        for one, evidence, raw in zip(self._waiting, maps, logits, strict=True):
            logit = float(raw)
            heatmap = Heatmap(evidence, one.crop) if self._keeps(one, logit) else None
            self._scores[one.person][one.place] = Score(
                one.time_s, one.face, one.quality, logit=logit, heatmap=heatmap
            )
        self._waiting.clear()

    def _keeps(self, one: _Waiting, logit: float) -> bool:
        """Whether this heatmap is among the person's most telling; the one it displaces is dropped."""
        kept = self._kept[one.person]
        if len(kept) < self._options.max_heatmaps:
            heapq.heappush(kept, (logit, one.place))
            return True
        if not kept or logit <= kept[0][0]:
            return False
        _, place = heapq.heapreplace(kept, (logit, one.place))
        dropped = self._scores[one.person][place]
        if dropped is not None:
            self._scores[one.person][place] = replace(dropped, heatmap=None)
        return True

    def tracks(self) -> tuple[FaceTrack, ...]:
        """The people, in order of appearance. Everything must have been judged."""
        if self._waiting:
            raise ValueError(f"{self.waiting} crops still wait")
        return tuple(
            FaceTrack(person, tuple(score for score in scores if score is not None))
            for person, scores in sorted(self._scores.items())
        )
