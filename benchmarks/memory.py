"""Peak memory of the command against the length of a 1080p video. It makes its own media.

python benchmarks/memory.py [MINUTES ...]
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import av
import cv2
import numpy as np

WIDTH, HEIGHT, FPS = 1920, 1080, 30
CODED_S = 10
SAMPLE = Path(__file__).parent.parent / "samples" / "portrait_genuine.jpg"


def make(folder: Path, minutes: float) -> Path:
    """A face that drifts over a still background: ten seconds are coded, then repeated without coding them again."""
    short = folder / "short.mp4"
    if not short.exists():
        face = cv2.resize(np.asarray(cv2.imread(str(SAMPLE)))[..., ::-1], (600, 600))
        coarse = np.random.default_rng(0).integers(0, 256, (9, 16, 3), np.uint8)
        background = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        with av.open(short, "w") as container:
            stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "bf": "0", "g": "60"})
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            for i in range(CODED_S * FPS):
                x = 600 + round(300 * np.sin(i / 40))
                pixels = background.copy()
                pixels[240:840, x : x + 600] = face
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode(None))
    path = folder / f"{minutes:g}min.mp4"
    with av.open(path, "w") as out:
        stream = None
        for repeat in range(round(minutes * 60 / CODED_S)):
            with av.open(short) as source:
                video = source.streams.video[0]
                stream = stream or out.add_stream_from_template(video)
                for packet in source.demux(video):
                    if packet.dts is None or packet.time_base is None:
                        continue
                    shift = round(repeat * CODED_S / packet.time_base)
                    packet.pts, packet.dts, packet.stream = (packet.pts or 0) + shift, packet.dts + shift, stream
                    out.mux(packet)
    return path


def measure(path: str) -> tuple[float, float]:
    """Seconds and peak MiB of one run of the command."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "deepfake_detect", "--json", path], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def main() -> None:
    lengths = [float(text) for text in sys.argv[1:]] or [0.5, 2, 10]
    print("| length | seconds | peak MiB |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for minutes in lengths:
            path = make(Path(folder), minutes)
            # A process each, since the peak of children is never forgotten.
            with get_context("spawn").Pool(1) as pool:
                seconds, peak = pool.apply(measure, (str(path),))
            print(f"| {minutes:g} min | {seconds:.1f} | {peak:.0f} |")


if __name__ == "__main__":
    main()
