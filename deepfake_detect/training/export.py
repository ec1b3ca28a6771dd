"""Averaged weights of a run -> `weights/`: half-precision safetensors, a manifest entry, a golden sample.

The calibration in the entry starts as the identity; `calibrate.py` replaces it with what held-out media say.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save

from ..checkpoint import architecture_of
from ..files import write_atomically
from ..model import EvidenceNet

GOLDEN = "golden.npz"
_DOUBTFUL = {"slope": 1.0, "offset": 0.0, "lower": 0.0, "upper": 1.0, "genuine": 0, "manipulated": 0,
             "false_alarm_rate": 0.0, "miss_rate": 0.0, "largest_ratio": 2.0}  # fmt: skip


def export(source: Path, folder: Path, name: str, *, trained_on: str) -> dict[str, Any]:
    """Write a net and its entry, and make it the default.

    Args:
        source: safetensors of a run; `settings.json` lies beside it.
        folder: Where manifest.json lies or is to lie.
        name: Of the entry and of the file.
        trained_on: In words, for the manifest.

    Returns:
        The entry.
    """
    record = json.loads((source.parent / "settings.json").read_text())
    architecture = architecture_of(record["architecture"])
    tensors = {key: value.half() if value.is_floating_point() else value for key, value in load_file(source).items()}
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
        "training": {"data": trained_on, "settings": record["settings"], "start": record["start"]},
        "calibration": {"name": f"{name}-uncalibrated", "date": "", "data": "none", "image": _DOUBTFUL,
                        "video": _DOUBTFUL},
    }  # fmt: skip
    manifest = read_manifest(folder)
    manifest["models"][name] = entry
    manifest["default"] = name
    write_manifest(folder, manifest)
    _write_golden(net, folder)
    return entry


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
    np.savez_compressed(folder / GOLDEN, maps=maps.numpy(), logits=logits.numpy())


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder, an empty one where there is none."""
    path = folder / "manifest.json"
    manifest: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"default": "", "models": {}}
    return manifest


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """All or nothing."""
    write_atomically(folder / "manifest.json", (json.dumps(manifest, indent=1) + "\n").encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="averaged weights of a run (average.safetensors)")
    parser.add_argument("--name", required=True, help="name of the entry")
    parser.add_argument("--folder", type=Path, default=Path("weights"), help="(%(default)s)")
    parser.add_argument("--trained-on", required=True, help="the training data in words")
    arguments = parser.parse_args()
    print(
        json.dumps(
            export(arguments.source, arguments.folder, arguments.name, trained_on=arguments.trained_on), indent=1
        )
    )


if __name__ == "__main__":
    main()
