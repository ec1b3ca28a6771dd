"""How near to what can't be undercut? The classifier beside its bare graph, and decoding beside a bare loop of PyAV.

Alternating, medians, on the same crops and frames, with the same number of threads. The loop knows beforehand which frames
are wanted and which packets they need, and does nothing but decode and convert them; ours also hashes the file, lists its
packets, chooses, and looks for damage. It makes its own media.

python benchmarks/ideal.py [--rounds 7] [--tiny]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import av
import made
import numpy as np
from av.video.reformatter import VideoReformatter

from deepfake_detect import Options, checkpoint, media
from deepfake_detect.crop import cut
from deepfake_detect.engine import choose, face_finder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from deepfake_detect.types import Crop


def crops_of(path: Path, count: int) -> list[Crop]:
    """Crops of the faces in a video."""
    finder, architecture = face_finder(choose()), checkpoint.find().architecture
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


def decoding(path: Path, options: Options) -> dict[str, Callable[[], object]]:
    """Our frames, and the same by a bare loop."""

    def ours() -> list[float]:
        with media.open(path, options) as opened:
            return [frame.time_s for frame in opened.frames()]

    chosen = Chosen(path, options)

    def bare() -> list[float]:
        converter, times = VideoReformatter(), []
        for frame in chosen.frames():
            converter.reformat(frame, format="rgb24").to_ndarray()
            times.append(round(frame.time, 6))
        return times

    if ours() != bare():
        sys.exit("both should decode the same frames, and did not")
    return {"ours": ours, "bare loop": bare}


class Chosen:
    """The frames of a video that we look at, and the packets that lead to them: from a key frame to the last of them."""

    def __init__(self, path: Path, options: Options) -> None:
        self._path = path
        with media.open(path, options) as opened:
            times_s = [frame.time_s for frame in opened.frames()]
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            listed = [(packet.pts, packet.is_keyframe) for packet in container.demux(stream) if packet.size]
            self._wanted = {round(time_s / stream.time_base) for time_s in times_s}
        self._packets, leads = set[int](), False
        for number, (stamp, is_key) in reversed(list(enumerate(listed))):
            leads |= stamp in self._wanted
            if leads:
                self._packets.add(number)
            leads &= not is_key

    def frames(self) -> Iterator[av.VideoFrame]:
        """Each of them, decoded anew; between them frames that no other needs are left out."""
        with av.open(str(self._path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for number, packet in enumerate(container.demux(stream)):
                if number in self._packets or not packet.size:
                    stream.codec_context.skip_frame = "DEFAULT" if packet.pts in self._wanted else "NONREF"
                    yield from (frame for frame in packet.decode() if frame.pts in self._wanted)


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
        compare(f"decoding {seconds} s, every frame", decoding(path, Options(fps=1000)), arguments.rounds)
        some = Options(frames=2) if arguments.tiny else Options()
        compare(f"decoding {seconds} s, {some.frames} frames", decoding(path, some), arguments.rounds)


if __name__ == "__main__":
    main()
