"""The media of `public_media.csv` that are at hand, as a labelled data set.

Of 37 held-out videos nine are genuine: too few to say how often a genuine one is called manipulated. So the tool is also
measured on what public projects show: genuine clips and stills of many people, and forgeries of many methods. The list
says which files of which GitHub repositories, by their SHA-256; the files themselves are not ours to hand on. Labels are
what the projects say, looked at by eye. No picture is one of the sets that were trained on, as far as comparing them tells;
some clips may be of those that were, as projects show themselves, and their like.

    git clone --depth 1 https://github.com/OWNER/NAME clones/OWNER/NAME    (each of the column `repository`)
    python benchmarks/public.py clones > runs/public.csv

    (cat runs/val.csv; tail -n +2 runs/public.csv) > runs/all.csv

Its columns are those of `groups.py`, so that both lists make one.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import sys
from dataclasses import fields
from pathlib import Path

from deepfake_detect.training.datasets import Labelled

LIST = Path(__file__).with_name("public_media.csv")


def at_hand(clones: Path, listed: Path = LIST) -> tuple[list[Labelled], list[str], list[str]]:
    """The listed files below a folder of clones; which are missing, and which are no longer those that were listed."""
    found, missing, changed = [], [], []
    with listed.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            path = clones / row["repository"] / row["file"]
            if not path.is_file():
                missing.append(str(path))
            elif hashlib.sha256(path.read_bytes()).hexdigest() != row["sha256"]:
                changed.append(str(path))
            else:
                found.append(Labelled(str(path.resolve()), row["label"], row["source"], row["method"], row["group"]))
    return found, missing, changed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clones", type=Path, help="folder of the repositories' clones, as owner/name")
    clones = parser.parse_args().clones
    found, missing, changed = at_hand(clones)
    if not found:
        raise SystemExit(
            f"{clones}: expected clones of the repositories in {LIST}, as owner/name; found none of its files"
        )
    writer = csv.DictWriter(sys.stdout, [field.name for field in fields(Labelled)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(vars, found))
    print(f"{len(found)} files, {len(missing)} missing, {len(changed)} changed and left out", file=sys.stderr)


if __name__ == "__main__":
    main()
