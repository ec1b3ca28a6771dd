"""Training pairs: a genuine crop and a forged one that went the same way, with the map of what was altered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ..crop import cut, cut_square, square
from ..types import Face, Frame
from .augment import degrade
from .blend import Forgery, forge
from .data import TrainingFace, read_faces
from .restore import restored_path

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.random import Generator

    from ..types import Architecture

# How often each source of genuine faces is drawn. Soft sources less often than their count, sharp ones more.
_REAL_WEIGHTS = {"aaf": 0.22, "utkface": 0.2, "ffhq256": 0.18, "us_officials": 0.15, "scut": 0.1, "celebahq": 0.08,
                 "ciplab": 0.07}  # fmt: skip
# Whole forgeries that are not blends, and the genuine sources each is paired with.
_FAKE_WEIGHTS = {"stylegan256": 0.42, "stylegan2_tpdne": 0.18, "generated_photos": 0.12, "flux": 0.06, "ciplab": 0.17,
                 "openforensics": 0.05}  # fmt: skip
_TWINS = {"stylegan256": ("ffhq256",), "stylegan2_tpdne": ("ffhq256", "celebahq"),
          "generated_photos": ("ffhq256", "us_officials", "celebahq"), "flux": ("us_officials", "celebahq", "scut"),
          "ciplab": ("ciplab",), "openforensics": ("ffhq256", "us_officials", "aaf")}  # fmt: skip

IGNORE = -1.0


@dataclass(frozen=True, eq=False)
class Pair:
    """One training example of each class.

    Attributes:
        crops: uint8 (2, S, S, 3): genuine, forged.
        mask: float32 (S / 8, S / 8): how much of each cell was altered in the forged one; `IGNORE` where unknown.
        family: Of the forgery: a blend family, or `whole` for what was not blended here.
    """

    crops: np.ndarray
    mask: np.ndarray
    family: str


class PairMaker:
    """Makes pairs without end, each from its own seed, so that a stopped run goes on where it was.

    Args:
        data: Folder with index.csv, landmarks.npz and pictures.
        restored: Folder that `restore.py` filled, or None.
        architecture: For the crop.
        leave_out: Groups that must not be trained on.
        held_back: Make pairs of the held-back faces only, to measure; else of all others.
        whole_share: Share of pairs whose forgery is not a blend.
    """

    def __init__(
        self,
        data: Path,
        restored: Path | None,
        architecture: Architecture,
        *,
        leave_out: frozenset[str] = frozenset(),
        held_back: bool = False,
        whole_share: float = 0.25,
    ) -> None:
        self._data, self._restored, self._architecture = data, restored, architecture
        self._whole_share = whole_share
        faces = [face for face in read_faces(data, leave_out=leave_out) if face.held_back == held_back]
        self._real: dict[str, list[TrainingFace]] = {}
        self._fake: dict[str, list[TrainingFace]] = {}
        for face in faces:
            if face.mesh is not None:
                (self._real if face.label == "real" else self._fake).setdefault(face.source, []).append(face)
        if not self._real:
            raise ValueError(f"no genuine training faces found in {data}")
        self._everyone = [face for faces in self._real.values() for face in faces]
        self._shapes = np.stack([_shape(face) for face in self._everyone])
        self._copies = [_restored_copies(restored, face) for face in self._everyone]
        self._have_copies = [i for i, copies in enumerate(self._copies) if copies]

    def make(self, seed: int) -> Pair:
        """The pair of this seed."""
        rng = np.random.default_rng(seed)
        if self._fake and rng.random() < self._whole_share:
            return self._whole(rng)
        return self._blend(rng)

    def _blend(self, rng: Generator) -> Pair:
        draw = rng.random()
        donor = restored = None
        face = _choose(self._real, _REAL_WEIGHTS, rng)
        if draw < 0.3:
            other = self._lookalike(face, rng)
            donor = (other.read(self._data), other)
        elif draw < 0.52 and self._have_copies:
            index = self._have_copies[int(rng.integers(len(self._have_copies)))]
            face = self._everyone[index]
            copies = self._copies[index]
            restored = _read(copies[int(rng.integers(len(copies)))])
        forgery = forge(face.read(self._data), face, rng, donor=donor, restored=restored)
        return self._finish(forgery, face, rng)

    def _whole(self, rng: Generator) -> Pair:
        fake = _choose(self._fake, _FAKE_WEIGHTS, rng)
        twins = {source: self._real[source] for source in _TWINS[fake.source] if source in self._real}
        real = _choose(twins or self._real, _REAL_WEIGHTS, rng)
        # One face size for both, so that neither class is the sharper one by its scale.
        wanted = rng.uniform(0.75, 1.0) * min(_size(real), _size(fake))
        seed = int(rng.integers(2**32))
        crops = []
        for face in (real, fake):
            pixels = face.read(self._data)
            scale = wanted / _size(face)
            size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
            small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
            box = face.box * np.tile(np.array(size) / (pixels.shape[1], pixels.shape[0]), 2)
            crops.append(self._finish_one(small, box, seed))
        mask = self._fake_mask(fake, seed)
        crops_array = np.stack(crops)
        if rng.random() < 0.5:
            crops_array, mask = crops_array[:, :, ::-1], mask[:, ::-1]
        return Pair(np.ascontiguousarray(crops_array), np.ascontiguousarray(mask), "whole")

    def _finish(self, forgery: Forgery, face: TrainingFace, rng: Generator) -> Pair:
        seed = int(rng.integers(2**32))
        crops = np.stack([self._finish_one(half, face.box, seed) for half in (forgery.genuine, forgery.forged)])
        mask = self._cut_mask(forgery.mask, face.box, seed)
        if rng.random() < 0.5:
            crops, mask = crops[:, :, ::-1], mask[:, ::-1]
        return Pair(np.ascontiguousarray(crops), np.ascontiguousarray(mask), forgery.family)

    def _finish_one(self, pixels: np.ndarray, box: np.ndarray, seed: int) -> np.ndarray:
        """Degrade, then cut: the same for every picture of one seed."""
        height, width = pixels.shape[:2]
        longer = float(max(box[2] - box[0], box[3] - box[1]))
        worn = degrade(pixels, longer, seed)
        scale = np.tile(np.array([worn.shape[1] / width, worn.shape[0] / height]), 2)
        x0, y0, x1, y1 = (float(v) for v in _jittered(box, seed) * scale)
        face = Face((x0, y0, x1, y1), ((0.0, 0.0),) * 5, 1.0)
        return cut(Frame(worn), face, size=self._architecture.size, margin=self._architecture.margin).pixels

    def _cut_mask(self, mask: np.ndarray, box: np.ndarray, seed: int) -> np.ndarray:
        x0, y0, x1, y1 = (float(v) for v in _jittered(box, seed))
        region = cut_square(mask, *square((x0, y0, x1, y1), margin=self._architecture.margin))
        side = self._architecture.size // 8
        return np.minimum(cv2.resize(region, (side, side), interpolation=cv2.INTER_AREA), np.float32(1))

    def _fake_mask(self, fake: TrainingFace, seed: int) -> np.ndarray:
        side = self._architecture.size // 8
        if fake.source == "openforensics":
            return np.full((side, side), IGNORE, np.float32)
        if fake.source != "ciplab":
            return np.ones((side, side), np.float32)
        return self._cut_mask(ciplab_mask(fake), fake.box, seed)

    def _lookalike(self, face: TrainingFace, rng: Generator) -> TrainingFace:
        """Of forty faces drawn, the one whose landmarks fit best, someone else."""
        candidates = rng.integers(len(self._everyone), size=40)
        distance = np.abs(self._shapes[candidates] - _shape(face)).mean((1, 2))
        for i in candidates[np.argsort(distance)].tolist():
            other: TrainingFace = self._everyone[i]
            if other.group != face.group:
                return other
        raise ValueError("every candidate is the same person; more than one group is needed")


def ciplab_mask(fake: TrainingFace) -> np.ndarray:
    """Which parts were replaced, from the four digits of the file's name: left eye, right eye, nose, mouth.

    Returns:
        float32 (340, 340): 1 inside, 0 outside, `IGNORE` over both eyes where only one was replaced, since whose left
        is meant is not documented.
    """
    digits = fake.path.rsplit("_", 1)[-1][:4]
    if fake.mesh is None:
        raise ValueError(f"{fake.path} has no mesh")
    mask = np.zeros((340, 340), np.float32)
    eyes = (digits[0] == "1") + (digits[1] == "1")
    parts = [(("right_eye", "right_brow"), eyes), (("left_eye", "left_brow"), eyes),
             (("nose",), 2 * (digits[2] == "1")), (("lips_outer",), 2 * (digits[3] == "1"))]  # fmt: skip
    for names, altered in parts:
        if altered:
            hull = cv2.convexHull(np.concatenate([fake.mesh[name] for name in names]))
            centre = hull.mean(0)
            grown = ((hull - centre) * 1.25 + centre).round().astype(np.int32)
            cv2.fillConvexPoly(mask, grown, 1.0 if altered == 2 else IGNORE)
    return mask


def _choose(pools: dict[str, list[TrainingFace]], weights: dict[str, float], rng: Generator) -> TrainingFace:
    names = sorted(pools)
    shares = np.array([weights.get(name, 0.1) for name in names])
    pool = pools[names[int(rng.choice(len(names), p=shares / shares.sum()))]]
    return pool[int(rng.integers(len(pool)))]


def _size(face: TrainingFace) -> float:
    return float(max(face.box[2] - face.box[0], face.box[3] - face.box[1]))


def _shape(face: TrainingFace) -> np.ndarray:
    """The landmarks with place and size taken out."""
    points = face.points()
    return np.asarray((points - points.mean(0)) / points.std(), np.float32)


def _restored_copies(root: Path | None, face: TrainingFace) -> list[Path]:
    if root is None or not root.is_dir():
        return []
    copies = [restored_path(root, net.name, face) for net in sorted(root.iterdir()) if net.is_dir()]
    return [path for path in copies if path.exists()]


def _read(path: Path) -> np.ndarray:
    return np.ascontiguousarray(np.asarray(cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR))[..., ::-1])


def _jittered(box: np.ndarray, seed: int) -> np.ndarray:
    """The detector's box differs a little from run to run and from frame to frame."""
    rng = np.random.default_rng([seed, 1])
    longer = float(max(box[2] - box[0], box[3] - box[1]))
    centre = np.array([box[0] + box[2], box[1] + box[3]]) / 2 + rng.uniform(-0.05, 0.05, 2) * longer
    half = np.array([box[2] - box[0], box[3] - box[1]]) / 2 * rng.uniform(0.9, 1.12)
    return np.concatenate([centre - half, centre + half])
