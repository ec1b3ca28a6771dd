"""Where does the time of a run go, and how much memory does it take at its peak? It makes its own media.

Each medium is judged in a process of its own. `start` is from its beginning to a detector that is ready; the stages are
those of `Report.timing_s`, which overlap, and of which `decode` is the wait for the decoder; `total` is what the file took,
`report` is the writing of the folder without the annotated copy.

python benchmarks/stages.py [--only NAME ...] [--long] [--engine ENGINE] [--tiny]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import made

STAGES = ("start", "open", "decode", "detect", "track", "crop", "classify", "verdict", "total", "report")


def make(name: str, folder: Path, *, tiny: bool) -> Path:
    """The medium of that name."""
    if tiny:
        return made.photo(folder / "p.jpg", width=320, height=240) if name == "photo" else made.video(
            folder / f"{name}.mp4", width=320, height=240, seconds=1, faces=2 if name == "crowd" else 1)  # fmt: skip
    if name == "photo":
        return made.photo(folder / "photo.jpg")
    if name == "crowd":
        return made.video(folder / "crowd.mp4", width=1920, height=1080, seconds=60, faces=24)
    if name == "long":
        return made.video(folder / "long.mp4", width=1920, height=1080, seconds=600)
    return made.video(folder / "minute.mp4", width=1280, height=720, seconds=60)


def examine(path: str, engine: str, out: str, began: float) -> dict[str, Any]:
    """Judge one file in this process, and tell seconds by stage, and the peak in MiB."""
    from deepfake_detect import Detector, Options, ReportOptions

    detector = Detector(Options(engine=engine))
    ready = time.time()
    report = detector.detect(path)
    peak = peak_mib()
    writing = time.time()
    report.save(out, options=ReportOptions(images=False))
    found = {"start": ready - began, **report.timing_s, "report": time.time() - writing}
    return {"seconds": found, "peak": peak, "frames": len(report.sampled_times_s),
            "faces": sum(len(track.scores) for track in report.tracks)}  # fmt: skip


def peak_mib() -> float:
    """Of this process. Linux counts in `ru_maxrss` what the process that started it had held, so another place is asked."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=("photo", "minute", "crowd", "long"))
    parser.add_argument("--long", action="store_true", help="10 minutes of 1080p, too")
    parser.add_argument("--engine", default="auto", help="auto, onnx or torch (%(default)s)")
    parser.add_argument("--tiny", action="store_true", help="to see that it runs; its times mean nothing")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        path, out, began = arguments.child
        print(json.dumps(examine(path, arguments.engine, out, float(began))))
        return
    names = arguments.only or ["photo", "minute", "crowd", *(["long"] if arguments.long else [])]
    print(f"| medium | {' | '.join(STAGES)} | peak MiB | frames, faces |\n|{'---|' * (len(STAGES) + 3)}")
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            path = make(name, Path(folder), tiny=arguments.tiny)
            command = [sys.executable, __file__, "--engine", arguments.engine, "--child", str(path), f"{folder}/out"]
            done = subprocess.run([*command, repr(time.time())], check=True, stdout=subprocess.PIPE, text=True)
        found = json.loads(done.stdout)
        cells = [f"{found['seconds'][stage]:.3f}" if stage in found["seconds"] else "" for stage in STAGES]
        print(
            f"| {name} | {' | '.join(cells)} | {found['peak']:.0f} | {found['frames']}, {found['faces']} |", flush=True
        )


if __name__ == "__main__":
    main()
