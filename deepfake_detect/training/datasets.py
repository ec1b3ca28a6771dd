"""Labelled media on disk: recognises how the usual research sets are laid out, a plain pair of folders, and any CSV.

    CSV                 columns path and label; source, method, group, original, publication and split where there are
                        any; paths from its folder
    FaceForensics++     original_sequences/ and manipulated_sequences/ with videos/, or where there are none frames/ or
                        images/ (Rossler et al., ICCV 2019); masks are passed over
    Celeb-DF            Celeb-real/, YouTube-real/, Celeb-synthesis/ (Li et al., CVPR 2020); `--split test` takes those of
                        List_of_testing_videos.txt, on which published figures are
    DFDC                metadata.json beside the videos, in one folder or several (Dolhansky et al., 2020)
    DF40                a folder for each method with frames/ below it (Yan et al., NeurIPS 2024); what lies under a folder
                        real/, in a method's or beside them, is genuine. Those of FaceForensics++ and Celeb-DF, from which
                        most methods start, are to be put there
    folders             real/ and fake/; their subfolders are the sources, and the subfolders of these the clips that frames
                        were taken from

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
    from collections.abc import Callable, Iterable, Iterator

_REAL, _FAKE = {"real", "genuine", "original", "0"}, {"fake", "manipulated", "deepfake", "1"}
VIDEO_ENDINGS = {".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".flv", ".mpg", ".mpeg", ".wmv", ".3gp"}
_ENDINGS = {
    ".jpg",
    ".jpeg",
    ".png",
    ".webp",
    ".bmp",
    ".gif",
    ".heic",
    ".heif",
    ".avif",
    ".tif",
    ".tiff",
} | VIDEO_ENDINGS
_FRAME_FOLDERS = ("frames", "images")
# Pictures right below one of these stand for themselves; those in any other folder are frames of one clip.
_NO_CLIPS = (*_FRAME_FOLDERS, "real", "fake")


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
        publication: What it was published with, by the same hands and encoders; empty where that isn't known.
    """

    path: str
    label: str
    source: str
    method: str
    group: str
    original: str = ""
    publication: str = ""


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
        items = tuple(_read_csv(table, split))
        if not items:
            which = "" if split is None else f" whose column split says {split!r}"
            raise SystemExit(f"{table}: expected rows{which}, found none")
        return Dataset(table.parent, "csv", items)
    for layout, (recognised, read) in _LAYOUTS.items():
        if recognised(path):
            items = tuple(sorted(read(path), key=lambda item: item.path))
            if split is not None:
                items = _only(items, path, layout, split)
            if not items:
                raise SystemExit(f"{path}: laid out as {layout}, but holds no labelled pictures or videos")
            return Dataset(path, layout, items)
    found = ", ".join(sorted(entry.name for entry in path.iterdir())[:5]) if path.is_dir() else "no such folder or file"
    raise SystemExit(
        f"{path}: expected a CSV (path, label), an index.csv, or one of the layouts {', '.join(_LAYOUTS)};"
        f" found {found or 'an empty folder'}. `python -m deepfake_detect.training.evaluate --help` describes them"
    )


def _only(items: tuple[Labelled, ...], root: Path, layout: str, split: str) -> tuple[Labelled, ...]:
    listed = root / "List_of_testing_videos.txt"
    if layout != "Celeb-DF" or split != "test" or not listed.is_file():
        raise SystemExit(f"{root}: --split needs a CSV with a column `split`; found none")
    lines = listed.read_text(encoding="utf-8").splitlines()
    wanted = {Path(line.split()[-1]).with_suffix("").as_posix() for line in lines if line.strip()}
    # id3_id7_0002 whether its frames lie below frames/ or it is the video itself.
    return tuple(item for item in items if f"{Path(item.path).parts[0]}/{_clip(Path(item.path))}" in wanted)


def _read_csv(table: Path, split: str | None) -> Iterator[Labelled]:
    with table.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as lines:
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
            yield Labelled(row["path"], "real" if label in _REAL else "fake", row.get("source") or "media",
                           row.get("method") or "", row.get("group") or Path(row["path"]).stem,
                           row.get("original") or "", row.get("publication") or "")  # fmt: skip


def _media(folder: Path) -> Iterator[Path]:
    yield from (p for p in folder.rglob("*") if p.suffix.lower() in _ENDINGS and p.is_file())


def _clip(path: Path) -> str:
    """The clip a video is, or a frame was taken from."""
    return path.stem if path.suffix.lower() in VIDEO_ENDINGS or path.parent.name in _NO_CLIPS else path.parent.name


def _pairs(clips: Iterable[str]) -> dict[str, str]:
    """FaceForensics++ forges its clips in fixed pairs, either way round: each clip's partner, from names like 033_097."""
    partner: dict[str, str] = {}
    for clip in clips:
        if pair := re.fullmatch(r"(\d{3})_(\d{3})", clip):
            partner[pair[1]], partner[pair[2]] = pair[2], pair[1]
    return partner


def _paired_group(clip: str, partner: dict[str, str]) -> str:
    first = clip.split("_")[0]
    return min(first, partner.get(first, first))


def _faceforensics(root: Path) -> Iterator[Labelled]:
    """The smaller number of a pair names the group; clips by actors, whose names begin with the actor's, that actor."""
    found = []
    for folder, label in (("original_sequences", "real"), ("manipulated_sequences", "fake")):
        for path in _media(root / folder):
            below = path.relative_to(root)
            kind = next((part for part in below.parts[3:-1] if part in {"videos", *_FRAME_FOLDERS}), None)
            if kind and not any("mask" in part for part in below.parts[:-1]):
                found.append((below, label, kind))
    # Frames beside the videos they were taken from say the same twice.
    if any(kind == "videos" for _, _, kind in found):
        found = [one for one in found if one[2] == "videos"]
    partner = _pairs(_clip(below) for below, _, _ in found)
    for below, label, _ in found:
        method = below.parts[1] if label == "fake" else ""
        group = _paired_group(_clip(below), partner)
        yield Labelled(str(below), label, f"faceforensics_{below.parts[2]}", method, group)


def _celeb_df(root: Path) -> Iterator[Labelled]:
    """`id3_id7_0002` is the second clip of person 3 with the face of person 7: grouped by person 3."""
    for folder, label in (("Celeb-real", "real"), ("YouTube-real", "real"), ("Celeb-synthesis", "fake")):
        for path in _media(root / folder):
            clip = _clip(path)
            person = re.match(r"id\d+", clip)
            group = person[0] if person else f"youtube_{clip}"
            method = "Celeb-synthesis" if label == "fake" else ""
            yield Labelled(str(path.relative_to(root)), label, "celeb_df", method, group)


def _dfdc_tables(root: Path) -> list[tuple[Path, dict[str, dict[str, str]]]]:
    """The metadata.json files that say of videos whether they are REAL or FAKE."""
    tables = []
    for table in sorted([*root.glob("metadata.json"), *root.glob("*/metadata.json")]):
        try:
            entries = json.loads(table.read_text(encoding="utf-8"))
        except ValueError:
            continue
        if isinstance(entries, dict) and any(isinstance(e, dict) and "label" in e for e in entries.values()):
            tables.append((table, entries))
    return tables


def _dfdc(root: Path) -> Iterator[Labelled]:
    """Grouped by the original that the metadata names."""
    for table, entries in _dfdc_tables(root):
        for name, entry in entries.items():
            path = table.parent / name
            if path.is_file() and entry.get("label") in ("REAL", "FAKE"):
                label = "fake" if entry["label"] == "FAKE" else "real"
                yield Labelled(str(path.relative_to(root)), label, "dfdc", "", Path(entry.get("original") or name).stem)


def _df40(root: Path) -> Iterator[Labelled]:
    """METHOD/[ff or cdf/]frames/CLIP/PICTURE; genuine where a folder on the way is named real."""
    files = [path.relative_to(root) for path in _media(root) if len(path.relative_to(root).parts) > 1]
    partner = _pairs(_clip(below) for below in files)
    for below in files:
        fake = "real" not in [part.lower() for part in below.parts[:-1]]
        domain = next((part for part in below.parts[:-1] if part in ("ff", "cdf")), "all")
        clip = _clip(below)
        group = _paired_group(clip, partner)
        # Pictures of one person's clip have the clip's name; single pictures of a method are people of their own.
        group = group if domain != "all" or clip != below.stem else f"{below.parts[0]}_{clip}"
        yield Labelled(str(below), "fake" if fake else "real", f"df40_{domain}", below.parts[0] if fake else "", group)


def _folders(root: Path) -> Iterator[Labelled]:
    for label in ("real", "fake"):
        for path in _media(root / label):
            *folders, _ = path.relative_to(root / label).parts
            source = folders[0] if folders else "media"
            group = "/".join(folders) if len(folders) > 1 else path.stem
            yield Labelled(str(path.relative_to(root)), label, source, "", group)


_LAYOUTS: dict[str, tuple[Callable[[Path], bool], Callable[[Path], Iterator[Labelled]]]] = {
    "FaceForensics++": (lambda p: (p / "manipulated_sequences").is_dir(), _faceforensics),
    "Celeb-DF": (lambda p: (p / "Celeb-synthesis").is_dir(), _celeb_df),
    "real/ and fake/": (lambda p: (p / "real").is_dir() and (p / "fake").is_dir(), _folders),
    "DFDC": (lambda p: bool(_dfdc_tables(p)), _dfdc),
    "DF40": (lambda p: any(p.glob("*/frames")) or any(p.glob("*/ff/frames")) or any(p.glob("*/cdf/frames")), _df40),
}
