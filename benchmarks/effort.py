"""How many frames of a video does a verdict need? Judges every frame of labelled videos, then as if fewer had been seen:
a fixed number, and as many as are looked at unasked, where those of a second look are added only if the first leaves the
label open.

Figures: the share of videos whose label is that of all frames, with Wilson's interval of as many as groups of equal size
would tell as much, for videos of a group may well all change alike; AUC; and how far the pooled logit of the person who
decides lies from that of all frames (standard deviation and largest). Faces are followed from frame to frame where every
frame is looked at and searched for anew where few are; that makes no difference here, for each logit is that of the
followed face.

Videos that are forged in part are spliced together of the logits: so much of a genuine one is replaced by as much of a
forged one, both stretched to one length, at places drawn at random.

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
from deepfake_detect.training.metrics import effective_groups
from deepfake_detect.types import FaceTrack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deepfake_detect.types import Calibration, Label, Report, Score

COUNTS = (4, FAST_FRAMES, 16, 32, 64, 128)
SHARES, SPLICED_FRAMES = (0, 0.06, 0.09, 0.16, 0.25, 1), 900


def after(report: Report, count: int) -> tuple[FaceTrack, ...]:
    """The people of a report in which every frame was looked at, as if `count` frames had been."""
    times = report.sampled_times_s
    chosen = media.choose(times, 0, len(times), Options(frames=count))
    kept = {times[i] for i in chosen}
    parts = (tuple(score for score in track.scores if score.time_s in kept) for track in report.tracks)
    return tuple(
        replace(track, scores=scores) for track, scores in zip(report.tracks, parts, strict=True) if scores
    )  # fmt: skip


def looked_at(
    report: Report, looks: Sequence[int], calibration: Calibration
) -> tuple[tuple[FaceTrack, ...], list[int]]:
    """The people, judged, after these looks, each taken where those before it leave the label open; and the frames of each
    look that was taken."""
    frames = []
    for count in looks:
        judged = tuple(verdict.judge(one, kind="video", calibration=calibration) for one in after(report, count))
        frames.append(min(count, len(report.sampled_times_s)))
        if not verdict.is_open(judged, kind="video", calibration=calibration):
            break
    return judged, frames


def row(judged_videos: Sequence[tuple[Labelled, Report]], looks: Sequence[int], calibration: Calibration) -> str:
    """How verdicts after these looks compare with those after all frames, and how many frames a video took."""
    same, apart, odds, taken = [], [], [], []
    for _, report in judged_videos:
        answers = []
        for counts in ((EVERY_FRAME,), looks):
            judged, frames = looked_at(report, counts, calibration)
            worst = verdict.deciding(judged)
            logit = worst.logit if worst is not None and worst.logit is not None else np.nan
            answers.append((verdict.decide(judged, kind="video", calibration=calibration).label, logit))
        (all_label, all_logit), (label, logit) = answers
        same.append(label == all_label)
        apart.append(logit - all_logit)
        odds.append(logit)
        taken.append(frames)
    seen = np.isfinite(odds)
    forged = np.array([item.label == "fake" for item, _ in judged_videos])
    auc = roc_auc_score(forged[seen], np.array(odds)[seen])
    groups = effective_groups(item.group for item, _ in judged_videos)
    low, high = verdict.wilson(sum(same) / len(same) * groups, groups)
    return (
        f"| {named(looks)} | {sum(same)} of {len(same)} ({low:.2f}–{high:.2f}) | {auc:.3f} | {np.nanstd(apart):.2f}"
        f" | {np.nanmax(np.abs(apart)):.2f} | {sum(len(frames) > 1 for frames in taken)}"
        f" | {np.mean([sum(frames) for frames in taken]):.0f} |"
    )


def spliced(
    judged_videos: Sequence[tuple[Labelled, Report]], looks: Sequence[int], calibration: Calibration, *, count: int
) -> str:
    """What becomes of so many videos that are forged for a part of the time."""
    of: dict[str, list[tuple[Report, Sequence[Score]]]] = {"real": [], "fake": []}
    for item, report in judged_videos:
        of[item.label].append((report, max((track.voting for track in report.tracks), key=len, default=())))
    rng, cells = np.random.default_rng(0), []
    for share in SHARES:
        labels: list[Label] = []
        frames = []
        for _ in range(count):
            (report, genuine), (_, forged) = (some[int(rng.integers(len(some)))] for some in of.values())
            begin = int(rng.uniform(0, SPLICED_FRAMES * (1 - share)))
            end = begin + int(SPLICED_FRAMES * share)
            scores = []
            for i in range(SPLICED_FRAMES):
                views = forged if begin <= i < end else genuine
                scores.append(replace(views[i * len(views) // SPLICED_FRAMES], time_s=float(i)))
            times = tuple(float(i) for i in range(SPLICED_FRAMES))
            whole = replace(report, sampled_times_s=times, tracks=(FaceTrack(1, tuple(scores)),))
            judged, taken = looked_at(whole, looks, calibration)
            labels.append(verdict.decide(judged, kind="video", calibration=calibration).label)
            frames.append(sum(taken))
        found, unclear = (labels.count(label) / count for label in ("manipulated", "inconclusive"))
        cells.append(f"{found:.2f} / {unclear:.2f}, {np.mean(frames):.0f}")
    return f"| {named(looks)} | {' | '.join(cells)} |"


def named(looks: Sequence[int]) -> str:
    """Numbers of frames, in words."""
    return ", then ".join("all" if count == EVERY_FRAME else f"{count}" for count in looks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="labelled media, in any layout that `evaluate` reads")
    parser.add_argument("--split")
    parser.add_argument("--splices", type=int, default=120, help="videos forged in part, of each kind (%(default)s)")
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
    print("| frames | same label as all (95 %) | AUC | logit apart, sd | at most | looked at again | frames, mean |")
    print("|---|---|---|---|---|---|---|")
    for looks in (*((count,) for count in COUNTS), Options().looks, (EVERY_FRAME,)):
        print(row(judged_videos, looks, detector.calibration))
    if {item.label for item, report in judged_videos if report.tracks} == {"real", "fake"}:
        print("\nmanipulated / inconclusive, frames on average, by the share that is forged\n")
        print(f"| frames | {' | '.join(f'{share:g}' for share in SHARES)} |\n|{'---|' * (len(SHARES) + 1)}")
        for looks in ((16,), (32,), Options().looks, (max(COUNTS),)):
            print(spliced(judged_videos, looks, detector.calibration, count=arguments.splices))


if __name__ == "__main__":
    main()
