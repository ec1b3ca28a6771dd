"""Pictures of what misleads the detector, made from the public-domain portrait in `samples/`, for the model card.

python benchmarks/failures.py weights/failures.jpg
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from robustness import jpeg, scaled

from deepfake_detect import Detector, draw
from deepfake_detect.training.mean_face import fit_mean_face
from deepfake_detect.training.retouch import beauty, enlarged, make_up, printed

SAMPLES = Path(__file__).parent.parent / "samples"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path, help="where the sheet goes")
    arguments = parser.parse_args()
    genuine, forged = (np.asarray(Image.open(SAMPLES / f"portrait_{kind}.jpg")) for kind in ("genuine", "forged"))
    detector = Detector()
    five = np.array(detector.detect(genuine).tracks[0].scores[0].face.landmarks)
    mesh = fit_mean_face(five)
    rng = np.random.default_rng(3)
    shown = [
        ("genuine", genuine),
        ("genuine, beauty filter", beauty(genuine, mesh, rng)),
        ("genuine, make-up", make_up(genuine, mesh, rng)),
        ("genuine, enlarged, sharpened", enlarged(genuine, mesh, rng)),
        ("genuine, printed, scanned", printed(genuine, mesh, rng)),
        ("forged", forged),
        ("forged, JPEG 25", jpeg(forged, 25)),
        ("forged, reduced to a third", scaled(forged, 1 / 3)),
        ("forged, blurred", cv2.GaussianBlur(forged, (0, 0), 2)),
        ("forged, printed, scanned", printed(forged, mesh, rng)),
    ]
    figure = Figure(figsize=(13, 6.2))
    axes = figure.subplots(2, 5)
    for axis, (name, pixels) in zip(axes.flat, shown, strict=True):
        report = detector.detect(pixels)
        assert report.verdict is not None
        heatmaps = [heatmap for track in report.tracks for heatmap in track.heatmaps]
        axis.imshow(draw.overlay_crop(heatmaps[0]) if heatmaps else pixels)
        said = report.verdict.label.replace("_", " ")
        chance = report.verdict.probability
        axis.set_title(f"{name}\n{said}" + ("" if chance is None else f", P {chance:.2f}"), fontsize=9)
        axis.axis("off")
    figure.tight_layout()
    figure.savefig(arguments.picture, dpi=80, pil_kwargs={"quality": 88})


if __name__ == "__main__":
    main()
