"""Does more than one look help? Frames of one person against each other, the mouth against the rest, the crop mirrored.

For every video: the pooled logit as the detector has it, and other things its frames say. Each is tried alone, and beside
the pooled logit in a logistic model that is fitted on all groups but one and counted on that one. What helps here on a few
dozen videos may not help elsewhere: the interval of the difference (paired bootstrap over groups) stands beside it.

python benchmarks/looks.py DATA --split val
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import LeaveOneGroupOut
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from deepfake_detect import Detector, Options, checkpoint
from deepfake_detect.engine import load_net
from deepfake_detect.training.datasets import VIDEO_ENDINGS, read_dataset
from deepfake_detect.training.metrics import group_resamples
from deepfake_detect.verdict import deciding, pool

if TYPE_CHECKING:
    from deepfake_detect.model import EvidenceNet
    from deepfake_detect.types import FaceTrack

# Rows and columns of the map that the mouth lies in, in an upright crop of a frontal face.
MOUTH = (slice(17, 24), slice(9, 19))


def looks(track: FaceTrack, net: EvidenceNet) -> dict[str, float]:
    """What the frames of one person say, by several ways of asking."""
    logits = np.array([score.logit for score in track.voting])
    maps = np.stack([heatmap.evidence for heatmap in track.heatmaps])
    crops = np.stack([heatmap.crop.pixels for heatmap in track.heatmaps])
    mirrored = torch.from_numpy(np.ascontiguousarray(crops[:, :, ::-1])).permute(0, 3, 1, 2)
    with torch.inference_mode():
        turned = net(mirrored)[1].numpy()
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
        "flicker of the logits": float(np.abs(np.diff(logits)).mean()) if len(logits) > 1 else 0.0,
        "flicker of the map": float(np.abs(np.diff(maps, axis=0)).mean()) if len(maps) > 1 else 0.0,
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


def difference(ours: np.ndarray, theirs: np.ndarray, fake: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """95 % interval of AUC(ours) - AUC(theirs)."""
    found = []
    for rows in group_resamples(groups, resamples=1000):
        if 0 < fake[rows].sum() < len(rows):
            found.append(roc_auc_score(fake[rows], ours[rows]) - roc_auc_score(fake[rows], theirs[rows]))
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--split")
    parser.add_argument("--frames", type=int, default=Options().frames)
    arguments = parser.parse_args()
    dataset = read_dataset(arguments.data, split=arguments.split)
    entry = checkpoint.find()
    net = load_net(entry)
    detector = Detector(Options(frames=arguments.frames))
    rows, fakes, names = [], [], []
    for item in dataset.items:
        if Path(item.path).suffix.lower() in VIDEO_ENDINGS:
            track = deciding(detector.detect(dataset.root / item.path).tracks)
            if track is not None:
                rows.append(looks(track, net))
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
        low, high = difference(both, base, fake, groups)
        change = roc_auc_score(fake, both) - roc_auc_score(fake, base)
        print(f"| {name} | {alone:.3f} | {roc_auc_score(fake, both):.3f} | {change:+.3f} ({low:+.2f} to {high:+.2f}) |")


if __name__ == "__main__":
    main()
