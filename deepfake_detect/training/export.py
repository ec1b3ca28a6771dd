"""Averaged weights of a run -> `weights/`: half-precision tensors and graphs, a manifest entry, a golden sample.

The calibration in the entry starts as the identity; `calibrate.py` replaces it with what held-out media say.

    python -m deepfake_detect.training.export runs/mine/average.safetensors --name mine --trained-on "..."
    python -m deepfake_detect.training.export --graphs    make the graphs of what is in weights/ again
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import io
import json
import struct
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import load_file, save
from torch import Tensor, nn

from .. import checkpoint
from ..checkpoint import architecture_of
from ..engine import load_net
from ..files import write_atomically
from ..model import EvidenceNet
from ..types import Look

GOLDEN = "golden.npz"
_DOUBTFUL = {"slope": 1.0, "offset": 0.0, "lower": 0.0, "upper": 1.0, "genuine": 0, "manipulated": 0,
             "false_alarm_rate": 0.0, "miss_rate": 0.0, "largest_ratio": 2.0}  # fmt: skip


def export(
    source: Path,
    folder: Path,
    name: str,
    *,
    trained_on: str,
    looks: dict[str, list[dict[str, Any]]] | None = None,
    softness: dict[str, float] | None = None,
    hottest: dict[str, list[float]] | None = None,
) -> dict[str, Any]:
    """Write a net and its entry, and make it the default.

    Args:
        source: safetensors of a run, or of `average`; `settings.json` lies beside it.
        folder: Where manifest.json lies or is to lie.
        name: Of the entry and of the file.
        trained_on: In words, for the manifest.
        looks: For `image` and `video` the fields of each `types.Look`; None for the crop it was trained on alone.
        softness: The fields of a `types.Softness`, which `softness.py` measures; None to take nothing off.
        hottest: For `image` and `video` the shares of a map that are pooled, see `ManifestEntry`; None to pool as in
            training.

    Returns:
        The entry.

    Raises:
        SystemExit: The name can't be that of a file in the folder, or the weights are not finite in half precision.
    """
    check_name(name)
    record = json.loads((source.parent / "settings.json").read_text())
    architecture = architecture_of(record["architecture"])
    tensors = {key: value.half() if value.is_floating_point() else value for key, value in load_file(source).items()}
    if wrong := [key for key, value in tensors.items() if not value.isfinite().all()]:
        raise SystemExit(
            f"{source}: expected finite numbers in half precision, found others in {wrong[0]}; train again"
        )
    net = EvidenceNet(architecture)
    net.load_state_dict({key: v.float() if v.is_floating_point() else v for key, v in tensors.items()})
    net.eval()
    data = save(tensors)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / f"{name}.safetensors", data)
    entry = {
        "file": f"{name}.safetensors",
        "sha256": hashlib.sha256(data).hexdigest(),
        "date": datetime.now(UTC).date().isoformat(),
        "parameters": sum(p.numel() for p in net.parameters()),
        "architecture": dataclasses.asdict(architecture),
        "training": {
            "data": trained_on,
            **{key: record[key] for key in ("settings", "start", "mixed") if key in record},
        },
        **({"looks": looks} if looks else {}),
        **({"softness": softness} if softness else {}),
        **({"hottest": hottest} if hottest else {}),
    }
    enter(folder, name, entry)
    export_graph(folder, name)
    _write_golden(net, folder)
    written: dict[str, Any] = read_manifest(folder)["models"][name]
    return written


def check_name(name: str) -> None:
    """
    Raises:
        SystemExit: It can't be the name of a net, which is that of its files, too.
    """
    if not name.isprintable() or not name.strip() or Path(name).name != name or "\\" in name:
        raise SystemExit(f"--name: expected what can be the name of a file, without its folder; found {name!a}")


def enter(folder: Path, name: str, entry: dict[str, Any]) -> None:
    """Write what there is to say of a net, and make it the default. What calibration it had is void."""
    manifest = read_manifest(folder)
    none = {"name": f"{name}-uncalibrated", "date": "", "data": "none", "image": _DOUBTFUL, "video": _DOUBTFUL}
    lasting = {key: value for key, value in entry.items() if not key.startswith("calibration")}
    manifest["models"][name] = lasting | {"calibration": none}
    manifest["default"] = name
    write_manifest(folder, manifest)


def export_graph(folder: Path, name: str) -> None:
    """Write the graph for ONNX Runtime of a net that is in the manifest, and enter it there.

    Args:
        folder: Where manifest.json lies.
        name: Of the entry.
    """
    entry = checkpoint.find(name, folder=folder)
    graph = _with_tensors_beside(_evidence_graph(load_net(entry)), entry.path)
    manifest = read_manifest(folder)
    manifest["models"][name]["onnx"] = _write_graph(folder / f"{name}.onnx", graph)
    write_manifest(folder, manifest)


def export_face_nets(folder: Path) -> None:
    """Write the graphs of MTCNN's three nets, by facenet-pytorch's weights, and enter them in the manifest.

    They are used from the folder that ships alone, with the nets of other folders, too.
    """
    graphs = {stage: _write_graph(folder / f"mtcnn-{stage}.onnx", graph) for stage, graph in _face_graphs().items()}
    manifest = read_manifest(folder)
    manifest["mtcnn"] = {"source": "facenet-pytorch (MIT)", **graphs}
    write_manifest(folder, manifest)


def _write_graph(path: Path, data: bytes) -> dict[str, str]:
    write_atomically(path, data)
    return {"file": path.name, "sha256": hashlib.sha256(data).hexdigest()}


class _FromCrops(nn.Module):
    """The net as crops come: uint8 (N, size, size, 3)."""

    def __init__(self, net: EvidenceNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        maps, logits = self.net(crops.permute(0, 3, 1, 2))
        return maps, logits


def _evidence_graph(net: EvidenceNet) -> bytes:
    size = net.architecture.size
    model = _FromCrops(net).eval()
    return _halved(_graph(model, torch.zeros(2, size, size, 3, dtype=torch.uint8), ("maps", "logits"), batch=True))


class _Stage(nn.Module):
    """One of MTCNN's nets as the cascade uses it: on grey levels from 0 to 255, with one probability, of a face.

    The same function as facenet-pytorch's, written so that ONNX Runtime computes it in half the time: it has no fast
    PReLU, and the scaling of the grey levels is a pass of its own unless the first convolution takes it over.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        for name, part in list(net.named_children()):
            if isinstance(part, nn.PReLU):
                setattr(net, name, _Bent(part.weight.detach()))
        weight, bias = net.get_parameter("conv1.weight"), net.get_parameter("conv1.bias")
        bias.data = bias.data - 127.5 * 0.0078125 * weight.data.sum((1, 2, 3))
        weight.data = weight.data * 0.0078125

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        *found, probabilities = self.net(pixels)
        return (*found, probabilities[:, 1])


class _Bent(nn.Module):
    """PReLU by its definition: x where it is positive, else x times the slope of its channel."""

    def __init__(self, slopes: Tensor) -> None:
        super().__init__()
        self.slopes = nn.Parameter(slopes)

    def forward(self, x: Tensor) -> Tensor:
        slopes = self.slopes.reshape(-1, *(1 for _ in x.shape[2:]))
        return slopes * x + (1 - slopes) * x.relu()


def _face_graphs() -> dict[str, bytes]:
    from facenet_pytorch.models.mtcnn import ONet, PNet, RNet

    # The first is not batched: its pictures differ in size.
    return {
        "pnet": _graph(_Stage(PNet()), torch.zeros(1, 3, 40, 50), ("offsets", "probabilities"), sides=True),
        "rnet": _graph(_Stage(RNet()), torch.zeros(2, 3, 24, 24), ("offsets", "probabilities"), batch=True),
        "onet": _graph(_Stage(ONet()), torch.zeros(2, 3, 48, 48), ("offsets", "landmarks", "probabilities"),
                       batch=True),
    }  # fmt: skip


def _graph(
    model: nn.Module, example: Tensor, outputs: tuple[str, ...], *, batch: bool = False, sides: bool = False
) -> bytes:
    """A net as ONNX, traced on an example of which the batch or the sides may differ."""
    axes = {0: torch.export.Dim.DYNAMIC} if batch else {}
    axes |= {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC} if sides else {}
    program = torch.onnx.export(
        model.eval().requires_grad_(False), (example,), input_names=["input"], output_names=list(outputs),
        dynamic_shapes=(axes,), dynamo=True, optimize=False, external_data=False, verbose=False,
    )  # fmt: skip
    if program is None:
        raise RuntimeError("torch.onnx.export gave nothing")
    return _bare(program.model_proto)


def _bare(model: onnx.ModelProto) -> bytes:
    """Without what stands in the way: the exporter's notes on each node, a megabyte of lines of this machine's files; and
    constants written as "this number, of that tensor's type", around which ONNX Runtime fuses nothing."""
    constants = {node.output[0]: _value(node) for node in model.graph.node if node.op_type == "Constant"}
    for node in [node for node in model.graph.node if node.op_type == "CastLike" and node.input[0] in constants]:
        # All that these nets compute with is float.
        value = constants[node.input[0]].astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
        model.graph.node.remove(node)
    graph = model.graph
    for part in (*graph.node, *graph.initializer, *graph.input, *graph.output, graph, model):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    del graph.value_info[:]
    return bytes(model.SerializeToString())


def _value(constant: onnx.NodeProto) -> np.ndarray:
    value = helper.get_attribute_value(constant.attribute[0])
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def _halved(data: bytes) -> bytes:
    """Constants that half precision holds exactly are stored in it, and cast when the graph is loaded."""
    model = onnx.load_from_string(data)
    for constant in list(model.graph.initializer):
        values = numpy_helper.to_array(constant)
        if values.dtype == np.float32 and values.size > 1 and np.array_equal(values.astype(np.float16), values):
            name = constant.name
            model.graph.initializer.remove(constant)
            model.graph.initializer.append(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
            model.graph.node.insert(0, helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _with_tensors_beside(data: bytes, tensors: Path) -> bytes:
    """A graph that takes from a safetensors file beside it whatever constants lie there to the last bit, so that the
    weights need not ship twice."""
    stored = tensors.read_bytes()
    (length,) = struct.unpack("<Q", stored[:8])
    begins = 8 + length
    places = {}
    for name, known in json.loads(stored[8:begins]).items():
        if name != "__metadata__":
            first, last = (begins + offset for offset in known["data_offsets"])
            places[known["dtype"], stored[first:last]] = first
    dtypes = {"float16": "F16", "float32": "F32"}
    model = onnx.load_from_string(data)
    for constant in model.graph.initializer:
        values = numpy_helper.to_array(constant)
        place = places.get((dtypes.get(str(values.dtype)), values.tobytes()))
        if place is not None:
            constant.ClearField("raw_data")
            constant.data_location = TensorProto.EXTERNAL
            for key, value in (("location", tensors.name), ("offset", place), ("length", values.nbytes)):
                constant.external_data.add(key=key, value=str(value))
    return bytes(model.SerializeToString())


def golden_crops(size: int) -> np.ndarray:
    """Four pictures made by a formula, uint8 (4, size, size, 3): what the golden sample is computed on."""
    y, x = np.mgrid[0:size, 0:size] / size
    waves = [
        np.stack([np.sin((3 + k) * x * 6 + c) * np.cos((2 + k) * y * 5 - c) for c in range(3)], -1) for k in range(4)
    ]
    return ((np.stack(waves) * 0.5 + 0.5) * 255).astype(np.uint8)


def _write_golden(net: EvidenceNet, folder: Path) -> None:
    crops = golden_crops(net.architecture.size)
    with torch.inference_mode():
        maps, logits = net(torch.from_numpy(crops).permute(0, 3, 1, 2))
    golden = io.BytesIO()
    np.savez_compressed(golden, maps=maps.numpy(), logits=logits.numpy())
    write_atomically(folder / GOLDEN, golden.getvalue())


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder, an empty one where there is none."""
    path = folder / "manifest.json"
    manifest: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"default": "", "models": {}}
    return manifest


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """All or nothing."""
    write_atomically(folder / "manifest.json", (json.dumps(manifest, indent=1) + "\n").encode())


def _read_looks(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Looks as `export` takes them; what is written with wrong ones could not be read again."""
    try:
        looks: dict[str, list[dict[str, Any]]] = json.loads(path.read_text())
        for kind, several in looks.items():
            if kind not in ("image", "video") or not [Look(**fields) for fields in several]:
                raise ValueError(f"expected one or more for image and for video, found {kind!r}: {several!r:.100}")
    except (OSError, AttributeError, TypeError, ValueError) as error:
        raise SystemExit(f"{path}: expected the fields of each look, see types.Look ({error})") from error
    return looks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, nargs="?", help="averaged weights of a run (average.safetensors)")
    parser.add_argument("--name", help="name of the entry")
    parser.add_argument("--folder", type=Path, default=Path("weights"), help="(%(default)s)")
    parser.add_argument("--trained-on", help="the training data in words")
    parser.add_argument("--looks", type=Path, help="JSON: for image and video the fields of each look, see types.Look")
    parser.add_argument("--hottest", type=float, nargs="+", metavar="SHARE",
                        help="shares of a map's cells, the mean of whose means is the logit (as trained)")  # fmt: skip
    parser.add_argument("--hottest-video", type=float, nargs="+", metavar="SHARE",
                        help="the same for faces in videos (as --hottest)")  # fmt: skip
    parser.add_argument("--graphs", action="store_true", help="only the graphs, of the manifest's default or of --name")
    arguments = parser.parse_args()
    if arguments.graphs:
        export_graph(arguments.folder, arguments.name or read_manifest(arguments.folder)["default"])
    elif arguments.source and arguments.name and arguments.trained_on:
        shares = {"image": arguments.hottest or [], "video": arguments.hottest_video or arguments.hottest or []}
        if not all(0 < share <= 1 for each in shares.values() for share in each):
            parser.error("expected shares above 0 to 1")
        looks = _read_looks(arguments.looks) if arguments.looks else None
        entry = export(arguments.source, arguments.folder, arguments.name, trained_on=arguments.trained_on, looks=looks,
                       hottest=shares if any(shares.values()) else None)  # fmt: skip
        print(json.dumps(entry, indent=1))
    else:
        parser.error("give the averaged weights, --name and --trained-on")
    export_face_nets(arguments.folder)


if __name__ == "__main__":
    main()
