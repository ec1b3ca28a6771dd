"""Finds, checks and reads weight files and their entry in the manifest. safetensors and ONNX only: a pickle can run code.

`weights/manifest.json` names each net that ships and everything its weights need to be used rightly: the shape of the net,
how it looks at a face, what softness does to its evidence and how that is pooled, the calibration, what it was trained
on, and the SHA-256 of each file. A net's weights ship as tensors, which torch reads; beside them lies a graph for ONNX
Runtime, which takes its constants from the same file. Both are made by `training/export.py`, as are the graphs of MTCNN's
three nets.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from . import __version__
from .errors import WeightsError
from .source import shown
from .types import Architecture, Bands, Calibration, Look, OtherGroups, Softness, ToolInfo

if TYPE_CHECKING:
    from os import PathLike

    import torch

_Made = TypeVar("_Made", Architecture, Bands, Look, OtherGroups, Softness)
# What a manifest raises that says something else than was expected.
_SENSELESS = (LookupError, TypeError, ValueError, AttributeError, OverflowError)
# Each takes as long as the first.
_MOST_LOOKS, _MOST_SHARES = 16, 16
# In an installed package the folder lies inside it, in a checkout beside it.
_FOLDERS = (Path(__file__).parent / "weights", Path(__file__).parent.parent / "weights")


def remedy(path: Path) -> str:
    """What to do about a file of weights that is no good: those that someone exported come with no installation."""
    return "install again" if path.parent in _FOLDERS else "copy or export that folder again"


@dataclass(frozen=True)
class WeightFile:
    """A file and what the manifest promises of it."""

    path: Path
    sha256: str

    def read(self) -> bytes:
        """Its bytes.

        Raises:
            WeightsError: It is missing, or its bytes are not those the manifest promises.
        """
        # A device or a pipe would never end.
        if self.path.exists() and not self.path.is_file():
            raise WeightsError(f"{shown(self.path)}: expected a file, found something else; {remedy(self.path)}")
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise WeightsError(f"{shown(self.path)}: can't be read ({error.strerror}); {remedy(self.path)}") from error
        found = hashlib.sha256(data).hexdigest()
        if found != self.sha256:
            raise WeightsError(
                f"{shown(self.path)}: expected SHA-256 {shown(str(self.sha256))}, found {found}; {remedy(self.path)}"
            )
        return data


@dataclass(frozen=True)
class ManifestEntry:
    """One net of the manifest.

    Attributes:
        name: Such as `lite0-first`.
        path: The weight file.
        sha256: Of the file.
        architecture: Shape of the net and of its crop.
        calibration: What its logits mean.
        image_looks: How a face in a picture is looked at, at least once; the first look's crop is the one that is shown.
        video_looks: How one in a frame of a video is.
        graph: The same net for ONNX Runtime; None where it was exported without.
        softness: What is taken off its evidence for want of sharpness; None for nothing.
        image_hottest: Shares of a map's cells, above 0 to 1: of each its hottest so many are averaged, and the mean of
            these means is the logit of a face in a picture. None at all for the pooling of the architecture, which the net
            was trained with.
        video_hottest: The same for a face in a frame of a video.
    """

    name: str
    path: Path
    sha256: str
    architecture: Architecture
    calibration: Calibration
    image_looks: tuple[Look, ...]
    video_looks: tuple[Look, ...]
    graph: WeightFile | None = None
    softness: Softness | None = None
    image_hottest: tuple[float, ...] = ()
    video_hottest: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for shares in (self.image_hottest, self.video_hottest):
            if len(shares) > _MOST_SHARES or not all(0 < share <= 1 for share in shares):
                raise ValueError(f"hottest must be up to {_MOST_SHARES} shares above 0 to 1, found {shares!r:.100}")
        for looks in (self.image_looks, self.video_looks):
            if not 1 <= len(looks) <= _MOST_LOOKS:
                raise ValueError(f"expected 1 to {_MOST_LOOKS} looks at each kind of media, found {len(looks)}")

    def looks(self, kind: str) -> tuple[Look, ...]:
        """How a face in media of this kind is looked at."""
        return self.video_looks if kind == "video" else self.image_looks

    def hottest(self, kind: str) -> tuple[float, ...]:
        """The shares of its map that make the logit of a face in media of this kind."""
        return self.video_hottest if kind == "video" else self.image_hottest

    @property
    def evidence_sha256(self) -> str:
        """SHA-256 of all that its logits come from: weights, architecture, looks, softness and pooling."""
        image, video = self.image_hottest, self.video_hottest
        # As it was when one number, or none, stood for both: what needs no more must not look like another net.
        hottest = (image[0] if image else None,) if image == video and len(image) < 2 else (image, video)
        return _digest(self.sha256, self.architecture, self.image_looks, self.video_looks, self.softness, *hottest)

    @property
    def entry_sha256(self) -> str:
        """SHA-256 of all that its verdicts come from: the same, the graph, the calibration, and the nets that find faces.

        Raises:
            WeightsError: As `find_face_nets`.
        """
        finders = [net.sha256 for net in find_face_nets()]
        calibration = asdict(self.calibration)
        for kind in ("image", "video"):
            # They came later, and move no verdict: an entry without them must not look like another one.
            for name in ("genuine_effective", "manipulated_effective"):
                del calibration[kind][name]
        return _digest(self.evidence_sha256, self.graph and self.graph.sha256, calibration, finders)

    @property
    def tool(self) -> ToolInfo:
        """What a report says of it."""
        return ToolInfo(__version__, self.name, self.sha256, self.calibration.name, self.entry_sha256)


def _digest(*parts: Any) -> str:
    written = json.dumps(parts, default=asdict, sort_keys=True)
    return hashlib.sha256(written.encode()).hexdigest()


def find(name: str | None = None, *, folder: str | PathLike[str] | None = None) -> ManifestEntry:
    """The entry of a net.

    Args:
        name: None for the manifest's default.
        folder: Where manifest.json lies; None for the one that ships.

    Raises:
        WeightsError: There is no such folder or name, or the manifest does not make sense.
    """
    folder = _shipped_folder() if folder is None else Path(folder)
    manifest = _read_manifest(folder)
    try:
        name = name or manifest["default"]
        models = manifest["models"]
        if name not in models:
            known = ", ".join(ascii(each)[1:-1] for each in sorted(models))
            raise WeightsError(f"no weights named {name!r:.100}; there are {known[:300]}")
        return _entry(name, models[name], folder)
    except _SENSELESS as error:
        raise WeightsError(
            f"{shown(folder / 'manifest.json')}: entry {name!r:.100} does not fit this version ({error!r:.300})"
        ) from error


def find_face_nets(*, folder: Path | None = None) -> tuple[WeightFile, WeightFile, WeightFile]:
    """The graphs of MTCNN's three nets, P, R and O.

    Args:
        folder: Where manifest.json lies; None for the one that ships.

    Raises:
        WeightsError: There is no such folder, or the manifest does not make sense.
    """
    folder = folder or _shipped_folder()
    manifest = _read_manifest(folder)
    try:
        pnet, rnet, onet = (_file(manifest["mtcnn"][name], folder) for name in ("pnet", "rnet", "onet"))
    except _SENSELESS as error:
        raise WeightsError(
            f"{shown(folder / 'manifest.json')}: its MTCNN does not fit this version ({error!r:.300})"
        ) from error
    return pnet, rnet, onet


def _shipped_folder() -> Path:
    folder = next((f for f in _FOLDERS if (f / "manifest.json").is_file()), None)
    if folder is None:
        raise WeightsError("no weights/manifest.json beside the package; install it again")
    return folder


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    try:
        if path.exists() and not path.is_file():
            raise ValueError("it is no file")
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise WeightsError(
            f"{shown(folder)}: holds no manifest.json; give the folder that export or finetune wrote, such as tuned/weights"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{shown(path)}: can't be read as JSON ({error}); {remedy(path)}") from error
    return manifest


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def _file(values: dict[str, str], folder: Path) -> WeightFile:
    name = values["file"]
    # A manifest speaks of the files beside it, and of no others; no file system has longer names.
    if not name.isprintable() or Path(name).name != name or not 0 < len(name.encode()) <= 255:
        raise ValueError(f"file must be the name of one beside the manifest, found {name!r:.100}")
    sha256 = values["sha256"]
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        raise ValueError(f"sha256 must be 64 hexadecimal digits, found {sha256!r:.100}")
    return WeightFile(folder / name, sha256)


def _entry(name: str, values: dict[str, Any], folder: Path) -> ManifestEntry:
    calibration = dict(values["calibration"])
    calibration |= {kind: _checked(Bands(**calibration[kind])) for kind in ("image", "video")}
    elsewhere = values.get("calibration_on_other_groups", {})
    calibration["other_groups"] = {
        kind: _checked(OtherGroups(**{field.name: rates[field.name] for field in fields(OtherGroups)}))
        for kind, rates in elsewhere.items()
    }
    architecture = architecture_of(values["architecture"])
    # A net exported without looks has the one it was trained for.
    own = [{"margin": architecture.margin, "least_margin": architecture.least_margin}]
    image_looks, video_looks = (
        tuple(_checked(Look(**look)) for look in values.get("looks", {}).get(kind, own)) for kind in ("image", "video")
    )
    # Before videos were pooled in a way of their own, one number stood for both.
    shares = values.get("hottest", {})
    if not isinstance(shares, dict):
        shares = {"image": [shares], "video": [shares]}
    if not shares.keys() <= {"image", "video"}:
        raise ValueError(f"hottest must be for image and video, found {list(shares)!r:.100}")
    image_hottest, video_hottest = (tuple(map(_number, shares.get(kind, ()))) for kind in ("image", "video"))
    weights = _file(values, folder)
    return ManifestEntry(
        name=name,
        path=weights.path,
        sha256=weights.sha256,
        architecture=architecture,
        calibration=Calibration(**calibration),
        image_looks=image_looks,
        video_looks=video_looks,
        graph=_file(values["onnx"], folder) if "onnx" in values else None,
        softness=_checked(Softness(**values["softness"])) if "softness" in values else None,
        image_hottest=image_hottest,
        video_hottest=video_hottest,
    )


def architecture_of(values: dict[str, Any]) -> Architecture:
    """An architecture from its JSON, which has no tuples."""
    return _checked(Architecture(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])}))


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"expected a number, found {value!r:.100}")
    return float(value)


def _checked(made: _Made) -> _Made:
    """The same, if what is a number in it is one: JSON may hold anything.

    Raises:
        TypeError: It is not.
    """
    for item in fields(made):
        value, wanted = getattr(made, item.name), str(item.type)
        values = value if wanted.startswith("tuple") else () if value is None and "None" in wanted else (value,)
        kinds: Any = bool if wanted == "bool" else int if wanted == "int" else str if wanted == "str" else (int, float)
        for one in values:
            if not isinstance(one, kinds) or (isinstance(one, bool) and kinds is not bool):
                raise TypeError(f"{item.name}: expected {wanted}, found {value!r:.100}")
    return made


def read(entry: ManifestEntry) -> dict[str, torch.Tensor]:
    """The tensors of a weight file, as float32.

    Raises:
        WeightsError: The file is missing, or its bytes are not those the manifest promises.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    data = WeightFile(entry.path, entry.sha256).read()
    try:
        tensors = load(data)
    except (SafetensorError, RuntimeError, *_SENSELESS) as error:
        found = " ".join(str(error).split())[:300]
        raise WeightsError(f"{entry.path}: expected a safetensors file ({found}); {remedy(entry.path)}") from error
    return {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}
