"""Labelled media -> training faces: pictures of single faces with an index and their landmarks, as `train` reads them.

    python -m deepfake_detect.training.prepare MEDIA prepared

Pictures give their largest face, videos that of a few frames spread over their length. Small pictures are kept whole, of
others the face with its surroundings, as a PNG no compression has touched again. Landmarks are MTCNN's five points with an
average face bent onto them. Files without a sure face are listed in `passed_over.txt`.
"""

from __future__ import annotations

import argparse
import csv
import io
import logging
import multiprocessing
import os
import zlib
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from .. import engine, media
from ..crop import cut
from ..errors import DeepfakeDetectError
from ..faces import FaceFinder, sharpness
from ..files import NAMES, write_atomically
from ..options import Options
from .data import MESH_PARTS
from .datasets import Labelled, read_dataset
from .mean_face import fit_mean_face
from .restore import take_face

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
# File systems end names at 255 bytes; with a moment and an ending this stays below it.
_LONGEST_NAME = 60

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """What makes a face worth keeping.

    Attributes:
        frames: Of a video.
        min_face_px: Smaller ones are passed over.
        min_sharpness: Softer ones too, see `faces.sharpness`.
    """

    frames: int = 8
    min_face_px: float = 64
    min_sharpness: float = 0.05


@dataclass(frozen=True, eq=False)
class _Kept:
    """A face whose picture has been written.

    Attributes:
        path: Of its picture, below the folder of faces.
        time_s: Of its frame; None of a picture.
        whole: Height and width of a picture that was kept as it is; None of one that was cut.
    """

    path: str
    time_s: float | None
    box: np.ndarray
    five: np.ndarray
    confidence: float
    whole: tuple[int, int] | None


_finder: FaceFinder


def _prepare_worker() -> None:
    global _finder
    cv2.setNumThreads(1)
    _finder = engine.face_finder(engine.choose(Options(threads=1)))


def _keep_faces(job: tuple[Labelled, Path, Path, Wanted]) -> tuple[list[_Kept], str]:
    """Write the faces of one file; or why there are none."""
    item, root, out, wanted = job
    kept, why = [], "no face"
    try:
        with media.open(root / item.path, Options(frames=wanted.frames)) as opened:
            for frame in opened.frames():
                faces = _finder.find(frame)
                if faces:
                    moment = frame.time_s if opened.info.kind == "video" else None
                    one = _keep(frame, faces[0], wanted, out, _name(item.path, item.label, item.source, moment), moment)
                    kept += [one] if one else []
                    why = "no face large, sharp and sure enough"
    except DeepfakeDetectError as error:
        why = str(error)
    except OSError:
        # The disk and not the file: going on would lose one face after another.
        raise
    except Exception as error:
        # A bug, ours or a library's, must not cost the files that come after.
        log.debug("internal error", exc_info=True)
        why = f"internal error ({type(error).__name__})"
    return kept, why


def _keep(frame: Frame, face: Face, wanted: Wanted, out: Path, path: str, time_s: float | None) -> _Kept | None:
    if face.size_px < wanted.min_face_px or face.confidence < _SURE:
        return None
    if sharpness(cut(frame, face, size=224, margin=0.18).pixels) < wanted.min_sharpness:
        return None
    region, box, five = frame.pixels, np.array(face.box), np.array(face.landmarks)
    height, width = region.shape[:2]
    whole = max(height, width) <= _WHOLE_PX
    if not whole:
        region, (rows, columns) = take_face(region, box, surroundings=_SURROUNDINGS)
        scale = min(1.0, _LARGEST_FACE_PX / face.size_px)
        if scale < 1:
            region = cv2.resize(region, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        corner = np.array([columns.start, rows.start])
        box, five = (box - np.tile(corner, 2)) * scale, (five - corner) * scale
    encoded = cv2.imencode(".png", region[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
    (out / path).parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out / path, encoded.tobytes())
    return _Kept(path, time_s, box, five, face.confidence, (height, width) if whole else None)


def prepare(items: Sequence[Labelled], root: Path, out: Path, wanted: Wanted, *, workers: int = 2) -> int:
    """Write the training faces of labelled media.

    Args:
        items: Files below `root`.
        out: Gets index.csv, landmarks.npz, passed_over.txt and the pictures.

    Returns:
        How many faces were kept.

    Raises:
        SystemExit: None was, or a process that read files was ended.
        OSError: `out` can't be written.
    """
    faces: list[tuple[Labelled, _Kept]] = []
    passed_over = []
    out.mkdir(parents=True, exist_ok=True)
    # Spawned, as in train.py: a forked worker may hang when its parent already has threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare_worker) as pool:
        jobs, done = [(item, root, out, wanted) for item in items], 0
        try:
            for item, (kept, why) in zip(items, pool.map(_keep_faces, jobs, chunksize=8), strict=True):
                done += 1
                faces += [(item, one) for one in kept]
                if not kept:
                    passed_over.append(f"{item.path}: {why}")
                if len(faces) % 500 < len(kept):
                    log.info("%d faces", len(faces))
        except BrokenProcessPool as error:
            raise SystemExit(
                f"{root}: a process that read files was ended, at {items[done].path} or shortly after it in the list;"
                " leave out the file that ends it, or give fewer --workers if memory ran out, and start again"
            ) from error
    write_atomically(out / "passed_over.txt", "".join(f"{line}\n" for line in passed_over).encode(*NAMES))
    if not faces:
        raise SystemExit(f"{root}: no face was found in any of {len(items)} files; {out}/passed_over.txt says why")
    # Of videos only frames of the same moment.
    wholes = {(item.path, one.time_s): one for item, one in faces if one.whole is not None}
    index = io.StringIO(newline="")
    writer = csv.DictWriter(index, [*vars(faces[0][0]), "split"])
    writer.writeheader()
    for item, one in faces:
        original = wholes.get((item.original, one.time_s))
        # Two pictures that were cut no longer lie on each other, even where they did.
        fits = original is not None and one.whole == original.whole
        values = vars(replace(item, path=one.path, original=original.path if original is not None and fits else ""))
        writer.writerow({**values, "split": "train"})
    meshes = [fit_mean_face(one.five) for _, one in faces]
    arrays: dict[str, Any] = {part: np.stack([mesh[part] for mesh in meshes]) for part in MESH_PARTS}
    landmarks = io.BytesIO()
    np.savez_compressed(
        landmarks,
        path=np.array([one.path for _, one in faces]),
        box=np.stack([one.box for _, one in faces]).astype(np.float32),
        five=np.stack([one.five for _, one in faces]).astype(np.float32),
        confidence=np.array([one.confidence for _, one in faces], np.float32),
        **arrays,
    )
    # All or nothing, and the landmarks last: where they are, all is.
    write_atomically(out / "index.csv", index.getvalue().encode(*NAMES))
    write_atomically(out / "landmarks.npz", landmarks.getvalue())
    return len(faces)


def _name(path: str, label: str, source: str, time_s: float | None) -> str:
    """Where a face is kept. The ending stays in the name: a.jpg and a.png are two pictures."""
    moment = "" if time_s is None else f"_{time_s:.2f}s"
    flat = path.replace("/", "__")
    if len(flat) > _LONGEST_NAME:
        flat = f"{zlib.crc32(flat.encode()):08x}{flat[-_LONGEST_NAME:]}"
    return f"{label}/{source}/{flat}{moment}.png"


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
