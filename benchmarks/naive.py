"""The afternoon's way of finding deepfakes, to measure this package against. Its net is untrained: only its time counts.

OpenCV reads every frame; facenet-pytorch's MTCNN with its defaults looks at the chosen ones at full size; EfficientNet-B4
judges one face after another at 380 pixels, in eager torch; the mean is the answer. `--net ours` has the net that ships in
its place, one look at 224 pixels, likewise one after another in eager torch: what is left beside this package is then the
way of working and not the choice of net.

python benchmarks/naive.py [--frames 32] [--net ours] FILE [FILE ...]
"""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from facenet_pytorch import MTCNN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Score = Callable[[np.ndarray], float]

_SIDE = 380
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def efficientnet() -> Score:
    """P(manipulated) of one face by EfficientNet-B4, untrained."""
    from torchvision.models import efficientnet_b4

    net = efficientnet_b4(weights=None).eval()

    def score(face: np.ndarray) -> float:
        resized = cv2.resize(face, (_SIDE, _SIDE)).astype(np.float32) / 255
        tensor = torch.from_numpy((resized - np.float32(_MEAN)) / np.float32(_STD)).permute(2, 0, 1)
        return torch.sigmoid(net(tensor[None])[0, 0]).item()

    return score


def ours() -> Score:
    """P(manipulated) of one face by the net that ships: one look, and neither softness nor calibration."""
    from deepfake_detect import checkpoint
    from deepfake_detect.engine import load_net

    entry = checkpoint.find()
    net, side = load_net(entry), entry.architecture.size

    def score(face: np.ndarray) -> float:
        tensor = torch.from_numpy(cv2.resize(face, (side, side))).permute(2, 0, 1)
        return torch.sigmoid(net(tensor[None])[1][0]).item()

    return score


NETS = {"efficientnet-b4": efficientnet, "ours": ours}


def frames_of(path: str, count: int) -> Iterator[np.ndarray]:
    """RGB frames: a picture, or `count` frames of a video spread over its length (0: all)."""
    picture = cv2.imread(path)
    if picture is not None:
        yield cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
        return
    capture = cv2.VideoCapture(path)
    total = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    wanted = set(np.linspace(0, total - 1, count).round().astype(int).tolist()) if count else set(range(total))
    number = 0
    while True:
        read, picture = capture.read()
        if not read:
            return
        if number in wanted:
            yield cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
        number += 1


@torch.inference_mode()
def judge(path: str, count: int, mtcnn: MTCNN, score: Score) -> tuple[float | None, int]:
    """The mean over all faces, and how many there were."""
    scores = []
    for frame in frames_of(path, count):
        boxes, _ = mtcnn.detect(frame)
        for box in () if boxes is None else boxes:
            x0, y0, x1, y1 = (max(0, int(side)) for side in box)
            face = frame[y0:y1, x0:x1]
            if face.size:
                scores.append(score(face))
    return (float(np.mean(scores)) if scores else None), len(scores)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--frames", type=int, default=32, help="of each video; 0 for all (%(default)s)")
    parser.add_argument("--net", choices=NETS, default="efficientnet-b4", help="(%(default)s)")
    arguments = parser.parse_args()
    mtcnn, judge_face = MTCNN(keep_all=True), NETS[arguments.net]()
    for path in arguments.files:
        began = time.perf_counter()
        score, faces = judge(path, arguments.frames, mtcnn, judge_face)
        print(json.dumps({"path": path, "score": score, "faces": faces, "seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    main()
