"""How much of the detector's ability is left after what happens to pictures and videos, by accident or on purpose?

Labelled media are altered in each of many ways and judged by the detector as they then are; the gradient attack works on
the crops, with the net itself in the attacker's hands. Figures: AUC, the change of AUC against the same media unaltered
with its 95 % interval (bootstrap over groups, paired), genuine called manipulated, inconclusive. Files that can't be read
are passed over.

python benchmarks/robustness.py runs/val.csv --out runs/robustness --pictures 40
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import sys
import tempfile
from dataclasses import asdict, dataclass, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import av
import cv2
import numpy as np
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score

from deepfake_detect import Detector, Options, checkpoint, media
from deepfake_detect.engine import Examiner, choose, load_net, moved_onto
from deepfake_detect.errors import MediaError
from deepfake_detect.files import NAMES
from deepfake_detect.options import sampling
from deepfake_detect.training.datasets import VIDEO_ENDINGS, Labelled, read_dataset
from deepfake_detect.training.metrics import few_groups, group_resamples
from deepfake_detect.training.scores import Item, judge, read_scores, relabelled
from deepfake_detect.verdict import deciding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from deepfake_detect.types import Crop

Picture = np.ndarray
_Read = TypeVar("_Read")


def jpeg(pixels: Picture, quality: int) -> Picture:
    return _saved(pixels, "JPEG", quality)


def webp(pixels: Picture, quality: int) -> Picture:
    return _saved(pixels, "WEBP", quality)


def _saved(pixels: Picture, kind: str, quality: int) -> Picture:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))


def scaled(pixels: Picture, factor: float) -> Picture:
    size = [max(8, round(side * factor)) for side in pixels.shape[1::-1]]
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)


def screenshot(pixels: Picture) -> Picture:
    """Shown a quarter larger, captured, put on a page with a border."""
    shown = scaled(pixels, 1.25)
    return cv2.copyMakeBorder(shown, 60, 90, 40, 40, cv2.BORDER_CONSTANT, value=(246, 246, 246))


def messenger(pixels: Picture) -> Picture:
    """Reduced to at most 1280 px, JPEG 75; then once more by the next one at 960 px, JPEG 70."""
    for side, quality in ((1280, 75), (960, 70)):
        pixels = jpeg(scaled(pixels, min(1.0, side / max(pixels.shape[:2]))), quality)
    return pixels


def noisy(pixels: Picture, sigma: float) -> Picture:
    noise = np.random.default_rng(0).normal(0, sigma, pixels.shape)
    return (pixels + noise).clip(0, 255).astype(np.uint8)


def gamma(pixels: Picture, value: float) -> Picture:
    return cv2.LUT(pixels, (np.linspace(0, 1, 256) ** value * 255 + 0.5).astype(np.uint8))


def cropped(pixels: Picture, share: float) -> Picture:
    height, width = pixels.shape[:2]
    return np.ascontiguousarray(pixels[round(height * share) :, round(width * share) :])


def turned(pixels: Picture, degrees: float) -> Picture:
    height, width = pixels.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    return cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def rephotographed(pixels: Picture) -> Picture:
    """A screen photographed: slight perspective, the moire of its dots, blur, noise, a flatter range of tones."""
    height, width = pixels.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    seen = corners + np.array([[0.03, 0.02], [-0.02, 0.03], [-0.03, -0.01], [0.01, -0.03]], np.float32) * (
        width,
        height,
    )
    matrix = cv2.getPerspectiveTransform(corners, seen.astype(np.float32))
    result = cv2.warpPerspective(pixels, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    y, x = np.mgrid[0:height, 0:width]
    result += (6 * np.sin(x * 2.1 + y * 0.13) * np.sin(y * 2.3 - x * 0.11))[..., None]
    result = cv2.GaussianBlur(result, (0, 0), 0.9)
    return jpeg(noisy((18 + result * 0.88).clip(0, 255).astype(np.uint8), 3), 85)


PICTURES: dict[str, Callable[[Picture], Picture]] = {
    "unaltered": lambda p: p,
    **{f"JPEG {q}": (lambda p, q=q: jpeg(p, q)) for q in (95, 75, 50, 30)},  # type: ignore[misc]
    **{f"WebP {q}": (lambda p, q=q: webp(p, q)) for q in (75, 40)},  # type: ignore[misc]
    "reduced to 1/2": lambda p: scaled(p, 0.5),
    "reduced to 1/4": lambda p: scaled(p, 0.25),
    "reduced to 1/2 and back": lambda p: scaled(scaled(p, 0.5), 2.0),
    "screenshot": screenshot,
    "messenger chain": messenger,
    "blur, sigma 1": lambda p: cv2.GaussianBlur(p, (0, 0), 1.0),
    "blur, sigma 2": lambda p: cv2.GaussianBlur(p, (0, 0), 2.0),
    "noise, sigma 3": lambda p: noisy(p, 3),
    "noise, sigma 8": lambda p: noisy(p, 8),
    "gamma 0.6": lambda p: gamma(p, 0.6),
    "gamma 1.6": lambda p: gamma(p, 1.6),
    "cropped by 5 %": lambda p: cropped(p, 0.05),
    "mirrored": lambda p: np.ascontiguousarray(p[:, ::-1]),
    "turned by 10 degrees": lambda p: turned(p, 10),
    "re-photographed": rephotographed,
}
CRFS = (23, 28, 32, 40)
EPSILONS = (1, 2, 4)
STEPS = 10


def recoded(path: Path, target: Path, crf: int, *, seconds: float = 6.0) -> None:
    """The video's picture once more through x264."""
    with av.open(str(path)) as source, av.open(str(target), "w") as out:
        stream = source.streams.video[0]
        rate = Fraction(stream.average_rate or 25)
        coded = out.add_stream("libx264", rate=rate, options={"crf": str(crf), "preset": "veryfast"})
        coded.width, coded.height = stream.width // 2 * 2, stream.height // 2 * 2
        coded.pix_fmt = "yuv420p"
        for i, frame in enumerate(source.decode(stream)):
            if i >= seconds * rate:
                break
            picture = frame.reformat(width=coded.width, height=coded.height, format="yuv420p")
            picture.pts, picture.time_base = i, 1 / rate
            out.mux(coded.encode(picture))
        out.mux(coded.encode(None))


def chosen(items: Sequence[Labelled], pictures: int) -> tuple[list[Labelled], list[Labelled]]:
    """So many pictures of each source and class, and all videos."""
    rng = np.random.default_rng(0)
    videos = [item for item in items if Path(item.path).suffix.lower() in VIDEO_ENDINGS]
    stills: list[Labelled] = []
    rest = [item for item in items if item not in videos]
    for source, label in sorted({(item.source, item.label) for item in rest}):
        mine = [item for item in rest if (item.source, item.label) == (source, label)]
        stills += [mine[i] for i in rng.permutation(len(mine))[:pictures]]
    return stills, videos


def readable(root: Path, items: Sequence[Labelled], read: Callable[[Path], _Read]) -> Iterator[tuple[Labelled, _Read]]:
    """Each file with what it gives, but for those that can't be read."""
    for item in items:
        try:
            found = read(root / item.path)
        except MediaError as error:
            print(f"passed over: {error}", file=sys.stderr)
        else:
            yield item, found


def first_frame(path: Path) -> Picture:
    with media.open(path, Options()) as opened:
        return next(iter(opened.frames())).pixels


def judged_pictures(root: Path, items: Sequence[Labelled], detector: Detector) -> Iterator[tuple[str, list[Item]]]:
    originals = list(readable(root, items, first_frame))
    model = detector.evidence_sha256
    for name, alter in PICTURES.items():
        yield name, [judge(item, detector.detect(alter(pixels)), model=model)[0] for item, pixels in originals]


def judged_videos(root: Path, items: Sequence[Labelled], detector: Detector) -> Iterator[tuple[str, list[Item]]]:
    read = list(readable(root, items, detector.detect))
    items = [item for item, _ in read]
    yield "unaltered", [judge(item, report, model=detector.evidence_sha256)[0] for item, report in read]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "recoded.mp4"
        for crf in CRFS:
            judged = []
            for item in items:
                recoded(root / item.path, copy, crf)
                judged.append(judge(item, detector.detect(copy), model=detector.evidence_sha256)[0])
            yield f"H.264 CRF {crf}", judged


def attacked(root: Path, items: Sequence[Labelled], detector: Detector) -> Iterator[tuple[str, list[Item]]]:
    """Projected gradient descent (Madry et al., ICLR 2018) towards the wrong answer, on the logit that decides.

    Every look's crop is changed by itself, none by more than so many grey levels. What is taken off for softness is left
    out of the gradient; it is in the logits, which are the detector's own of the changed crops.
    """
    entry = checkpoint.find()
    examiner, net = Examiner(choose(), entry), load_net(entry)
    views, kept = [], []
    for item, report in readable(root, items, detector.detect):
        worst = deciding(report.tracks)
        if worst is not None:
            with media.open(root / item.path, detector.options) as opened:
                views.append(examiner.cut(next(iter(opened.frames())), worst.voting[0].face, kind="image"))
            kept.append(item)
    if not kept:
        return
    for epsilon in (0, *EPSILONS):
        changed = [
            _attacked(net, entry, view, -1.0 if item.label == "fake" else 1.0, epsilon) if epsilon else view
            for item, view in zip(kept, views, strict=True)
        ]
        name = f"gradient attack, {epsilon}/255" if epsilon else "unaltered"
        found = examiner.score(changed, kind="image")[1].tolist()
        yield name, [Item(**vars(item), kind="image", logit=logit) for item, logit in zip(kept, found, strict=True)]


def _attacked(
    net: torch.nn.Module, entry: checkpoint.ManifestEntry, view: tuple[Crop, ...], sign: float, epsilon: int
) -> tuple[Crop, ...]:
    """A face's crops after an attack of so many grey levels that moves its logit up (1) or down (-1)."""
    start = torch.from_numpy(np.stack([crop.pixels for crop in view])).permute(0, 3, 1, 2).float()
    onto, moved = _onto_first(entry, view), start
    for _ in range(STEPS):
        moved = moved.detach().requires_grad_()
        gradient = torch.autograd.grad(_logit(net, entry, moved, onto), moved)[0]
        step = moved.detach() + sign * gradient.sign() * epsilon / 4
        moved = (start + (step - start).clamp(-epsilon, epsilon)).clamp(0, 255)
    pixels = moved.round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return tuple(replace(crop, pixels=np.ascontiguousarray(one)) for crop, one in zip(view, pixels, strict=True))


def _logit(
    net: torch.nn.Module, entry: checkpoint.ManifestEntry, crops: torch.Tensor, onto: torch.Tensor
) -> torch.Tensor:
    """The logit of a face as `Examiner.score` finds it, before softness, as a function of its crops (looks, 3, S, S)."""
    mirrored = torch.tensor([look.mirrored for look in entry.image_looks]).view(-1, 1, 1)
    maps = net(torch.where(mirrored[..., None], crops.flip(-1), crops))[0]
    cells = (onto @ torch.where(mirrored, maps.flip(-1), maps).flatten(1)[..., None]).sum(0)[:, 0]
    if shares := entry.hottest("image"):
        return torch.stack([cells.topk(max(1, round(share * len(cells)))).values.mean() for share in shares]).mean()
    sharpness = entry.architecture.sharpness
    return (torch.logsumexp(cells * sharpness, 0) - math.log(len(cells))) / sharpness


def _onto_first(entry: checkpoint.ManifestEntry, view: tuple[Crop, ...]) -> torch.Tensor:
    """What each cell of each look's map adds to each cell of their mean, (looks, cells, cells): laying a map over another
    crop, and averaging, is linear."""
    side = entry.architecture.size // 8
    basis = np.eye(side * side, dtype=np.float32).reshape(-1, side, side)
    parts = []
    for look, crop in zip(entry.image_looks, view, strict=True):
        laid = [moved_onto(view[0], crop, one) for one in basis]
        parts.append(look.weight * np.stack([(cells * seen).ravel() for cells, seen in laid], 1))
    # Where all of a look's cells are 1 it adds its share.
    return torch.from_numpy(np.stack(parts) / np.stack(parts).sum((0, 2))[:, None]).float()


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    auc: float
    change: float
    change_95: tuple[float, float]
    false_alarms: float
    inconclusive: float
    unjudged: int


def row(name: str, altered: Sequence[Item], unaltered: Sequence[Item]) -> Row:
    """A line: its AUC, and the change, are of the files that could be judged before and after."""
    both = [pair for pair in zip(altered, unaltered, strict=True) if None not in (pair[0].logit, pair[1].logit)]
    after, before = [one for one, _ in both], [other for _, other in both]
    groups = np.array([item.group for item in after])
    few = few_groups(np.array([item.label == "fake" for item in after], bool), groups)
    changes = [
        _auc([after[i] for i in drawn]) - _auc([before[i] for i in drawn])
        for drawn in group_resamples(groups, resamples=0 if few else 500)
    ]
    defined = [value for value in changes if not math.isnan(value)]
    low, high = np.percentile(defined, [2.5, 97.5]) if defined else (math.nan, math.nan)
    genuine = [item for item in altered if item.label == "real"]
    return Row(name, _auc(after), _auc(after) - _auc(before), (float(low), float(high)),
               sum(item.verdict == "manipulated" for item in genuine) / max(1, len(genuine)),
               sum(item.verdict == "inconclusive" for item in altered) / len(altered),
               sum(item.logit is None for item in altered))  # fmt: skip


def _auc(items: Sequence[Item]) -> float:
    """Within each source, and the mean of these weighted by count: sources differ in more than their forgeries."""
    total, weight = 0.0, 0
    for source in {item.source for item in items}:
        mine = [item for item in items if item.source == source and item.logit is not None]
        if len({item.label for item in mine}) == 2:
            total += len(mine) * float(roc_auc_score([i.label == "fake" for i in mine], [i.logit for i in mine]))
            weight += len(mine)
    return total / weight if weight else math.nan


def judged_all(
    root: Path, items: Sequence[Labelled], detector: Detector, *, pictures: int, attacked_pictures: int
) -> Iterator[tuple[str, str, Item]]:
    """Part, alteration and what was then said, file by file."""
    stills, videos = chosen(items, pictures)
    few, _ = chosen(items, attacked_pictures)
    for part, results in (("pictures", judged_pictures(root, stills, detector) if stills else iter(())),
                          ("videos", judged_videos(root, videos, detector) if videos else iter(())),
                          ("crops", attacked(root, few, detector) if few else iter(()))):  # fmt: skip
        for name, judged in results:
            print(f"{part}: {name}", file=sys.stderr)
            yield from ((part, name, item) for item in judged)


def markdown(part: str, rows: Sequence[Row], count: int) -> str:
    head = "| after | AUC | change (95 %) | genuine called manipulated | inconclusive | unjudged |"
    lines = [f"{part}: {count}", "", head, "|---|---|---|---|---|---|"]
    for line in rows:
        # The attack works on crops: there is no medium, and so no verdict.
        verdicts = f"{line.false_alarms:.3f} | {line.inconclusive:.3f}" if part != "crops" else "– | –"
        low, high = line.change_95
        change = f"{line.change:+.3f}" + ("" if math.isnan(low) else f" ({low:+.2f} to {high:+.2f})")
        lines.append(f"| {line.name} | {line.auc:.3f} | {change} | {verdicts} | {line.unjudged} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--split")
    parser.add_argument(
        "--out", type=Path, required=True, help="gets judged.csv; where it has one, that is tabulated anew"
    )
    parser.add_argument("--pictures", type=int, default=40, help="of each source and class (%(default)s)")
    parser.add_argument("--attacked", type=int, default=10, help="the same for the gradient attack (%(default)s)")
    parser.add_argument("--frames", type=int, help="of a video (as many as the command looks at)")
    arguments = parser.parse_args()
    dataset = read_dataset(arguments.data, split=arguments.split)
    detector = Detector(Options(**sampling(arguments.frames)))
    arguments.out.mkdir(parents=True, exist_ok=True)
    judged = arguments.out / "judged.csv"
    if not judged.exists():
        results = judged_all(
            dataset.root, dataset.items, detector, pictures=arguments.pictures, attacked_pictures=arguments.attacked
        )
        partial = judged.with_suffix(".part")
        with partial.open("w", -1, *NAMES, newline="") as lines:
            writer = csv.writer(lines)
            writer.writerow(["part", "alteration", *(field.name for field in fields(Item))])
            writer.writerows([part, name, *asdict(item).values()] for part, name, item in results)
        partial.rename(judged)
    with judged.open("r", -1, *NAMES, newline="") as lines:
        alterations = [(row["part"], row["alteration"]) for row in csv.DictReader(lines)]
    parts: dict[str, dict[str, list[Item]]] = {}
    for (part, name), item in zip(alterations, read_scores(judged), strict=True):
        if item.model not in ("", detector.evidence_sha256):
            raise SystemExit(f"{judged} was made with other weights, looks or softness; remove it")
        parts.setdefault(part, {}).setdefault(name, []).append(relabelled(item, detector.calibration))
    for part, by_name in parts.items():
        rows = [row(name, items, by_name["unaltered"]) for name, items in by_name.items()]
        print(markdown(part, rows, len(by_name["unaltered"])))


if __name__ == "__main__":
    main()
