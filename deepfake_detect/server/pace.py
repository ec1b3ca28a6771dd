"""How far a job is, and how long it will still take by what others took here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..job import Job

# Shorter jobs teach nothing about how long writing a report takes.
_TELLING_S = 3.0


@dataclass(frozen=True)
class Standing:
    """How far a job is.

    Attributes:
        stage: `queued`, `loading`, `judging` or `writing`; empty once it is over.
        progress: Share that is done, 0 to 1.
        seconds_left: About how long it still takes; None where nothing can be said yet.
        ahead: How many wait in front of it.
    """

    stage: str
    progress: float
    seconds_left: float | None
    ahead: int = 0


@dataclass
class Live:
    """A job that runs, or is ready for the next worker: how far it is, and since when.

    Attributes:
        job: What the worker is given.
        writes: It makes a report.
        stage, done: As `job.Progress`.
        taken_s: When a worker had it; None while none has.
        began_s: When its stages began.
    """

    writes: bool
    job: Job | None = None
    stage: str = "loading"
    done: float = 0.0
    taken_s: float | None = None
    began_s: dict[str, float] = field(default_factory=dict)

    def tell(self, stage: str, done: float, now: float) -> None:
        """What its worker says."""
        self.stage, self.done = stage, min(max(done, 0.0), 1.0)
        self.began_s.setdefault(stage, now)


class Pace:
    """
    Attributes:
        mean_s: How long a job takes in its worker; 0 while none is known.
    """

    def __init__(self) -> None:
        self.mean_s = 0.0
        # How much longer writing takes than judging: the annotated copy of a video.
        self._ratio: float | None = None

    def learn(self, live: Live, seconds: float, now: float) -> None:
        """A job was over after so many seconds."""
        judging, writing = live.began_s.get("judging"), live.began_s.get("writing")
        if "loading" not in live.began_s:
            self.mean_s += (seconds - self.mean_s) * (0.2 if self.mean_s else 1.0)
        if seconds > _TELLING_S and judging is not None and writing is not None:
            ratio = (now - writing) / max(writing - judging, 0.1)
            self._ratio = ratio if self._ratio is None else self._ratio + 0.5 * (ratio - self._ratio)

    def waiting(self, ahead: int, workers: int) -> Standing:
        """Of a job that has so many in front of it."""
        return Standing("queued", 0.0, self.mean_s * (ahead // workers + 2) if self.mean_s else None, ahead)

    def running(self, live: Live, now: float) -> Standing:
        """Of a job that a worker has."""
        judging, writing = live.began_s.get("judging"), live.began_s.get("writing")
        if judging is None:
            return Standing("loading", 0.0, None)
        learnt = not live.writes or self._ratio is not None
        ratio = (1.0 if self._ratio is None else self._ratio) if live.writes else 0.0
        # Nothing is said in the first moments of anything, nor before it is known how long writing takes here.
        if writing is None:
            spent = now - judging
            said = learnt and live.done > 0.05 and spent > 0.5
            left = spent / live.done * (1 + ratio) - spent if said else None
            return Standing("judging", live.done / (1 + ratio), left)
        spent = now - writing
        left = spent / live.done - spent if live.done > 0.02 and spent > 0.5 else None
        return Standing("writing", (1 + ratio * live.done) / (1 + ratio), left)
