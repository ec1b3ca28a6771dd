"""Training pairs: a genuine crop and a forged one that went the same way, with the map of what was altered."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np

from ..crop import cut, cut_square, margin_within, square
from ..types import Face, Frame
from .augment import compressed_off_grid, degrade
from .blend import FILLING, IGNORE, Forgery, alpha_blend, forge, redrawn_whole
from .data import TrainingFace, read_faces, read_picture
from .restore import restored_path
from .retouch import retouch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from numpy.random import Generator

    from ..types import Architecture

    _Pools = dict[str, dict[str, list[TrainingFace]]]

# How often each source of genuine faces is drawn. Soft sources less often than their count, sharp ones more, yet none so
# often that its few faces are learned by heart.
_REAL_WEIGHTS = {"aaf": 0.3, "utkface": 0.16, "ffhq256": 0.2, "ffhq512": 0.08, "us_officials": 0.08, "scut": 0.1,
                 "celebahq": 0.04, "ciplab": 0.03, "amfd": 0.03, "lfw": 0.05, "ffhq1024": 0.01, "inswapper": 0.08,
                 "web": 0.35, "video": 0.6}  # fmt: skip
# Whole forgeries that are not blends, and the genuine sources each is paired with.
# Those of few people or clips are drawn less than they matter: what is seen again and again is learned by heart.
_FAKE_WEIGHTS = {"stylegan256": 0.2, "stylegan2_tpdne": 0.45, "mobile_stylegan": 0.16, "stylegan3": 0.12,
                 "studio_gan": 0.08, "generated_photos": 0.2, "flux": 0.04, "diffusion": 0.2, "generated": 0.55,
                 "edited": 0.06, "ciplab": 0.06, "openforensics": 0.06, "inswapper": 0.14, "still_swaps": 0.08,
                 "talking": 0.45, "swaps": 0.2, "lips": 0.05}  # fmt: skip
_TWINS = {"stylegan256": ("ffhq256", "inswapper", "us_officials", "celebahq", "amfd"),
          "stylegan2_tpdne": ("ffhq256", "ffhq512", "ffhq1024", "inswapper", "us_officials", "celebahq", "amfd"),
          "mobile_stylegan": ("ffhq512", "ffhq256", "us_officials", "celebahq"),
          "stylegan3": ("ffhq512", "ffhq256", "us_officials"),
          "studio_gan": ("scut", "us_officials", "ffhq256"),
          "generated_photos": ("ffhq512", "amfd", "celebahq", "web"),
          "flux": ("us_officials", "celebahq", "scut", "ffhq256", "amfd"),
          "diffusion": ("us_officials", "celebahq", "scut", "ffhq256", "ffhq512", "amfd"),
          "generated": ("web", "us_officials", "celebahq", "ffhq256", "amfd"),
          "edited": ("web", "us_officials", "celebahq", "ffhq256"),
          "still_swaps": ("web", "us_officials", "celebahq", "scut", "ffhq256", "lfw", "video"),
          "openforensics": ("ffhq256", "us_officials", "aaf"),
          # What comes out of videos stands beside what comes out of videos, or a net learns to tell the two apart.
          "talking": ("video",), "swaps": ("video",), "lips": ("video",)}  # fmt: skip
_UNKNOWN_WEIGHT = 0.1
# One's own media beside those that a net is not to forget: how often a genuine face, and a whole forgery, is of them. What
# begins the names of their sources, which else might be those of other material above, with its rules.
_OWN_SHARE, _OWN = 0.5, "own/"
# What is drawn by a net shows it inside of the face, too, and is looked at closely so often. The other blends show their
# seams, and nothing between them.
_CLOSE = 0.5
# How often a forgery stands beside a genuine face of the same publication, if there is one: both were filmed, cut out and
# encoded by the same hands, and what is left to tell them apart is the forgery.
_PUBLISHED_TOGETHER = 0.6
# Forgeries of a part of the face, and nobody says which pixels.
_UNKNOWN_PART = ("openforensics", "lips")

# Forgeries whose face is another's and whose surroundings are genuine.
_FACE_ALONE = ("swaps", "still_swaps")
# Made from an original that is there, it is laid into that original's very surroundings, which its own encoder changed.
_IN_ORIGINAL = ("swaps", "still_swaps", "lips")
# Of the pairs that are blended here: another person's face; a redrawn face inside a mask; one redrawn all over.
_OTHER, _RESTORED, _REDRAWN = 0.38, 0.18, 0.1
# How often a frame of a video gets part of the same person's face from another of its frames, as reenactment and lip-sync
# leave it, where otherwise it would get another person's.
_ANOTHER_MOMENT = 0.4
# A copy redrawn all over ends some way from the face: crops of it should not show where, also of a face that is much taller
# than wide, yet show as much as the closer looks do.
_REDRAWN_MARGIN = 0.18
# Swaps come out of nets of 96 to 256 pixels: how often a donor is reduced to the lower part of that first.
_SMALL_DONOR, _SMALL_DONOR_PX = 0.5, (96, 160)
# What differs by so many grey levels on the average, inside of the mask, counts in full, and what can't be seen a quarter.
_PLAIN_TO_SEE, _LEAST_WEIGHT = 3.0, 0.25
# How often another person's face comes redrawn, as swapped faces do, or is drawn by a generator, or by a swap or
# talking-head program: in surroundings that are new each time it can't be known by heart. And how often both halves are
# retouched first.
_OTHER_REDRAWN, _OTHER_GENERATED, _OTHER_FORGED = 0.35, 0.15, 0.2
_GENERATED = ("stylegan256", "stylegan2_tpdne", "mobile_stylegan", "generated_photos")
_FORGED = ("swaps", "still_swaps", "talking", "inswapper")
_RETOUCHED = 0.18
# How often a picture is made as soft as the copy of it that a net has redrawn, or the copy as soft as the picture: where
# one half is always the softer one, a net learns that soft pictures are forged.
_EQUALLY_SHARP = 0.5
_BLURS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.15, 1.3, 1.5, 1.75, 2.0, 2.5)
# Of so many genuine faces drawn, the one nearest in size stands beside a forgery: both are brought to one size, and the one
# that was larger is the sharper one then.
_TWINS_DRAWN = 4
# How often the head or the camera is turned, and how far: the crop follows the detector's upright box and does not turn
# back. The standard deviation in degrees, and the most.
_TURNED, _TURN_DEGREES, _MOST_DEGREES = 0.4, 13.0, 35.0


@dataclass(frozen=True, eq=False)
class Pair:
    """One training example of each class.

    Attributes:
        crops: uint8 (2, S, S, 3): genuine, forged.
        mask: float32 (S / 8, S / 8): how much of each cell was altered in the forged one; `IGNORE` where unknown.
        family: Of the forgery: a blend family, or `whole` for what was not blended here; `alone` where the two crops have
            nothing to do with each other and may both be forged.
        weight: Of the forged half in training, 0 to 1: of what wear has made equal nothing can be learned but doubt.
        unworn: uint8 (2, S, S, 3): the same crops without the wear that they have in `crops`; None where nobody asked.
    """

    crops: np.ndarray
    mask: np.ndarray
    family: str
    weight: float = 1.0
    unworn: np.ndarray | None = None


class PairMaker:
    """Makes pairs without end, each from its own seed, so that a stopped run goes on where it was.

    Args:
        data: Folders with index.csv, landmarks.npz and pictures.
        restored: Folder that `restore.py` and `redraw.py` filled, or None.
        architecture: For the crop.
        own: The folder of these that half of all is drawn of, whatever its sources are called; None for none.
        leave_out: Groups that must not be trained on.
        held_back: Make pairs of the held-back faces only, to measure; else of all others.
        whole_share: Share of pairs whose forgery is not a blend.
        margins: Narrowest and widest margin, of which each pair draws its own, as far as its pictures have room; None
            for the architecture's.
        closest: Narrowest margin where a net has drawn the inside of the face; negative ones leave out its rim. None for
            that of `margins`.
        unworn: Give every pair as it was before its wear, too.
        alone_share: Share of pairs that are two pictures as they are, of any label, for a net that learns from a teacher.
            These need no mesh.

    Raises:
        ValueError: There is no genuine face to make pairs of, or no folder `restored`.
    """

    def __init__(
        self,
        data: Sequence[Path],
        restored: Path | None,
        architecture: Architecture,
        *,
        own: Path | None = None,
        leave_out: frozenset[str] = frozenset(),
        held_back: bool = False,
        whole_share: float = 0.25,
        margins: tuple[float, float] | None = None,
        closest: float | None = None,
        unworn: bool = False,
        alone_share: float = 0.0,
    ) -> None:
        self._architecture, self._whole_share, self._margins = architecture, whole_share, margins
        self._closest, self._unworn, self._alone_share = closest, unworn, alone_share
        known = [replace(face, source=f"{_OWN}{face.source}") if folder == own else face
                 for folder in data for face in read_faces(folder, leave_out=leave_out)]  # fmt: skip
        asked = [face for face in known if face.held_back == held_back]
        self._alone = _pooled(asked)
        self._real = _pooled(face for face in asked if face.mesh is not None and face.label == "real")
        self._fake = _pooled(face for face in asked if face.mesh is not None and face.label != "real")
        if not self._real:
            genuine = [face for face in known if face.mesh is not None and face.label == "real"]
            kept = sum(face.held_back for face in genuine)
            others = len(genuine) - kept
            wanted = "held-back genuine faces to measure on" if held_back else "genuine faces to train on"
            raise ValueError(
                f"{', '.join(map(str, data))}: expected {wanted}, found none; of the genuine faces with landmarks {kept}"
                f" are held back, by their groups' names, and {others} are not"
            )
        self._everyone = [face for groups in self._real.values() for some in groups.values() for face in some]
        self._published = _pooled((face for face in self._everyone if face.publication), by="publication")
        self._generated, self._forged = (
            [some for source in sources for some in self._fake.get(source, {}).values()]
            for sources in (_GENERATED, _FORGED)
        )
        self._redrawn = {net: found for net, found in _redrawn_faces(restored, self._everyone).items() if found}
        self._originals = {(face.root, face.path): face for face in self._everyone}

    def make(self, seed: int) -> Pair:
        """The pair of this seed."""
        return self.make_of(seed)[0]

    def make_of(self, seed: int) -> tuple[Pair, TrainingFace]:
        """The pair of this seed, and the face its genuine half shows."""
        rng = np.random.default_rng(seed)
        if self._alone_share and rng.random() < self._alone_share:
            return self._two_alone(rng)
        if self._fake and rng.random() < self._whole_share:
            return self._whole(rng)
        return self._blend(rng)

    def _two_alone(self, rng: Generator) -> tuple[Pair, TrainingFace]:
        """Two pictures as they are, every source as often as the root of its groups: of what nobody has labelled there is
        little of each kind."""
        weights = {source: math.sqrt(len(groups)) for source, groups in self._alone.items()}
        faces = [_choose(self._alone, weights, rng) for _ in range(2)]
        crops = []
        for face in faces:
            seed, pixels = int(rng.integers(2**32)), face.read()
            margin = self._margin(face.box, pixels.shape[:2], seed, drawn=True)
            crops.append(self._finish_one(pixels, face.box, seed, margin))
        side = self._architecture.size // 8
        return _flipped(np.stack(crops), np.full((side, side), IGNORE, np.float32), "alone", rng), faces[0]

    def _blend(self, rng: Generator) -> tuple[Pair, TrainingFace]:
        draw = rng.random()
        if draw < _OTHER:
            face = _choose(self._real, _REAL_WEIGHTS, rng)
            moments = [one for one in self._real[face.source][face.group] if one is not face]
            if face.source == "video" and moments and rng.random() < _ANOTHER_MOMENT:
                moment = moments[int(rng.integers(len(moments)))]
                return self._forge(face, rng, donor=(moment.read(), moment), same_person=True)
            how = rng.random()
            if self._redrawn and how < _OTHER_REDRAWN:
                other, copy = self._redrawn_face(rng, but=face)
                return self._forge(face, rng, donor=(read_picture(copy), other), drawn=True)
            drawn = self._generated if how > 1 - _OTHER_GENERATED else []
            drawn = drawn or (self._forged if how > 1 - _OTHER_GENERATED - _OTHER_FORGED else [])
            other = _lookalike(face, drawn or [[one] for one in self._everyone], rng)
            return self._forge(face, rng, donor=(other.read(), other), drawn=bool(drawn))
        if draw < _OTHER + _RESTORED + _REDRAWN and self._redrawn:
            face, copy = self._redrawn_face(rng)
            genuine, redrawn = face.read(), read_picture(copy)
            if rng.random() < _EQUALLY_SHARP:
                genuine, redrawn = equally_sharp(genuine, redrawn, face.box)
            if draw < _OTHER + _RESTORED:
                return self._forge(face, rng, pixels=genuine, restored=redrawn)
            retouched = _retouching(rng)
            forgery = redrawn_whole(retouched(genuine, face), retouched(redrawn, face), face)
            return self._finish(forgery, face, rng, drawn=True, most=_REDRAWN_MARGIN), face
        return self._forge(_choose(self._real, _REAL_WEIGHTS, rng), rng)

    def _forge(
        self,
        face: TrainingFace,
        rng: Generator,
        *,
        pixels: np.ndarray | None = None,
        donor: tuple[np.ndarray, TrainingFace] | None = None,
        restored: np.ndarray | None = None,
        same_person: bool = False,
        drawn: bool = False,
    ) -> tuple[Pair, TrainingFace]:
        """A blend of a face.

        Args:
            drawn: The donor's face is a net's work.
        """
        retouched = _retouching(rng)
        pixels = retouched(face.read() if pixels is None else pixels, face)
        restored = None if restored is None else retouched(restored, face)
        if donor is not None:
            most = rng.uniform(*_SMALL_DONOR_PX) if rng.random() < _SMALL_DONOR else math.inf
            donor = _reduced(*donor, min(face.size_px, most))
            donor = (retouched(*donor), donor[1])
        forgery = forge(pixels, face, rng, donor=donor, restored=restored, same_person=same_person)
        inside = forgery.family == "regenerated" or (
            forgery.shape in FILLING and (drawn or forgery.through_net) and forgery.family == "other"
        )
        return self._finish(forgery, face, rng, drawn=inside), face

    def _whole(self, rng: Generator) -> tuple[Pair, TrainingFace]:
        fake = _choose(self._fake, _FAKE_WEIGHTS, rng)
        original = self._originals.get((fake.root, fake.original))
        if original is not None:
            return self._with_original(fake, original, rng), original
        real = self._twin(fake, rng)
        # One face size for both, so that neither class is the sharper one by its scale, and one first compression: that of
        # the files differs, and where the wear is light a net would learn it instead of the faces.
        wanted = rng.uniform(0.55, 1.0) * min(real.size_px, fake.size_px)
        retouched = rng.random() < _RETOUCHED
        halves = [_reduced(face.read(), face, wanted, exactly=True) for face in (real, fake)]
        # As much around both: how a picture is framed says where it comes from, and the edge that repeats where it ends.
        halves = _framed_alike(halves)
        saved = _saving(rng)
        seed = int(rng.integers(2**32))
        margin = min(self._margin(face.box, pixels.shape[:2], seed, drawn=True) for pixels, face in halves)
        crops = []
        for pixels, face in halves:
            small = saved(pixels)
            if retouched and face.mesh is not None:
                small = retouch(small, face.mesh, seed)
            crops.append(self._finish_one(small, face.box, seed, margin))
        mask = self._fake_mask(*halves[1], seed, margin, face_alone=fake.source in _FACE_ALONE)
        return _flipped(np.stack(crops), mask, "whole", rng), real

    def _twin(self, fake: TrainingFace, rng: Generator) -> TrainingFace:
        """A genuine face to stand beside a forgery that was not blended here."""
        beside = self._published.get(fake.publication)
        if beside and rng.random() < _PUBLISHED_TOGETHER:
            pools, weights = {fake.publication: beside}, {}
        else:
            wanted = _TWINS.get(fake.source, (fake.source,))
            pools, weights = {source: self._real[source] for source in wanted if source in self._real}, _REAL_WEIGHTS
        drawn = [_choose(pools or self._real, weights, rng) for _ in range(_TWINS_DRAWN)]
        return min(drawn, key=lambda face: abs(math.log(face.size_px / fake.size_px)))

    def _with_original(self, fake: TrainingFace, original: TrainingFace, rng: Generator) -> Pair:
        """A forgery made elsewhere, beside the very picture it was made from: one crop for both."""
        retouched = _retouching(rng)
        pictures = [face.read() for face in (original, fake)]
        if pictures[0].shape != pictures[1].shape:
            raise ValueError(
                f"{fake.path} and its original {original.path} differ in size; one is not made from the other"
            )
        if fake.source in _IN_ORIGINAL:
            around = np.maximum(_oval_mask(original, pictures[0].shape[:2], outside=0.0), 0)
            around = cv2.dilate(around, np.ones((2 * round(0.15 * original.size_px) + 1,) * 2, np.uint8))
            around = cv2.blur(around, (2 * max(1, round(0.06 * original.size_px)) + 1,) * 2)
            pictures[1] = alpha_blend(pictures[1], pictures[0], around)
        # The files were not saved alike, see `_whole`.
        wanted, saved = rng.uniform(0.55, 1.0) * original.size_px, _saving(rng)
        reduced = [_reduced(pixels, original, wanted, exactly=True) for pixels in pictures]
        face = reduced[0][1]
        pictures = [retouched(saved(pixels), face) for pixels, _ in reduced]
        seed = int(rng.integers(2**32))
        margin = self._margin(face.box, pictures[0].shape[:2], seed, drawn=True)
        crops = np.stack([self._finish_one(pixels, face.box, seed, margin) for pixels in pictures])
        seen = replace(face, source=fake.source, path=fake.path)
        mask = self._fake_mask(pictures[1], seen, seed, margin, face_alone=fake.source in _FACE_ALONE)
        return _flipped(crops, mask, "whole", rng)

    def _finish(
        self, forgery: Forgery, face: TrainingFace, rng: Generator, *, drawn: bool = False, most: float = math.inf
    ) -> Pair:
        seed = int(rng.integers(2**32))
        margin = min(most, self._margin(face.box, forgery.mask.shape, seed, drawn=drawn))
        halves = (forgery.genuine, forgery.forged)
        crops = np.stack([self._finish_one(half, face.box, seed, margin) for half in halves])
        mask = self._cut_mask(forgery.mask, face.box, seed, margin)
        return _flipped(crops, mask, forgery.family, rng, weight=_visible(crops[:, 0], mask))

    def _margin(self, box: np.ndarray, size: tuple[int, ...], seed: int, *, drawn: bool) -> float:
        """Of the pair of this seed, for a face in a picture of this height and width.

        Args:
            drawn: A net has drawn the inside of the face.
        """
        architecture = self._architecture
        wanted, least = architecture.margin, architecture.least_margin
        if self._margins is not None:
            low, high = self._margins
            rng = np.random.default_rng([seed, 3])
            wanted = float(np.exp(rng.uniform(np.log(low), np.log(high))))
            if self._closest is not None and drawn and rng.random() < _CLOSE:
                wanted = float(rng.uniform(self._closest, low))
            least = min(wanted, architecture.margin if least is None else least)
        if least is None:
            return wanted
        x0, y0, x1, y1 = (float(v) for v in box)
        return margin_within((x0, y0, x1, y1), (size[0], size[1]), margin=wanted, least=least)

    def _finish_one(self, pixels: np.ndarray, box: np.ndarray, seed: int, margin: float) -> np.ndarray:
        """Turn, degrade, then cut: the same for every picture of one seed. (1, S, S, 3), or with `unworn` (2, S, S, 3)."""
        pixels = _turned(pixels, box, seed, cv2.INTER_CUBIC)
        height, width = pixels.shape[:2]
        longer = float(max(box[2] - box[0], box[3] - box[1]))
        states = [degrade(pixels, longer, seed)] + [pixels] * self._unworn
        crops = []
        for state in states:
            scale = np.tile(np.array([state.shape[1] / width, state.shape[0] / height]), 2)
            x0, y0, x1, y1 = (float(v) for v in _jittered(box, seed) * scale)
            face = Face((x0, y0, x1, y1), ((0.0, 0.0),) * 5, 1.0)
            crops.append(cut(Frame(state), face, size=self._architecture.size, margin=margin).pixels)
        return np.stack(crops)

    def _cut_mask(self, mask: np.ndarray, box: np.ndarray, seed: int, margin: float) -> np.ndarray:
        x0, y0, x1, y1 = (float(v) for v in _jittered(box, seed))
        # The nearest value and none between two: a mix with the mark of the unknown would be no share of anything.
        mask = _turned(mask, box, seed, cv2.INTER_NEAREST)
        region = cut_square(mask, *square((x0, y0, x1, y1), margin=margin))
        side = self._architecture.size // 8
        small = np.minimum(cv2.resize(region, (side, side), interpolation=cv2.INTER_AREA), np.float32(1))
        # A cell that is partly unknown is unknown: averaged with 1 it would seem untouched.
        unknown = cv2.resize((region < 0).astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
        return np.where(unknown > 0.05, np.float32(IGNORE), small)

    def _fake_mask(
        self, pixels: np.ndarray, fake: TrainingFace, seed: int, margin: float, *, face_alone: bool
    ) -> np.ndarray:
        """Of a forgery that was not blended here, as far as it is known what was altered.

        Args:
            face_alone: Its surroundings are genuine.
        """
        side = self._architecture.size // 8
        if fake.source in _UNKNOWN_PART:
            return np.full((side, side), IGNORE, np.float32)
        if fake.source == "ciplab":
            height, width = pixels.shape[:2]
            whole = ciplab_mask(fake, (height, width))
        else:
            # Of what is drawn as a whole the face is what is asked about: whether its surroundings look drawn is left open.
            whole = _oval_mask(fake, pixels.shape[:2], outside=0.0 if face_alone else IGNORE)
        return self._cut_mask(whole, fake.box, seed, margin)

    def _redrawn_face(self, rng: Generator, *, but: TrainingFace | None = None) -> tuple[TrainingFace, Path]:
        """A genuine face that a net has redrawn, and the redrawn copy; every net as often as it has copies."""
        found = [pair for net in sorted(self._redrawn) for pair in self._redrawn[net]]
        others = found if but is None else [pair for pair in found if pair[0].group != but.group]
        return (others or found)[int(rng.integers(len(others or found)))]


def ciplab_mask(fake: TrainingFace, size: tuple[int, int] = (340, 340)) -> np.ndarray:
    """Which parts were replaced, from the four digits of the file's name: left eye, right eye, nose, mouth.

    Args:
        size: Height and width of the picture in which the face lies.

    Returns:
        float32 (height, width): 1 inside, 0 outside, `IGNORE` over both eyes where only one was replaced, since whose left
        is meant is not documented.
    """
    digits = fake.path.rsplit("_", 1)[-1][:4]
    if fake.mesh is None:
        raise ValueError(f"{fake.path} has no mesh")
    mask = np.zeros(size, np.float32)
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


def _pooled(faces: Iterable[TrainingFace], *, by: Literal["source", "publication"] = "source") -> _Pools:
    """Faces by source or publication, and by group: a clip of eighty frames is no more often seen than a picture."""
    pools: _Pools = {}
    for face in faces:
        pools.setdefault(getattr(face, by), {}).setdefault(face.group, []).append(face)
    return pools


def _choose(pools: _Pools, weights: dict[str, float], rng: Generator) -> TrainingFace:
    """A source by its weight, one of its groups, one of the group's faces; one's own beside others by `_OWN_SHARE`."""
    names = sorted(pools)
    shares = np.array([weights.get(name, _UNKNOWN_WEIGHT) for name in names])
    own = np.array([name.startswith(_OWN) for name in names])
    if own.any() and not own.all():
        shares *= np.where(own, _OWN_SHARE / shares[own].sum(), (1 - _OWN_SHARE) / shares[~own].sum())
    groups = list(pools[names[int(rng.choice(len(names), p=shares / shares.sum()))]].values())
    pool = groups[int(rng.integers(len(groups)))]
    return pool[int(rng.integers(len(pool)))]


def _lookalike(face: TrainingFace, among: Sequence[Sequence[TrainingFace]], rng: Generator) -> TrainingFace:
    """Of forty faces drawn, one of a group, the one whose landmarks fit best, someone else."""
    drawn = [among[i][int(rng.integers(len(among[i])))] for i in rng.integers(len(among), size=40).tolist()]
    others = [other for other in drawn if other.group != face.group]
    others = others or [other for some in among for other in some if other.group != face.group]
    if not others:
        raise ValueError("every genuine face is of one group; other people's faces need at least two")
    shape = _shape(face)
    closest: TrainingFace = min(others, key=lambda other: float(np.abs(_shape(other) - shape).mean()))
    return closest


def _placed(face: TrainingFace, scale: np.ndarray, corner: np.ndarray) -> TrainingFace:
    """The face in its picture reduced by (x, y) and then cut at a corner."""
    scale, corner = scale.astype(np.float32), corner.astype(np.float32)
    mesh = face.mesh and {part: points * scale - corner for part, points in face.mesh.items()}
    box = face.box * np.tile(scale, 2) - np.tile(corner, 2)
    return replace(face, box=box, five=face.five * scale - corner, mesh=mesh)


def _reduced(
    pixels: np.ndarray, face: TrainingFace, size_px: float, *, exactly: bool = False
) -> tuple[np.ndarray, TrainingFace]:
    """The picture with a face of at most, or exactly, so many pixels, and the face in it."""
    scale = size_px / face.size_px
    if scale >= 1 and not exactly:
        return pixels, face
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return small, _placed(face, np.array(size) / (pixels.shape[1], pixels.shape[0]), np.zeros(2))


def equally_sharp(one: np.ndarray, other: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sharper one of two pictures of one face blurred until its face holds no more fine detail than the other's.

    Args:
        one, other: uint8 (H, W, 3) of the same size.
        box: float (4,), of the face in both.
    """
    fine = _fine_detail(one, box), _fine_detail(other, box)
    softer = min(fine)
    sharper = one if fine[0] > softer else other
    blurred = sharper
    for sigma in _BLURS:
        if _fine_detail(blurred, box) <= softer:
            break
        blurred = cv2.GaussianBlur(sharper, (0, 0), sigma)
    return (blurred, other) if fine[0] > softer else (one, blurred)


def _fine_detail(pixels: np.ndarray, box: np.ndarray) -> float:
    """Grey levels by which pixels of the face differ from their surroundings, on the average."""
    x0, y0, x1, y1 = (max(0, round(float(v))) for v in box)
    grey = cv2.cvtColor(np.ascontiguousarray(pixels[y0:y1, x0:x1]), cv2.COLOR_RGB2GRAY)
    return float(cv2.absdiff(grey, cv2.GaussianBlur(grey, (0, 0), 1.0)).mean())


def _framed_alike(halves: Sequence[tuple[np.ndarray, TrainingFace]]) -> list[tuple[np.ndarray, TrainingFace]]:
    """Pictures with faces of one size cut so that each reaches as far from its face, on each side, as the tightest."""
    centres = [(face.box[:2] + face.box[2:]) / 2 for _, face in halves]
    sides = [np.array(pixels.shape[1::-1]) for pixels, _ in halves]
    before = np.maximum(1, np.floor(np.min(centres, axis=0)).astype(int))
    after = np.maximum(1, np.floor(np.min([s - c for s, c in zip(sides, centres, strict=True)], axis=0)).astype(int))
    cut_out = []
    for (pixels, face), centre in zip(halves, centres, strict=True):
        corner = np.maximum(0, centre.round().astype(int) - before)
        (left, top), (right, bottom) = corner.tolist(), (corner + before + after).tolist()
        cut_out.append((np.ascontiguousarray(pixels[top:bottom, left:right]), _placed(face, np.ones(2), corner)))
    return cut_out


def _saving(rng: Generator) -> Callable[[np.ndarray], np.ndarray]:
    """A first compression, the same for both halves."""
    (down, right), quality = rng.integers(8, size=2).tolist(), int(rng.integers(55, 88))
    return lambda pixels: compressed_off_grid(pixels, down=down, right=right, quality=quality)


def _visible(crops: np.ndarray, mask: np.ndarray) -> float:
    """How much a forgery that has been worn still weighs, by how it differs from its twin where it was altered."""
    apart = np.abs(crops[0].astype(np.float32) - crops[1]).mean(2)
    cells = cv2.resize(apart, mask.shape[::-1], interpolation=cv2.INTER_AREA)
    altered = mask > 0.25 * mask.max(initial=0)
    seen = float(cells[altered].mean()) if altered.any() else 0.0
    return min(1.0, max(_LEAST_WEIGHT, seen / _PLAIN_TO_SEE))


def _shape(face: TrainingFace) -> np.ndarray:
    """The landmarks with place and size taken out."""
    points = face.points()
    return np.asarray((points - points.mean(0)) / points.std(), np.float32)


def _redrawn_faces(root: Path | None, faces: Sequence[TrainingFace]) -> dict[str, list[tuple[TrainingFace, Path]]]:
    """By net, the faces it has redrawn, each with its copy."""
    if root is None:
        return {}
    if not root.is_dir():
        raise ValueError(f"{root}: expected a folder of redrawn faces, found none")
    nets = sorted(net.name for net in root.iterdir() if net.is_dir())
    return {net: [(face, path) for face in faces if (path := restored_path(root, net, face)).exists()] for net in nets}


def _retouching(rng: Generator) -> Callable[[np.ndarray, TrainingFace], np.ndarray]:
    """What both halves of a pair, and a donor, get done to them before anything is forged: mostly nothing."""
    if rng.random() >= _RETOUCHED:
        return lambda pixels, _: pixels
    seed = int(rng.integers(2**32))
    return lambda pixels, face: pixels if face.mesh is None else retouch(pixels, face.mesh, seed)


def _flipped(crops: np.ndarray, mask: np.ndarray, family: str, rng: Generator, *, weight: float = 1.0) -> Pair:
    """A pair of these crops (2, 1 or 2, S, S, 3), worn and, where asked for, unworn; mirrored every other time."""
    if rng.random() < 0.5:
        crops, mask = crops[..., ::-1, :], mask[:, ::-1]
    worn, *unworn = (np.ascontiguousarray(crops[:, i]) for i in range(crops.shape[1]))
    return Pair(worn, np.ascontiguousarray(mask), family, weight, *unworn)


def _oval_mask(face: TrainingFace, size: tuple[int, int], *, outside: float = 0.0) -> np.ndarray:
    """1 inside the face, `outside` well outside, `IGNORE` between, where a swap's own mask may or may not reach."""
    mask = np.full(size, outside, np.float32)
    oval = cv2.convexHull(face.points())
    centre = oval.mean(0)
    for scale, value in ((1.4, IGNORE), (0.9, 1.0)):
        cv2.fillConvexPoly(mask, ((oval - centre) * scale + centre).round().astype(np.int32), value)
    return mask


def _turned(pixels: np.ndarray, box: np.ndarray, seed: int, interpolation: int) -> np.ndarray:
    """Mostly the picture itself; now and then it turned about the middle of the face, mirrored at its edges."""
    rng = np.random.default_rng([seed, 4])
    if rng.random() >= _TURNED:
        return pixels
    degrees = float(np.clip(rng.normal(0, _TURN_DEGREES), -_MOST_DEGREES, _MOST_DEGREES))
    centre = (float(box[0] + box[2] - 1) / 2, float(box[1] + box[3] - 1) / 2)
    turn = cv2.getRotationMatrix2D(centre, degrees, 1)
    size = (pixels.shape[1], pixels.shape[0])
    return cv2.warpAffine(pixels, turn, size, flags=interpolation, borderMode=cv2.BORDER_REFLECT_101)


def _jittered(box: np.ndarray, seed: int) -> np.ndarray:
    """The detector's box differs a little from run to run and from frame to frame."""
    rng = np.random.default_rng([seed, 1])
    longer = float(max(box[2] - box[0], box[3] - box[1]))
    centre = np.array([box[0] + box[2], box[1] + box[3]]) / 2 + rng.uniform(-0.05, 0.05, 2) * longer
    half = np.array([box[2] - box[0], box[3] - box[1]]) / 2 * rng.uniform(0.9, 1.12)
    return np.concatenate([centre - half, centre + half])
