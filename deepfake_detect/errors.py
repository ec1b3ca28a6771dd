"""Everything that can go wrong because of what the user gave, as one small tree.

DeepfakeDetectError          catch this to catch them all
├── MediaError               a file can't be read as a picture or a video
├── WeightsError             a weight file is missing, altered or does not fit this version
├── OptionsError             a setting is out of its range, or two contradict each other
└── WorkerError              a process that judges ended before it had judged

Bugs are not in this tree: they stay ``ValueError`` and ``TypeError``. Each message names the thing, says what was
expected and what was found, and what to do.
"""

from __future__ import annotations

from functools import partial


class DeepfakeDetectError(Exception):
    """Base of every error a user can cause. `kind` is a stable word for programs, the message is for people."""

    kind = "error"


class MediaError(DeepfakeDetectError):
    """A file can't be judged because it can't be read.

    Args:
        message: One line for people.
        kind: One of `not_found`, `not_a_file`, `unreadable`, `empty`, `unsupported`, `damaged`, `too_large`,
            `no_video`, `no_frames`; `timed_out` where it took too long to fetch, `internal` where `verify` met a fault of
            this program.
    """

    def __init__(self, message: str, *, kind: str) -> None:
        super().__init__(message)
        self.kind = kind

    def __reduce__(self) -> tuple[object, ...]:
        # Between processes, too.
        return partial(type(self), kind=self.kind), self.args


class WeightsError(DeepfakeDetectError):
    """The weights or their manifest entry are missing, altered or unfit."""

    kind = "weights"


class OptionsError(DeepfakeDetectError):
    """A setting is out of its range, or two settings contradict each other."""

    kind = "options"


class WorkerError(DeepfakeDetectError):
    """A process that judges ended, or had to be ended, before it had judged.

    Args:
        message: One line for people.
        kind: One of `timed_out`, `out_of_memory`, `crashed`, `killed`, `cancelled`, `not_started`. Of what was sent to a
            server also `changed`, `report` where what comes of it can't be written, and, where it can't be read any more,
            that of the `MediaError`.
    """

    def __init__(self, message: str, *, kind: str) -> None:
        super().__init__(message)
        self.kind = kind

    def __reduce__(self) -> tuple[object, ...]:
        return partial(type(self), kind=self.kind), self.args
