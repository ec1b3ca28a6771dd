"""One thing changed at a time: crop margin, input size, depth, width, pooling, map weight, noise residual; and the cost.

Every variant is trained alike, on the same pairs in the same order for the same number of crops, and judged on pairs of
faces kept out of training and on held-out media (eight frames of a video, their logits averaged; AUC within each source).
Runs are resumable; the table is written anew after each.

python benchmarks/sweep.py DATA --validation DATA --split val --restored runs/restored --out runs/sweep --crops 40960
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score

from deepfake_detect import Options, engine, media
from deepfake_detect.crop import cut
from deepfake_detect.errors import DeepfakeDetectError
from deepfake_detect.model import EvidenceNet
from deepfake_detect.training.datasets import Labelled, read_dataset
from deepfake_detect.training.pairs import PairMaker
from deepfake_detect.training.train import Settings, measure, train
from deepfake_detect.types import Architecture, Crop, Face

if TYPE_CHECKING:
    from collections.abc import Sequence

# Name -> what differs from the first.
VARIANTS: dict[str, dict[str, Any]] = {
    "as shipped": {},
    "margin 0.08": {"margin": 0.08},
    "margin 0.3": {"margin": 0.3},
    "margin 0.5": {"margin": 0.5},
    "192 px": {"size": 192},
    "256 px": {"size": 256},
    "4 stages": {"stages": 4},
    "7 stages": {"stages": 7},
    "lite1": {"backbone": "lite1"},
    "lite2": {"backbone": "lite2"},
    "sharpness 0.5": {"sharpness": 0.5},
    "sharpness 3": {"sharpness": 3.0},
    "map weight 0": {"map_weight": 0.0},
    "map weight 0.3": {"map_weight": 0.3},
    "map weight 3": {"map_weight": 3.0},
    "noise residual": {"residual": 1},
}

log = logging.getLogger(__name__)


def found_faces(root: Path, items: Sequence[Labelled], cache: Path) -> dict[str, list[dict[str, Any]]]:
    """The largest face of each picture, and of eight frames of each video: found once, for all variants."""
    if cache.exists():
        kept: dict[str, list[dict[str, Any]]] = json.loads(cache.read_text())
        return kept
    finder = engine.choose().face_finder()
    faces: dict[str, list[dict[str, Any]]] = {}
    for item in items:
        rows = []
        try:
            with media.open(root / item.path, Options(frames=8)) as opened:
                for frame in opened.frames():
                    rows += [{"time_s": frame.time_s, "box": face.box} for face in finder.find(frame)[:1]]
        except DeepfakeDetectError as error:
            log.warning("%s", error)
        faces[item.path] = rows
    cache.write_text(json.dumps(faces))
    return faces


def held_out(
    net: EvidenceNet, root: Path, items: Sequence[Labelled], faces: dict[str, list[dict[str, Any]]]
) -> dict[str, float]:
    """AUC within each source that has both classes."""
    scores: dict[str, list[tuple[bool, float]]] = defaultdict(list)
    size, margin = net.architecture.size, net.architecture.margin
    for item in items:
        boxes = {row["time_s"]: row["box"] for row in faces[item.path]}
        if not boxes:
            continue
        crops: list[Crop] = []
        with media.open(root / item.path, Options(frames=8)) as opened:
            for frame in opened.frames():
                if frame.time_s in boxes:
                    face = Face(tuple(boxes[frame.time_s]), ((0.0, 0.0),) * 5, 1.0)
                    crops.append(cut(frame, face, size=size, margin=margin))
        scores[item.source].append((item.label == "fake", float(net.score(crops)[1].mean())))
    return {
        source: float(roc_auc_score([fake for fake, _ in rows], [logit for _, logit in rows]))
        for source, rows in sorted(scores.items())
        if len({fake for fake, _ in rows}) == 2
    }


def milliseconds(net: EvidenceNet) -> float:
    """Median time of one crop, alone, on one core."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    pixels = torch.zeros(1, 3, net.architecture.size, net.architecture.size).contiguous(
        memory_format=torch.channels_last
    )
    spent = []
    with torch.inference_mode():
        for _ in range(40):
            began = time.perf_counter()
            net(pixels)
            spent.append(1000 * (time.perf_counter() - began))
    torch.set_num_threads(threads)
    return float(np.median(spent[10:]))


def table(results: dict[str, dict[str, Any]]) -> str:
    sources = sorted({source for result in results.values() for source in result["held_out"]})
    families = ("auc", "auc_self", "auc_other", "auc_regenerated", "auc_redrawn", "auc_whole", "auc_pixel")
    names = ["variant", "parameters", "ms a crop", *(f.replace("_", " ") for f in families), *sources]
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    for name, result in results.items():
        cells = [name, f"{result['parameters']:,}", f"{result['ms']:.1f}"]
        cells += [f"{result['pairs'][family]:.3f}" for family in families]
        cells += [f"{result['held_out'].get(source, float('nan')):.3f}" for source in sources]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+", help="folders of training faces")
    parser.add_argument("--validation", type=Path, required=True, help="labelled media that are not trained on")
    parser.add_argument("--split")
    parser.add_argument("--restored", type=Path)
    parser.add_argument("--leave-out", type=Path, help="text file of groups not to train on, one a line")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--crops", type=int, default=40_960, help="that each variant is trained on (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="weights to start from, for variants of the same shape")
    parser.add_argument("--only", nargs="*", default=list(VARIANTS), help="these variants")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    left_out = frozenset(arguments.leave_out.read_text().splitlines()) if arguments.leave_out else frozenset()
    arguments.out.mkdir(parents=True, exist_ok=True)
    dataset = read_dataset(arguments.validation, split=arguments.split)
    faces = found_faces(dataset.root, dataset.items, arguments.out / "faces.json")
    kept = arguments.out / "results.json"
    results: dict[str, dict[str, Any]] = json.loads(kept.read_text()) if kept.exists() else {}
    in_architecture = {field.name for field in dataclasses.fields(Architecture)}
    for name in arguments.only:
        if name in results:
            continue
        changed = VARIANTS[name]
        architecture = Architecture(**{key: value for key, value in changed.items() if key in in_architecture})
        settings = Settings(
            pictures=arguments.crops,
            seed=arguments.seed,
            **{key: value for key, value in changed.items() if key not in in_architecture},
        )
        folder = arguments.out / name.replace(" ", "_")
        weights = train(
            folder, arguments.data, arguments.restored, settings, architecture,
            leave_out=left_out, measured_pairs=0, start=arguments.start,
        )  # fmt: skip
        net = EvidenceNet(architecture).to(memory_format=torch.channels_last)
        net.load_state_dict(load_file(weights))
        net.eval()
        maker = PairMaker(arguments.data, arguments.restored, architecture, leave_out=left_out, held_back=True)
        results[name] = {
            "parameters": sum(value.numel() for value in net.parameters()),
            "ms": milliseconds(net),
            "pairs": measure(net, [maker.make(10**7 + seed) for seed in range(600)]),
            "held_out": held_out(net, dataset.root, dataset.items, faces),
        }
        kept.write_text(json.dumps(results, indent=1))
        (arguments.out / "table.md").write_text(table(results))
        print(table(results))


if __name__ == "__main__":
    main()
