"""Does the map show where? On blends of faces kept out of training, whose masks are known.

python benchmarks/localisation.py DATA --restored runs/restored --pairs 600 --picture runs/maps.jpg
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from sklearn.metrics import roc_auc_score

from deepfake_detect import checkpoint, draw
from deepfake_detect.model import EvidenceNet
from deepfake_detect.training.pairs import Pair, PairMaker
from deepfake_detect.types import Crop, Heatmap


def judge(net: EvidenceNet, pairs: list[Pair]) -> tuple[np.ndarray, np.ndarray]:
    """Maps (N, 2, 28, 28) and logits (N, 2): genuine, forged."""
    crops = [Crop(half, np.eye(2, 3)) for pair in pairs for half in pair.crops]
    maps, logits = net.score(crops)
    return maps.reshape(len(pairs), 2, *maps.shape[1:]), logits.reshape(-1, 2)


def sheet(pairs: list[Pair], maps: np.ndarray) -> np.ndarray:
    """Rows of genuine, its heat, forged, its heat, mask."""
    rows = []
    for pair, both in zip(pairs, maps, strict=True):
        tiles = []
        for pixels, evidence in zip(pair.crops, both, strict=True):
            tiles += [pixels, draw.overlay_crop(Heatmap(evidence, Crop(pixels, np.eye(2, 3))))]
        mask = cv2.resize(pair.mask, (224, 224), interpolation=cv2.INTER_NEAREST)
        tiles.append(np.repeat((mask * 255).astype(np.uint8)[..., None], 3, axis=2))
        rows.append(np.hstack(tiles))
    return np.vstack(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--restored", type=Path)
    parser.add_argument("--pairs", type=int, default=600)
    parser.add_argument("--picture", type=Path, help="write a sheet of the first blends here")
    arguments = parser.parse_args()
    entry = checkpoint.find()
    net = EvidenceNet(entry.architecture)
    net.load_state_dict(checkpoint.read(entry))
    net.eval()
    maker = PairMaker(arguments.data, arguments.restored, entry.architecture, held_back=True, whole_share=0.0)
    pairs = [maker.make(10**6 + seed) for seed in range(arguments.pairs)]
    maps, logits = judge(net, pairs)
    print(f"{entry.name}, {len(pairs)} held-back blends and their genuine halves")
    print("| family | blends | crop AUC | pixel AUC | evidence inside | outside | in genuine | pointing |")
    print("|---|---|---|---|---|---|---|---|")
    families = np.array([pair.family for pair in pairs])
    for family in ("self", "other", "regenerated", "all"):
        chosen = [i for i in range(len(pairs)) if family in ("all", families[i])]
        truth = np.tile([0, 1], len(chosen))
        hot = np.concatenate([maps[i, 1][pairs[i].mask > 0.5] for i in chosen])
        cold = np.concatenate([maps[i, 1][pairs[i].mask == 0] for i in chosen])
        pixel = roc_auc_score(np.repeat([0, 1], [len(cold), len(hot)]), np.concatenate([cold, hot]))
        points = [pairs[i].mask.flat[maps[i, 1].argmax()] > 0.1 for i in chosen]
        print(
            f"| {family} | {len(chosen)} | {roc_auc_score(truth, logits[chosen].ravel()):.3f} | {pixel:.3f}"
            f" | {hot.mean():+.2f} | {cold.mean():+.2f} | {maps[chosen, 0].mean():+.2f} | {np.mean(points):.3f} |"
        )
    if arguments.picture:
        cv2.imwrite(str(arguments.picture), sheet(pairs[:10], maps[:10])[..., ::-1])


if __name__ == "__main__":
    main()
