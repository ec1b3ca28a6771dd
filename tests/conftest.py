"""Media and faces made in code, and the one detector all tests share."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np
import pytest

from deepfake_detect import Detector
from deepfake_detect.training.data import MESH_PARTS, TrainingFace

if TYPE_CHECKING:
    from collections.abc import Sequence

SAMPLES = Path(__file__).parent.parent / "samples"


@pytest.fixture(scope="session")
def detector() -> Detector:
    """With the weights that ship."""
    return Detector()


def read_rgb(path: Path) -> np.ndarray:
    """A picture as OpenCV reads it: independent of the code under test."""
    return np.ascontiguousarray(cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1])


def texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A smooth colourful picture with some grain, uint8 (H, W, 3)."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(30, 225, (6, 6, 3)).astype(np.float32)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return (smooth + rng.normal(0, 6, smooth.shape)).clip(0, 255).astype(np.uint8)


def write_video(
    path: Path,
    frames: Sequence[np.ndarray],
    *,
    stamps: Sequence[int] | None = None,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    fps: int = 25,
    options: dict[str, str] | None = None,
) -> Path:
    """Frames as a video; `stamps` in milliseconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options=options or {})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        if stamps is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for i, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            if stamps is not None:
                frame.pts, frame.time_base = stamps[i], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def numbered(count: int, *, height: int = 96, width: int = 128) -> list[np.ndarray]:
    """Frames that tell their number, in eight stripes of black and white: its bits."""
    bits = (np.arange(count)[:, None] >> np.arange(8)) & 1
    stripes = np.repeat(bits * 200 + 20, width // 8, axis=1).astype(np.uint8)
    return [np.broadcast_to(row[None, :, None], (height, width, 3)).copy() for row in stripes]


def number_of(pixels: np.ndarray) -> int:
    """The number of such a frame."""
    bits = pixels.mean((0, 2)).reshape(8, -1).mean(1) > 120
    return int((bits << np.arange(8)).sum())


def drawn_face(seed: int, *, label: str = "real", size: int = 200) -> tuple[np.ndarray, TrainingFace]:
    """A textured picture and a face's landmarks laid out as a face's are. Nothing in it looks like a face."""
    rng = np.random.default_rng(seed)
    centre = np.array([size / 2, size * 0.52]) + rng.uniform(-6, 6, 2)
    unit = size * rng.uniform(0.27, 0.32)

    def ring(x: float, y: float, a: float, b: float, n: int) -> np.ndarray:
        angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
        return (centre + unit * np.stack([x + a * np.cos(angle), y + b * np.sin(angle)], -1)).astype(np.float32)

    shapes = {"oval": ring(0, 0, 0.85, 1.15, 36), "right_brow": ring(-0.4, -0.5, 0.22, 0.05, 10),
              "left_brow": ring(0.4, -0.5, 0.22, 0.05, 10), "right_eye": ring(-0.4, -0.3, 0.15, 0.07, 16),
              "left_eye": ring(0.4, -0.3, 0.15, 0.07, 16), "nose": ring(0, 0.05, 0.17, 0.3, 24),
              "lips_outer": ring(0, 0.55, 0.3, 0.13, 20), "lips_inner": ring(0, 0.55, 0.2, 0.06, 20)}  # fmt: skip
    mesh = {part: shapes[part] for part in MESH_PARTS}
    five = np.array([mesh["right_eye"].mean(0), mesh["left_eye"].mean(0), mesh["nose"].mean(0),
                     mesh["lips_outer"][10], mesh["lips_outer"][0]])  # fmt: skip
    low, high = mesh["oval"].min(0), mesh["oval"].max(0)
    face = TrainingFace(Path(), f"train/{label}/drawn/{seed}.png", label, "drawn", f"person{seed}",
                        np.concatenate([low, high]).astype(np.float32), five.astype(np.float32), mesh)  # fmt: skip
    return texture(size, size, seed), face


@pytest.fixture(scope="session")
def drawn_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder in the layout of the real one: 40 genuine and 8 forged pictures with landmarks."""
    root = tmp_path_factory.mktemp("data")
    rows = ["path,label,split,source,family,method,group"]
    drawn = [drawn_face(i, label="real") for i in range(40)] + [drawn_face(100 + i, label="fake") for i in range(8)]
    for pixels, face in drawn:
        (root / face.path).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / face.path), pixels[..., ::-1])
        source = "ffhq256" if face.label == "real" else "stylegan256"
        rows.append(f"{face.path},{face.label},train,{source},,,{face.group}")
    (root / "index.csv").write_text("\n".join(rows) + "\n")
    faces = [face for _, face in drawn]
    np.savez(
        root / "landmarks.npz",
        path=[face.path for face in faces],
        box=np.stack([face.box for face in faces]),
        five=np.stack([face.five for face in faces]),
        **{part: np.stack([face.mesh[part] for face in faces if face.mesh]) for part in MESH_PARTS},
    )
    return root
