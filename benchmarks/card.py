"""Writes the measured parts of the model card, so that no figure in it is older than the weights.

A part stands between `<!-- name -->` and `<!-- /name -->`. `identity`, `results`, `figures` and `calibration` come from the
manifest and an evaluation; any other from the file that is given for it, such as what a benchmark printed. The calibration
has to be of the very scores of that evaluation: it is fitted again, and where the manifest has another nothing is written.

python benchmarks/card.py runs/val localisation=runs/localisation.md robustness=runs/robustness.md --together a,b
"""

from __future__ import annotations

import argparse
import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake_detect import checkpoint
from deepfake_detect.training.calibrate import by_kind, fit
from deepfake_detect.training.evaluate import add_together, check_together, markdown, scored, table
from deepfake_detect.training.evaluation_page import reliability_plot, svg
from deepfake_detect.training.scores import read_frames, read_scores, relabelled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deepfake_detect.training.scores import Item
    from deepfake_detect.types import Calibration, Look, Softness

WEIGHTS = Path(__file__).parent.parent / "weights"
# Another machine's fit ends some last digits elsewhere.
_SAME = 5e-4


def identity(entry: dict[str, Any], looks: dict[str, Sequence[Look]], found: checkpoint.ManifestEntry) -> str:
    size = (WEIGHTS / entry["file"]).stat().st_size / 1e6
    seen = [f"a face in a {kind} is seen {_times(several)}" for kind, several in looks.items()]
    return (
        f"SHA-256 `{entry['sha256']}`, {entry['date']}. {entry['parameters']:,} parameters in half precision"
        f" ({size:.1f} MB). Crops of {entry['architecture']['size']} pixels; {'; '.join(seen)}. Margins are on each side,"
        " as a share of the longer side of the face's box."
        f"{softness(found.softness)}{pooling(found)}"
    )


def softness(found: Softness | None) -> str:
    if not found or not found.slope:
        return ""
    return (
        f" From a sharpness of {found.below:.3f} (`faces.sharpness`) to {found.down_to:.3f}, {found.slope:.2f} logits"
        f" are taken off for each factor e, which is what genuine faces as soft show: {found.warmth(0):.2f} at most."
    )


def pooling(found: checkpoint.ManifestEntry) -> str:
    """How the logit of a face is made of its map, in pictures and in videos."""
    said = []
    for name, kind in (("picture", "image"), ("video", "video")):
        if shares := [f"{share:.0%}" for share in found.hottest(kind)]:
            mean = "the mean" if len(shares) == 1 else "the mean of the means"
            said.append(f"in a {name} {mean} of the hottest {' and '.join(shares)}")
    return f" A face's logit is {', '.join(said)} of its cells." if said else ""


def _times(looks: Sequence[Look]) -> str:
    """How often, and each time with how much around it."""
    said = []
    for look in looks:
        least = "" if look.least_margin is None else f", down to {look.least_margin:.0%} where the picture ends"
        around = (
            f"with a margin of {look.margin:.0%}" if look.margin >= 0 else f"without its outermost {-look.margin:.0%}"
        )
        share = "" if look.weight == 1 else f", at a weight of {look.weight:g}"
        said.append(f"{around}{least}{', mirrored' if look.mirrored else ''}{share}")
    often = {1: "once", 2: "twice"}.get(len(said), f"{len(said)} times")
    return f"{often}, {' and '.join(said)}"


def calibration(entry: dict[str, Any]) -> str:
    lines = [
        "| media | genuine / manipulated | manipulated from | nothing found up to | false alarms | on other groups | misses"
        " | on other groups | inconclusive there | and of fair quality | ECE there | of exact probabilities"
        " | evidence lost at quality 0"
        " | a logit moves by | largest ratio |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for kind, check in entry["calibration_on_other_groups"].items():
        bands = entry["calibration"][kind]
        # Exactly 0 is what stands there before the robustness benchmark has told.
        moved = f"{bands['logit_sd']:.2f}" if bands["logit_sd"] else "not measured"
        lines.append(
            f"| {kind} | {bands['genuine']} / {bands['manipulated']} | {bands['upper']:.2f} | {bands['lower']:.2f}"
            f" | {bands['false_alarm_rate']:.1%} | {check['false_alarm_rate']:.1%} | {bands['miss_rate']:.1%}"
            f" | {check['miss_rate']:.1%} | {check['inconclusive']:.0%} | {check['inconclusive_fair']:.0%}"
            f" | {check['ece_balanced']:.3f} | {check['ece_by_chance']:.3f}"
            f" | {bands['quality_loss']:.0%} | {moved} | {bands['largest_ratio']:.0f} |"
        )
    if ways := handled(entry):
        lines += ["", ways]
    return "\n".join(lines)


def handled(entry: dict[str, Any]) -> str:
    """What was tried on each kind of media, and how far a logit moved by it; empty where the manifest doesn't say."""
    tried = {
        kind: ", ".join(f"{name} {by:.2f}" for name, by in ways.items())
        for kind, ways in entry.get("calibration_handled", {}).items()
    }
    said = "; ".join(f"{kind}s: {ways}" for kind, ways in tried.items())
    return f"What a logit moves by, root mean square after each that was tried: {said}." if said else ""


def check_calibration(items: Sequence[Item], shipped: Calibration) -> None:
    """
    Raises:
        SystemExit: What ships is not what `calibrate` makes of these scores, as where media were judged again since: logits
            also rest on what finds and follows faces, of which the weights say nothing.
    """
    for kind, mine, others in by_kind(items):
        of_these, ships = fit(mine, others=others), shipped.bands(kind)
        for name in ("slope", "offset", "lower", "upper"):
            wanted, found = getattr(of_these, name), getattr(ships, name)
            if not math.isclose(wanted, found, abs_tol=_SAME):
                raise SystemExit(
                    f"{WEIGHTS / 'manifest.json'}: calibrated on other scores ({name} of {kind}: {found}, of these scores"
                    f" {wanted}); calibrate again"
                )


def fill(card: str, name: str, text: str) -> str:
    """The card with a part replaced.

    Raises:
        SystemExit: It has no such part.
    """
    pattern = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- /{re.escape(name)} -->)", re.DOTALL)
    if not pattern.search(card):
        raise SystemExit(f"the card has no part {name!r}: expected <!-- {name} --> and <!-- /{name} -->")
    return pattern.sub(lambda found: f"{found[1]}{text.strip()}\n{found[2]}", card)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("evaluation", type=Path, help="folder of an evaluation with the weights that ship")
    add_together(parser)
    parser.add_argument("parts", nargs="*", metavar="NAME=FILE", help="text for further parts")
    arguments = parser.parse_args()
    manifest = json.loads((WEIGHTS / "manifest.json").read_text())
    entry = manifest["models"][manifest["default"]]
    found = checkpoint.find(folder=WEIGHTS)
    items = [relabelled(item, found.calibration) for item in read_scores(arguments.evaluation / "scores.csv")]
    if {item.model for item in items} - {found.evidence_sha256, ""}:
        raise SystemExit(f"{arguments.evaluation} was made with other weights, looks or softness; evaluate again")
    check_together(arguments.together, items)
    check_calibration(items, found.calibration)
    rows = table(items, read_frames(arguments.evaluation / "frames.csv"), together=arguments.together)
    results, figures = markdown(rows).split("\n\n")
    card_file = WEIGHTS / "MODEL_CARD.md"
    card = card_file.read_text()
    looks = {"picture": found.image_looks, "video": found.video_looks}
    card = fill(card, "identity", identity(entry, looks, found))
    card = fill(card, "results", results)
    card = fill(card, "figures", figures)
    card = fill(card, "calibration", calibration(entry))
    for part in arguments.parts:
        name, _, file = part.partition("=")
        card = fill(card, name, Path(file).read_text())
    card_file.write_text(card)
    kinds = {kind: some for kind in ("image", "video") if len(some := scored(i for i in items if i.kind == kind))}
    (WEIGHTS / "reliability.svg").write_text(svg(reliability_plot(kinds)))


if __name__ == "__main__":
    main()
