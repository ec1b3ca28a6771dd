"""How many frames of a video does a verdict need? Judges every frame of labelled videos, then as if fewer had been seen.

Figures: the share of videos whose label is that of all frames, with Wilson's interval of as many as there are groups, for
videos of a group may well all change alike; AUC; and how far the pooled logit of the person who decides lies from that of
all frames (standard deviation and largest). Faces are followed from frame to frame where every frame is looked at and
searched for anew where few are; that makes no difference here, for each logit is that of the followed face.

python benchmarks/effort.py runs/val.csv    (the list that `groups.py` makes)
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn.metrics import roc_auc_score

from deepfake_detect import Detector, MediaError, Options, media, verdict
from deepfake_detect.options import EVERY_FRAME, FAST_FRAMES
from deepfake_detect.training.datasets import VIDEO_ENDINGS, Labelled, read_dataset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deepfake_detect.types import Calibration, FaceTrack, Report

COUNTS = (4, FAST_FRAMES, 16, Options().frames, 64)


def after(report: Report, count: int) -> tuple[FaceTrack, ...]:
    """The people of a report in which every frame was looked at, as if `count` frames had been."""
    times = report.sampled_times_s
    chosen = media.choose(times, 0, len(times), Options(frames=count))
    kept = {times[i] for i in chosen}
    parts = (tuple(score for score in track.scores if score.time_s in kept) for track in report.tracks)
    return tuple(
        replace(track, scores=scores) for track, scores in zip(report.tracks, parts, strict=True) if scores
    )  # fmt: skip


def row(judged_videos: Sequence[tuple[Labelled, Report]], count: int, calibration: Calibration) -> str:
    """How verdicts after `count` frames compare with those after all."""
    same, apart, odds = [], [], []
    for _, report in judged_videos:
        answers = []
        for tracks in (after(report, count), after(report, EVERY_FRAME)):
            judged = tuple(verdict.judge(track, kind="video", calibration=calibration) for track in tracks)
            worst = verdict.deciding(judged)
            logit = worst.logit if worst is not None and worst.logit is not None else np.nan
            answers.append((verdict.decide(judged, kind="video", calibration=calibration).label, logit))
        (label, logit), (all_label, all_logit) = answers
        same.append(label == all_label)
        apart.append(logit - all_logit)
        odds.append(logit)
    seen = np.isfinite(odds)
    forged = np.array([item.label == "fake" for item, _ in judged_videos])
    auc = roc_auc_score(forged[seen], np.array(odds)[seen])
    groups = len({item.group for item, _ in judged_videos})
    low, high = verdict.wilson(sum(same) / len(same) * groups, groups)
    name = "all" if count == EVERY_FRAME else f"{count}"
    return (
        f"| {name} | {sum(same)} of {len(same)} ({low:.2f}–{high:.2f}) | {auc:.3f} | {np.nanstd(apart):.2f}"
        f" | {np.nanmax(np.abs(apart)):.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="labelled media, in any layout that `evaluate` reads")
    parser.add_argument("--split")
    arguments = parser.parse_args()
    dataset = read_dataset(arguments.data, split=arguments.split)
    videos = [item for item in dataset.items if Path(item.path).suffix.lower() in VIDEO_ENDINGS]
    detector = Detector(Options(frames=EVERY_FRAME, max_heatmaps=0))
    judged_videos = []
    for item in videos:
        try:
            judged_videos.append((item, detector.detect(dataset.root / item.path)))
        except MediaError as error:
            print(error, file=sys.stderr)
    frames = sorted(len(report.sampled_times_s) for _, report in judged_videos)
    groups = len({item.group for item, _ in judged_videos})
    print(f"{len(judged_videos)} videos in {groups} groups, of {frames[0]} to {frames[-1]} frames\n")
    print("| frames | same label as all (95 %) | AUC | logit apart, sd | at most |\n|---|---|---|---|---|")
    for count in (*COUNTS, EVERY_FRAME):
        print(row(judged_videos, count, detector.calibration))


if __name__ == "__main__":
    main()
