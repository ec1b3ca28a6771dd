"""A record -> how the evidence goes over a video: a line a person, in the units of a drawing, and the strongest moments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .. import draw
from ..types import unbroken

#: Of the drawing, in its own units; the lowest and the highest logit that it shows lie at its edges.
WIDTH, HEIGHT = 720, 120
_REACH = 8.0
_MOST_DRAWN, _MOST_MOMENTS = 4, 5
# Half the width of what is drawn of a person who was judged once.
_DASH = 4
# Players show the last frame that begins no later than the time they are sent to, and stamps of the copy are rounded.
_INTO_FRAME_S = 0.001


@dataclass(frozen=True)
class Moment:
    """When a person's evidence is strong; `time_s` is that of the annotated copy."""

    person: int
    time_s: float
    logit: float

    @property
    def seek_s(self) -> float:
        """A time within the frame, not before it."""
        return round(self.time_s + _INTO_FRAME_S, 4)


@dataclass(frozen=True)
class Line:
    """The evidence of a person: for each time in which every look found them the points, as SVG writes them."""

    person: int
    parts: tuple[str, ...]

    @property
    def colour(self) -> int:
        """That of the person's box in the annotated copy: its place in `draw.COLOURS`, from 1."""
        return draw.colour_of(self.person) + 1


@dataclass(frozen=True)
class Timeline:
    """Evidence over a video.

    Attributes:
        lines: Of those with the strongest evidence, in its order.
        people: How many were judged.
        moments: The strongest of all people, in order of time.
        start_s: When the first frame is by the video's own clock, which the report gives; 0 where the record doesn't say.
    """

    duration_s: float
    lines: tuple[Line, ...]
    people: int
    moments: tuple[Moment, ...]
    start_s: float


def timeline(record: dict[str, Any]) -> Timeline | None:
    """
    Args:
        record: The contract `deepfake-detect/1`; it came from a worker, so nothing in it is relied on.

    Returns:
        None where there is nothing to draw.
    """
    try:
        times = [float(time_s) for time_s in record["media"]["sampled_times_s"]]
        duration = max(float(record["media"]["duration_s"] or 0), times[-1] - times[0], 0.001)
        # The copy begins at 0, whenever the media say that they begin. Older records don't: about so long before the first
        # frame that was looked at.
        stated = record["media"].get("start_s")
        begin = max(0.0, times[0] - (duration - (times[-1] - times[0])) / 2) if stated is None else float(stated)
        judged = [(float(track["probability"]), seen) for track in record["tracks"] if (seen := _moments(track, begin))]
    except (KeyError, TypeError, ValueError, IndexError, OverflowError):
        return None
    # The probability and not the logit, for a poor picture's logit counts less.
    people = [seen for _, seen in sorted(judged, key=lambda person: -person[0])]
    looked = [time_s - begin for time_s in times]
    lines = tuple(Line(seen[0].person, _parts(seen, looked, duration)) for seen in people[:_MOST_DRAWN])
    every = [moment for seen in people for moment in seen]
    if not lines:
        return None
    start_s = 0.0 if stated is None else begin
    return Timeline(duration, lines, len(people), _strongest(every, apart_s=duration / 20), start_s)


def _moments(track: dict[str, Any], begin: float) -> list[Moment]:
    """Of a person, each that was judged."""
    person = int(track["id"])
    return [
        Moment(person, float(face["time_s"]) - begin, float(face["logit"]))
        for face in track["faces"]
        if face["logit"] is not None
    ]


def _parts(seen: list[Moment], looked: list[float], duration: float) -> tuple[str, ...]:
    """Broken wherever somebody was looked for and not judged."""
    return tuple(_line(seen[run], duration) for run in unbroken([moment.time_s for moment in seen], looked))


def _line(seen: list[Moment], duration: float) -> str:
    places = [(WIDTH * min(max(moment.time_s / duration, 0), 1), _height(moment.logit)) for moment in seen]
    if len(places) == 1:
        # Of a single point nothing would be seen.
        ((x, y),) = places
        places = [(x - _DASH, y), (x + _DASH, y)]
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _height(logit: float) -> float:
    return HEIGHT * (0.5 - min(max(logit, -_REACH), _REACH) / (2 * _REACH))


def _strongest(moments: list[Moment], *, apart_s: float) -> tuple[Moment, ...]:
    """Of each person's that lie close together only one."""
    chosen: list[Moment] = []
    for moment in sorted(moments, key=lambda moment: -moment.logit):
        near = any(one.person == moment.person and abs(one.time_s - moment.time_s) < apart_s for one in chosen)
        if not near and len(chosen) < _MOST_MOMENTS:
            chosen.append(moment)
    return tuple(sorted(chosen, key=lambda moment: moment.time_s))
