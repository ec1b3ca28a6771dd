"""What `deepfake-detect scan` promises, tried at full size. It makes its own files.

python benchmarks/scan.py kills [FILES] [KILLS]     killed so often at random, is the table that of an unbroken run?
python benchmarks/scan.py speed [FILES]             files a second: one worker on one core and on two, two workers
python benchmarks/scan.py ceiling [FILES]           what two processes that know nothing of each other gain over one
python benchmarks/scan.py rates [PHOTOS] [VIDEOS]   what a core gets done, here and on a Ray cluster of this machine alone
python benchmarks/scan.py memory [FILES ...]        peak memory of the parent against the number of files
"""

from __future__ import annotations

import os
import random
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import made
import numpy as np

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier

_together: Barrier
SAMPLE = Path(__file__).parent.parent / "samples" / "portrait_genuine.jpg"


def make(folder: Path, count: int) -> None:
    """Small pictures, most with a face, some damaged, some alike, in folders of a hundred."""
    rng = np.random.default_rng(0)
    portrait = np.asarray(cv2.imread(str(SAMPLE)))
    for i in range(count):
        below = folder / f"{i // 100:03}"
        below.mkdir(exist_ok=True)
        side = int(rng.integers(64, 192))
        pixels = cv2.resize(portrait, (side, side), interpolation=cv2.INTER_AREA)
        pixels = (pixels + rng.normal(0, 4, pixels.shape)).clip(0, 255).astype(np.uint8)
        data = cv2.imencode(".jpg", pixels)[1].tobytes()
        if i % 20 == 7:
            data = data[: len(data) // 8]
        if i % 20 == 13:
            data = SAMPLE.read_bytes()
        (below / f"{i:06}.jpg").write_bytes(data)


def command(queue: Path, out: Path, *more: str) -> list[str]:
    """The command that a user would type."""
    return [sys.executable, "-m", "deepfake_detect", "scan", str(queue), "--out", str(out), "-q", *more]


def timed(words: list[str], *, cores: set[int] | None = None) -> float:
    """Seconds that a command takes, on these cores alone, which only Linux can see to, or on all."""
    began = time.monotonic()
    subprocess.run(words, check=False, preexec_fn=(lambda: os.sched_setaffinity(0, cores)) if cores else None)
    return time.monotonic() - began


def kills(count: int = 2000, times: int = 30) -> None:
    """An unbroken run and one that is killed again and again, row by row."""
    chance = random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("queue", "whole", "killed"):
            (folder / part).mkdir()
        make(folder / "queue", count)
        start_s = timed(command(folder / "queue/000/000000.jpg", folder / "start.csv"))
        whole_s = timed(command(folder / "queue", folder / "whole/out.csv"))
        killed = 0
        for _ in range(times):
            with subprocess.Popen(command(folder / "queue", folder / "killed/out.csv")) as process:
                try:
                    # So that the last of them comes about when all is judged.
                    process.wait(chance.uniform(0.5, 1.5) * (start_s + (whole_s - start_s) / times))
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
                    killed += 1
        subprocess.run(command(folder / "queue", folder / "killed/out.csv"), check=False)
        same = (folder / "whole/out.csv").read_bytes() == (folder / "killed/out.csv").read_bytes()
        rows = (folder / "whole/out.csv").read_bytes().count(b"\n") - 1
        print(f"{rows} rows, {killed} kills, {whole_s:.0f} s unbroken: {'the same table' if same else 'ANOTHER TABLE'}")


def speed(count: int = 1000) -> None:
    """One worker against two, once each way round, so that neither has the warmer disk.

    Beside one worker the scan itself works too, so one worker with two cores is more than one process at a time.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "queue").mkdir()
        make(folder / "queue", count)
        first, second, *_ = sorted(os.sched_getaffinity(0))
        ways = ((1, {first}), (1, {first, second}), (2, {first, second}))
        for i, (workers, cores) in enumerate((*ways, *reversed(ways))):
            (folder / f"{i}").mkdir()
            words = command(folder / "queue", folder / f"{i}/out.csv", "--workers", str(workers))
            rate = count / timed(words, cores=cores)
            print(f"workers: {workers}, cores: {len(cores)}: {rate:.1f} files a second, start included", flush=True)


def ceiling(count: int = 300) -> None:
    """What this machine's second core is worth: the judging alone, without a scan around it, by one process and by two."""
    with tempfile.TemporaryDirectory() as name:
        make(Path(name), count)
        files = sorted(str(path) for path in Path(name).rglob("*.jpg"))
        rates: dict[int, list[float]] = {1: [], 2: []}
        for processes in (1, 2, 2, 1, 1, 2):
            context = get_context("spawn")
            together = context.Barrier(processes)
            with ProcessPoolExecutor(processes, context, _meet, (together,)) as pool:
                spent = list(pool.map(_judged, [files[i::processes] for i in range(processes)]))
            rates[processes].append(len(files) / max(spent))
        for processes, found in rates.items():
            print(f"{processes} alone: {', '.join(f'{rate:.1f}' for rate in sorted(found))} files a second")
        print(f"medians {sorted(rates[2])[1] / sorted(rates[1])[1]:.2f} times")


def _meet(together: Barrier) -> None:
    global _together
    _together = together


def _judged(files: list[str]) -> float:
    """Seconds that these files took, from when all processes had loaded their nets."""
    from deepfake_detect import Options
    from deepfake_detect.errors import DeepfakeDetectError
    from deepfake_detect.process import load

    judge = load(Options(), None)
    _together.wait()
    began = time.monotonic()
    for file in files:
        with suppress(DeepfakeDetectError):
            judge(file, lambda _: None)
    return time.monotonic() - began


def copies(file: Path, folder: Path, count: int) -> None:
    """The same again and again, each with an end of its own that no decoder looks at."""
    folder.mkdir()
    data = file.read_bytes()
    for i in range(count):
        end = struct.pack(">I4sI", 12, b"free", i)
        (folder / f"{i:06}{file.suffix}").write_bytes(data + end)


def rates(photos: int = 200, videos: int = 16) -> None:
    """What a file costs, without the start: seconds of the processor with one worker; and files a second, Ray too."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kinds = {
            "pictures, 0.05 megapixels": (made.photo(folder / "small.jpg", width=256, height=192), photos * 5),
            "pictures, 1.2 megapixels": (made.photo(folder / "web.jpg", width=1280, height=960), photos),
            "pictures, 12 megapixels": (made.photo(folder / "large.jpg"), photos // 2),
            "videos, 720p, a minute": (made.video(folder / "clip.mp4", width=1280, height=720, seconds=60), videos),
        }
        text = folder / "text.txt"
        text.write_text("no picture")
        kinds["no media"] = (text, photos * 20)
        ways = (["--workers", "1"], ["--workers", "2"], ["--workers", "2", "--on", "ray", "--ray-address", "local"])
        print(
            "| files | how many | processor, s a file | one worker | two workers | two actors |\n|---|---|---|---|---|---|"
        )
        for kind, (file, count) in kinds.items():
            copies(file, folder / f"q{kind}", count)
            spent_s, rate = [], []
            for more in ways:
                took_s = []
                for queue in (file, folder / f"q{kind}"):
                    before = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
                    with tempfile.TemporaryDirectory(dir=folder) as out:
                        took_s.append(timed(command(queue, Path(out) / "out.csv", *more)))
                    spent_s.append(sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - before)
                rate.append(f"{(count - 1) / (took_s[1] - took_s[0]):.1f}/s")
            print(
                f"| {kind} | {count} | {(spent_s[1] - spent_s[0]) / (count - 1):.4f} | {' | '.join(rate)} |", flush=True
            )


def peak(queue: str, out: str) -> float:
    """Peak MiB of a scan's parent."""
    from deepfake_detect.batch import scan

    scan([queue], Path(out))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def memory(*counts: int) -> None:
    """Files that are no media, each another: they cost the parent as much as any."""
    print("| files | seconds | peak MiB of the parent |\n|---|---|---|")
    for count in counts or (1000, 10_000, 100_000):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for i in range(count):
                below = folder / "queue" / f"{i // 1000:04}"
                below.mkdir(parents=True, exist_ok=True)
                (below / f"{i:07}").write_text(f"file {i}")
            began = time.monotonic()
            # A process each, since a peak is never forgotten.
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                most = pool.submit(peak, str(folder / "queue"), str(folder / "out.csv")).result()
            print(f"| {count} | {time.monotonic() - began:.0f} | {most:.0f} |")


if __name__ == "__main__":
    {"kills": kills, "speed": speed, "ceiling": ceiling, "rates": rates, "memory": memory}[sys.argv[1]](
        *(int(text) for text in sys.argv[2:])
    )
