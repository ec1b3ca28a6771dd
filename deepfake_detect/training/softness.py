"""How much warmer genuine faces look to a net the softer they are -> `softness` in the manifest, which is taken off in use.

A soft face gives a net little to go by, so it answers near even odds, which is more than it says of most genuine faces: a
soft genuine one would stand above a sharp forgery of a kind the net hardly knows. So evidence is compared with what genuine
faces as soft as this one show. Measured on the genuine halves of held-back training pairs, worn as in training: the mean
logit is a straight line in the logarithm of the sharpness up to some sharpness, and level from there on.

    python -m deepfake_detect.training.softness DATA... --restored runs/restored

Then `evaluate` and `calibrate`: probabilities are of what is left, and until then there are none.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import checkpoint
from ..engine import load_net, pooled
from ..faces import sharpness
from ..types import Crop, Softness
from .export import enter, read_manifest
from .metrics import group_resamples
from .pairs import PairMaker

if TYPE_CHECKING:
    from collections.abc import Sequence

# Where a face may begin to be soft is sought between these shares of the faces measured, and the softest is this share's:
# of single ones nothing can be said.
_BENDS = np.linspace(0.1, 0.95, 86)
_SOFTEST = 0.01
_RESAMPLES = 200


def fit(sharp: np.ndarray, logits: np.ndarray) -> Softness:
    """The softness that fits best, in least squares.

    Args:
        sharp: Sharpness of genuine faces, see `faces.sharpness`, above 0, (N,).
        logits: What the net says of them, (N,).

    Raises:
        ValueError: The faces are as sharp as each other, or blank.
    """
    if not 0 < sharp.min() < sharp.max():
        raise ValueError(f"expected faces of unlike sharpness above 0, found {sharp.min():.4f} to {sharp.max():.4f}")
    fine = np.log(sharp)

    def line(bend: float) -> tuple[float, float]:
        """How far the logits lie from the line that is level from `bend` on, and its slope."""
        bent = np.column_stack([np.minimum(fine, bend), np.ones(len(fine))])
        found = np.linalg.lstsq(bent, logits, rcond=None)[0]
        return float(((logits - bent @ found) ** 2).sum()), float(found[0])

    bend = min(np.quantile(fine, _BENDS), key=lambda bend: line(bend)[0])
    down_to = min(float(np.quantile(fine, _SOFTEST)), bend)
    # Where the soft ones are no warmer, nothing is to be taken off.
    return Softness(below=float(np.exp(bend)), down_to=float(np.exp(down_to)), slope=max(0.0, -line(bend)[1]))


def slopes(sharp: np.ndarray, logits: np.ndarray, group: np.ndarray) -> tuple[float, float]:
    """95 % interval of the slope, by bootstrap over groups, each sample with a bend of its own."""
    drawn = [fit(sharp[rows], logits[rows]).slope for rows in group_resamples(group, resamples=_RESAMPLES)]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(low), float(high)


def add(
    folder: Path, data: Sequence[Path], restored: Path | None, *, pairs: int
) -> tuple[Softness, tuple[float, float]]:
    """Measure the manifest's default net and enter the softness there; its calibration is void by that.

    The net sees each face as its first look at a picture does, at that look's margin.

    Args:
        folder: Where manifest.json lies.
        data: Folders of faces, as for `train`.
        restored: Redrawn faces, as for `train`.
        pairs: How many to draw.

    Returns:
        The softness, and an interval of its slope. A slope that may as well be 0 is entered as 0.

    Raises:
        SystemExit: The first look shows no more than the face.
    """
    entry = checkpoint.find(folder=folder)
    margin = entry.image_looks[0].margin
    if margin <= 0:
        raise SystemExit(f"expected a first look with a margin above 0, which training pairs can show, found {margin}")
    maker = PairMaker(data, restored, entry.architecture, held_back=True, margins=(margin, margin))
    made = [maker.make_of(seed) for seed in range(pairs)]
    crops = [Crop(pair.crops[0], np.eye(2, 3)) for pair, _ in made]
    maps, _ = load_net(entry).score(crops)
    # Of a blank crop nothing is measured.
    sharp = np.array([sharpness(crop.pixels) for crop in crops])
    some = sharp > 0
    group = np.array([f"{face.source}/{face.group}" for _, face in made])
    logits = pooled(maps, entry, kind="image")
    found, interval = fit(sharp[some], logits[some]), slopes(sharp[some], logits[some], group[some])
    if interval[0] <= 0:
        found = dataclasses.replace(found, slope=0.0)
    rounded = Softness(**{name: round(value, 4) for name, value in dataclasses.asdict(found).items()})
    known = read_manifest(folder)["models"][entry.name]
    enter(folder, entry.name, known | {"softness": dataclasses.asdict(rounded)})
    return rounded, interval


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+", help="folders with index.csv, landmarks.npz and pictures")
    parser.add_argument("--restored", type=Path, help="what restore.py and redraw.py wrote")
    parser.add_argument("--folder", type=Path, default=Path("weights"), help="where manifest.json lies (%(default)s)")
    parser.add_argument("--pairs", type=int, default=1500, help="how many to draw (%(default)s)")
    arguments = parser.parse_args()
    found, (low, high) = add(arguments.folder, arguments.data, arguments.restored, pairs=arguments.pairs)
    print(f"{found}, slope 95 % from {low:.2f} to {high:.2f}; evaluate and calibrate again")


if __name__ == "__main__":
    main()
