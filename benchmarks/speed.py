"""How fast is this package beside the afternoon's way (`naive.py`), with its net or ours, and its own torch engine?

It makes its own media.
Whole processes from start to exit, alternating, several rounds; medians, and how many times faster the default is.
"Warm" is the second of two runs on the same file within one process, as each tool times itself.

python benchmarks/speed.py [--rounds 5] [--only NAME ...] [--seconds 60] [--photos 1000] [--tiny]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import made

if TYPE_CHECKING:
    from collections.abc import Callable

OURS = [sys.executable, "-m", "deepfake_detect"]
_NAIVE = [sys.executable, str(Path(__file__).parent / "naive.py")]
# The first loses by its net, too; beside the second only the way of working tells.
NAIVE = {"naive, EfficientNet-B4 at 380": _NAIVE, "naive, our net": [*_NAIVE, "--net", "ours"]}
# Twice one after the other in one process: the command would work on both files at a time.
WARM = [sys.executable, "-c", """if True:
    import json, sys
    from deepfake_detect import Detector, Options
    from deepfake_detect.options import EVERY_FRAME
    detector = Detector(Options(frames=EVERY_FRAME, engine=sys.argv[1]))
    seconds = [detector.detect(sys.argv[2]).timing_s["total"] for _ in range(2)]
    print(json.dumps({"seconds": seconds[-1]}))
"""]  # fmt: skip


@dataclass(frozen=True)
class Contest:
    """One thing to be done, and how each contestant does it; `units` divides the seconds."""

    name: str
    what: str
    commands: dict[str, list[str]]
    warm: bool = False
    units: int = 1


def contests(folder: Path, *, tiny: bool, seconds: float, photos: int, wanted: Callable[[str], bool]) -> list[Contest]:
    """Those that are wanted, their media made."""
    result = []
    width, height = 1280, 720
    if tiny:
        seconds, photos, width, height = 0.2, 3, 320, 240

    def video() -> str:
        path = folder / "video.mp4"
        return str(path if path.exists() else made.video(path, width=width, height=height, seconds=seconds))

    if wanted("video"):
        sampled = ["--frames", "2" if tiny else "32", video()]
        # And as many as are looked at unasked, which is fewer where these settle the answer.
        ways = _all(sampled, sampled) | {"ours, unasked": [*OURS, "--json", video()]}
        result.append(Contest("video", f"{seconds:g} s of {height}p, {sampled[1]} frames", ways))
    if wanted("every"):
        result.append(Contest("every", f"{seconds:g} s of {height}p, every frame, warm",
                              {"ours": [*WARM, "auto", video()], "torch engine": [*WARM, "torch", video()],
                               **{who: [*naive, "--frames", "0", *[video()] * 2] for who, naive in NAIVE.items()}},
                              warm=True))  # fmt: skip
    if wanted("photo"):
        size = (400, 300) if tiny else (4000, 3000)
        photo = str(made.photo(folder / "photo.jpg", width=size[0], height=size[1]))
        result.append(
            Contest("photo", f"a photo of {size[0] * size[1] / 1e6:g} megapixels, cold", _all([photo], [photo]))
        )
    if wanted("photos"):
        size = (300, 200) if tiny else (1224, 816)
        names = [str(made.photo(folder / f"{i}.jpg", width=size[0] + i % 7, height=size[1])) for i in range(photos)]
        what = f"{photos} photos of {size[0] * size[1] / 1e6:.1g} megapixels in one call, each"
        result.append(Contest("photos", what, _all(names, names), units=photos))
    if wanted("start"):
        result.append(Contest("start", "deepfake-detect --version", {"ours": [*OURS, "--version"]}))
        imports = [sys.executable, "-c", "import deepfake_detect"]
        result.append(Contest("start", "python -c 'import deepfake_detect'", {"ours": imports}))
        result.append(Contest("start", "python -c ''", {"ours": [sys.executable, "-c", ""]}))
    return result


def _all(ours: list[str], naive: list[str]) -> dict[str, list[str]]:
    return {
        "ours": [*OURS, "--json", *ours],
        "torch engine": [*OURS, "--json", "--engine", "torch", *ours],
        **{who: [*command, *naive] for who, command in NAIVE.items()},
    }


def run(contest: Contest, command: list[str]) -> float:
    """Seconds of one run."""
    began = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    if not contest.warm:
        return (time.perf_counter() - began) / contest.units
    last = json.loads(done.stdout.splitlines()[-1])
    return float(last["seconds"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    parser.add_argument("--only", nargs="+", choices=("video", "every", "photo", "photos", "start"))
    parser.add_argument("--seconds", type=float, default=60, help="of the video, up to 10 or a multiple (%(default)g)")
    parser.add_argument("--photos", type=int, default=1000, help="(%(default)s)")
    parser.add_argument("--tiny", action="store_true", help="to see that it runs; its times mean nothing")
    arguments = parser.parse_args()
    print("| what | who | median s | fastest to slowest | times slower than ours |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for contest in contests(
            Path(folder),
            tiny=arguments.tiny,
            seconds=arguments.seconds,
            photos=arguments.photos,
            wanted=lambda name: name in (arguments.only or (name,)),
        ):
            seconds: dict[str, list[float]] = {who: [] for who in contest.commands}
            for _ in range(1 if arguments.tiny else arguments.rounds):
                for who, command in contest.commands.items():
                    seconds[who].append(run(contest, command))
            ours = statistics.median(seconds["ours"])
            for who, each in seconds.items():
                median = statistics.median(each)
                spread = f"{min(each):.3f} to {max(each):.3f}"
                print(f"| {contest.what} | {who} | {median:.3f} | {spread} | {median / ours:.1f} |", flush=True)


if __name__ == "__main__":
    main()
