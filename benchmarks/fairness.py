"""Are errors equal between groups of people? False alarms on UTKFace adults, misses on blends of UTKFace faces.

False alarms come from the scores of an evaluation (genuine media, the detector as shipped); misses from blends made of
faces kept out of training, at the threshold where 5 % of all genuine halves would be called manipulated. Age, sex and group
are those UTKFace's file names state; they were assigned by its makers, not by the people shown.

python benchmarks/fairness.py runs/val/scores.csv --faces DATA runs/more_faces --pairs 1500
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from judged_pairs import JudgedPairs
from sklearn.metrics import roc_auc_score

from deepfake_detect import checkpoint
from deepfake_detect.engine import Examiner, choose
from deepfake_detect.training.data import read_faces
from deepfake_detect.training.metrics import effective_groups
from deepfake_detect.training.scores import read_scores, relabelled
from deepfake_detect.verdict import wilson

if TYPE_CHECKING:
    from collections.abc import Iterator

GROUPS = ("White", "Black", "Asian", "Indian", "other")
SEXES = ("male", "female")
AGES = ((18, 30), (30, 45), (45, 60), (60, 120))


def traits(name: str) -> dict[str, str] | None:
    """Group, sex and age band of a UTKFace file name, age_sex_group_date; None for any other name."""
    found = re.search(r"(?:^|/|_)(\d{1,3})_([01])_([0-4])_\d{17}", name)
    if not found:
        return None
    age = int(found[1])
    band = next((f"{low} to {high - 1}" for low, high in AGES if low <= age < high), None)
    return {"group": GROUPS[int(found[3])], "sex": SEXES[int(found[2])]} | ({"age": band} if band else {})


def by_trait(rows: list[tuple[dict[str, str], float]]) -> Iterator[tuple[str, str, np.ndarray]]:
    for trait in ("group", "sex", "age"):
        for value in sorted({traits[trait] for traits, _ in rows if trait in traits}):
            yield trait, value, np.array([figure for traits, figure in rows if traits.get(trait) == value])


def false_alarms(scores: Path) -> None:
    calibration = checkpoint.find().calibration
    rows, inconclusive, logits = [], [], []
    for item in read_scores(scores):
        known = traits(Path(item.path).name)
        if item.source == "utkface" and item.label == "real" and known and item.logit is not None:
            verdict = relabelled(item, calibration).verdict
            rows.append((known, float(verdict == "manipulated")))
            inconclusive.append((known, float(verdict == "inconclusive")))
            logits.append((known, item.logit))
    print("| trait | | genuine | called manipulated (95 %) | inconclusive | mean logit |\n|---|---|---|---|---|---|")
    shares: dict[str, list[float]] = {}
    for (trait, value, alarms), (_, _, unsure), (_, _, evidence) in zip(
        by_trait(rows), by_trait(inconclusive), by_trait(logits), strict=True
    ):
        low, high = wilson(int(alarms.sum()), len(alarms))
        shares.setdefault(trait, []).append(float(alarms.mean()))
        print(f"| {trait} | {value} | {len(alarms)} | {alarms.mean():.3f} ({low:.2f}–{high:.2f})"
              f" | {unsure.mean():.3f} | {evidence.mean():+.2f} |")  # fmt: skip
    for trait, found in shares.items():
        print(f"{trait}: worst and best {100 * (max(found) - min(found)):.1f} points apart")


def misses(folders: list[Path], restored: Path | None, pairs: int) -> None:
    entry = checkpoint.find()
    strangers = frozenset(
        face.group for folder in folders for face in read_faces(folder) if traits(Path(face.path).name) is None
    )
    judged = JudgedPairs(entry, Examiner(choose(), entry), folders, restored, held_back=True, whole_share=0.0,
                         leave_out=strangers)  # fmt: skip
    known, seen, logits = [], [], np.zeros((0, 2))
    for seed in range(pairs):
        _, pair, face = judged.make_of(5 * 10**6 + seed)
        found = traits(Path(face.path).name)
        if found:
            known.append(found)
            seen.append(face.path)
            logits = np.vstack([logits, judged.score(list(pair.crops))[1]])
    bar = float(np.quantile(logits[:, 0], 0.95))
    print("\n| trait | | faces | blends | missed at 5 % false alarms overall (95 %) | false alarms | AUC |")
    print("|---|---|---|---|---|---|---|")
    rows = [(traits, float(i)) for i, traits in enumerate(known)]
    for trait, value, indices in by_trait(rows):
        mine = logits[indices.astype(int)]
        missed = mine[:, 1] <= bar
        # Several blends of one face are not independent.
        mine_of = [seen[int(i)] for i in indices]
        faces, count = len(set(mine_of)), effective_groups(mine_of)
        low, high = wilson(float(missed.mean()) * count, count)
        area = roc_auc_score(np.repeat([0, 1], len(mine)), np.concatenate([mine[:, 0], mine[:, 1]]))
        print(f"| {trait} | {value} | {faces} | {len(mine)} | {missed.mean():.3f} ({low:.2f}–{high:.2f})"
              f" | {(mine[:, 0] > bar).mean():.3f} | {area:.3f} |")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scores", type=Path, help="scores.csv of an evaluation that holds UTKFace")
    parser.add_argument("--faces", type=Path, nargs="*", default=[], help="folders of training faces, for the misses")
    parser.add_argument("--restored", type=Path)
    parser.add_argument("--pairs", type=int, default=1500)
    arguments = parser.parse_args()
    false_alarms(arguments.scores)
    if arguments.faces:
        misses(arguments.faces, arguments.restored, arguments.pairs)


if __name__ == "__main__":
    main()
