"""Labelled media on disk: recognises how the usual research sets are laid out, a plain pair of folders, and any CSV.

    CSV                 columns path and label; source, method, group, original, publication and split where there are
                        any; paths from its folder. Where a row has no group, clips are told by their names, as below
                        real/ and fake/: one name is one clip whatever method it is under, and 033 and 033_097 belong
                        together
    FaceForensics++     original_sequences/ and manipulated_sequences/ with videos/, or, of a method without them, frames/
                        or images/ (Rossler et al., ICCV 2019). The clips by actors and their forgeries (DeepFakeDetection)
                        are a source of their own. `--split test` takes those of test.json, if that lies there or in
                        splits/; train and val likewise
    Celeb-DF            Celeb-real/, YouTube-real/, Celeb-synthesis/ (Li et al., CVPR 2020), with videos or, of a folder
                        without them, frames; `--split test` takes those of List_of_testing_videos.txt, on which published
                        figures are
    DFDC                metadata.json or labels.csv beside the videos, or beside frames/ with a folder for each of them, up
                        to three folders down (Dolhansky et al., 2020)
    DF40                a folder for each method with frames/ below it (Yan et al., NeurIPS 2024); what lies under a folder
                        real/, in a method's or beside them, is genuine. Those of FaceForensics++ and Celeb-DF, from which
                        most methods start, are to be put there (these sets' own forgeries are passed over);
                        original_sequences/, Celeb-real/frames/ and YouTube-real/frames/ are known beside the methods,
                        too. Of all that lies neither there nor below ff/, cdf/, frames/, images/, videos/ or fake/
                        nothing is known, and it is passed over
    folders             real/ and fake/; subfolders that both have are the sources, one of fake/ alone is a method; the
                        subfolders of these are the clips that frames were taken from, of the same name in all of them.
                        Of clips named as FaceForensics++'s, 033 and 033_097 belong together

Real/ and 0_real/ are real/, Fake/ and 1_fake/ are fake/. Below masks/ and hidden folders nothing is a medium.

A `group` names what must stay together: files made from the same clip, picture or person. Where nothing says what that is,
a folder of several pictures with numbers for names is taken for the frames of one clip. A forgery of two people (Celeb-DF's
id3_id7_0002, DeepFakeDetection's 01_02, those in DF40's cdf/) is in the group of the one whose clip it is, and in no other.
"""

from __future__ import annotations

import csv
import json
import logging
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..source import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

log = logging.getLogger(__name__)

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
_MEDIA_FOLDERS = ("videos", *_FRAME_FOLDERS)
# What a folder of this name holds, as it is and as CNNDetection's data have it.
_LABELS = {"real": "real", "0_real": "real", "fake": "fake", "1_fake": "fake"}
# Pictures right below one of these stand for themselves; those in any other folder are frames of one clip.
_NO_CLIPS = {*_FRAME_FOLDERS, *_LABELS}
_MASKS = re.compile(r"(?<![a-z])masks?(?![a-z])")
# Numbers further apart than these, as those of a sample of FFHQ are, are no frame numbers.
_LONGEST_CLIP = 5000
# Of fewer such folders it is said what they are taken for: each may as well hold what one generator drew.
_MANY_CLIPS = 10
# Where DF40 has its files.
_DF40_FOLDERS = {*_MEDIA_FOLDERS, *_LABELS, "ff", "cdf"}
# Celeb-DF's folders are spelt either way.
_CELEB_DF = {"celeb-real": "real", "youtube-real": "real", "celeb-synthesis": "fake"}
# Of a set that lies as a whole below DF40's real/, these hold its forgeries.
_FORGED_BELOW_REAL = {"manipulated_sequences"} | {
    name for name, label in (_LABELS | _CELEB_DF).items() if label == "fake"
}


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
        split: The part of it that these are; None for all.
    """

    root: Path
    layout: str
    items: tuple[Labelled, ...]
    split: str | None = None

    @property
    def summary(self) -> str:
        """What was recognised, in a line."""
        count = Counter(item.label for item in self.items)
        return (
            f"{self.layout}: {count['real']} genuine and {count['fake']} manipulated files in"
            f" {len({item.group for item in self.items})} groups; sources: {_named(item.source for item in self.items)};"
            f" methods: {_named(item.method for item in self.items)}"
        )


def _named(names: Iterable[str], *, most: int = 12) -> str:
    different = sorted({shown(name) for name in names if name})
    return ", ".join([*different[:most], *(["..."] if len(different) > most else [])]) or "none named"


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
        _warn_of_one_class(items, table)
        return Dataset(table.parent, "csv", items, split)
    for layout, (recognised, read) in _LAYOUTS.items():
        if path.is_dir() and recognised(path):
            items = tuple(sorted(read(path), key=lambda item: item.path))
            if split is not None:
                items = _only(items, path, layout, split)
            if not items:
                raise SystemExit(f"{path}: laid out as {layout}, but holds no labelled pictures or videos")
            _warn_of_strangers(items, path)
            _warn_of_one_class(items, path)
            return Dataset(path, layout, items, split)
    found = ", ".join(sorted(entry.name for entry in path.iterdir())[:5]) if path.is_dir() else "no such folder or file"
    raise SystemExit(
        f"{path}: expected a CSV (path, label), an index.csv, or one of the layouts {', '.join(_LAYOUTS)};"
        f" found {found or 'an empty folder'}. `python -m deepfake_detect.training.evaluate --help` describes them"
    )


def _warn_of_strangers(items: Sequence[Labelled], where: Path) -> None:
    alike = Counter((item.group, item.label, item.method) for item in items)
    genuine, forged = ({group for group, label, _ in alike if label == wanted} for wanted in ("real", "fake"))
    if 1 < len(items) == len(alike):
        # A name that a genuine file and a forgery share says nothing of who else is the same person.
        alone = len(items) == len({group for group, _, _ in alike})
        which = "every file" if alone else "every genuine file, and every forgery of a method,"
        strangers = f"{which} is a group of its own"
    elif genuine and forged and genuine.isdisjoint(forged):
        strangers = "no forgery shares a group with a genuine file"
    else:
        return
    log.warning(
        "%s: %s. Files of one person or clip, genuine and forged, must share one (column group of a CSV, or folders), or"
        " intervals are too narrow, and finetune measures on people it was trained on",
        where, strangers,
    )  # fmt: skip


def _warn_of_one_class(items: Sequence[Labelled], where: Path) -> None:
    if len(labels := {item.label for item in items}) == 1:
        log.warning("%s: all %d files are %s; how well both are told apart stays open", where, len(items), *labels)


def _only(items: tuple[Labelled, ...], root: Path, layout: str, split: str) -> tuple[Labelled, ...]:
    if layout == "Celeb-DF" and split == "test" and (root / "List_of_testing_videos.txt").is_file():
        table = root / "List_of_testing_videos.txt"
        lines = table.read_text(encoding="utf-8").splitlines()
        wanted = {_celeb_df_name(Path(line.split()[-1])) for line in lines if line.strip()}
        names = [_celeb_df_name(Path(item.path)) for item in items]
    elif layout == "FaceForensics++" and (table := _split_table(root, split)).is_file():
        wanted = _listed_clips(table)
        # The first clip of a forgery is the one whose video it is; both of a pair are in the same part.
        names = [_clip(Path(item.path)).split("_")[0] for item in items]
    else:
        raise SystemExit(
            f"{root}: --split needs a CSV with a column `split`, List_of_testing_videos.txt of Celeb-DF (test), or"
            f" {split}.json of FaceForensics++; found none"
        )
    if len(found := wanted & set(names)) < len(wanted):
        log.warning("%s: found %d of %d that %s names", root, len(found), len(wanted), table.name)
    return tuple(item for item, name in zip(items, names, strict=True) if name in wanted)


def _celeb_df_name(path: Path) -> str:
    """celeb-real/id3_0002, whether its frames lie below frames/ or it is the video itself."""
    return f"{path.parts[0].lower()}/{_clip(path)}"


def _split_table(root: Path, split: str) -> Path:
    tables = [folder / f"{split}.json" for folder in (root, root / "splits")]
    return next((table for table in tables if table.is_file()), tables[0])


def _listed_clips(table: Path) -> set[str]:
    """Both clips of each pair that FaceForensics++ lists."""
    try:
        pairs = json.loads(table.read_text(encoding="utf-8"))
        return {str(clip) for first, second in pairs for clip in (first, second)}
    except (TypeError, ValueError) as error:
        raise SystemExit(f'{table}: expected pairs of clips, [["033", "097"], ...] ({error})') from error


def _read_csv(table: Path, split: str | None) -> Iterator[Labelled]:
    with table.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as lines:
        reader = csv.DictReader(lines)
        columns = reader.fieldnames or ()
        if missing := {"path", "label"} - set(columns):
            raise SystemExit(
                f"{table}: expected the columns path and label, with commas between; missing {', '.join(sorted(missing))};"
                f" found {', '.join(map(repr, columns)) or 'no columns'}"
            )
        if split is not None and "split" not in columns:
            raise SystemExit(f"{table}: --split needs a column `split`; found {', '.join(columns)}")
        rows = [(number, row) for number, row in enumerate(reader, 2) if split is None or row["split"] == split]
    for number, row in rows:
        if not row["path"]:
            raise SystemExit(f"{table}, line {number}: expected a path, found none")
    guessed = [(Path(row["path"]), _label(row["label"]) == "fake") for _, row in rows if not row.get("group")]
    partner = _pairs(name for path, fake in guessed if fake for name in (path.parent.name, path.stem))
    clips = _frame_folders((path for path, _ in guessed), table)
    clips |= {path.parent for path, _ in guessed if not _is_video(path) and _of_swaps(path.parent.name, partner)}
    items = []
    for number, row in rows:
        label, path = _label(row["label"]), Path(row["path"])
        if label is None:
            raise SystemExit(f"{table}, line {number}: expected the label real or fake, found {row['label']!r}")
        group = row.get("group") or _clip_group(_clip_of_row(path, clips), partner)
        items.append(
            Labelled(row["path"], label, row.get("source") or "media", row.get("method") or "", group,
                     row.get("original") or "", row.get("publication") or "")
        )  # fmt: skip
    if not all(row.get("group") for _, row in rows):
        _warn_of_strangers(items, table)
    yield from items


def _label(text: str | None) -> str | None:
    """What a word in the column label says; None for one that is unknown."""
    word = (text or "").strip().lower()
    return "real" if word in _REAL else "fake" if word in _FAKE else None


def _clip_of_row(path: Path, clips: set[Path]) -> list[str]:
    """The clip that a row of a CSV without a group is of: by its name alone, as in folders."""
    if path.parent not in clips:
        return [path.stem]
    return [part for part in path.parts[:-1] if part.lower() not in _MEDIA_FOLDERS][-1:] or [path.parent.name]


def _media(folder: Path) -> Iterator[Path]:
    """Pictures and videos anywhere below a folder; not masks, nor what systems and notebooks hide beside files."""
    masks = 0
    for path in folder.rglob("*"):
        if path.suffix.lower() in _ENDINGS and path.is_file():
            below = path.relative_to(folder)
            if any(_MASKS.search(part.lower()) for part in below.parts[:-1]):
                masks += 1
            elif not any(part.startswith(".") for part in below.parts):
                yield path
    if masks:
        log.warning("%s: %d files below folders of masks are passed over", folder, masks)


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_ENDINGS


def _clip(path: Path) -> str:
    """The clip a video is, or a frame was taken from."""
    return path.stem if _is_video(path) or path.parent.name.lower() in _NO_CLIPS else path.parent.name


def _frame_folders(paths: Iterable[Path], where: Path) -> set[Path]:
    """The folders whose pictures are the frames of one clip, as far as names tell: several, mostly numbers.

    Two frames of one clip that count as strangers make every interval too narrow, and nobody sees it; people who count as
    one clip leave too few groups, and that is said.
    """
    numbers: dict[Path, list[int | None]] = defaultdict(list)
    for path in paths:
        if not _is_video(path) and path.parent.name.lower() not in ("", *_LABELS):
            number = re.fullmatch(r"(?:frame)?[_-]?(\d+)", path.stem, re.IGNORECASE)
            numbers[path.parent].append(int(number[1]) if number else None)
    clips = set()
    for folder, found in numbers.items():
        numbered = [number for number in found if number is not None]
        if len(numbered) > max(1, len(found) // 2) and max(numbered) - min(numbered) <= _LONGEST_CLIP:
            clips.add(folder)
    if 0 < len(clips) < _MANY_CLIPS:
        log.warning(
            "%s: pictures with numbers for names are taken for frames of one clip, and their folder for a group: %s. If"
            " they show different people, name those in the column group of a CSV",
            where, ", ".join(sorted(folder.as_posix() for folder in clips)),
        )  # fmt: skip
    return clips


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
            if kind := next((part for part in below.parts[3:-1] if part in _MEDIA_FOLDERS), None):
                found.append((below, label, kind))
    # Frames beside the videos they were taken from say the same twice.
    filmed = {below.parts[:3] for below, _, kind in found if kind == "videos"}
    found = [one for one in found if one[2] == "videos" or one[0].parts[:3] not in filmed]
    partner = _pairs(_clip(below) for below, _, _ in found)
    for below, label, _ in found:
        _, name, compression = below.parts[:3]
        # Made by others, of other people in other rooms: neither's forgeries stand beside the other's clips.
        made_by = "dfd" if name in ("actors", "DeepFakeDetection") else "faceforensics"
        group = _paired_group(_clip(below), partner)
        yield Labelled(str(below), label, f"{made_by}_{compression}", name if label == "fake" else "", group)


def _is_celeb_df(root: Path) -> bool:
    names = {entry.name.lower() for entry in root.iterdir() if entry.is_dir()}
    # Its genuine clips alone are Celeb-DF, too; beside the folders of methods they are DF40's.
    return "celeb-synthesis" in names or (bool(names) and names <= _CELEB_DF.keys())


def _celeb_df(root: Path) -> Iterator[Labelled]:
    """`id3_id7_0002` is the second clip of person 3 with the face of person 7: grouped by person 3."""
    for folder in root.iterdir():
        label = _CELEB_DF.get(folder.name.lower())
        media = list(_media(folder)) if label else []
        # As in FaceForensics++.
        for path in [path for path in media if _is_video(path)] or media:
            clip = _clip(path)
            person = re.match(r"id\d+", clip)
            group = person[0] if person else f"youtube_{clip}"
            method = "Celeb-synthesis" if label == "fake" else ""
            yield Labelled(str(path.relative_to(root)), str(label), "celeb_df", method, group)


def _tables(root: Path) -> list[Path]:
    """What may say of files whether they are fake, up to three folders down: where DFDC's parts lie when each was unpacked
    into a folder of its own."""
    names = ("metadata.json", "labels.csv")
    return sorted(table for depth in range(4) for name in names for table in root.glob("*/" * depth + name))


def _dfdc_table(table: Path) -> dict[str, tuple[str, str]]:
    """What a table of DFDC says of each video: real or fake, and the name of the original it was made from, or its own.

    Those of the training parts say `label`, that of the test set `is_fake`, or it is a CSV of filename and label. Of any
    other table nothing.
    """
    try:
        if table.suffix == ".csv":
            with table.open(newline="", encoding="utf-8-sig") as lines:
                rows: dict[str, Any] = {row["filename"]: row for row in csv.DictReader(lines)}
        else:
            rows = dict(json.loads(table.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, csv.Error):
        return {}
    known = {}
    for name, row in rows.items():
        said = row.get("label", row.get("is_fake")) if isinstance(row, dict) else None
        said = str(int(said) if isinstance(said, bool) else said).strip().lower()
        if name and said in _REAL | _FAKE:
            known[name] = ("fake" if said in _FAKE else "real", str(row.get("original") or name))
    return known


def _dfdc(root: Path) -> Iterator[Labelled]:
    """Grouped by the original that the metadata names."""
    found: dict[str, Labelled] = {}
    for table in _tables(root):
        known, there = _dfdc_table(table), 0
        for name, (label, original) in known.items():
            video = table.parent / name
            paths = [video] if video.is_file() else list(_media(table.parent / "frames" / Path(name).stem))
            there += bool(paths)
            for path in paths:
                below = str(path.relative_to(root))
                # Of two tables that speak of a file, metadata.json says more, and comes last.
                found[below] = Labelled(below, label, "dfdc", "", Path(original).stem)
        if there < len(known):
            log.warning("%s: found %d of %d that %s names", root, there, len(known), table.relative_to(root))
    yield from found.values()


def _df40(root: Path) -> Iterator[Labelled]:
    """METHOD/[ff or cdf/]frames/CLIP/PICTURE; genuine where a folder on the way says so."""
    if tables := _tables(root):
        raise SystemExit(
            f"{root}: has frames/ as DF40 does, but also {tables[0].relative_to(root)}, which DF40 does not have, and which"
            " does not say of files as DFDC does whether they are real or fake; give a CSV (path, label)"
        )
    files = [path.relative_to(root) for path in _media(root)]
    others = [below for below in files if _DF40_FOLDERS.isdisjoint(part.lower() for part in below.parts[:-1])]
    if others:
        log.warning(
            "%s: %d files below none of ff/, cdf/, frames/, images/, videos/, real/ or fake/ are passed over, such as %s",
            root, len(others), min(others),
        )  # fmt: skip
    forged = [below for below in files if _is_forged_below_real(below)]
    if forged:
        log.warning(
            "%s: %d files below real/ are forgeries of other sets, and are passed over, such as %s",
            root, len(forged), min(forged),
        )  # fmt: skip
    files = sorted({*files} - {*others, *forged})
    if files and not any(_is_genuine(below) for below in files):
        raise SystemExit(
            f"{root}: laid out as DF40, but no genuine files were found, which it does not bring; put the frames of"
            f" FaceForensics++ and Celeb-DF from which its methods start under {root / 'real'}"
        )
    partner = _pairs(_clip(below) for below in files)
    for below in files:
        fake, domain, clip = not _is_genuine(below), _domain(below, partner), _clip(below)
        group = _paired_group(clip, partner)
        # Pictures of one person's clip have the clip's name; single pictures of a method are people of their own.
        group = group if domain != "all" or clip != below.stem else f"{below.parts[0]}_{clip}"
        yield Labelled(str(below), "fake" if fake else "real", f"df40_{domain}", below.parts[0] if fake else "", group)


def _is_genuine(below: Path) -> bool:
    """Whether a file of DF40 is, by the folders it lies in.

    Some methods keep the names of the clips they start from, as DiT/cdf/YouTube-real/: those are forgeries.
    """
    names = [part.lower() for part in below.parts[:-1]]
    celeb_df = any(name in ("celeb-real", "youtube-real") and inner in ("frames", "videos")
                   for name, inner in pairwise(names))  # fmt: skip
    return celeb_df or "original_sequences" in names or any(_LABELS.get(name) == "real" for name in names)


def _is_forged_below_real(below: Path) -> bool:
    """Whether a file is a forgery of a set that was put below real/ with its genuine clips: of no method of DF40."""
    names = [part.lower() for part in below.parts[:-1]]
    real = next((i for i, name in enumerate(names) if _LABELS.get(name) == "real"), len(names))
    return not _FORGED_BELOW_REAL.isdisjoint(names[real:])


def _domain(below: Path, partner: dict[str, str]) -> str:
    """Which set's clips a method of DF40 started from, or genuine ones are of: by folders, or else by the clip's name."""
    for name in (part.lower() for part in below.parts[:-1]):
        if name in ("ff", "original_sequences") or name.startswith("faceforensics"):
            return "ff"
        if name in ("cdf", *_CELEB_DF) or name.startswith("celeb-df"):
            return "cdf"
    clip = _clip(below)
    # A single picture's name is a number like any other.
    if _is_video(below) or clip != below.stem:
        if _of_swaps(clip, partner):
            return "ff"
        if re.fullmatch(r"id\d+(_id\d+)?_\d{4}", clip):
            return "cdf"
    return "all"


def _labelled_folders(root: Path) -> dict[Path, str]:
    """The folders of genuine and of manipulated files, and which they are."""
    return {entry: _LABELS[entry.name.lower()] for entry in sorted(root.iterdir())
            if entry.name.lower() in _LABELS and entry.is_dir()}  # fmt: skip


def _folders(root: Path) -> Iterator[Labelled]:
    found = [
        (label, path.relative_to(root)) for folder, label in _labelled_folders(root).items() for path in _media(folder)
    ]
    # Those of genuine files would be no swaps, whatever their names look like.
    partner = _pairs(part for label, below in found if label == "fake" for part in (*below.parts[1:-1], below.stem))
    # A clip right below the label has no source.
    clips = _frame_folders((below for _, below in found if len(below.parts) == 3), root)
    clips |= {below.parent for _, below in found if len(below.parts) == 3 and _of_swaps(below.parent.name, partner)}
    named = {label: {below.parts[1] for one, below in found
                     if one == label and len(below.parts) > 2 and below.parent not in clips}
             for label in ("real", "fake")}  # fmt: skip
    sources = named["real"] & named["fake"]
    # Genuine files stand beside the forgeries of any method, unless every forgery has genuine files of its own source.
    loose = any(below.parts[1] not in sources for label, below in found if label == "fake")
    for label, below in found:
        _, *folders, _ = below.parts
        first = folders[0] if folders and folders[0] in named[label] else ""
        own = first in sources or (label == "real" and not loose)
        method = first if label == "fake" and not own else ""
        group = _folder_group(below, is_frame=below.parent in clips, partner=partner)
        yield Labelled(str(below), label, (first if own else "") or "media", method, group)


def _folder_group(below: Path, *, is_frame: bool, partner: dict[str, str]) -> str:
    """The clip, or person, that a file is of: by its name alone, whatever source has it and whatever was done with it."""
    _, *folders, _ = below.parts
    if is_frame:
        clip = folders
    elif _is_video(below) and _of_swaps(below.stem, partner):
        clip = [below.stem]
    else:
        clip = [part for part in folders[1:] if part.lower() not in _MEDIA_FOLDERS]
        clip = clip or ([below.stem] if len(folders) < 2 or _is_video(below) else folders[:1])
    return _clip_group(clip, partner)


def _clip_group(clip: list[str], partner: dict[str, str]) -> str:
    """The group of a clip, given by its own name and those of the folders above that tell it from others."""
    return _paired_group(clip[-1], partner) if _of_swaps(clip[-1], partner) else "/".join(clip)


def _of_swaps(clip: str, partner: dict[str, str]) -> bool:
    """Whether a clip is one of FaceForensics++'s pairs, 033 or 033_097."""
    return clip.split("_")[0] in partner and re.fullmatch(r"\d{3}(_\d{3})?", clip) is not None


_LAYOUTS: dict[str, tuple[Callable[[Path], bool], Callable[[Path], Iterator[Labelled]]]] = {
    "FaceForensics++": (lambda p: (p / "manipulated_sequences").is_dir(), _faceforensics),
    "Celeb-DF": (_is_celeb_df, _celeb_df),
    "real/ and fake/": (lambda p: len({*_labelled_folders(p).values()}) == 2, _folders),
    "DFDC": (lambda p: any(_dfdc_table(table) for table in _tables(p)), _dfdc),
    "DF40": (lambda p: any(p.glob("*/frames")) or any(p.glob("*/ff/frames")) or any(p.glob("*/cdf/frames")), _df40),
}
