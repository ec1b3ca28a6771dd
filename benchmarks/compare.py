"""How well can a face taken from a photo be told from another photo of the person, and from other people?

    python benchmarks/compare.py measure DATA --people PEOPLE --out runs/compare.csv
    python benchmarks/compare.py fit runs/compare.csv
    python benchmarks/compare.py report runs/compare.csv

DATA is a folder of training faces that also holds genuine videos (`index.csv`); PEOPLE has a folder for each person with
two or more photos of them, none of them twice. The first command makes pairs and measures each, the second fits the
constants of `compare.JUDGEMENT` on one half of the people and shows what they are worth on the other half, the third does
the latter for the constants that stand in the package.

Pairs that were taken from the original: `swap`, its face pasted over somebody else's by `blend.forge`, and `reuse`, the
photo itself cropped and saved again. Pairs that were not: another photo of the same person, another moment of the same
video (a second or more away), and strangers; each as it is, and with that face pasted over somebody else's. As those do
who forge, of a few pictures to paste on the one is taken in which the head is turned most alike. All suspects are then
worn: mirrored at times, reduced to between half and all of their size, recoloured a little, JPEG 50 to 90. Nobody is in
both halves.
"""

from __future__ import annotations

import argparse
import csv
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from scipy.optimize import minimize

from deepfake_detect import engine, media
from deepfake_detect.compare import ERROR_RATES, JUDGEMENT, ErrorRates, Judgement, compare
from deepfake_detect.crop import cut
from deepfake_detect.options import Options
from deepfake_detect.training.blend import forge
from deepfake_detect.training.data import TrainingFace, read_faces
from deepfake_detect.training.mean_face import fit_mean_face
from deepfake_detect.training.metrics import Scored, auc, with_intervals
from deepfake_detect.types import Frame
from deepfake_detect.verdict import wilson

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.random import Generator

    from deepfake_detect.faces import FaceFinder

TAKEN = ("swap", "reuse")
OTHER_PHOTOS, OTHER_MOMENTS = ("another photo", "another photo, pasted"), ("another moment", "another moment, pasted")
SAME_PERSON = OTHER_PHOTOS + OTHER_MOMENTS
STRANGERS = ("stranger", "stranger, pasted")
# Large parts of a face, as a swap replaces.
_SHAPES = ("whole", "inner", "below_brows")
_PORTRAITS = ("us_officials", "ffhq256", "scut", "celebahq")
_FACE_PX = 256
# Of so many pictures drawn, the most alike is pasted on.
_TARGETS = 6


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture of one person, with the face in it."""

    pixels: np.ndarray
    face: TrainingFace


@dataclass(frozen=True, eq=False)
class Person:
    """Somebody with one picture or more; `moments` says that they are frames of one video."""

    name: str
    pictures: tuple[Picture, ...]
    moments: bool = False


@dataclass(frozen=True)
class Pair:
    """A pair that was measured, as a row of the table. `measured` is empty where no face was compared."""

    kind: str
    group: str
    half: int
    measured: tuple[float, ...]
    face_px: float
    frame_matches: bool

    @property
    def taken(self) -> bool:
        return self.kind in TAKEN


# Making pairs


def people_of(folder: Path, finder: FaceFinder) -> Iterator[Person]:
    """One person a folder."""
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        pictures = []
        for path in sorted(place.iterdir()):
            with media.open(path, Options()) as opened:
                picture = _picture(next(opened.frames()), finder, place.name)
            if picture is not None:
                pictures.append(picture)
        if len(pictures) > 1:
            yield Person(place.name, tuple(pictures))


def people_in_videos(data: Path, finder: FaceFinder) -> Iterator[Person]:
    """The largest face of each genuine video, at moments more than a second apart."""
    with (data / "index.csv").open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["label"] == "real" and row["path"].endswith(".mp4")]
    for row in rows:
        pictures: list[Picture] = []
        with media.open(data / row["path"], Options(frames=4)) as opened:
            last = -np.inf
            for frame in opened.frames():
                picture = _picture(frame, finder, row["group"]) if frame.time_s - last >= 1 else None
                if picture is not None:
                    pictures.append(picture)
                    last = frame.time_s
        if len(pictures) > 1:
            yield Person(row["group"], tuple(pictures), moments=True)


def portraits(data: Path, *, count: int) -> list[Person]:
    """Training faces with their landmarks, as many of each source, in an order that says nothing."""
    faces = [face for face in read_faces(data) if face.label == "real" and face.mesh is not None]
    chosen: list[TrainingFace] = []
    for source in _PORTRAITS:
        own = sorted((face for face in faces if face.source == source), key=lambda face: zlib.crc32(face.path.encode()))
        chosen += own[: count // len(_PORTRAITS)]
    return [Person(face.group, (Picture(face.read(), face),)) for face in chosen]


def _picture(frame: Frame, finder: FaceFinder, group: str) -> Picture | None:
    """The largest face with its surroundings, not larger than `_FACE_PX`."""
    faces = finder.find(frame)
    if not faces or faces[0].size_px < 64:
        return None
    crop = cut(frame, faces[0], size=round(2.2 * min(_FACE_PX, faces[0].size_px)), margin=0.6)
    found = finder.find(Frame(crop.pixels))
    if not found:
        return None
    five = np.array(found[0].landmarks, np.float32)
    face = TrainingFace(
        Path(),
        group,
        "real",
        "",
        group,
        np.array(found[0].box, np.float32),
        five,
        fit_mean_face(five.astype(np.float64)),
    )
    return Picture(crop.pixels, face)


def pasted(source: Picture, target: Picture, seed: int) -> np.ndarray:
    """The source's face in the target's picture."""
    for attempt in range(100):
        rng = np.random.default_rng((seed, attempt))
        made = forge(target.pixels, target.face, rng, donor=(source.pixels, source.face))
        if made.shape in _SHAPES:
            return made.forged
    raise RuntimeError("no large part of a face drawn in 100 attempts")


def most_alike(source: Picture, others: list[Picture]) -> Picture:
    """The picture whose head is turned most like the source's: an affine map carries the five points over best."""

    def misfit(other: Picture) -> float:
        known = np.hstack([source.face.five, np.ones((5, 1))])
        left = np.linalg.lstsq(known, other.face.five, rcond=None)[1].sum()
        # In shares of the distance of the eyes, and no face squeezed into a profile or drawn out of one.
        eyes = np.linalg.norm(other.face.five[1] - other.face.five[0])
        shapes = [np.linalg.norm(f[1] - f[0]) / np.linalg.norm(f[:2].mean(0) - f[3:].mean(0))
                  for f in (source.face.five, other.face.five)]  # fmt: skip
        return float(np.sqrt(left) / eyes + abs(np.log(shapes[0] / shapes[1])))

    return min(others, key=misfit)


def saved_again(pixels: np.ndarray, face: TrainingFace, rng: Generator) -> np.ndarray:
    """Cropped at random, with the whole face in it."""
    height, width = pixels.shape[:2]
    x0, y0, x1, y1 = face.box
    left, top = (int(rng.uniform(0, max(1.0, float(v) - 8))) for v in (x0, y0))
    right = int(rng.uniform(min(width - 1.0, float(x1) + 8), width))
    bottom = int(rng.uniform(min(height - 1.0, float(y1) + 8), height))
    return np.ascontiguousarray(pixels[top : bottom + 1, left : right + 1])


def worn(pixels: np.ndarray, rng: Generator) -> np.ndarray:
    """As it comes back from a chat or a page."""
    if rng.random() < 0.3:
        pixels = pixels[:, ::-1]
    scale = float(rng.uniform(0.5, 1))
    small = cv2.resize(np.ascontiguousarray(pixels), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    tinted = small * np.float32(rng.uniform(0.92, 1.08)) + rng.uniform(-10, 10, 3).astype(np.float32)
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(50, 91))]
    encoded = cv2.imencode(".jpg", tinted.clip(0, 255).astype(np.uint8)[..., ::-1], quality)[1]
    return np.ascontiguousarray(np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))[..., ::-1])


def pairs_of(
    person: Person, others: list[Person], seed: int, *, most: int
) -> Iterator[tuple[str, Picture, np.ndarray]]:
    """Kind, original and suspect, not yet worn.

    Args:
        others: Of the same half: whom the face is pasted on, and strangers; all with landmarks.
        most: Pairs of each kind.
    """
    rng = np.random.default_rng(seed)
    several = len(person.pictures) > 1
    name = "another moment" if person.moments else "another photo"
    for i in range(most if several else 1):
        original = person.pictures[i % len(person.pictures)]
        drawn = [others[j].pictures[0] for j in rng.choice(len(others), 1 + _TARGETS, replace=False)]
        stranger, onto = drawn[0], most_alike(original, drawn[1:])
        yield "swap", original, pasted(original, onto, seed + i)
        if i < max(1, most // 2):
            yield "reuse", original, saved_again(original.pixels, original.face, rng)
            yield "stranger", original, stranger.pixels
            yield "stranger, pasted", original, pasted(stranger, most_alike(stranger, drawn[1:]), seed + i)
        if several:
            place = (i + 1 + i // len(person.pictures)) % len(person.pictures)
            other = person.pictures[place if place != i % len(person.pictures) else (place + 1) % len(person.pictures)]
            yield name, original, other.pixels
            yield f"{name}, pasted", original, pasted(other, most_alike(other, drawn[1:]), seed + i)


def measure(data: Path, people: Path | None, *, count: int, most: int) -> Iterator[Pair]:
    """Make the pairs and compare each, as a user would."""
    finder = engine.face_finder(engine.choose())
    singles = portraits(data, count=count)
    several = [*people_in_videos(data, finder), *(people_of(people, finder) if people else ())]
    halves: tuple[list[Person], list[Person]] = ([], [])
    # Dealt out alternately, kind by kind, so that both halves get as many of each.
    for kind in (singles, several):
        for i, person in enumerate(sorted(kind, key=lambda person: zlib.crc32(person.name.encode()))):
            halves[i % 2].append(person)
    for half, persons in enumerate(halves):
        alone = [person for person in persons if len(person.pictures) == 1]
        for person in persons:
            seed = zlib.crc32(person.name.encode())
            others = [other for other in alone if other is not person]
            rng = np.random.default_rng(seed + 1)
            # Of every second portrait only, which leaves enough to paste on.
            if len(person.pictures) == 1 and seed % 2:
                continue
            for kind, original, suspect in pairs_of(person, others, seed, most=most):
                found = compare(worn(suspect, rng), original.pixels, finder=finder)
                yield Pair(
                    kind,
                    person.name,
                    half,
                    found.match.agreement.measured if found.match else (),
                    found.match.face.size_px if found.match else 0.0,
                    found.frame is not None and found.frame.matches,
                )


def write(pairs: list[Pair], path: Path) -> None:
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["kind", "group", "half", "measured", "face_px", "frame_matches"])
        for pair in pairs:
            values = " ".join(f"{value:.5f}" for value in pair.measured)
            table.writerow([pair.kind, pair.group, pair.half, values, f"{pair.face_px:.0f}", int(pair.frame_matches)])


def read(path: Path) -> list[Pair]:
    with path.open(newline="") as file:
        return [
            Pair(
                row["kind"],
                row["group"],
                int(row["half"]),
                tuple(float(value) for value in row["measured"].split()),
                float(row["face_px"]),
                row["frame_matches"] == "1",
            )
            for row in csv.DictReader(file)
        ]


# Judging them


def fitted(pairs: list[Pair]) -> Judgement:
    """A logistic regression and its bands.

    Both sides weigh the same, and so does each kind within its side. `upper` is the lowest place at which at most 2 % of
    the pairs of one person and 0.5 % of strangers are called taken, `lower` the highest at which at most 5 % of swaps are
    called not taken, but both at least as far out as even odds.
    """
    kept = [pair for pair in pairs if pair.measured]
    kinds = [pair.kind for pair in kept]
    sides = {kind: len({k for k in kinds if (k in TAKEN) == (kind in TAKEN)}) for kind in set(kinds)}
    weights = np.array([1 / (sides[kind] * kinds.count(kind)) for kind in kinds])
    values, taken = np.array([pair.measured for pair in kept]), np.array([pair.taken for pair in kept])
    solved = _logistic(values, taken, weights * len(kept) / weights.sum())
    fewest = min(len({pair.group for pair in kept if pair.kind in kinds}) for kinds in (TAKEN, SAME_PERSON))
    judgement = replace(
        JUDGEMENT,
        weights=tuple(round(float(weight), 3) for weight in solved[1:]),
        offset=round(float(solved[0]), 3),
        # With n people on a side, odds beyond n : 1 are extrapolation.
        largest_ratio=float(fewest + 1),
    )
    same = odds_of(kept, judgement, *SAME_PERSON)
    strangers = odds_of(kept, judgement, *STRANGERS)
    upper = max(0.0, float(np.quantile(same, 0.98)), float(np.quantile(strangers, 0.995)))
    lower = min(0.0, float(np.quantile(odds_of(kept, judgement, "swap"), 0.05)))
    return replace(judgement, upper=round(upper + 0.01, 2), lower=round(lower - 0.01, 2))


def _logistic(values: np.ndarray, taken: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Offset and weights of a logistic regression with an L2 penalty, in which no figure speaks against its meaning.

    Each figure grows with agreement, so none gets a weight below 0, which a plain fit gives where two say nearly the same.
    """
    centre, spread = values.mean(0), values.std(0)
    scaled = (values - centre) / spread
    sign = np.where(taken, 1.0, -1.0)

    def loss(solution: np.ndarray) -> float:
        margin = sign * (solution[0] + scaled @ solution[1:])
        return float((weights * np.logaddexp(0, -margin)).sum() + 0.5 * (solution[1:] ** 2).sum())

    bounds = [(None, None)] + [(0.0, None)] * values.shape[1]
    solved = minimize(loss, np.zeros(values.shape[1] + 1), bounds=bounds, method="L-BFGS-B").x
    slopes = solved[1:] / spread
    return np.concatenate([[solved[0] - float(centre @ slopes)], slopes])


def odds_of(pairs: list[Pair], judgement: Judgement, *kinds: str) -> np.ndarray:
    return np.array([judgement.log_odds(pair.measured) for pair in pairs if pair.kind in kinds and pair.measured])


def area(pairs: list[Pair], judgement: Judgement) -> tuple[float, float, float]:
    """AUC of taken against the rest of these pairs, and its 95 % interval, people drawn whole."""
    kept = [pair for pair in pairs if pair.measured]
    odds = np.array([judgement.log_odds(pair.measured) for pair in kept])
    taken, group = np.array([pair.taken for pair in kept]), np.array([pair.group for pair in kept])
    found, intervals = with_intervals(Scored(taken, odds, odds, group), auc)
    return found["auc"], *intervals["auc"]


def rates(pairs: list[Pair], judgement: Judgement) -> ErrorRates:
    """What to state beside an answer."""

    def share(kinds: tuple[str, ...], *, taken: bool) -> float:
        odds = odds_of(pairs, judgement, *kinds)
        wrong = odds >= judgement.upper if taken else odds <= judgement.lower
        return round(float(wrong.mean()), 3) if len(odds) else float("nan")

    everything = odds_of(pairs, judgement, *TAKEN, *SAME_PERSON, *STRANGERS)
    undecided = (everything > judgement.lower) & (everything < judgement.upper)
    return ErrorRates(
        share(SAME_PERSON, taken=True),
        share(OTHER_PHOTOS, taken=True),
        share(OTHER_MOMENTS, taken=True),
        share(STRANGERS, taken=True),
        share(("swap",), taken=False),
        round(float(undecided.mean()), 3),
        len(everything),
        len({pair.group for pair in pairs}),
        ERROR_RATES.data,
    )


def show(pairs: list[Pair], judgement: Judgement) -> None:
    """What the judgement is worth on these pairs, as Markdown."""
    people = {pair.group for pair in pairs}
    print(f"{len(pairs)} pairs of {len(people)} people\n{rates(pairs, judgement)}\n")
    print("| swap against | pairs | people | AUC | 95 % interval |\n|---|---|---|---|---|")
    rows = [(kind, (kind,)) for kind in SAME_PERSON + STRANGERS]
    rows += [("the same person, all", SAME_PERSON), ("strangers, all", STRANGERS), ("all", SAME_PERSON + STRANGERS)]
    for name, kinds in rows:
        against = [pair for pair in pairs if pair.kind in kinds]
        if against:
            value, low, high = area([pair for pair in pairs if pair.kind == "swap"] + against, judgement)
            count = len({pair.group for pair in against})
            print(f"| {name} | {len(against)} | {count} | {value:.3f} | {low:.3f} to {high:.3f} |")
    print("\n| pairs | called taken | inconclusive | not taken | wrong, 95 % interval | not compared | frame matches |")
    print("|---|---|---|---|---|---|---|")
    for kind in TAKEN + SAME_PERSON + STRANGERS:
        own = [pair for pair in pairs if pair.kind == kind]
        odds = odds_of(own, judgement, kind)
        if not len(odds):
            continue
        yes, no = int((odds >= judgement.upper).sum()), int((odds <= judgement.lower).sum())
        wrong = (no if kind in TAKEN else yes) / len(odds)
        # Several pairs of one person are not independent: as many count as there are people.
        people = len({pair.group for pair in own if pair.measured})
        low, high = wilson(wrong * people, people)
        around = sum(pair.frame_matches for pair in own)
        print(
            f"| {kind} | {yes} | {len(odds) - yes - no} | {no} | {low:.1%} to {high:.1%} | {len(own) - len(odds)}"
            f" | {around} of {len(own)} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("measure", help="make pairs and measure each")
    making.add_argument("data", type=Path)
    making.add_argument("--people", type=Path, help="a folder for each person with two or more photos")
    making.add_argument("--portraits", type=int, default=160, help="how many training faces; half are only pasted on")
    making.add_argument("--most", type=int, default=4, help="pairs of each kind for a person of several pictures")
    making.add_argument("--out", type=Path, required=True)
    for name, text in (("fit", "on one half of the people"), ("report", "what the constants in use are worth")):
        commands.add_parser(name, help=text).add_argument("table", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "measure":
        pairs = list(measure(arguments.data, arguments.people, count=arguments.portraits, most=arguments.most))
        write(pairs, arguments.out)
        print(f"{len(pairs)} pairs in {arguments.out}")
        return
    pairs = read(arguments.table)
    judgement = JUDGEMENT
    if arguments.command == "fit":
        judgement = fitted([pair for pair in pairs if pair.half == 0])
        print(f"{judgement}\n")
    show([pair for pair in pairs if pair.half == 1], judgement)


if __name__ == "__main__":
    main()
