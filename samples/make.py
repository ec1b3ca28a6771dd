"""Makes the sample media from two official portraits: genuine copies, and forgeries by the project's own blender.

    python samples/make.py DATA

DATA is a folder with index.csv, landmarks.npz and train/real/us_officials. Nobody's face is put on anybody else: a forged
sample shows the same person, with part of the face altered.
"""

from __future__ import annotations

import sys
from pathlib import Path

import av
import cv2
import numpy as np

from deepfake_detect.training.blend import alpha_blend, draw_mask
from deepfake_detect.training.data import TrainingFace, read_faces

HERE = Path(__file__).parent
PICTURE, CLIP = "kevin-stitt", "betty-mccollum"
SECONDS, FPS = 3, 25


def forged(pixels: np.ndarray, face: TrainingFace, *, seed: int) -> np.ndarray:
    """The face enlarged by 4 %, drawn from fewer pixels, in a slightly other colour, inside a soft mask."""
    assert face.mesh is not None
    rng = np.random.default_rng(seed)
    mask = draw_mask(face.mesh, pixels.shape[:2], "whole", rng)
    x0, y0, x1, y1 = face.box
    height, width = pixels.shape[:2]
    matrix = cv2.getRotationMatrix2D((float(x0 + x1) / 2, float(y0 + y1) / 2), 0.7, 1.04)
    moved = cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    small = cv2.resize(moved, None, fx=0.45, fy=0.45, interpolation=cv2.INTER_AREA)
    redrawn = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    soft = cv2.GaussianBlur(redrawn, (0, 0), 1.5)
    sharpened = cv2.addWeighted(redrawn, 1.7, soft, -0.7, 0).astype(np.float32)
    recoloured = (sharpened * (1.02, 0.99, 0.96) + (5, 1, -2)).clip(0, 255).astype(np.uint8)
    return alpha_blend(recoloured, pixels, mask)


def write_picture(pixels: np.ndarray, path: Path) -> None:
    """As JPEG."""
    cv2.imwrite(str(path), pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])


def write_clip(pixels: np.ndarray, path: Path, *, seed: int) -> None:
    """The picture as if filmed by hand: it drifts, breathes and has sensor noise. H.264 in MP4."""
    rng = np.random.default_rng(seed)
    height, width = pixels.shape[0] // 2 * 2, pixels.shape[1] // 2 * 2
    with av.open(path, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "21", "preset": "slow"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for i in range(SECONDS * FPS):
            t = i / FPS
            zoom = 1.06 + 0.03 * np.sin(1.9 * t)
            matrix = cv2.getRotationMatrix2D((width / 2, height / 2), float(1.2 * np.sin(1.1 * t)), float(zoom))
            matrix[:, 2] += (7 * np.sin(1.3 * t), 5 * np.cos(1.7 * t))
            shot = cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
            noisy = shot + rng.normal(0, 1.8, shot.shape) + 3 * np.sin(2.3 * t)
            frame = av.VideoFrame.from_ndarray(
                noisy.clip(0, 255).astype(np.uint8)[:height, :width].copy(), format="rgb24"
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def main() -> None:
    data = Path(sys.argv[1])
    faces = {face.group: face for face in read_faces(data) if face.source == "us_officials"}
    for name, write, stem, ending in ((PICTURE, write_picture, "portrait", "jpg"), (CLIP, None, "clip", "mp4")):
        face = faces[name]
        genuine = face.read(data)
        for kind, pixels in (("genuine", genuine), ("forged", forged(genuine, face, seed=5))):
            target = HERE / f"{stem}_{kind}.{ending}"
            if write is not None:
                write(pixels, target)
            else:
                write_clip(pixels, target, seed=7)


if __name__ == "__main__":
    main()
