"""What runs the nets: ONNX Runtime, which is quick to start and fast on a CPU, or torch, the reference. Both give the same.

Neither is loaded before it is needed, and torch not at all where ONNX Runtime does the work.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Protocol

import numpy as np

from . import checkpoint, faces
from .errors import OptionsError, WeightsError
from .mtcnn import Mtcnn
from .options import Options
from .types import Face

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    import onnxruntime

    from .model import EvidenceNet
    from .types import Crop

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

    def face_finder(self, *, smallest_px: float = 48) -> faces.FaceFinder:
        """What finds the faces of frames down to a size; errors as of `mtcnn`."""
        ...


def choose(options: Options | None = None) -> Engine:
    """The engine that options ask for; `auto` is ONNX Runtime on a CPU and torch elsewhere."""
    options = options or Options()
    if options.engine == "torch" or (options.engine == "auto" and options.device != "cpu"):
        return TorchEngine(options.device)
    return OnnxEngine(options.threads or 1)


@dataclass(frozen=True)
class OnnxEngine:
    """Runs the graphs beside the weights, on the CPU.

    Attributes:
        threads: That work on one net at a time.
    """

    threads: int = 1
    name: str = "onnx"

    def scorer(self, entry: checkpoint.ManifestEntry) -> Scorer:
        """See `Engine`."""
        if entry.graph is None:
            raise WeightsError(f"{entry.name}: has no ONNX graph; export it again or choose the engine torch")
        # The record of a run names the tensors, so they have to be there as promised, though only the graph runs.
        checkpoint.WeightFile(entry.path, entry.sha256).read()
        return _EvidenceGraph(self._open(entry.graph), entry.architecture.size)

    def mtcnn(self) -> Mtcnn:
        """See `Engine`."""
        pnet, rnet, onet = (_Net(self._open(file)) for file in checkpoint.find_face_nets())
        return Mtcnn(pnet, rnet, onet, thresholds=_THRESHOLDS)

    def face_finder(self, *, smallest_px: float = 48) -> faces.FaceFinder:
        """See `Engine`."""
        return faces.FaceFinder(self.mtcnn(), smallest_px=smallest_px)

    def _open(self, file: checkpoint.WeightFile) -> onnxruntime.InferenceSession:
        onnxruntime = _quiet_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        # Threads that wait in a loop for the next net would take the cores from the decoder and from each other.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        data = file.read()
        try:
            return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # what it raises has no common class of its own
            raise WeightsError(f"{file.path}: ONNX Runtime can't read it ({error}); install again") from error


def _quiet_onnxruntime() -> ModuleType:
    """ONNX Runtime, kept from telling its maker anything. The versions asked for in setup.cfg don't, but on Windows, where
    they speak to the system; a newer one that someone installed nevertheless does unless told so before it is loaded."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    module: ModuleType = onnxruntime
    return module


class _Net:
    """A graph with one input, as a function."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session, self._input = session, session.get_inputs()[0].name

    def __call__(self, values: np.ndarray) -> list[np.ndarray]:
        return list(self._session.run(None, {self._input: values}))


class _EvidenceGraph:
    def __init__(self, session: onnxruntime.InferenceSession, size: int) -> None:
        self._net, self._side = _Net(session), size // 8

    def score(self, crops: Sequence[Crop], *, batch_size: int = 32) -> tuple[np.ndarray, np.ndarray]:
        maps, logits = [np.zeros((0, self._side, self._side), np.float32)], [np.zeros(0, np.float32)]
        for start in range(0, len(crops), batch_size):
            batch = self._net(np.stack([crop.pixels for crop in crops[start : start + batch_size]]))
            maps.append(batch[0])
            logits.append(batch[1])
        return np.concatenate(maps), np.concatenate(logits)


@dataclass(frozen=True)
class TorchEngine:
    """Runs the nets as they were trained, on any device of torch. How many threads it takes is torch's own setting."""

    device: str = "cpu"
    name: str = "torch"

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

    def face_finder(self, *, smallest_px: float = 48) -> faces.FaceFinder:
        """See `Engine`."""
        return faces.FaceFinder(self.mtcnn(), smallest_px=smallest_px)


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

    net = EvidenceNet(entry.architecture)
    try:
        net.load_state_dict(checkpoint.read(entry))
    except RuntimeError as error:
        raise WeightsError(f"{entry.path}: its tensors do not fit the manifest's architecture ({error})") from error
    return net.eval()
