"""Redraws genuine faces with small autoencoders trained on genuine faces, as swap and talking-head programs do.

What a decoder leaves in a picture depends on how it grows its features (Odena et al., "Deconvolution and Checkerboard
Artifacts", 2016; Zhang et al., "Detecting and Simulating Artifacts in GAN Fake Images", WIFS 2019 train on such
reconstructions instead of forgeries). So there is one autoencoder for each kind of upsampling, and each is used at several
stages of its training. They are trained with an L1 loss and against a patch discriminator (Isola et al., CVPR 2017), for an
L1 loss alone leaves nothing but blur, and blur is no forgery.

    python -m deepfake_detect.training.redraw train DATA runs/decoders
    python -m deepfake_detect.training.redraw apply DATA runs/decoders runs/restored --copies 8000
"""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional

from ..files import write_atomically
from .data import TrainingFace, read_faces
from .restore import paste_face, resized, restored_path, take_face

if TYPE_CHECKING:
    from collections.abc import Sequence

UPSAMPLINGS = ("transposed", "nearest", "bilinear", "shuffle")
SIDE = 96
_CHANNELS = (32, 64, 96)
# How often the sides are halved and how many channels the narrowest layer has: few enough that all is drawn anew, and
# enough that a short training draws a face and not a blur, which would be no forgery worth finding.
_NARROWEST = {2: 8, 3: 32}
_STAGES = (0.5, 0.75, 1.0)

log = logging.getLogger(__name__)


class Autoencoder(nn.Module):
    """Reduces a picture to a few numbers per 4 x 4 or 8 x 8 pixels and draws it again.

    Args:
        upsampling: One of `UPSAMPLINGS`.
        halvings: 1 to 3.
        latent: Channels of the narrowest layer.

    Input and output of `forward`: (N, 3, H, W) in -1 to 1, H and W multiples of 8.
    """

    def __init__(self, upsampling: str, *, halvings: int, latent: int) -> None:
        super().__init__()
        widths = _CHANNELS[:halvings]
        down: list[nn.Module] = []
        before = 3
        for width in widths:
            down += [nn.Conv2d(before, width, 4, stride=2, padding=1), nn.GroupNorm(8, width), nn.SiLU()]
            before = width
        self.encoder = nn.Sequential(*down, nn.Conv2d(before, latent, 1))
        up: list[nn.Module] = [nn.Conv2d(latent, before, 3, padding=1), nn.GroupNorm(8, before), nn.SiLU()]
        for width in (*widths[-2::-1], _CHANNELS[0]):
            up += [_grow(upsampling, before, width), nn.GroupNorm(8, width), nn.SiLU()]
            before = width
        self.decoder = nn.Sequential(*up, nn.Conv2d(before, 3, 3, padding=1))

    def forward(self, pictures: Tensor) -> Tensor:
        result: Tensor = self.decoder(self.encoder(pictures))
        return result


def _grow(upsampling: str, before: int, after: int) -> nn.Module:
    if upsampling == "transposed":
        return nn.ConvTranspose2d(before, after, 4, stride=2, padding=1)
    if upsampling == "shuffle":
        return nn.Sequential(nn.Conv2d(before, after * 4, 3, padding=1), nn.PixelShuffle(2))
    if upsampling not in ("nearest", "bilinear"):
        raise ValueError(f"unknown upsampling {upsampling!r}, expected one of {UPSAMPLINGS}")
    return nn.Sequential(nn.Upsample(scale_factor=2, mode=upsampling), nn.Conv2d(before, after, 3, padding=1))


def _discriminator() -> nn.Module:
    layers: list[nn.Module] = []
    before = 3
    for width in (32, 64, 96):
        layers += [nn.Conv2d(before, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        before = width
    return nn.Sequential(*layers, nn.Conv2d(before, 1, 3, padding=1))


def train_autoencoder(
    net: Autoencoder, faces: np.ndarray, *, minutes: float, batch: int = 8, seed: int = 0
) -> dict[float, dict[str, Tensor]]:
    """Train one autoencoder for a time.

    Args:
        faces: uint8 (N, SIDE, SIDE, 3).
        minutes: How long.

    Returns:
        The weights at each share of the time that is used later.
    """
    rng = np.random.default_rng(seed)
    judge = _discriminator()
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3, betas=(0.9, 0.99))
    judges = torch.optim.Adam(judge.parameters(), lr=3e-4, betas=(0.5, 0.99))
    began, step, kept = time.monotonic(), 0, {}
    for stage in _STAGES:
        while (done := (time.monotonic() - began) / (60 * minutes)) < stage or step == 0:
            for group in optimiser.param_groups:
                group["lr"] = 2e-3 * max(0.05, 1 - done)
            chosen = faces[rng.integers(len(faces), size=batch)]
            if step % 2:
                chosen = chosen[:, :, ::-1]
            real = torch.from_numpy(np.ascontiguousarray(chosen)).permute(0, 3, 1, 2).float() / 127.5 - 1
            drawn = net(real)
            error = functional.l1_loss(drawn, real) + functional.l1_loss(_edges(drawn), _edges(real))
            if done > 0.5:
                error = error - 0.01 * judge(drawn).mean()
            optimiser.zero_grad(set_to_none=True)
            error.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            if done > 0.4:
                believed, doubted = judge(real), judge(drawn.detach())
                hinge = functional.relu(1 - believed).mean() + functional.relu(1 + doubted).mean()
                judges.zero_grad(set_to_none=True)
                hinge.backward()  # type: ignore[no-untyped-call]
                judges.step()
            step += 1
        log.info("stage %.1f: %d steps, error %.3f", stage, step, float(error.detach()))
        kept[stage] = {name: value.detach().clone() for name, value in net.state_dict().items()}
    return kept


def _edges(pictures: Tensor) -> Tensor:
    across = pictures[..., :-1, 1:] - pictures[..., :-1, :-1]
    down = pictures[..., 1:, :-1] - pictures[..., :-1, :-1]
    return torch.cat([across, down], 1)


def _load(path: Path) -> Autoencoder:
    _, upsampling, halvings, latent, _ = path.stem.split("_")
    net = Autoencoder(upsampling, halvings=int(halvings), latent=int(latent))
    net.load_state_dict(load_file(path))
    return net.eval()


@torch.inference_mode()
def redraw_whole(net: Autoencoder, pixels: np.ndarray, box: np.ndarray, *, side: int) -> np.ndarray:
    """A copy of the picture whose face region went through the autoencoder at `side` pixels, a multiple of 8."""
    region, place = take_face(pixels, box)
    small = cv2.resize(region, (side, side), interpolation=cv2.INTER_AREA)
    tensor = torch.from_numpy(small).permute(2, 0, 1)[None].float() / 127.5 - 1
    drawn = ((net(tensor)[0].permute(1, 2, 0).numpy() + 1) * 127.5 + 0.5).clip(0, 255).astype(np.uint8)
    return paste_face(pixels, resized(drawn, region.shape[1::-1]), place)


def _genuine(data: Sequence[Path]) -> list[TrainingFace]:
    return [face for folder in data for face in read_faces(folder) if face.label == "real" and face.mesh is not None]


def train_all(data: Sequence[Path], out: Path, *, minutes: float) -> None:
    """One autoencoder for each kind of upsampling, two depths in turn, into safetensors files."""
    crops = []
    for face in _genuine(data):
        # The held-back faces measure how well redrawn faces are found: no decoder may know them.
        if not face.held_back:
            region, _ = take_face(face.read(), face.box)
            crops.append(cv2.resize(region, (SIDE, SIDE), interpolation=cv2.INTER_AREA))
    faces = np.stack(crops)
    out.mkdir(parents=True, exist_ok=True)
    for i, upsampling in enumerate(UPSAMPLINGS):
        halvings = 2 + i % 2
        latent = _NARROWEST[halvings]
        torch.manual_seed(i)
        net = Autoencoder(upsampling, halvings=halvings, latent=latent)
        for stage, weights in train_autoencoder(net, faces, minutes=minutes, seed=i).items():
            name = f"decoder_{upsampling}_{halvings}_{latent}_{round(stage * 100)}.safetensors"
            write_atomically(out / name, save(weights))


def apply_all(data: Sequence[Path], decoders: Path, out: Path, *, copies: int, seed: int = 0) -> None:
    """Redraw faces, each by a decoder drawn at random, into the folder of restored faces."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    paths = sorted(decoders.glob("decoder_*.safetensors"))
    nets, names = [_load(path) for path in paths], [path.stem.split("_")[1] for path in paths]
    if not nets:
        raise SystemExit(f"{decoders}: no decoder_*.safetensors; run `train` first")
    rng = np.random.default_rng(seed)
    faces = _genuine(data)
    for name in set(names):
        (out / name).mkdir(parents=True, exist_ok=True)
    for i in rng.choice(len(faces), size=copies, replace=copies > len(faces)):
        face, which, side = faces[i], int(rng.integers(len(nets))), 16 * int(rng.integers(6, 14))
        target = restored_path(out, names[which], face)
        if not target.exists():
            drawn = redraw_whole(nets[which], face.read(), face.box, side=side)
            write_atomically(target, cv2.imencode(".png", drawn[..., ::-1])[1].tobytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train", help="train the autoencoders")
    training.add_argument("data", type=Path, nargs="+", help="folders with index.csv, landmarks.npz and pictures")
    training.add_argument("out", type=Path, help="where the decoders go")
    training.add_argument("--minutes", type=float, default=6, help="for each of them (%(default)s)")
    applying = commands.add_parser("apply", help="redraw faces with them")
    applying.add_argument("data", type=Path, nargs="+", help="folders with index.csv, landmarks.npz and pictures")
    applying.add_argument("decoders", type=Path, help="folder that `train` filled")
    applying.add_argument("out", type=Path, help="where the redrawn pictures go")
    applying.add_argument("--copies", type=int, default=8000, help="(%(default)s)")
    applying.add_argument("--seed", type=int, default=0, help="another seed makes other copies (%(default)s)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if arguments.command == "train":
        train_all(arguments.data, arguments.out, minutes=arguments.minutes)
    else:
        apply_all(arguments.data, arguments.decoders, arguments.out, copies=arguments.copies, seed=arguments.seed)


if __name__ == "__main__":
    main()
