"""What runs the nets: ONNX Runtime, which is quick to start and fast on a CPU, or torch, the reference. Both give the same.

Neither is loaded before it is needed, and torch not at all where ONNX Runtime does the work.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np

from . import checkpoint, faces
from .confine import cores
from .crop import look_at
from .errors import OptionsError, WeightsError
from .mtcnn import Mtcnn
from .options import Options
from .source import shown
from .types import Face

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import ModuleType

    import onnxruntime

    from .model import EvidenceNet
    from .types import Crop, Frame

_THRESHOLDS = (0.6, 0.7, 0.7)


class Scorer(Protocol):
    """A net that judges crops."""

    def score(self, crops: Sequence[Crop], *, batch_size: int = 32) -> tuple[np.ndarray, np.ndarray]:
        """Evidence maps float32 (N, size / 8, size / 8) and logits float32 (N,), in the order given."""
        ...


class Engine(Protocol):
    """One way to run the nets."""

    @property
    def name(self) -> str:
        """As `Options.engine` has it."""
        ...

    @property
    def at_a_time(self) -> int:
        """From how many threads it is worth calling a scorer."""
        ...

    def scorer(self, entry: checkpoint.ManifestEntry) -> Scorer:
        """The net of a manifest's entry, ready to judge.

        Raises:
            WeightsError: Its file is missing, altered or does not fit.
            OptionsError: The device is not there.
        """
        ...

    def mtcnn(self) -> faces.Mtcnn:
        """What finds the faces of one picture.

        Raises:
            WeightsError: A file is missing, altered or does not fit.
            OptionsError: The device is not there.
        """
        ...


def choose(options: Options | None = None) -> Engine:
    """The engine that options ask for; `auto` is ONNX Runtime on a CPU and torch elsewhere."""
    options = options or Options()
    if options.engine == "torch" or (options.engine == "auto" and options.device != "cpu"):
        return TorchEngine(options.device)
    return OnnxEngine(options.threads or 1)


def face_finder(engine: Engine, *, smallest_px: float = 48) -> faces.FaceFinder:
    """What finds the faces of frames down to a size; errors as of `Engine.mtcnn`."""
    return faces.FaceFinder(engine.mtcnn(), smallest_px=smallest_px)


class Examiner:
    """A net with its looks at a face: their maps averaged by weight into one, and that one pooled as the manifest says.

    Of what a look does not see it says nothing: there the others alone are averaged. What genuine faces as soft as this one
    show is then taken off, so that a soft picture is not suspected for its softness; how soft it is the first look says.

    Attributes:
        at_a_time: From how many threads it is worth calling `score`.

    Args:
        engine: Runs the net.
        entry: The net.

    Raises:
        WeightsError: A file is missing, altered or does not fit.
        OptionsError: The device is not there.
    """

    def __init__(self, engine: Engine, entry: checkpoint.ManifestEntry) -> None:
        self._entry, self._net = entry, engine.scorer(entry)
        self.at_a_time = engine.at_a_time

    def cut(self, frame: Frame, face: Face, *, kind: str) -> tuple[Crop, ...]:
        """What each look gets to see of a face in media of this kind, see `crop.look_at`."""
        return look_at(frame, face, self._entry.looks(kind), size=self._entry.architecture.size)

    def warmth(self, view: tuple[Crop, ...]) -> float:
        """Logits to take off what the looks at a face show, for its want of sharpness."""
        softness = self._entry.softness
        return softness.warmth(faces.sharpness(view[0].pixels)) if softness else 0.0

    def score(
        self, views: Sequence[tuple[Crop, ...]], *, kind: str, batch_size: int = 2
    ) -> tuple[np.ndarray, np.ndarray]:
        """Judge faces.

        Args:
            views: Of each face what `cut` gave.

        Returns:
            Evidence maps float32 (N, size / 8, size / 8), each over the first of its face's crops, and logits float32
            (N,), in the order given.
        """
        architecture = self._entry.architecture
        looks, side = self._entry.looks(kind), architecture.size // 8
        maps, shares = (np.zeros((len(views), side, side), np.float32) for _ in range(2))
        # All looks in one list, so that batches are full where there is but one face.
        asked = [(j, look, crop) for j, view in enumerate(views) for look, crop in zip(looks, view, strict=True)]
        crops = [crop.mirrored() if look.mirrored else crop for _, look, crop in asked]
        found, _ = self._net.score(crops, batch_size=batch_size)
        for (j, look, crop), evidence in zip(asked, found, strict=True):
            moved, seen = moved_onto(views[j][0], crop, evidence[:, ::-1] if look.mirrored else evidence)
            maps[j] += np.float32(look.weight) * seen * moved
            shares[j] += np.float32(look.weight) * seen
        maps /= shares
        maps -= np.array([self.warmth(view) for view in views], np.float32).reshape(-1, 1, 1)
        return maps, pooled(maps, self._entry, kind=kind)


def pooled(maps: np.ndarray, entry: checkpoint.ManifestEntry, *, kind: str) -> np.ndarray:
    """Logits (N,) of maps (N, h, w): what is drawn is what was decided on, also where a map is the mean of several.

    Where looks are averaged their single hottest cells seldom agree, and in `model.pool`, as a net is trained, these would
    decide. So an entry may say that shares of the cells are averaged instead: a small one for what was cut out and pasted,
    which shows in few cells and is what compression leaves best, a large one for what a net drew, which shows in many.
    """
    cells = maps.reshape(len(maps), maps.shape[1] * maps.shape[2]).astype(np.float64)
    if shares := entry.hottest(kind):
        ordered = np.sort(cells, 1)
        means = [ordered[:, -max(1, round(share * cells.shape[1])) :].mean(1) for share in shares]
        return np.asarray(np.mean(means, 0), np.float32)
    cells *= entry.architecture.sharpness
    most = cells.max(1, keepdims=True)
    mean = most[:, 0] + np.log(np.exp(cells - most).mean(1))
    return np.asarray(mean / entry.architecture.sharpness, np.float32)


def moved_onto(first: Crop, crop: Crop, evidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A map over one crop of a face as the map over another crop of it, and how much of each cell that one shows."""
    if np.array_equal(first.to_frame, crop.to_frame):
        return evidence, np.ones_like(evidence)
    # Crops are upright, so there is a scale and a shift in each direction. Cell c lies at pixel 8 c + 3.5.
    scale = np.diag(first.to_frame) / np.diag(crop.to_frame)
    shift = (first.to_frame[:, 2] - crop.to_frame[:, 2]) / np.diag(crop.to_frame)
    across = np.hstack([np.diag(scale), ((scale * 3.5 + shift - 3.5) / 8)[:, None]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = evidence.shape[::-1]
    moved = cv2.warpAffine(np.ascontiguousarray(evidence), across, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return moved, cv2.warpAffine(np.ones_like(evidence), across, size, flags=flags)


@dataclass(frozen=True)
class OnnxEngine:
    """Runs the graphs beside the weights, on the CPU.

    Attributes:
        threads: That work on one net at a time.
    """

    threads: int = 1
    name: str = "onnx"

    @property
    def at_a_time(self) -> int:
        """See `Engine`: as many as the cores have room for; more than four would be left waiting for faces."""
        return max(1, min(4, cores() // self.threads))

    def scorer(self, entry: checkpoint.ManifestEntry) -> Scorer:
        """See `Engine`."""
        if entry.graph is None:
            raise WeightsError(f"{entry.name}: has no ONNX graph; export it again or choose the engine torch")
        tensors = checkpoint.WeightFile(entry.path, entry.sha256).read()
        net = _Net(self._open(entry.graph, {entry.path.name: tensors}), entry.graph.path)
        return _EvidenceGraph(net, entry.architecture.size)

    def mtcnn(self) -> Mtcnn:
        """See `Engine`."""
        pnet, rnet, onet = (_Net(self._open(file), file.path) for file in checkpoint.find_face_nets())
        return Mtcnn(pnet, rnet, onet, thresholds=_THRESHOLDS)

    def _open(
        self, file: checkpoint.WeightFile, tensors: dict[str, bytes] | None = None
    ) -> onnxruntime.InferenceSession:
        """A graph; `tensors` are the files beside it, by name, in which it may say that its constants lie."""
        onnxruntime = _quiet_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        # Threads that wait in a loop for the next net would take the cores from the decoder and from each other.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        if tensors:
            files = list(tensors.values())
            options.add_external_initializers_from_files_in_memory(list(tensors), files, [len(data) for data in files])
        data = file.read()
        try:
            return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # what it raises has no common class of its own
            raise WeightsError(
                f"{shown(file.path)}: ONNX Runtime can't read it ({_brief(error)}); {checkpoint.remedy(file.path)}"
            ) from error


def _quiet_onnxruntime() -> ModuleType:
    """ONNX Runtime, kept from telling its maker anything. The versions asked for in setup.cfg don't, but on Windows, where
    they speak to the system; a newer one that someone installed nevertheless does unless told so before it is loaded.

    Raises:
        OptionsError: It, or what it needs of the system, is missing.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        if isinstance(error.__cause__, KeyboardInterrupt):
            # Compiled code that is interrupted while it is loaded says that it can't be.
            raise error.__cause__ from error
        # Windows does not bring what it was built with, nor does Python's installer.
        raise OptionsError(
            f"ONNX Runtime can't be loaded ({error}); on Windows it needs a recent Microsoft Visual C++ Redistributable,"
            " https://aka.ms/vs/17/release/vc_redist.x64.exe"
        ) from error

    onnxruntime.disable_telemetry_events()
    module: ModuleType = onnxruntime
    return module


class _Net:
    """A graph with one input, as a function.

    Raises:
        WeightsError: It has another number of inputs, or can't be run.
    """

    def __init__(self, session: onnxruntime.InferenceSession, path: Path) -> None:
        inputs = session.get_inputs()
        if len(inputs) != 1:
            raise WeightsError(
                f"{shown(path)}: expected a graph with one input, found {len(inputs)}; {checkpoint.remedy(path)}"
            )
        self._session, self._input, self.path = session, inputs[0].name, path

    def __call__(self, values: np.ndarray) -> list[np.ndarray]:
        try:
            return list(self._session.run(None, {self._input: values}))
        except Exception as error:  # what it raises has no common class of its own
            raise WeightsError(
                f"{shown(self.path)}: ONNX Runtime can't run it ({_brief(error)}); {checkpoint.remedy(self.path)}"
            ) from error


class _EvidenceGraph:
    def __init__(self, net: _Net, size: int) -> None:
        self._net, self._side = net, size // 8

    def score(self, crops: Sequence[Crop], *, batch_size: int = 32) -> tuple[np.ndarray, np.ndarray]:
        maps, logits = [np.zeros((0, self._side, self._side), np.float32)], [np.zeros(0, np.float32)]
        for start in range(0, len(crops), batch_size):
            batch = self._net(np.stack([crop.pixels for crop in crops[start : start + batch_size]]))
            count = min(batch_size, len(crops) - start)
            found, wanted = [part.shape for part in batch], [(count, self._side, self._side), (count,)]
            if found != wanted:
                path = self._net.path
                raise WeightsError(
                    f"{shown(path)}: expected maps and logits {wanted}, found {found}; {checkpoint.remedy(path)}"
                )
            maps.append(batch[0])
            logits.append(batch[1])
        return np.concatenate(maps), np.concatenate(logits)


@dataclass(frozen=True)
class TorchEngine:
    """Runs the nets as they were trained, on any device of torch. How many threads it takes is torch's own setting."""

    device: str = "cpu"
    name: str = "torch"
    # Torch spreads each call over the cores itself.
    at_a_time: int = 1

    def scorer(self, entry: checkpoint.ManifestEntry) -> EvidenceNet:
        """See `Engine`."""
        net = load_net(entry)
        try:
            net.to(self.device)
        except (RuntimeError, AssertionError) as error:
            raise OptionsError(f"device {self.device!r} can't be used here ({error}); try 'cpu'") from error
        return net

    def mtcnn(self) -> _ReferenceMtcnn:
        """See `Engine`."""
        return _ReferenceMtcnn(self.device)


class _ReferenceMtcnn:
    """facenet-pytorch's MTCNN. Its traps: it wants contiguous RGB, and returns object arrays or None."""

    def __init__(self, device: str) -> None:
        from facenet_pytorch import MTCNN

        # The size is a setting of it: one thread at a time.
        self._lock = Lock()
        try:
            self._mtcnn = MTCNN(keep_all=True, device=device, post_process=False, thresholds=list(_THRESHOLDS))
        except (RuntimeError, AssertionError) as error:
            raise OptionsError(f"device {device!r} can't be used here ({error}); try 'cpu'") from error

    def __call__(self, pixels: np.ndarray, *, smallest_px: float) -> list[Face]:
        with self._lock:
            self._mtcnn.min_face_size = smallest_px
            boxes, confidences, landmarks = self._mtcnn.detect(np.ascontiguousarray(pixels), landmarks=True)
        found = []
        for box, confidence, points in zip(boxes, confidences, landmarks, strict=True) if boxes is not None else ():
            x0, y0, x1, y1 = (float(value) for value in box)
            if x1 > x0 and y1 > y0:
                five = tuple((float(x), float(y)) for x, y in points)
                found.append(Face((x0, y0, x1, y1), five, float(confidence)))
        return found

    def confirm(self, pixels: np.ndarray, boxes: np.ndarray) -> list[Face]:
        """None: the reference takes a full look at every frame."""
        return []


def load_net(entry: checkpoint.ManifestEntry) -> EvidenceNet:
    """The torch net of a manifest's entry, on the CPU.

    Raises:
        WeightsError: The weights are missing, altered or do not fit.
    """
    from .model import EvidenceNet

    try:
        net = EvidenceNet(entry.architecture)
        net.load_state_dict(checkpoint.read(entry))
    except RuntimeError as error:
        found = f"its tensors do not fit the manifest's architecture ({_brief(error)})"
        raise WeightsError(f"{entry.path}: {found}") from error
    return net.eval()


def _brief(error: Exception) -> str:
    """One line of what a library says."""
    return " ".join(str(error).split())[:300]
