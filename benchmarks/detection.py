"""How many of the faces that MTCNN finds on whole frames are found by this package's faster way of looking?

Frames of videos and pictures below FOLDER, and made pictures of groups, up to 150 people. Frames are looked at as a
detector does, one file after the other: with `--seconds` every frame of the beginning of each video, so that faces are
followed from one to the next. The reference is MTCNN at full size down to 20 pixels, run by ONNX Runtime or,
with `--reference torch`, facenet-pytorch's own. A face is found when a box overlaps its box by IoU > 0.5. "May vote" are
those that a verdict could rest on: at least 48 pixels and surely a face. "Apart" is how far the boxes of the same face lie
from each other, as a share of its size.

python benchmarks/detection.py FOLDER [--frames 8 | --seconds 1] [--pictures 200] [--reference torch]
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import made
import numpy as np

from deepfake_detect import DeepfakeDetectError, Options, media
from deepfake_detect.engine import choose, face_finder
from deepfake_detect.faces import FaceFollower
from deepfake_detect.types import iou
from deepfake_detect.verdict import wilson

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deepfake_detect.types import Face, Frame

_VIDEOS = (".mp4", ".mkv", ".mov", ".webm", ".avi")
_PICTURES = (".jpg", ".jpeg", ".png", ".webp")
_SMALLEST_PX = 20


@dataclass
class Found:
    """What was seen on one kind of media; `people` are faces that may vote, of each file as many as were seen at once."""

    frames: int = 0
    all: list[bool] = field(default_factory=list)
    voting: list[bool] = field(default_factory=list)
    people: int = 0
    apart: list[float] = field(default_factory=list)
    unmatched: int = 0
    seconds: list[float] = field(default_factory=lambda: [0.0, 0.0])

    def add(self, reference: list[Face], found: tuple[Face, ...]) -> int:
        """One frame: faces of the reference and those found; how many of the former may vote."""
        self.frames += 1
        options, before = Options(), len(self.voting)
        for face in reference:
            overlaps = [iou(np.array(face.box), np.array(other.box)) for other in found]
            seen = max(overlaps, default=0.0) > 0.5
            self.all.append(seen)
            if face.size_px >= options.min_face_px and face.confidence >= options.min_confidence:
                self.voting.append(seen)
                if seen:
                    other = found[int(np.argmax(overlaps))]
                    self.apart.append(float(np.abs(np.subtract(face.box, other.box)).max()) / face.size_px)
        self.unmatched += sum(
            all(iou(np.array(face.box), np.array(other.box)) <= 0.5 for other in reference)
            for face in found
            if face.size_px >= options.min_face_px and face.confidence >= options.min_confidence
        )
        return len(self.voting) - before


def frames_of(path: Path, options: Options) -> Iterator[Frame]:
    """Some frames of a medium; none of one that can't be read."""
    try:
        with media.open(path, options) as opened:
            yield from opened.frames()
    except DeepfakeDetectError as error:
        print(error)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--frames", type=int, default=8, help="of each video (%(default)s)")
    parser.add_argument("--seconds", type=float, help="of each video, every frame of it")
    parser.add_argument("--pictures", type=int, default=200, help="drawn at random (%(default)s)")
    parser.add_argument("--reference", choices=("onnx", "torch"), default="onnx", help="(%(default)s)")
    arguments = parser.parse_args()
    mtcnn = choose(Options(engine=arguments.reference)).mtcnn()
    finder = face_finder(choose())
    names = sorted(path for path in arguments.folder.rglob("*") if path.is_file())
    pictures = [path for path in names if path.suffix.lower() in _PICTURES]
    options = Options(frames=arguments.frames)
    if arguments.seconds is not None:
        options = Options(fps=1000, end_s=arguments.seconds)
    folder = tempfile.TemporaryDirectory()
    groups = [
        made.photo(Path(folder.name) / f"{faces}.jpg", width=1920, height=1080, faces=faces)
        for faces in (2, 6, 12, 24, 40, 60, 90, 150)
    ]
    kinds = {
        "videos": [path for path in names if path.suffix.lower() in _VIDEOS],
        "pictures": random.Random(0).sample(pictures, min(arguments.pictures, len(pictures))),
        "groups": groups,
    }
    print("| media | frames | faces | recall | may vote | recall, 95 % interval | apart, median and 99 % |"
          " more that may vote | seconds a frame, reference and ours |\n|---|---|---|---|---|---|---|---|---|")  # fmt: skip
    for kind, paths in kinds.items():
        seen = Found()
        for path in paths:
            follower, at_once = FaceFollower(finder), 0
            for frame in frames_of(path, options if path.suffix.lower() in _VIDEOS else Options()):
                if min(frame.pixels.shape[:2]) < 2 * _SMALLEST_PX:
                    continue
                began = time.perf_counter()
                reference = mtcnn(np.ascontiguousarray(frame.pixels), smallest_px=_SMALLEST_PX)
                between = time.perf_counter()
                found = follower.find(frame)
                seen.seconds[1] += time.perf_counter() - between
                seen.seconds[0] += between - began
                at_once = max(at_once, seen.add(reference, found))
            seen.people += at_once
        if not seen.voting:
            continue
        # Frames of one video show the same faces: as many count as were seen at once.
        low, high = wilson(float(np.mean(seen.voting)) * seen.people, seen.people)
        near = np.percentile(seen.apart, [50, 99])
        each = [seconds / seen.frames for seconds in seen.seconds]
        print(f"| {kind} | {seen.frames} | {len(seen.all)} | {np.mean(seen.all):.4f} | {len(seen.voting)} |"
              f" {np.mean(seen.voting):.4f}, {low:.4f} to {high:.4f} | {near[0]:.3f}, {near[1]:.3f} | {seen.unmatched} |"
              f" {each[0]:.3f}, {each[1]:.3f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
