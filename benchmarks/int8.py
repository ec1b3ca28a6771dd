"""What would whole numbers gain? The net's graph in float32 beside the same graph quantised to int8: time, and AUC.

python benchmarks/int8.py DATA [--faces 200] [--rounds 7] [--tiny]

Static quantisation by ONNX Runtime (weights a scale for each channel; activations by the extremes seen on crops of DATA's
training faces), of the convolutions alone. Both graphs judge the same crops on one thread, alternating, medians; then the
largest face of each validation file, eight frames of a video, in all its looks.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from sklearn.metrics import roc_auc_score

from deepfake_detect import Options, checkpoint, media
from deepfake_detect.engine import Examiner, OnnxEngine, face_finder
from deepfake_detect.errors import DeepfakeDetectError
from deepfake_detect.training.data import read_faces
from deepfake_detect.training.datasets import read_dataset
from deepfake_detect.types import Face, Frame

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from deepfake_detect.checkpoint import ManifestEntry
    from deepfake_detect.types import Crop

    Views = list[tuple[Crop, ...]]


class _Seen(CalibrationDataReader):  # type: ignore[misc]  # it has no types
    """Crops, one at a time, as the quantiser wants them."""

    def __init__(self, crops: Sequence[np.ndarray]) -> None:
        self._left = iter(crops)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next, or None."""
        crop = next(self._left, None)
        return None if crop is None else {"input": crop[None]}


def quantised(entry: ManifestEntry, crops: Sequence[np.ndarray], folder: Path) -> ManifestEntry:
    """The same net with an int8 graph that holds its weights itself."""
    if entry.graph is None:
        sys.exit("the weights have no graph; export them again")
    for file in (entry.path, entry.graph.path):
        (folder / file.name).write_bytes(file.read_bytes())
    whole, prepared, target = folder / "whole.onnx", folder / "prepared.onnx", folder / "int8.onnx"
    onnx.save(onnx.load(folder / entry.graph.path.name), whole)
    quant_pre_process(whole, prepared, skip_symbolic_shape=True)
    quantize_static(
        prepared, target, _Seen(crops), quant_format=QuantFormat.QDQ, per_channel=True, op_types_to_quantize=["Conv"],
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    return dataclasses.replace(entry, graph=checkpoint.WeightFile(target, digest))


def training_crops(data: Path, examiner: Examiner, count: int) -> list[np.ndarray]:
    """Of genuine and forged training faces, in all their looks."""
    faces = read_faces(data)
    chosen = [faces[i] for i in np.random.default_rng(0).permutation(len(faces))[:count]]
    found = []
    for face in chosen:
        x0, y0, x1, y1 = (float(v) for v in face.box)
        views = examiner.cut(Frame(face.read()), Face((x0, y0, x1, y1), ((0.0, 0.0),) * 5, 1.0), kind="image")
        found += [crop.pixels for crop in views]
    return found


def validation_views(data: Path, examiner: Examiner, most: int | None) -> Iterator[tuple[bool, str, Views]]:
    """Of each file whether it is forged, its kind, and what the looks see of the largest face of its frames."""
    finder = face_finder(OnnxEngine(2))
    for item in read_dataset(data, split="val").items[:most]:
        try:
            with media.open(data / item.path, Options(frames=8)) as opened:
                found = [(frame, finder.find(frame)) for frame in opened.frames()]
                views = [examiner.cut(frame, faces[0], kind=opened.info.kind) for frame, faces in found if faces]
                yield item.label == "fake", opened.info.kind, views
        except DeepfakeDetectError as error:
            print(error, file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with index.csv, landmarks.npz and pictures")
    parser.add_argument("--faces", type=int, default=200, help="to learn the range of activations from (%(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="(%(default)s)")
    parser.add_argument("--tiny", action="store_true", help="to see that it runs; its figures mean nothing")
    arguments = parser.parse_args()
    if arguments.tiny:
        arguments.faces, arguments.rounds = 2, 1
    entry = checkpoint.find()
    engine = OnnxEngine(1)
    exact = Examiner(engine, entry)
    with tempfile.TemporaryDirectory() as scratch:
        crops = training_crops(arguments.data, exact, arguments.faces)
        whole = Examiner(engine, quantised(entry, crops, Path(scratch)))
        files = list(validation_views(arguments.data, exact, 4 if arguments.tiny else None))
        who = {"float32": exact, "int8": whole}
        seconds: dict[str, list[float]] = {name: [] for name in who}
        timed = [view for _, kind, views in files if kind == "image" for view in views][:32]
        for _ in range(arguments.rounds + 1):
            for name, examiner in who.items():
                began = time.perf_counter()
                examiner.score(timed, kind="image")
                seconds[name].append(time.perf_counter() - began)
        crops_judged = sum(len(view) for view in timed)
        logits = {name: [float(np.mean(each.score(views, kind=kind)[1])) if views else np.nan for _, kind, views in files]
                  for name, each in who.items()}  # fmt: skip
    seen = np.isfinite(logits["float32"])
    forged = np.array([label for label, _, _ in files])[seen]
    video = np.array([kind == "video" for _, kind, _ in files])[seen]
    print("| graph | ms a crop | AUC, pictures | AUC, videos | logit apart, mean and most |\n|---|---|---|---|---|")
    for name, found in logits.items():
        values, apart = np.array(found)[seen], np.abs(np.array(found) - logits["float32"])[seen]
        aucs = [f"{roc_auc_score(forged[part], values[part]):.4f}" if 0 < forged[part].sum() < part.sum() else "–"
                for part in (~video, video)]  # fmt: skip
        pace = 1000 * statistics.median(seconds[name][1:]) / max(crops_judged, 1)
        print(f"| {name} | {pace:.2f} | {' | '.join(aucs)} | {apart.mean():.3f}, {apart.max():.3f} |")


if __name__ == "__main__":
    main()
