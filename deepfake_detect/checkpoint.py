"""Finds, checks and reads a weight file and its entry in the manifest. safetensors only: a pickle can run code.

`weights/manifest.json` names each net that ships and everything its weights need to be used rightly: the shape of the net,
the crop, the calibration, what it was trained on, and the SHA-256 of the file.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import WeightsError
from .types import Architecture, Bands, Calibration, OtherGroups

if TYPE_CHECKING:
    import torch

# In an installed package the folder lies inside it, in a checkout beside it.
_FOLDERS = (Path(__file__).parent / "weights", Path(__file__).parent.parent / "weights")


@dataclass(frozen=True)
class ManifestEntry:
    """One net of the manifest.

    Attributes:
        name: Such as `lite0-first`.
        path: The weight file.
        sha256: Of the file.
        architecture: Shape of the net and of its crop.
        calibration: What its logits mean.
    """

    name: str
    path: Path
    sha256: str
    architecture: Architecture
    calibration: Calibration


def find(name: str | None = None, *, folder: Path | None = None) -> ManifestEntry:
    """The entry of a net.

    Args:
        name: None for the manifest's default.
        folder: Where manifest.json lies; None for the one that ships.

    Raises:
        WeightsError: There is no such folder or name, or the manifest does not make sense.
    """
    if folder is None:
        folder = next((f for f in _FOLDERS if (f / "manifest.json").is_file()), None)
        if folder is None:
            raise WeightsError("no weights/manifest.json beside the package; install it again")
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{folder / 'manifest.json'}: can't be read as JSON ({error}); install again") from error
    try:
        name = name or manifest["default"]
        models = manifest["models"]
        if name not in models:
            raise WeightsError(f"no weights named {name!r}; there are {', '.join(sorted(models))}")
        return _entry(name, models[name], folder)
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{folder / 'manifest.json'}: entry {name!r} does not fit this version ({error!r})"
        ) from error


def _entry(name: str, values: dict[str, Any], folder: Path) -> ManifestEntry:
    calibration = dict(values["calibration"])
    calibration |= {kind: Bands(**calibration[kind]) for kind in ("image", "video")}
    elsewhere = values.get("calibration_on_other_groups", {})
    calibration["other_groups"] = {
        kind: OtherGroups(**{field.name: rates[field.name] for field in fields(OtherGroups)})
        for kind, rates in elsewhere.items()
    }
    return ManifestEntry(
        name=name,
        path=folder / values["file"],
        sha256=values["sha256"],
        architecture=architecture_of(values["architecture"]),
        calibration=Calibration(**calibration),
    )


def architecture_of(values: dict[str, Any]) -> Architecture:
    """An architecture from its JSON, which has no tuples."""
    return Architecture(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})


def read(entry: ManifestEntry) -> dict[str, torch.Tensor]:
    """The tensors of a weight file, as float32.

    Raises:
        WeightsError: The file is missing, or its bytes are not those the manifest promises.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        data = entry.path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{entry.path}: can't be read ({error.strerror}); install again") from error
    found = hashlib.sha256(data).hexdigest()
    if found != entry.sha256:
        raise WeightsError(f"{entry.path}: expected SHA-256 {entry.sha256}, found {found}; install again")
    try:
        tensors = load(data)
    except SafetensorError as error:
        raise WeightsError(f"{entry.path}: expected a safetensors file ({error}); install again") from error
    return {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}
