"""A list of the held-out media in which nothing that shares a clip or a person is in two groups.

The list beside the media says `group` by file or by clip. Frames of one clip, the two clips of which FaceForensics++ makes
its swaps, a DFDC forgery and the clip it was made from belong together; their names say so. The lossless frames that
FaceForensics++ shows are of two, one of them of its actors: all but the face is the same in a forgery and the frame it was
made from. Intervals and calibrations rest on groups, and are too sure where one person counts as several.

python benchmarks/groups.py DATA --split val > runs/val.csv
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from dataclasses import fields
from pathlib import Path

from deepfake_detect.training.datasets import Labelled, read_dataset


def shared(item: Labelled) -> set[str]:
    """What a file shares with others: its group, and the clips and people its name speaks of."""
    stem = Path(item.path).stem
    if item.source in ("ffpp_c23", "crops_mixed") and (pair := re.search(r"(?<!\d)(\d{3})_(\d{3})(?!\d)", stem)):
        # In frames the third number is that of the frame.
        return {item.group, f"ff {pair[1]}", f"ff {pair[2]}"}
    if item.source == "ffpp_c23":
        return {item.group, *(f"ff {clip}" for clip in re.findall(r"(?<!\d)\d{3}(?!\d)", stem))}
    if item.source == "crops_mixed":
        people_and_clips = re.findall(r"id\d+|YouTube-real_\d+", stem)
        return {item.group, *(f"celebdf {one}" for one in people_and_clips)}
    if item.source == "ffpp_raw":
        actors = "actors" in stem or "deepfakedetection" in stem
        return {item.group, "ff raw actors" if actors else "ff raw"}
    if item.source.startswith("dfdc"):
        return {item.group, *(f"dfdc {clip}" for clip in re.findall(r"(?<![a-z])[a-z]{10}(?![a-z])", stem))}
    return {item.group}


def joined(items: list[Labelled]) -> list[str]:
    """The group of each file: all that hang together by anything shared are one."""
    leader: dict[str, str] = {}

    def find(name: str) -> str:
        while leader.setdefault(name, name) != name:
            name = leader[name]
        return name

    for item in items:
        first, *others = sorted(shared(item))
        for other in others:
            leader[max(find(first), find(other))] = min(find(first), find(other))
    return [find(item.group) for item in items]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--split", help="only these rows")
    arguments = parser.parse_args()
    dataset = read_dataset(arguments.dataset, split=arguments.split)
    items = list(dataset.items)
    rows = csv.DictWriter(sys.stdout, [field.name for field in fields(Labelled)], lineterminator="\n")
    rows.writeheader()
    for item, group in zip(items, joined(items), strict=True):
        rows.writerow({**vars(item), "group": group, "path": (dataset.root / item.path).resolve()})


if __name__ == "__main__":
    main()
