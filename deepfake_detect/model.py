"""The CNN: crops -> one logit and one evidence map each. It normalises inside, so it takes plain uint8 crops.

A truncated EfficientNet-Lite (Liu, "Higher accuracy on vision models with EfficientNet-Lite", 2020; Tan and Le,
"EfficientNet", ICML 2019) whose two finest useful levels are merged by 1x1 convolutions, as in a feature pyramid (Lin et
al., CVPR 2017), and end in a 1x1 convolution: the *evidence map*, in logits. The logit of the crop is a fixed pooling of
that map and nothing else, so what is drawn is what was decided on.
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

# (expansion, kernel, stride, channels, repeats): the table of EfficientNet-B0, which Lite0 shares.
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
    Output: maps (N, size / 8, size / 8) and logits (N,); above 0 leans to manipulated.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.register_buffer("mean", torch.tensor(architecture.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(architecture.std).view(1, 3, 1, 1), persistent=False)
        self.stem = _Conv(3, _STEM_CHANNELS, kernel=3, stride=2)
        stages, channels = [], _STEM_CHANNELS
        for expansion, kernel, stride, outputs, repeats in _STAGES[: architecture.stages]:
            blocks = []
            for i in range(repeats):
                blocks.append(
                    _InvertedResidual(
                        channels, outputs, expansion=expansion, kernel=kernel, stride=stride if i == 0 else 1
                    )
                )
                channels = outputs
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        self.fine = nn.Conv2d(_STAGES[2][3], architecture.head, 1)
        self.deep = nn.Conv2d(channels, architecture.head, 1)
        self.evidence = nn.Conv2d(architecture.head, 1, 1)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem((crops.to(self.mean.dtype) - self.mean) / self.std)
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i == 2:
                fine = self.fine(x)
        deep = functional.interpolate(self.deep(x), scale_factor=2.0, mode="bilinear", align_corners=False)
        maps = self.evidence(functional.relu6(fine + deep)).squeeze(1)
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
