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

import made


def measure(*paths: str) -> tuple[float, float]:
    """Seconds and peak MiB of one run of the command on all of these."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "deepfake_detect", "--json", *paths], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def main() -> None:
    lengths = [float(text) for text in sys.argv[1:]] or [0.5, 2, 10]
    print("| length | seconds | peak MiB |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for minutes in lengths:
            path = made.video(Path(folder) / f"{minutes:g}min.mp4", width=1920, height=1080, seconds=60 * minutes)
            # A process each, since the peak of children is never forgotten.
            with get_context("spawn").Pool(1) as pool:
                seconds, peak = pool.apply(measure, (str(path),))
            print(f"| {minutes:g} min | {seconds:.1f} | {peak:.0f} |")


if __name__ == "__main__":
    main()
