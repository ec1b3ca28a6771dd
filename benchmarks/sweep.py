"""One thing changed at a time from what ships: margins, input size, depth, width, pooling, map weight, norms; and the cost.

Every variant is trained alike, on the same pairs in the same order for the same number of crops, and judged on pairs of
faces kept out of training and, by all its looks, on held-out media (eight frames of a video, their logits averaged; AUC
within each source). Margins and norms are those of the manifest, length and learning rate are not: what ships is a mean of
several long runs, each from the one before. Runs are resumable; the table is written anew after each.

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
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score

from deepfake_detect import Options, checkpoint, engine, media
from deepfake_detect.errors import DeepfakeDetectError
from deepfake_detect.model import EvidenceNet
from deepfake_detect.training.datasets import Labelled, read_dataset
from deepfake_detect.training.export import read_manifest
from deepfake_detect.training.finetune import as_trained
from deepfake_detect.training.pairs import PairMaker
from deepfake_detect.training.train import Settings, measure, train
from deepfake_detect.types import Architecture, Face, Look

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deepfake_detect.checkpoint import ManifestEntry
    from deepfake_detect.engine import Examiner
    from deepfake_detect.types import Crop


def _one_margin(margin: float) -> dict[str, Any]:
    return {"margin": margin, "least_margin": None, "narrowest": 0.0, "widest": 0.0, "closest": None}


# Name -> what differs from the first.
VARIANTS: dict[str, dict[str, Any]] = {
    "as shipped": {},
    "one look of 0.18": _one_margin(0.18),
    "one look of 0.3": _one_margin(0.3),
    "one look of 0.5": _one_margin(0.5),
    "no close crops": {"closest": None},
    "192 px": {"size": 192},
    "256 px": {"size": 256},
    "4 stages": {"stages": 4},
    "5 stages": {"stages": 5},
    "lite1": {"backbone": "lite1"},
    "lite2": {"backbone": "lite2"},
    "sharpness 0.5": {"sharpness": 0.5},
    "sharpness 3": {"sharpness": 3.0},
    "map weight 0": {"map_weight": 0.0},
    "map weight 0.3": {"map_weight": 0.3},
    "map weight 3": {"map_weight": 3.0},
    "norms of each batch": {"norms": "batch"},
    "noise residual": {"residual": 1},
}

log = logging.getLogger(__name__)


def variant(name: str, *, crops: int, seed: int) -> tuple[ManifestEntry, Settings]:
    """The net to be, with its looks, and how it is trained."""
    shipped, changed = checkpoint.find(), VARIANTS[name]
    in_architecture = {field.name for field in dataclasses.fields(Architecture)} & changed.keys()
    settings = dataclasses.replace(
        as_trained(Settings(pictures=crops, seed=seed), read_manifest(shipped.path.parent)["models"][shipped.name]),
        **{key: value for key, value in changed.items() if key not in in_architecture},
    )
    architecture = dataclasses.replace(shipped.architecture, **{key: changed[key] for key in in_architecture})
    # What softness says was measured for the shipped net alone.
    entry = dataclasses.replace(shipped, name=name, architecture=architecture, graph=None, softness=None)
    if not settings.widest:
        looks = (Look(architecture.margin, architecture.least_margin),)
        entry = dataclasses.replace(entry, image_looks=looks, video_looks=looks)
    return entry, settings


def examiner_of(net: EvidenceNet, entry: ManifestEntry) -> Examiner:
    """Judges as the entry says, by a net that no manifest has."""
    return engine.Examiner(SimpleNamespace(scorer=lambda _: net, at_a_time=1), entry)


def found_faces(root: Path, items: Sequence[Labelled], cache: Path) -> dict[str, list[dict[str, Any]]]:
    """The largest face of each picture, and of eight frames of each video: found once, for all variants."""
    if cache.exists():
        kept: dict[str, list[dict[str, Any]]] = json.loads(cache.read_text())
        return kept
    finder = engine.face_finder(engine.choose())
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
    examiner: Examiner, root: Path, items: Sequence[Labelled], faces: dict[str, list[dict[str, Any]]]
) -> dict[str, float]:
    """AUC within each source that has both classes."""
    scores: dict[str, list[tuple[bool, float]]] = defaultdict(list)
    for item in items:
        boxes = {row["time_s"]: row["box"] for row in faces[item.path]}
        if not boxes:
            continue
        views: list[tuple[Crop, ...]] = []
        with media.open(root / item.path, Options(frames=8)) as opened:
            kind = opened.info.kind
            for frame in opened.frames():
                if frame.time_s in boxes:
                    face = Face(tuple(boxes[frame.time_s]), ((0.0, 0.0),) * 5, 1.0)
                    views.append(examiner.cut(frame, face, kind=kind))
        scores[item.source].append((item.label == "fake", float(examiner.score(views, kind=kind)[1].mean())))
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
    names = ["variant", "parameters", "ms a crop", "looks", *(f.replace("_", " ") for f in families), *sources]
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    for name, result in results.items():
        cells = [name, f"{result['parameters']:,}", f"{result['ms']:.1f}", str(result["looks"])]
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
    for name in arguments.only:
        if name in results:
            continue
        entry, settings = variant(name, crops=arguments.crops, seed=arguments.seed)
        architecture = entry.architecture
        folder = arguments.out / name.replace(" ", "_")
        weights = train(
            folder, arguments.data, arguments.restored, settings, architecture,
            leave_out=left_out, measured_pairs=0, start=arguments.start,
        )  # fmt: skip
        net = EvidenceNet(architecture).to(memory_format=torch.channels_last)
        net.load_state_dict(load_file(weights))
        net.eval()
        margins = (settings.narrowest, settings.widest) if settings.widest else None
        maker = PairMaker(
            arguments.data, arguments.restored, architecture,
            leave_out=left_out, held_back=True, margins=margins, closest=settings.closest,
        )  # fmt: skip
        results[name] = {
            "parameters": sum(value.numel() for value in net.parameters()),
            "ms": milliseconds(net),
            "looks": len(entry.video_looks),
            "pairs": measure(net, [maker.make(10**7 + seed) for seed in range(600)]),
            "held_out": held_out(examiner_of(net, entry), dataset.root, dataset.items, faces),
        }
        kept.write_text(json.dumps(results, indent=1))
        (arguments.out / "table.md").write_text(table(results))
        print(table(results))


if __name__ == "__main__":
    main()
