"""Labelled media -> training faces: pictures of single faces with an index and their landmarks, as `train` reads them.

    python -m deepfake_detect.training.prepare MEDIA prepared

Pictures give their largest face, videos that of a few frames spread over their length. Small pictures are kept whole, of
others the face with its surroundings, as a PNG no compression has touched again. Landmarks are MTCNN's five points with an
average face bent onto them. Files without a sure face are listed in `passed_over.txt`.
"""

from __future__ import annotations

import argparse
import csv
import logging
import multiprocessing
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from .. import media
from ..crop import cut
from ..errors import DeepfakeDetectError
from ..faces import FaceFinder, sharpness
from ..options import Options
from .data import MESH_PARTS
from .datasets import Labelled, read_dataset
from .mean_face import fit_mean_face

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..types import Face, Frame

# Around the box, as a share of its longer side: more than any crop takes, so that blends have a place to come from.
_SURROUNDINGS = 0.6
# Smaller pictures are kept as they are, so that a forgery still fits its original pixel by pixel.
_WHOLE_PX = 512
# Larger faces are reduced to this: a crop is 224 pixels, and reading them costs time in every pass.
_LARGEST_FACE_PX = 300
_SURE = 0.9

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Found:
    """A face on its own picture."""

    pixels: np.ndarray
    box: np.ndarray
    five: np.ndarray
    confidence: float
    time_s: float


@dataclass(frozen=True)
class Wanted:
    """What makes a face worth keeping."""

    frames: int = 8
    min_face_px: float = 64
    min_sharpness: float = 0.05


_finder: FaceFinder


def _prepare_worker() -> None:
    import torch

    global _finder
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    _finder = FaceFinder()


def _faces_of(job: tuple[Path, Wanted]) -> tuple[list[_Found], str]:
    """The faces of a file, and why there are none."""
    path, wanted = job
    options = Options(frames=wanted.frames)
    found, why = [], "no face"
    try:
        with media.open(path, options) as opened:
            for frame in opened.frames():
                faces = _finder.find(frame)
                if faces:
                    one = _keep(frame, faces[0], wanted)
                    found += [one] if one else []
                    why = "no face large, sharp and sure enough"
    except DeepfakeDetectError as error:
        why = str(error)
    return found, why


def _keep(frame: Frame, face: Face, wanted: Wanted) -> _Found | None:
    if face.size_px < wanted.min_face_px or face.confidence < _SURE:
        return None
    if sharpness(cut(frame, face, size=224, margin=0.18).pixels) < wanted.min_sharpness:
        return None
    box, five = np.array(face.box), np.array(face.landmarks)
    height, width = frame.pixels.shape[:2]
    if max(height, width) <= _WHOLE_PX:
        return _Found(frame.pixels, box, five, face.confidence, frame.time_s)
    grow = _SURROUNDINGS * face.size_px
    x0, y0 = np.maximum(np.floor(box[:2] - grow), 0).astype(int)
    x1, y1 = np.minimum(np.ceil(box[2:] + grow), (width, height)).astype(int)
    region = frame.pixels[y0:y1, x0:x1]
    scale = min(1.0, _LARGEST_FACE_PX / face.size_px)
    if scale < 1:
        region = cv2.resize(region, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    corner = np.array([x0, y0])
    return _Found(region, (box - np.tile(corner, 2)) * scale, (five - corner) * scale, face.confidence, frame.time_s)


def prepare(items: Sequence[Labelled], root: Path, out: Path, wanted: Wanted, *, workers: int = 2) -> int:
    """Write the training faces of labelled media.

    Args:
        items: Files below `root`.
        out: Gets index.csv, landmarks.npz, passed_over.txt and the pictures.

    Returns:
        How many faces were kept.

    Raises:
        SystemExit: None was.
    """
    rows, kept, passed_over = [], [], []
    # Spawned, as in train.py: a forked worker may hang when its parent already has threads.
    with multiprocessing.get_context("spawn").Pool(workers, _prepare_worker) as pool:
        jobs = ((root / item.path, wanted) for item in items)
        for item, (found, why) in zip(items, pool.imap(_faces_of, jobs, chunksize=8), strict=True):
            if not found:
                passed_over.append(f"{item.path}: {why}")
            for one in found:
                path = _name(item.path, item.label, item.source, one.time_s if len(found) > 1 else None)
                (out / path).parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(out / path), one.pixels[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
                original = _name(item.original, "real", item.source, None) if item.original else ""
                rows.append({**vars(replace(item, path=path, original=original)), "split": "train"})
                kept.append(one)
            if len(rows) % 500 < len(found):
                log.info("%d faces", len(rows))
    out.mkdir(parents=True, exist_ok=True)
    (out / "passed_over.txt").write_text("".join(f"{line}\n" for line in passed_over))
    if not rows:
        raise SystemExit(f"{root}: no face was found in any of {len(items)} files; {out}/passed_over.txt says why")
    with (out / "index.csv").open("w", newline="") as lines:
        writer = csv.DictWriter(lines, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    meshes = [fit_mean_face(one.five) for one in kept]
    arrays: dict[str, Any] = {part: np.stack([mesh[part] for mesh in meshes]) for part in MESH_PARTS}
    np.savez_compressed(
        out / "landmarks.npz",
        path=np.array([row["path"] for row in rows]),
        box=np.stack([one.box for one in kept]).astype(np.float32),
        five=np.stack([one.five for one in kept]).astype(np.float32),
        confidence=np.array([one.confidence for one in kept], np.float32),
        **arrays,
    )
    return len(rows)


def _name(path: str, label: str, source: str, time_s: float | None) -> str:
    """Where a face is kept. The ending stays in the name: a.jpg and a.png are two pictures."""
    moment = "" if time_s is None else f"_{time_s:.2f}s"
    return f"{label}/{source}/{path.replace('/', '__')}{moment}.png"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, help="labelled media, in any layout that `evaluate` reads")
    parser.add_argument("out", type=Path, help="folder for the faces")
    parser.add_argument("--split", help="only these rows of an index")
    parser.add_argument("--frames", type=int, default=8, help="of a video (%(default)s)")
    parser.add_argument("--min-face", type=float, default=64, help="smaller ones are passed over, pixels (%(default)s)")
    parser.add_argument("--min-sharpness", type=float, default=0.05, help="softer ones too (%(default)s)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (%(default)s)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    dataset = read_dataset(arguments.dataset, split=arguments.split)
    wanted = Wanted(arguments.frames, arguments.min_face, arguments.min_sharpness)
    count = prepare(dataset.items, dataset.root, arguments.out, wanted, workers=arguments.workers)
    print(f"{count} faces in {arguments.out}")


if __name__ == "__main__":
    main()
