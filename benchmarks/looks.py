"""Do the frames of one person say more than their pooled logit? Against each other, mouth and seam, every look mirrored.

For every video: the pooled logit as the detector has it, and other things its frames say. Each is tried alone, and beside
the pooled logit in a logistic model that is fitted on all groups but one and counted on that one. What helps here on a few
dozen videos may not help elsewhere: the interval of the difference (paired bootstrap over groups) stands beside it.

python benchmarks/looks.py runs/val.csv    (the list that `groups.py` makes: a swap and its sources are one group there)
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import LeaveOneGroupOut
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from deepfake_detect import Detector, Options, checkpoint, media
from deepfake_detect.engine import Examiner, choose
from deepfake_detect.pooling import pool
from deepfake_detect.training.datasets import VIDEO_ENDINGS, read_dataset
from deepfake_detect.training.metrics import group_resamples
from deepfake_detect.verdict import deciding

if TYPE_CHECKING:
    from deepfake_detect.types import FaceTrack

# Rows and columns of the map that the mouth lies in, in an upright crop of a frontal face.
MOUTH = (slice(17, 24), slice(9, 19))
# So many cells from the crop's edge a pasted face would meet what was there, and from there on lies its inside. The box
# begins at 3.7 of 28.
SEAM, INSIDE = 2, 7


def other_way_round() -> Examiner:
    """The net that ships, each of its looks seeing a face mirrored."""
    entry = checkpoint.find()
    turned = tuple(replace(look, mirrored=not look.mirrored) for look in entry.video_looks)
    return Examiner(choose(), replace(entry, video_looks=turned))


def judged_by(examiner: Examiner, path: Path, track: FaceTrack, options: Options) -> np.ndarray:
    """Logits of the frames of one person that vote."""
    faces = {score.time_s: score.face for score in track.voting}
    with media.open(path, options) as opened:
        seen = (frame for frame in opened.frames() if frame.time_s in faces)
        views = [examiner.cut(frame, faces[frame.time_s], kind="video") for frame in seen]
    return examiner.score(views, kind="video")[1]


def flicker(values: np.ndarray) -> np.ndarray:
    """How much values change from one frame to the next, on the average; 0 where there is but one."""
    return np.abs(np.diff(values, axis=0)).mean(0) if len(values) > 1 else np.zeros(values.shape[1:])


def looks(track: FaceTrack, turned: np.ndarray) -> dict[str, float]:
    """What the frames of one person say, by several ways of asking.

    Args:
        turned: Their logits with every look mirrored.
    """
    logits = np.array([score.logit for score in track.voting])
    maps = np.stack([heatmap.evidence for heatmap in track.heatmaps])
    place = np.arange(maps.shape[1])
    from_edge = np.minimum(place, place[::-1])
    depth = np.minimum(from_edge[:, None], from_edge[None])
    seam, inside = (depth >= SEAM) & (depth < INSIDE), depth >= INSIDE
    moved = flicker(maps)
    mouth = maps[:, MOUTH[0], MOUTH[1]]
    rest = maps.copy()
    rest[:, MOUTH[0], MOUTH[1]] = np.nan
    pooled = pool(track.scores)
    assert pooled is not None
    return {
        "pooled logit": pooled,
        "mean": float(logits.mean()),
        "median": float(np.median(logits)),
        "mean of the upper quarter": float(np.sort(logits)[-max(1, len(logits) // 4) :].mean()),
        "maximum": float(logits.max()),
        "mirrored too": float((logits.mean() + turned.mean()) / 2),
        "spread of the logits": float(logits.std()),
        "flicker of the logits": float(flicker(logits)),
        "flicker of the map": float(moved.mean()),
        "flicker of the seam against the inside": float(moved[seam].mean() - moved[inside].mean()),
        "seam against the inside": float(maps[:, seam].mean() - maps[:, inside].mean()),
        "mean map's hottest cell": float(maps.mean(0).max()),
        "mouth": float(mouth.mean()),
        "mouth against the rest": float(mouth.mean() - np.nanmean(rest)),
    }


def beside(first: np.ndarray, second: np.ndarray | None, fake: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Log odds of each group from a model fitted on all others."""
    table = first[:, None] if second is None else np.stack([first, second], 1)
    odds = np.zeros(len(fake))
    for fitted, rest in LeaveOneGroupOut().split(table, fake, groups):
        model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
        odds[rest] = model.fit(table[fitted], fake[fitted]).decision_function(table[rest])
    return odds


def difference(
    ours: np.ndarray, theirs: np.ndarray, fake: np.ndarray, groups: np.ndarray, *, resamples: int
) -> tuple[float, float]:
    """95 % interval of AUC(ours) - AUC(theirs)."""
    found = []
    for rows in group_resamples(groups, resamples=resamples):
        if 0 < fake[rows].sum() < len(rows):
            found.append(roc_auc_score(fake[rows], ours[rows]) - roc_auc_score(fake[rows], theirs[rows]))
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--split")
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--resamples", type=int, default=1000, help="behind each interval (%(default)s)")
    arguments = parser.parse_args()
    dataset = read_dataset(arguments.data, split=arguments.split)
    detector, examiner = Detector(Options(frames=arguments.frames)), other_way_round()
    rows, fakes, names = [], [], []
    for item in dataset.items:
        if Path(item.path).suffix.lower() in VIDEO_ENDINGS:
            path = dataset.root / item.path
            track = deciding(detector.detect(path).tracks)
            if track is not None:
                rows.append(looks(track, judged_by(examiner, path, track, detector.options)))
                fakes.append(item.label == "fake")
                names.append(item.group)
    fake, groups = np.array(fakes), np.array(names)
    print(f"{len(fake)} videos, {int((~fake).sum())} genuine, {len(np.unique(groups))} groups\n")
    print("| look | AUC alone | beside the pooled logit, on other groups | change (95 %) |\n|---|---|---|---|")
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    pooled = columns["pooled logit"]
    base = beside(pooled, None, fake, groups)
    for name, values in columns.items():
        alone = roc_auc_score(fake, values)
        if name == "pooled logit":
            print(f"| {name} | {alone:.3f} | {roc_auc_score(fake, base):.3f} | – |")
            continue
        both = beside(pooled, values, fake, groups)
        low, high = difference(both, base, fake, groups, resamples=arguments.resamples)
        change = roc_auc_score(fake, both) - roc_auc_score(fake, base)
        print(f"| {name} | {alone:.3f} | {roc_auc_score(fake, both):.3f} | {change:+.3f} ({low:+.2f} to {high:+.2f}) |")


if __name__ == "__main__":
    main()
