"""How near to what can't be undercut? The classifier beside its bare graph, and decoding beside the program ffmpeg.

Alternating, medians, on the same crops and frames, with the same number of threads. ffmpeg writes to nothing, in RGB as we
have it; of sampled frames it decodes what we do: all but those that no other needs. It makes its own media.

python benchmarks/ideal.py [--rounds 7] [--tiny]
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import made
import numpy as np

from deepfake_detect import Options, checkpoint, media
from deepfake_detect.crop import cut
from deepfake_detect.engine import choose

if TYPE_CHECKING:
    from collections.abc import Callable

    from deepfake_detect.types import Crop


def crops_of(path: Path, count: int) -> list[Crop]:
    """Crops of the faces in a video."""
    finder, architecture = choose().face_finder(), checkpoint.find().architecture
    with media.open(path, Options(frames=count)) as opened:
        return [
            cut(frame, face, size=architecture.size, margin=checkpoint.find().video_looks[0].margin)
            for frame in opened.frames()
            for face in finder.find(frame)
        ]


def classifying(crops: list[Crop]) -> dict[str, Callable[[], object]]:
    """The scorer as the detector calls it, and the graph alone on the same batches."""
    import onnxruntime

    entry, batch = checkpoint.find(), Options().batch_size
    if entry.graph is None:
        sys.exit("the weights have no graph; export them again")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    tensors = entry.path.read_bytes()
    options.add_external_initializers_from_files_in_memory([entry.path.name], [tensors], [len(tensors)])
    session = onnxruntime.InferenceSession(entry.graph.read(), options, providers=["CPUExecutionProvider"])
    batches = [np.stack([crop.pixels for crop in crops[i : i + batch]]) for i in range(0, len(crops), batch)]
    scorer = choose().scorer(entry)
    name = session.get_inputs()[0].name
    return {
        "ours": lambda: scorer.score(crops, batch_size=batch),
        "bare graph": lambda: [session.run(None, {name: pixels}) for pixels in batches],
    }


def decoding(path: Path, options: Options, *flags: str) -> dict[str, Callable[[], object]]:
    """Our frames, and ffmpeg's."""

    def ours() -> None:
        with media.open(path, options) as opened:
            for _ in opened.frames():
                pass

    command = ["ffmpeg", "-v", "error", *flags[:2], "-i", str(path), *flags[2:], "-f", "null", "-"]
    return {"ours": ours, "ffmpeg": lambda: subprocess.run(command, check=True)}


def compare(what: str, contestants: dict[str, Callable[[], object]], rounds: int) -> None:
    """Print both medians and their ratio."""
    seconds: dict[str, list[float]] = {who: [] for who in contestants}
    for work in contestants.values():
        work()
    for _ in range(rounds):
        for who, work in contestants.items():
            began = time.perf_counter()
            work()
            seconds[who].append(time.perf_counter() - began)
    ours, other = (statistics.median(each) for each in seconds.values())
    print(f"| {what} | {ours:.3f} | {other:.3f} | {ours / other:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="(%(default)s)")
    parser.add_argument("--tiny", action="store_true", help="to see that it runs; its times mean nothing")
    arguments = parser.parse_args()
    if arguments.tiny:
        arguments.rounds = 1
    size, seconds = ((320, 240), 1) if arguments.tiny else ((1280, 720), 60)
    print("| what | ours, s | bare, s | ratio |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        path = made.video(Path(folder) / "video.mp4", width=size[0], height=size[1], seconds=seconds)
        crops = crops_of(path, 2 if arguments.tiny else 64)
        compare(f"classifying {len(crops)} crops", classifying(crops), arguments.rounds)
        if shutil.which("ffmpeg") is None:
            print(
                "decoding was not compared: there is no program ffmpeg here (Debian: apt install ffmpeg)",
                file=sys.stderr,
            )
            return
        rgb = ("-threads", "0", "-pix_fmt", "rgb24")
        compare(f"decoding {seconds} s, every frame", decoding(path, Options(fps=1000), *rgb), arguments.rounds)
        compare(
            f"decoding {seconds} s, {Options().frames} frames",
            decoding(path, Options(), "-skip_frame", "noref"),
            arguments.rounds,
        )


if __name__ == "__main__":
    main()
