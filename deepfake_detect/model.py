"""The CNN: crops -> one logit and one evidence map each. It normalises inside, so it takes plain uint8 crops.

EfficientNet-Lite without its classifier, all of it or cut short (Liu, "Higher accuracy on vision models with
EfficientNet-Lite", 2020; Tan and Le, "EfficientNet", ICML 2019). Its levels are merged by 1x1 convolutions, as in a feature
pyramid (Lin et al., CVPR 2017), and end in a 1x1 convolution: the *evidence map*, in logits. The logit of the crop is a
fixed pooling of that map and nothing else, so what is drawn is what was decided on.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .types import Architecture, Crop

# (expansion, kernel, stride, channels, repeats): the table of EfficientNet-B0, which Lite0 shares. Larger nets have more
# channels and more repeats of all but the first and the last stage.
_STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
_STEM_CHANNELS = 32
_WIDTH_AND_DEPTH = {"lite0": (1.0, 1.0), "lite1": (1.0, 1.1), "lite2": (1.1, 1.2)}
# The level with 8 pixels a cell, the one with 16, and with seven stages the one with 32.
_FINE, _DEEP = 2, 4
# High-pass filters of steganalysis (Fridrich and Kodovsky, IEEE TIFS 2012), as Zhou et al. (CVPR 2018) give them to a net.
_RESIDUALS = (
    ((0, 0, 0, 0, 0), (0, -1, 2, -1, 0), (0, 2, -4, 2, 0), (0, -1, 2, -1, 0), (0, 0, 0, 0, 0)),
    ((-1, 2, -2, 2, -1), (2, -6, 8, -6, 2), (-2, 8, -12, 8, -2), (2, -6, 8, -6, 2), (-1, 2, -2, 2, -1)),
    ((0, 0, 0, 0, 0), (0, 0, 0, 0, 0), (0, 1, -2, 1, 0), (0, 0, 0, 0, 0), (0, 0, 0, 0, 0)),
)


class _Conv(nn.Sequential):
    """Convolution, batch normalisation and, unless it is a projection, ReLU6.

    Strided ones pad on the right and below only, as the TensorFlow nets did whose weights are the starting point.
    """

    def __init__(
        self, inputs: int, outputs: int, *, kernel: int = 1, stride: int = 1, groups: int = 1, linear: bool = False
    ) -> None:
        before, after = (kernel - stride) // 2, kernel - stride - (kernel - stride) // 2
        layers: list[nn.Module] = [nn.ZeroPad2d((before, after, before, after))] if stride > 1 else []
        padding = 0 if stride > 1 else kernel // 2
        layers += [
            nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding, groups=groups, bias=False),
            nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01),
        ]
        if not linear:
            layers.append(nn.ReLU6(inplace=True))
        super().__init__(*layers)


class _InvertedResidual(nn.Module):
    """The block of MobileNetV2 (Sandler et al., CVPR 2018), which EfficientNet-Lite uses without squeeze-excitation."""

    def __init__(self, inputs: int, outputs: int, *, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers = [_Conv(inputs, hidden)] if expansion > 1 else []
        layers += [
            _Conv(hidden, hidden, kernel=kernel, stride=stride, groups=hidden),
            _Conv(hidden, outputs, linear=True),
        ]
        self.layers = nn.Sequential(*layers)
        self.adds_input = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layers(x)
        return x + result if self.adds_input else result


class EvidenceNet(nn.Module):
    """Crops in, evidence maps and their pooled logits out.

    Args:
        architecture: Shape of the net.

    Input of `forward`: float or uint8 (N, 3, size, size), RGB, 0 to 255.
    Output: maps (N, size / 8, size / 8) and logits (N,): the higher, the more they lean to manipulated.
    """

    mean: Tensor
    std: Tensor
    high_pass: Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.register_buffer("mean", torch.tensor(architecture.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(architecture.std).view(1, 3, 1, 1), persistent=False)
        filters = torch.tensor(_RESIDUALS, dtype=torch.float32)
        # Each scaled to its centre, so that what it finds is of the order of the picture's own noise.
        filters = filters / filters.abs().amax((1, 2), keepdim=True)
        self.register_buffer("high_pass", filters.unsqueeze(1), persistent=False)
        width, depth = _WIDTH_AND_DEPTH[architecture.backbone]
        self.stem = _Conv(3 + len(_RESIDUALS) * architecture.residual, _STEM_CHANNELS, kernel=3, stride=2)
        stages, channels, levels = [], _STEM_CHANNELS, {}
        for i, (expansion, kernel, stride, wanted, repeats) in enumerate(_STAGES[: architecture.stages]):
            outputs = _rounded(wanted * width)
            blocks = []
            for j in range(repeats if i in (0, len(_STAGES) - 1) else math.ceil(repeats * depth)):
                blocks.append(
                    _InvertedResidual(
                        channels, outputs, expansion=expansion, kernel=kernel, stride=stride if j == 0 else 1
                    )
                )
                channels = outputs
            stages.append(nn.Sequential(*blocks))
            levels[i] = channels
        self.stages = nn.ModuleList(stages)
        self.fine = nn.Conv2d(levels[_FINE], architecture.head, 1)
        self.deep = nn.Conv2d(levels[min(_DEEP, architecture.stages - 1)], architecture.head, 1)
        self.deepest = nn.Conv2d(channels, architecture.head, 1) if architecture.stages == len(_STAGES) else None
        self.evidence = nn.Conv2d(architecture.head, 1, 1)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        pixels = crops.to(self.mean.dtype)
        x = (pixels - self.mean) / self.std
        if self.architecture.residual:
            grey = functional.pad(pixels.mean(1, keepdim=True), (2, 2, 2, 2), mode="reflect")
            noise = functional.conv2d(grey, self.high_pass)
            x = torch.cat([x, (noise / 8).clamp(-2, 2)], 1)
        x = self.stem(x)
        levels = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        merged = self.fine(levels[_FINE]) + _enlarged(self.deep(levels[min(_DEEP, len(levels) - 1)]), 2)
        if self.deepest is not None:
            merged = merged + _enlarged(self.deepest(levels[-1]), 4)
        maps = self.evidence(functional.relu6(merged)).squeeze(1)
        return maps, pool(maps, sharpness=self.architecture.sharpness)

    @torch.inference_mode()
    def score(self, crops: Sequence[Crop], *, batch_size: int = 32) -> tuple[np.ndarray, np.ndarray]:
        """Judge crops.

        Returns:
            Evidence maps float32 (N, size / 8, size / 8) and logits float32 (N,), in the order given.
        """
        side = self.architecture.size // 8
        if not crops:
            return np.zeros((0, side, side), np.float32), np.zeros(0, np.float32)
        device = self.mean.device
        maps, logits = [], []
        for start in range(0, len(crops), batch_size):
            pixels = np.stack([crop.pixels for crop in crops[start : start + batch_size]])
            batch = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2)
            batch_maps, batch_logits = self(batch)
            maps.append(batch_maps.float().cpu().numpy())
            logits.append(batch_logits.float().cpu().numpy())
        return np.concatenate(maps), np.concatenate(logits)


def _rounded(channels: float) -> int:
    """To a multiple of 8, and not more than a tenth less, as EfficientNet does."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _enlarged(level: Tensor, factor: int) -> Tensor:
    return functional.interpolate(level, scale_factor=float(factor), mode="bilinear", align_corners=False)


def pool(maps: Tensor, *, sharpness: float) -> Tensor:
    """Log-mean-exp over each map (Pinheiro and Collobert, CVPR 2015): between the mean and the maximum.

    Args:
        maps: (N, H, W) evidence in logits.
        sharpness: Larger leans to the maximum.

    Returns:
        (N,) logits. A map with one value everywhere keeps that value.
    """
    cells = maps.flatten(1)
    return (torch.logsumexp(cells * sharpness, dim=1) - math.log(cells.shape[1])) / sharpness
