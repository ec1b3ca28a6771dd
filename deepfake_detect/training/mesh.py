"""Landmarks that fit: the outlines of a face mesh instead of an average face bent onto five points.

    python -m deepfake_detect.training.mesh DATA

`prepare` leaves in landmarks.npz an average face, whose mouth and jaw fit few faces and no turned head (EXPERIMENTS 11).
This replaces it wherever MediaPipe's face mesh (Kartynnik et al., 2019) finds the same face.

The mesh comes in the package mediapipe, of which 0.10.21 is the last that brings its nets along and wants NumPy 1. So it
lives in an environment of its own, which needs little else: pip install mediapipe==0.10.21 scikit-learn jinja2
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from ..files import write_atomically
from .data import MESH_PARTS, read_faces
from .restore import take_face

if TYPE_CHECKING:
    from collections.abc import Callable

    from .data import TrainingFace

    Find = Callable[[np.ndarray], list[np.ndarray]]

# Which of MediaPipe's 468 points lie around each part, in order around its outline.
_POINTS = {
    "oval": (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149,
             150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
    "right_brow": (70, 63, 105, 66, 107, 55, 65, 52, 53, 46),
    "left_brow": (300, 293, 334, 296, 336, 285, 295, 282, 283, 276),
    "right_eye": (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7),
    "left_eye": (263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249),
    "nose": (168, 6, 197, 195, 5, 4, 1, 19, 94, 2, 98, 97, 326, 327, 294, 278, 344, 440, 275, 45, 220, 115, 48, 64),
    "lips_outer": (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185),
    "lips_inner": (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191),
}  # fmt: skip
# What is looked at: the box and this share of its longer side around it, as large as the mesh likes it.
_AROUND, _LEAST_PX, _MOST_PX = 0.6, 300, 480
# A mesh is that of the known face where they overlap so much, and its eyes lie this near to those of the five points, in
# units of the box's width.
_SAME_FACE, _SAME_EYES = 0.35, 0.15


def mesh_of(face: TrainingFace, find: Find) -> dict[str, np.ndarray] | None:
    """The outlines of a face, part name -> float32 (n, 2) in pixels of its picture; None where no mesh fits it.

    Args:
        find: uint8 (H, W, 3) RGB -> the meshes in it, each float (468, 2) in shares of width and height.

    Raises:
        MediaError: The picture can't be read.
    """
    box = face.box.astype(np.float64)
    part, (rows, columns) = take_face(face.read(), box, surroundings=_AROUND)
    longer = max(part.shape[:2])
    scale = min(max(longer, _LEAST_PX), _MOST_PX) / longer
    how = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    shown = np.ascontiguousarray(part if scale == 1 else cv2.resize(part, None, fx=scale, fy=scale, interpolation=how))
    found = [mesh * part.shape[1::-1] + (columns.start, rows.start) for mesh in find(shown)]
    if not found:
        return None
    mesh = max(found, key=lambda points: _overlap(points, box))
    parts = {name: mesh[list(points)].astype(np.float32) for name, points in _POINTS.items()}
    # Whichever eye is called the right one, the left in the picture beside the left in the picture.
    eyes, five = (
        points[np.argsort(points[:, 0])]
        for points in (np.array([parts["right_eye"].mean(0), parts["left_eye"].mean(0)]), face.five[:2])
    )
    fits = _overlap(mesh, box) > _SAME_FACE and np.abs(eyes - five).max() < _SAME_EYES * (box[2] - box[0])
    return parts if fits else None


def remesh(folder: Path, find: Find) -> tuple[int, int]:
    """Replace the outlines in a folder's landmarks.npz by those of meshes; others stay as they were.

    Returns:
        How many faces got a mesh, and how many there are.
    """
    with np.load(folder / "landmarks.npz") as kept:
        arrays: dict[str, Any] = dict(kept)
    places = {str(path): i for i, path in enumerate(arrays["path"])}
    for part in MESH_PARTS:
        arrays[part] = arrays[part].astype(np.float32)
    faces, found = read_faces(folder), 0
    for face in faces:
        parts = mesh_of(face, find)
        if parts is not None:
            found += 1
            for part, points in parts.items():
                arrays[part][places[face.path]] = points
    written = io.BytesIO()
    np.savez_compressed(written, **arrays)
    write_atomically(folder / "landmarks.npz", written.getvalue())
    return found, len(faces)


def _overlap(points: np.ndarray, box: np.ndarray) -> float:
    """Intersection over union of a mesh's bounds with a box."""
    low, high = points.min(0), points.max(0)
    shared = np.maximum(0, np.minimum(high, box[2:]) - np.maximum(low, box[:2])).prod()
    return float(shared / ((high - low).prod() + (box[2:] - box[:2]).prod() - shared))


def mediapipe_mesh() -> Find:
    """MediaPipe's face mesh.

    Raises:
        SystemExit: The package is missing, or one that no longer has it.
    """
    try:
        from mediapipe.python.solutions.face_mesh import FaceMesh
    except ImportError as error:
        wanted = "in an environment of its own: pip install mediapipe==0.10.21 scikit-learn jinja2"
        raise SystemExit(f"meshes need the package mediapipe, 0.10.21 ({error}); {wanted}") from error
    mesh = FaceMesh(static_image_mode=True, max_num_faces=3, refine_landmarks=False, min_detection_confidence=0.3)

    def find(pixels: np.ndarray) -> list[np.ndarray]:
        found = mesh.process(pixels).multi_face_landmarks or []
        return [np.array([(point.x, point.y) for point in one.landmark]) for one in found]

    return find


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+", help="folders that `prepare` made")
    arguments = parser.parse_args()
    find = mediapipe_mesh()
    for folder in arguments.data:
        found, of = remesh(folder, find)
        print(f"{folder}: {found} of {of} faces have a mesh; the others keep the outlines they had")


if __name__ == "__main__":
    main()
