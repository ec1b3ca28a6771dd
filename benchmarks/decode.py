"""Would it pay to have the decoder's converter reduce frames? The first frames of a minute that
are looked at, up to where faces are sought.

Now each becomes RGB at full size, which OpenCV then reduces. Instead the converter could make small RGB at once, and the
full size only where a face is cut. Alternating, medians. Frames of 720p are not reduced: there nothing is to be gained.

python benchmarks/decode.py [--rounds 7] [--tiny]
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path

import cv2
import made
import numpy as np
from av.video.reformatter import VideoReformatter
from ideal import Chosen, compare

from deepfake_detect import Options, engine
from deepfake_detect.types import Frame


def full_first(chosen: Chosen, times: int) -> None:
    converter = VideoReformatter()
    for frame in chosen.frames():
        pixels = converter.reformat(frame, format="rgb24").to_ndarray()
        cv2.resize(pixels, (frame.width // times, frame.height // times), interpolation=cv2.INTER_AREA)


def small_first(chosen: Chosen, times: int, *, cuts: bool) -> None:
    small, full = VideoReformatter(), VideoReformatter()
    for frame in chosen.frames():
        size = {"width": frame.width // times, "height": frame.height // times}
        small.reformat(frame, format="rgb24", interpolation="AREA", **size).to_ndarray()
        if cuts:
            full.reformat(frame, format="rgb24").to_ndarray()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="(%(default)s)")
    parser.add_argument("--tiny", action="store_true", help="to see that it runs")
    arguments = parser.parse_args()
    rounds, seconds, lines = (1, 1, (1080,)) if arguments.tiny else (arguments.rounds, 60, (1080, 2160))
    print("| lines, reduced by, a face in | full size first, s | small first, s | ratio |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for height in lines:
            path = made.video(Path(folder) / "video.mp4", width=height * 16 // 9, height=height, seconds=seconds)
            chosen, frame = Chosen(path, Options()), Frame(np.zeros((height, height * 16 // 9, 3), np.uint8))
            _, times = engine.face_finder(engine.choose())._reduced(frame)
            for where, cuts in (("every frame", True), ("none", False)):
                now, small = partial(full_first, chosen, times), partial(small_first, chosen, times, cuts=cuts)
                compare(f"{height}, {times}, {where}", {"now": now, "small": small}, rounds)


if __name__ == "__main__":
    main()
