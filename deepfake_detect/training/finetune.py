"""Goes on training the shipped net on one's own labelled media, and calibrates it on a part kept apart.

    python -m deepfake_detect.training.finetune MEDIA out

Out come `out/weights`, a folder that `Detector(weights_folder=...)` and `deepfake-detect --weights` take, and
`out/before` and `out/after`, the evaluation of the shipped and of the new net on the part kept apart. One group in five is
kept apart, by its name. Once made, the faces, and the state of training, stay in `out`, so that the same command goes on
where a stopped one was (one that was stopped while it found the faces finds them anew); with other files, labels or groups,
or other --frames, --more or --restored, it wants another folder.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import time
import zlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import checkpoint
from ..detector import Detector
from ..files import NAMES, write_atomically
from ..media import shown
from .calibrate import FEWEST_GROUPS, calibrate, fewest_groups
from .datasets import read_dataset
from .evaluate import write
from .export import check_name, export, read_manifest
from .prepare import Wanted, prepare
from .scores import relabelled, run
from .train import Settings, train

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .datasets import Dataset, Labelled

log = logging.getLogger(__name__)


def kept_apart(item: Labelled) -> bool:
    """Whether a file is for measuring and calibrating, not for training: one group in five, by its name."""
    return zlib.crc32(item.group.encode(*NAMES)) % 5 == 0


def as_trained(settings: Settings, start: dict[str, Any]) -> Settings:
    """The settings with what fits crops and norms to a net that is in the manifest: as it was trained.

    Its looks see margins that pairs of the architecture's own margin never show.

    Args:
        start: The net's entry.
    """
    trained = start.get("training", {}).get("settings", {})
    kept = {name: trained[name] for name in ("narrowest", "widest", "closest", "norms") if name in trained}
    return replace(settings, **kept)


def finetune(
    dataset: Dataset,
    out: Path,
    *,
    name: str,
    settings: Settings,
    frames: int,
    workers: int,
    restored: Path | None = None,
    more: Sequence[Path] = (),
) -> Path:
    """Prepare, train, export, calibrate and compare.

    Args:
        dataset: One's own labelled media.
        out: Folder of all that is made.
        name: Of the new weights.
        settings: Of training; margins and norms are those the net that ships was trained with, see `as_trained`.
        frames: Of each video.
        workers: Processes that prepare faces and make pairs.
        restored: Redrawn faces, as for `train`.
        more: Further folders of faces, as `prepare` writes them, to keep the net from forgetting: half of what is drawn.

    Returns:
        The folder of the new weights.

    Raises:
        SystemExit: A class is missing from the part to train on, or too few groups in the part kept apart; or what is in
            `out` was made of other files or with other arguments; or the name can't be one of a file.
    """
    check_name(name)
    apart = [item for item in dataset.items if kept_apart(item)]
    own = [item for item in dataset.items if not kept_apart(item)]
    for label in ("real", "fake"):
        for part, items, fewest in (("to train on", own, 1), ("kept apart to calibrate on", apart, FEWEST_GROUPS)):
            count = len({item.group for item in items if item.label == label})
            if count < fewest:
                raise SystemExit(
                    f"{dataset.root}: expected at least {fewest} groups of {label} files {part}, found {count};"
                    " more files, in more groups, are needed"
                )
    known, left_out = out / "trained_on.json", frozenset(item.group for item in apart)
    trained = {
        "files": sorted([item.path, item.label, item.group] for item in own),
        "kept_apart": sorted(left_out),
        "frames": frames,
        "more": [str(folder.resolve()) for folder in more],
        "restored": None if restored is None else str(restored.resolve()),
    }
    if known.exists() and json.loads(known.read_text()) != trained:
        raise SystemExit(
            f"{out} was begun with other files, or other labels or groups of theirs, or other --frames, --more or"
            f" --restored ({known}): what was trained on may be kept apart by now; give another folder"
        )
    shipped, named = Detector(), shown(dataset.root.resolve().name)
    before, before_views = run(dataset.root, apart, out / "before", shipped)
    if (
        max(fewest_groups([item for item in before if item.kind == kind]) for kind in ("image", "video"))
        < FEWEST_GROUPS
    ):
        raise SystemExit(
            f"{dataset.root}: of the files kept apart too few show a face that can be judged;"
            f" expected {FEWEST_GROUPS} groups of each class, of pictures or of videos"
        )
    faces = out / "faces"
    if not (faces / "landmarks.npz").exists():
        count = prepare(own, dataset.root, faces, Wanted(frames=frames), workers=workers)
        write_atomically(known, json.dumps(trained, indent=1).encode())
        log.info("%d faces to train on", count)
    entry = checkpoint.find()
    start = read_manifest(entry.path.parent)["models"][entry.name]
    weights = train(
        out / "run", [faces, *more], restored, as_trained(settings, start), entry.architecture, own=faces,
        leave_out=left_out, start=entry.path, workers=workers, measured_pairs=0,
    )  # fmt: skip
    folder = out / "weights"
    trained_on = f"{entry.name}, then {len(own)} files of {named}"
    used = {how: start.get(how) for how in ("looks", "softness", "hottest")}
    export(weights, folder, name, trained_on=trained_on, **used)
    after, after_views = run(dataset.root, apart, out / "after", Detector(weights_folder=folder))
    moved = {"image": entry.calibration.image.logit_sd, "video": entry.calibration.video.logit_sd}
    calibrate(after, folder, data=f"{len(apart)} files of {named}", moved=moved)
    calibrated = Detector(weights_folder=folder)
    after = [relabelled(item, calibrated.calibration) for item in after]
    name_before, name_after = f"{named}, before", f"{named}, after; calibrated on these very files"
    read_as: Any = {"layout": dataset.layout, "split": dataset.split}
    print(f"before\n{write(out / 'before', before, before_views, shipped, name=name_before, **read_as)}")
    print(f"after\n{write(out / 'after', after, after_views, calibrated, name=name_after, **read_as)}")
    print(
        "The new net is measured on the files it was calibrated on. That flatters its verdicts, ECE and Brier score, and\n"
        "AUC, AP and EER as far as it ranks pictures among videos, and several people or poor faces among others.\n"
        "manifest.json says under calibration_on_other_groups how its calibration carries over."
    )
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m deepfake_detect.training.finetune",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("dataset", type=Path, help="labelled media, in any layout that `evaluate` reads")
    parser.add_argument("out", type=Path, help="folder of all that is made; an unfinished one is continued")
    parser.add_argument("--name", default="finetuned", help="of the new weights (%(default)s)")
    parser.add_argument("--split", help="only these rows of a CSV with a column split")
    parser.add_argument("--crops", type=int, default=50_000, help="how many crops to train on (%(default)s)")
    parser.add_argument("--learning-rate", type=float, default=1.5e-4, help="at its peak (%(default)s)")
    parser.add_argument("--whole-share", type=float, default=0.6,
                        help="share of pairs with whole forgeries, half of them one's own where --more has some, too;"
                             " the rest are blends (%(default)s)")  # fmt: skip
    parser.add_argument("--frames", type=int, default=8, help="of each video (%(default)s)")
    parser.add_argument("--restored", type=Path, help="folder filled by restore.py and redraw.py")
    parser.add_argument("--more", type=Path, nargs="*", default=[], help="further folders of faces, from `prepare`")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (%(default)s)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    began = time.monotonic()
    settings = Settings(
        pictures=arguments.crops,
        learning_rate=arguments.learning_rate,
        warm_up=min(2000, arguments.crops // 5),
        whole_share=arguments.whole_share,
    )
    dataset = read_dataset(arguments.dataset, split=arguments.split)
    log.info("%s", dataset.summary)
    folder = finetune(
        dataset,
        arguments.out,
        name=arguments.name,
        settings=settings,
        frames=arguments.frames,
        workers=arguments.workers,
        restored=arguments.restored,
        more=arguments.more,
    )
    print(f"new weights in {folder}, after {(time.monotonic() - began) / 60:.0f} minutes")


if __name__ == "__main__":
    main()
