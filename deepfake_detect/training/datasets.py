"""Labelled media on disk: recognises how the usual research sets are laid out, a plain pair of folders, and any CSV.

    CSV                 columns path and label; source, method, group, original and split where there are any; paths from
                        its folder
    FaceForensics++     original_sequences/ and manipulated_sequences/, videos or frames (Rossler et al., ICCV 2019)
    Celeb-DF            Celeb-real/, YouTube-real/, Celeb-synthesis/ (Li et al., CVPR 2020)
    DFDC                metadata.json beside the videos, in one folder or several (Dolhansky et al., 2020)
    DF40                a folder for each method with frames/ below it (Yan et al., NeurIPS 2024); the genuine ones, which
                        it takes from FaceForensics++ and Celeb-DF, under real/
    folders             real/ and fake/, whose subfolders are the sources

A `group` names what must stay together: files made from the same clip, picture or person.
"""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_REAL, _FAKE = {"real", "genuine", "original", "0"}, {"fake", "manipulated", "deepfake", "1"}
_ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".heic", ".heif", ".avif", ".tif", ".tiff",
            ".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".flv", ".mpg", ".mpeg", ".wmv", ".3gp"}  # fmt: skip


@dataclass(frozen=True)
class Labelled:
    """One file whose label is known.

    Attributes:
        path: Below the data set's root.
        label: `real` or `fake`.
        source: The data set, or the part of it, it comes from.
        method: How a forgery was made; empty for genuine files or where it isn't known.
        group: What it must stay together with.
        original: Path of the genuine picture that a forgery was made from and fits pixel by pixel; empty where there is
            none.
    """

    path: str
    label: str
    source: str
    method: str
    group: str
    original: str = ""


@dataclass(frozen=True)
class Dataset:
    """Labelled files below one folder.

    Attributes:
        root: The folder.
        layout: Which of the known layouts it has.
        items: In a stable order.
    """

    root: Path
    layout: str
    items: tuple[Labelled, ...]


def read_dataset(path: Path, *, split: str | None = None) -> Dataset:
    """The labelled files of a folder or a CSV.

    Args:
        path: A folder in one of the known layouts, or a CSV.
        split: Only rows of a CSV whose column `split` says so.

    Raises:
        SystemExit: The layout is none of the known, or a label is neither real nor fake.
    """
    table = path / "index.csv" if path.is_dir() else path
    if table.is_file():
        return Dataset(table.parent, "csv", tuple(_read_csv(table, split)))
    if split is not None:
        raise SystemExit(f"{path}: --split needs a CSV with a column `split`; found none")
    for layout, (recognised, read) in _LAYOUTS.items():
        if recognised(path):
            items = tuple(sorted(read(path), key=lambda item: item.path))
            if not items:
                raise SystemExit(f"{path}: laid out as {layout}, but holds no pictures or videos")
            return Dataset(path, layout, items)
    found = ", ".join(sorted(entry.name for entry in path.iterdir())[:5]) if path.is_dir() else "no such folder or file"
    raise SystemExit(
        f"{path}: expected a CSV (path, label), an index.csv, or one of the layouts {', '.join(_LAYOUTS)};"
        f" found {found or 'an empty folder'}. `python -m deepfake_detect.training.evaluate --help` describes them"
    )


def _read_csv(table: Path, split: str | None) -> Iterator[Labelled]:
    with table.open(newline="") as lines:
        rows = csv.DictReader(lines)
        if missing := {"path", "label"} - set(rows.fieldnames or ()):
            raise SystemExit(f"{table}: expected the columns path and label; missing {', '.join(sorted(missing))}")
        if split is not None and "split" not in (rows.fieldnames or ()):
            raise SystemExit(f"{table}: --split needs a column `split`; found {', '.join(rows.fieldnames or ())}")
        for number, row in enumerate(rows, 2):
            if split is not None and row["split"] != split:
                continue
            label = (row["label"] or "").strip().lower()
            if label not in _REAL | _FAKE:
                raise SystemExit(f"{table}, line {number}: expected the label real or fake, found {row['label']!r}")
            yield Labelled(row["path"], "real" if label in _REAL else "fake", row.get("source") or "all",
                           row.get("method") or "", row.get("group") or Path(row["path"]).stem,
                           row.get("original") or "")  # fmt: skip


def _media(folder: Path) -> Iterator[Path]:
    yield from (p for p in folder.rglob("*") if p.suffix.lower() in _ENDINGS and p.is_file())


def _faceforensics(root: Path) -> Iterator[Labelled]:
    """Forgeries are named after target and source clip, `033_097`; either way round the two are one group.

    Clips are forged in fixed pairs, so the smaller number of a pair names the group. The clips by actors, whose names begin
    with the actor's number, are grouped by that.
    """
    files = [(path, "real") for path in _media(root / "original_sequences")]
    files += [(path, "fake") for path in _media(root / "manipulated_sequences")]
    clips = {path: _ff_clip(path.relative_to(root)) for path, _ in files}
    partner: dict[str, str] = {}
    for clip in clips.values():
        if pair := re.fullmatch(r"(\d{3})_(\d{3})", clip):
            partner[pair[1]], partner[pair[2]] = pair[2], pair[1]
    for path, label in files:
        below = path.relative_to(root)
        clip = clips[path]
        first = clip.split("_")[0]
        group = min(first, partner.get(first, first))
        method = below.parts[1] if label == "fake" else ""
        yield Labelled(str(below), label, f"faceforensics_{below.parts[2]}", method, group)


def _ff_clip(below: Path) -> str:
    """The clip of .../videos/033_097.mp4 or .../frames/033_097/0001.png."""
    return below.parent.name if "videos" not in below.parts else below.stem


def _celeb_df(root: Path) -> Iterator[Labelled]:
    """`id3_id7_0002` is the second clip of person 3 with the face of person 7: grouped by person 3."""
    for folder, label in (("Celeb-real", "real"), ("YouTube-real", "real"), ("Celeb-synthesis", "fake")):
        for path in _media(root / folder):
            below = path.relative_to(root)
            clip = (
                path.stem if len(below.parts) == 2 else below.parts[1] if below.parts[1] != "frames" else below.parts[2]
            )
            person = re.match(r"id\d+", clip)
            group = person[0] if person else f"youtube_{clip}"
            yield Labelled(str(below), label, "celeb_df", "Celeb-synthesis" if label == "fake" else "", group)


def _dfdc(root: Path) -> Iterator[Labelled]:
    """Grouped by the original that the metadata names."""
    for table in sorted([*root.glob("metadata.json"), *root.glob("*/metadata.json")]):
        for name, entry in json.loads(table.read_text()).items():
            path = table.parent / name
            if path.is_file() and entry.get("label") in ("REAL", "FAKE"):
                fake = entry["label"] == "FAKE"
                group = Path(entry.get("original") or name).stem
                yield Labelled(str(path.relative_to(root)), "fake" if fake else "real", "dfdc", "", group)


def _df40(root: Path) -> Iterator[Labelled]:
    """METHOD/[ff or cdf/]frames/CLIP/PICTURE, and the same below real/."""
    for method in sorted(p for p in root.iterdir() if p.is_dir()):
        label = "real" if method.name.lower() == "real" else "fake"
        for path in _media(method):
            below = path.relative_to(root)
            domain = below.parts[1] if below.parts[1] in ("ff", "cdf") else "all"
            clip = path.parent.name if "frames" in below.parts and path.parent.name != "frames" else path.stem
            group = re.split(r"_", clip)[0]
            yield Labelled(str(below), label, f"df40_{domain}", method.name if label == "fake" else "", group)


def _folders(root: Path) -> Iterator[Labelled]:
    for label in ("real", "fake"):
        for path in _media(root / label):
            below = path.relative_to(root)
            yield Labelled(str(below), label, below.parts[1] if len(below.parts) > 2 else "all", "", path.stem)


_LAYOUTS: dict[str, tuple[Callable[[Path], bool], Callable[[Path], Iterator[Labelled]]]] = {
    "FaceForensics++": (lambda p: (p / "manipulated_sequences").is_dir(), _faceforensics),
    "Celeb-DF": (lambda p: (p / "Celeb-synthesis").is_dir(), _celeb_df),
    "DFDC": (lambda p: any(p.glob("metadata.json")) or any(p.glob("*/metadata.json")), _dfdc),
    "real/ and fake/": (lambda p: (p / "real").is_dir() and (p / "fake").is_dir(), _folders),
    "DF40": (lambda p: any(p.glob("*/frames")) or any(p.glob("*/ff/frames")) or any(p.glob("*/cdf/frames")), _df40),
}
