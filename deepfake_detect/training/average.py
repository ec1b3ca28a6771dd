"""Mixes weights: the mean of nets that were fine-tuned alike is often better than each (Wortsman et al., ICML 2022).

    python -m deepfake_detect.training.average runs/mixed/average.safetensors --settings runs/mine/settings.json \\
        weights/lite0-ninth.safetensors=0.5 runs/mine/average_0096000.safetensors=0.25 runs/mine/average.safetensors=0.25

`--centre` then moves all evidence by so many logits, which changes no order: where several looks are averaged, and pooled
otherwise than in training, even odds come to lie elsewhere than at 0. `export` takes what is written as it takes a run's
average.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError
from safetensors.torch import load_file, save

from ..files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

#: The last layer's constant: what is added to it is added to every cell of every map, and so to every logit.
_BIAS = "evidence.bias"


def mixed(parts: Mapping[Path, float], *, centre: float = 0.0) -> dict[str, Tensor]:
    """The weighted mean of nets, float32.

    Args:
        parts: Safetensors files of one architecture, each with its share; the shares are above 0 and make 1.
        centre: Logits by which all evidence is moved.

    Raises:
        ValueError: The shares don't make 1, or a file can't be read or is of another architecture.
    """
    if not parts or min(parts.values()) <= 0 or abs(sum(parts.values()) - 1) > 1e-6:
        raise ValueError(f"expected shares above 0 that make 1, found {sorted(parts.values())}")
    mean: dict[str, Tensor] = {}
    first = next(iter(parts))
    for path, share in parts.items():
        try:
            tensors = load_file(path)
        except (OSError, SafetensorError) as error:
            raise ValueError(f"{path}: can't be read as weights ({error})") from error
        if mean and {n: t.shape for n, t in tensors.items()} != {n: t.shape for n, t in mean.items()}:
            raise ValueError(f"{path}: its tensors are not those of {first}; nets of one architecture can be mixed")
        for name, tensor in tensors.items():
            if not tensor.is_floating_point():
                # How many batches a norm has seen is a count, and plays no part in use.
                mean.setdefault(name, tensor)
            elif name in mean:
                mean[name] += share * tensor.float()
            else:
                mean[name] = share * tensor.float()
    if centre:
        mean[_BIAS] += centre
    return mean


def _part(text: str) -> tuple[Path, float]:
    path, _, share = text.rpartition("=")
    if not path:
        raise argparse.ArgumentTypeError(f"expected FILE=SHARE, found {text!r}")
    try:
        return Path(path), float(share)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a share after the last '=', found {text!r}") from error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="safetensors file to write")
    parser.add_argument("parts", type=_part, nargs="+", metavar="FILE=SHARE", help="weights and their share of 1")
    parser.add_argument("--settings", type=Path, required=True, help="settings.json of the last run among the parts")
    parser.add_argument("--centre", type=float, default=0.0, help="logits to move all evidence by (%(default)s)")
    arguments = parser.parse_args()
    parts: dict[Path, float] = dict(arguments.parts)
    # The name alone says little: of most runs it is average.safetensors.
    named = {"/".join(path.parts[-2:]): share for path, share in parts.items()}
    beside = arguments.out.parent / "settings.json"
    try:
        if len(named) < len(parts):
            raise ValueError(f"expected parts that differ in folder or name, found {', '.join(map(str, parts))}")
        if beside.exists() and "mixed" not in json.loads(beside.read_text(encoding="utf-8")):
            raise ValueError(f"{beside} is a run's, which could not go on with that of a mix; write to another folder")
        record = json.loads(arguments.settings.read_text(encoding="utf-8"))
        tensors = mixed(parts, centre=arguments.centre)
    except (OSError, ValueError) as error:
        raise SystemExit(f"average: {error}") from error
    record["mixed"] = {"parts": named, "centre": arguments.centre}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(beside, (json.dumps(record, indent=1) + "\n").encode())
    write_atomically(arguments.out, save(tensors))


if __name__ == "__main__":
    main()
