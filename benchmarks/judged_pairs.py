"""Training pairs as the whole model judges them: each half seen by every look, though a pair has crops of one margin."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from deepfake_detect.training.pairs import _REDRAWN_MARGIN, Pair, PairMaker
from deepfake_detect.types import Architecture, Face, Frame

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from deepfake_detect.checkpoint import ManifestEntry
    from deepfake_detect.engine import Examiner
    from deepfake_detect.training.data import TrainingFace
    from deepfake_detect.types import Crop

# The picture from which the looks cut theirs: more than any of them sees, and at least as large as what they see of it.
_SIZE, _MARGIN = 480, 0.6
# A copy redrawn all over ends close to the face, and so do the pictures of its pair, whatever margin is asked for: they are
# smaller, and a look that would see more ends where they end.
_REDRAWN_SIZE = 336


class JudgedPairs:
    """Makes pairs twice from one seed, as the first look sees them and with enough around the face for all looks.

    Args:
        entry: The model.
        examiner: Judges.
        data: Folders of training faces.
        options: Of `PairMaker`.
    """

    def __init__(
        self, entry: ManifestEntry, examiner: Examiner, data: Sequence[Path], restored: Path | None, **options: Any
    ) -> None:
        first = replace(entry.architecture, margin=entry.image_looks[0].margin, least_margin=None)
        self._first = PairMaker(data, restored, first, **options)
        self._wide, self._redrawn = (
            PairMaker(data, restored, Architecture(size=size, margin=margin), **options)
            for size, margin in ((_SIZE, _MARGIN), (_REDRAWN_SIZE, _REDRAWN_MARGIN))
        )
        self._examiner = examiner

    def make_of(self, seed: int) -> tuple[Pair, Pair, TrainingFace]:
        """The pair as the first look sees it, the same with its surroundings, and whose face it is."""
        pair, face = self._first.make_of(seed)
        return pair, (self._redrawn if pair.family == "redrawn" else self._wide).make(seed), face

    def view(self, pixels: np.ndarray) -> tuple[Crop, ...]:
        """What each look gets to see of a half of a wide pair."""
        margin = _REDRAWN_MARGIN if len(pixels) == _REDRAWN_SIZE else _MARGIN
        side = len(pixels) / (1 + 2 * margin)
        low, high = (len(pixels) - side) / 2, (len(pixels) + side) / 2
        face = Face((low, low, high, high), ((0.0, 0.0),) * 5, 1.0)
        return self._examiner.cut(Frame(np.ascontiguousarray(pixels)), face, kind="image")

    def score(self, pixels: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Maps and logits of halves of wide pairs."""
        return self._examiner.score([self.view(half) for half in pixels], kind="image")
