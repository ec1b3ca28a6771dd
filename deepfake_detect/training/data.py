"""The training faces: which files there are, where the face and its landmarks lie, which are kept back."""

from __future__ import annotations

import csv
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ..errors import MediaError
from ..files import NAMES
from ..source import shown

if TYPE_CHECKING:
    from pathlib import Path

MESH_PARTS = (
    "oval", "right_brow", "left_brow", "right_eye", "left_eye", "nose", "lips_outer", "lips_inner",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class TrainingFace:
    """One labelled picture with one known face.

    Attributes:
        root: The data folder.
        path: Below the data folder.
        label: `real` or `fake`.
        source: The data set it comes from.
        group: Files with the same group share a person or a clip.
        box: float (4,), pixels of the file.
        five: float (5, 2): eyes, nose, mouth corners.
        mesh: Part name -> float (n, 2) points around its outline, or None where no mesh was found.
        original: Path of the genuine picture that this forgery fits pixel by pixel; empty where there is none.
        publication: What it was published with, by the same hands and encoders; empty where that isn't known.
    """

    root: Path
    path: str
    label: str
    source: str
    group: str
    box: np.ndarray
    five: np.ndarray
    mesh: dict[str, np.ndarray] | None
    original: str = ""
    publication: str = ""

    @property
    def held_back(self) -> bool:
        """Whether the face is kept out of training, to measure on: one group in twenty, by its name.

        Of CIPLAB one in four: there are few others whose altered parts are known and were not made here.
        """
        return zlib.crc32(self.group.encode(*NAMES)) % (4 if self.source == "ciplab" else 20) == 0

    @property
    def size_px(self) -> float:
        """The box's longer side."""
        return float(max(self.box[2] - self.box[0], self.box[3] - self.box[1]))

    def read(self) -> np.ndarray:
        """The picture as uint8 (H, W, 3) RGB."""
        return read_picture(self.root / self.path)

    def points(self) -> np.ndarray:
        """All mesh points, float32 (n, 2)."""
        if self.mesh is None:
            raise ValueError(f"{self.path} has no mesh")
        return np.concatenate([self.mesh[part] for part in MESH_PARTS]).astype(np.float32)


def read_picture(path: Path) -> np.ndarray:
    """A picture as uint8 (H, W, 3) RGB.

    Raises:
        MediaError: It can't be read as one.
    """
    encoded = np.frombuffer(path.read_bytes(), np.uint8)
    pixels = cv2.imdecode(encoded, cv2.IMREAD_COLOR) if encoded.size else None
    if pixels is None:
        raise MediaError(f"{shown(path)}: expected a picture OpenCV can read; check the file", kind="damaged")
    return np.ascontiguousarray(pixels[..., ::-1])


def read_faces(root: Path, *, split: str = "train", leave_out: frozenset[str] = frozenset()) -> list[TrainingFace]:
    """The faces of `index.csv` that `landmarks.npz` knows, in the order of the index.

    Args:
        root: Folder with both files.
        split: Column `split` of the index.
        leave_out: Groups not to return, such as those whose pictures ship as samples.

    Raises:
        SystemExit: One of the files is missing.
    """
    for name in ("index.csv", "landmarks.npz"):
        if not (root / name).is_file():
            raise SystemExit(
                f"{shown(root)}: expected {name}, found none; run `python -m deepfake_detect.training.prepare`"
            )
    with (root / "index.csv").open("r", -1, *NAMES, newline="") as lines:
        rows = {row["path"]: row for row in csv.DictReader(lines) if row["split"] == split}
    faces = []
    with np.load(root / "landmarks.npz") as known:
        paths = [str(path) for path in known["path"]]
        boxes, fives = known["box"].astype(np.float32), known["five"].astype(np.float32)
        parts = {part: known[part].astype(np.float32) for part in MESH_PARTS}
    for i, path in enumerate(paths):
        row = rows.get(path)
        if row is None or row["group"] in leave_out:
            continue
        mesh = {part: points[i] for part, points in parts.items()}
        complete = all(np.isfinite(points).all() for points in mesh.values())
        faces.append(
            TrainingFace(
                root, path, row["label"], row["source"], row["group"], boxes[i], fives[i], mesh if complete else None,
                row.get("original") or "", row.get("publication") or "",
            )
        )  # fmt: skip
    return faces
