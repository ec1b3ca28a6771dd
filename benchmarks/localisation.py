"""Does the map show where? On blends of faces kept out of training, whose masks are known, and on CIPLAB's composites.

Compares the evidence map with Grad-CAM++ (Chattopadhay et al., WACV 2018) on the same net, and says how warm genuine faces
look: the halves that blends were made from, worn as these, and pictures as they are.

A cell counts as altered where the mask is above .5; in pixel AUC and evidence "inside" against "outside" those of mask 0
stand against these, and the rim is in neither class. Pointing asks more kindly whether the hottest cell lies where the mask
is above .1.

python benchmarks/localisation.py DATA --restored runs/restored --pairs 600 --picture runs/maps.png
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from judged_pairs import JudgedPairs
from sklearn.metrics import roc_auc_score

from deepfake_detect import checkpoint, draw
from deepfake_detect.crop import cut
from deepfake_detect.engine import Examiner, choose, load_net
from deepfake_detect.training.blend import FAMILIES
from deepfake_detect.training.data import TrainingFace, read_faces
from deepfake_detect.training.pairs import ciplab_mask
from deepfake_detect.types import Crop, Face, Frame, Heatmap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deepfake_detect.checkpoint import ManifestEntry
    from deepfake_detect.model import EvidenceNet

# Of the map, in logits: a cell above it is more probably altered than not.
THRESHOLD = 0.0
# From there on a cell has half of the colour's full strength; up to 0 it has none.
HALF_COLOUR = draw.HOTTEST / 2


@dataclass(frozen=True, eq=False)
class Case:
    """A forged crop with its mask (28, 28): 0 to 1, below 0 where unknown; and its genuine half where there is one."""

    family: str
    forged: np.ndarray
    mask: np.ndarray
    view: tuple[Crop, ...]
    genuine_view: tuple[Crop, ...] = ()


def composites(data: Path, entry: ManifestEntry, examiner: Examiner) -> list[Case]:
    """CIPLAB's composites of groups kept out of training, undegraded; which parts were replaced, their names say."""
    cases = []
    size, margin = entry.architecture.size, entry.image_looks[0].margin
    for face in read_faces(data):
        if face.source == "ciplab" and face.label == "fake" and face.held_back and face.mesh is not None:
            mask = np.repeat(ciplab_mask(face)[..., None], 3, axis=2)
            # Moved into 0 to 255, for a crop is a picture: unknown 0, untouched 100, altered 200.
            as_picture = (mask * 100 + 100).astype(np.uint8)
            small = cv2.resize(_cut(face, as_picture, size, margin)[..., 0], (28, 28), interpolation=cv2.INTER_NEAREST)
            pixels, found = face.read(), _face(face)
            view = examiner.cut(Frame(pixels), found, kind="image")
            cases.append(Case("ciplab", _cut(face, pixels, size, margin), (small.astype(np.float32) - 100) / 100, view))
    return cases


def as_they_are(data: Sequence[Path], examiner: Examiner, count: int) -> np.ndarray:
    """Maps of genuine faces kept out of training, nothing done to them: so many, drawn at random, or all there are."""
    faces = [face for folder in data for face in read_faces(folder) if face.label == "real" and face.held_back]
    chosen = np.random.default_rng(0).permutation(len(faces))[:count]
    views = (examiner.cut(Frame(faces[i].read()), _face(faces[i]), kind="image") for i in chosen)
    return np.concatenate([examiner.score([view], kind="image")[0] for view in views])


def _face(face: TrainingFace) -> Face:
    x0, y0, x1, y1 = (float(v) for v in face.box)
    return Face((x0, y0, x1, y1), ((0.0, 0.0),) * 5, 1.0)


def _cut(face: TrainingFace, pixels: np.ndarray, size: int, margin: float) -> np.ndarray:
    return cut(Frame(pixels), _face(face), size=size, margin=margin).pixels


def grad_cam(net: EvidenceNet, crops: list[np.ndarray]) -> np.ndarray:
    """Grad-CAM++ of the last stage for the crop's logit, (N, 28, 28), 0 and up."""
    kept: dict[str, torch.Tensor] = {}

    def keep(_module: torch.nn.Module, _inputs: object, output: torch.Tensor) -> None:
        output.retain_grad()
        kept["features"] = output

    hook = net.stages[-1].register_forward_hook(keep)
    maps = []
    try:
        for pixels in crops:
            batch = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None].float().requires_grad_()
            net(batch)[1].sum().backward()
            features, gradient = kept["features"].detach(), kept["features"].grad
            assert gradient is not None
            share = gradient**2 / (2 * gradient**2 + (features * gradient**3).sum((2, 3), keepdim=True) + 1e-8)
            weights = (share * gradient.relu()).sum((2, 3), keepdim=True)
            cam = (weights * features).sum(1, keepdim=True).relu()
            maps.append(torch.nn.functional.interpolate(cam, size=(28, 28), mode="bilinear")[0, 0].numpy())
    finally:
        hook.remove()
    return np.stack(maps)


def row(name: str, cases: list[Case], maps: np.ndarray, *, threshold: float | None) -> str:
    """One line of the table: pixel AUC, intersection over union at the threshold, whether the maximum lies inside; what
    counts as inside is said at the top."""
    hot = np.concatenate([m[case.mask > 0.5] for case, m in zip(cases, maps, strict=True)])
    cold = np.concatenate([m[case.mask == 0] for case, m in zip(cases, maps, strict=True)])
    pixel = "–"
    if len(cold):
        pixel = f"{roc_auc_score(np.repeat([0, 1], [len(cold), len(hot)]), np.concatenate([cold, hot])):.3f}"
    inside = [
        case.mask.flat[m.argmax()] > 0.1 for case, m in zip(cases, maps, strict=True) if case.mask.flat[m.argmax()] >= 0
    ]
    overlap = "–"
    if threshold is not None:
        shares = []
        for case, m in zip(cases, maps, strict=True):
            known = case.mask >= 0
            altered, called = (case.mask > 0.5) & known, (m > threshold) & known
            shares.append((altered & called).sum() / max(1, (altered | called).sum()))
        overlap = f"{np.mean(shares):.3f}"
    levels = f"{hot.mean():+.2f} | {cold.mean():+.2f}" if len(cold) else f"{hot.mean():+.2f} | –"
    return f"| {name} | {len(cases)} | {pixel} | {overlap} | {np.mean(inside):.3f} | {levels} |"


def warmth(name: str, maps: np.ndarray) -> str:
    """One line of the table: how many cells of genuine faces have colour, and how many much of it."""
    hottest = maps.max((1, 2)).mean()
    shares = " | ".join(f"{(maps > level).mean():.3f}" for level in (0, HALF_COLOUR))
    return f"| {name} | {len(maps)} | {shares} | {maps.mean():+.2f} | {hottest:+.2f} |"


def sheet(cases: list[Case], examiner: Examiner) -> np.ndarray:
    """Rows of genuine, its heat, forged, its heat, mask."""
    rows = []
    for case in cases:
        tiles = []
        for view in (case.genuine_view, case.view):
            evidence = examiner.score([view], kind="image")[0][0]
            tiles += [view[0].pixels, draw.overlay_crop(Heatmap(evidence, view[0]))]
        mask = cv2.resize(case.mask, (224, 224), interpolation=cv2.INTER_NEAREST).clip(0, 1)
        tiles.append(np.repeat((mask * 255).astype(np.uint8)[..., None], 3, axis=2))
        rows.append(np.hstack(tiles))
    return np.vstack(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+", help="folders of training faces; CIPLAB's in the first")
    parser.add_argument("--restored", type=Path)
    parser.add_argument("--pairs", type=int, default=600)
    parser.add_argument("--weights", help="name of a net in the manifest")
    parser.add_argument("--picture", type=Path, help="write a sheet of the first blends here")
    arguments = parser.parse_args()
    entry = checkpoint.find(arguments.weights)
    examiner = Examiner(choose(), entry)
    judged = JudgedPairs(entry, examiner, arguments.data, arguments.restored, held_back=True, whole_share=0.0)
    cases = []
    for seed in range(arguments.pairs):
        pair, wide, _ = judged.make_of(10**6 + seed)
        genuine, forged = (judged.view(half) for half in wide.crops)
        cases.append(Case(pair.family, pair.crops[1], pair.mask, forged, genuine))
    forged_maps, logits = examiner.score([case.view for case in cases], kind="image")
    genuine_maps, genuine_logits = examiner.score([case.genuine_view for case in cases], kind="image")
    print(f"{entry.name}: {len(cases)} held-back blends and their genuine halves; maps called above {THRESHOLD:g}")
    print(f"\n| genuine | faces | cells above 0 | above {HALF_COLOUR:g} | evidence | hottest cell |")
    print("|---|---|---|---|---|---|")
    print(warmth("halves of blends, worn", genuine_maps))
    print(warmth("pictures as they are", as_they_are(arguments.data, examiner, arguments.pairs)))
    print("\n| family | crop AUC |\n|---|---|")
    families = np.array([case.family for case in cases])
    there = [family for family in FAMILIES if family in families]
    for family in (*there, "all"):
        chosen = np.flatnonzero((families == family) | (family == "all"))
        scores = np.concatenate([genuine_logits[chosen], logits[chosen]])
        print(f"| {family} | {roc_auc_score(np.repeat([0, 1], len(chosen)), scores):.3f} |")
    print("\n| what | forgeries | pixel AUC | IoU | pointing | evidence inside | outside |")
    print("|---|---|---|---|---|---|---|")
    # A face redrawn all over has no outside to tell it from.
    parts = [family for family in there if family != "redrawn"]
    for name, wanted in [(family, {family}) for family in parts] + [("all of these", set(parts))]:
        chosen = np.flatnonzero(np.isin(families, list(wanted)))
        print(row(name, [cases[i] for i in chosen], forged_maps[chosen], threshold=THRESHOLD))
    # Of the first look alone.
    net = load_net(entry)
    chosen = np.flatnonzero(np.isin(families, parts))
    some = [cases[i] for i in chosen]
    print(row("all of these, Grad-CAM++", some, grad_cam(net, [case.forged for case in some]), threshold=None))
    ciplab = composites(arguments.data[0], entry, examiner)
    if ciplab:
        maps, _ = examiner.score([case.view for case in ciplab], kind="image")
        print(row("ciplab", ciplab, maps, threshold=THRESHOLD))
        print(row("ciplab, Grad-CAM++", ciplab, grad_cam(net, [case.forged for case in ciplab]), threshold=None))
    if arguments.picture:
        cv2.imwrite(str(arguments.picture), sheet(some[:10], examiner)[..., ::-1])


if __name__ == "__main__":
    main()
