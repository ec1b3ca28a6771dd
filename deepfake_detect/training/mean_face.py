"""The outline of an average face, for pictures whose landmarks were not found by a mesh.

`mean_face.npz` holds the average position of every landmark of `data.MESH_PARTS`, with the place, the size and the slope of
the eyes and mouth taken out. It is bent onto the five points that MTCNN gives, which is exact enough for masks whose edge
is deformed at random anyway. `average` made it of 550 official portraits of United States officials, works of their
government in the public domain (collected by CivilServiceUSA: us-house, us-senate, us-governors; MIT).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

_FILE = Path(__file__).parent / "mean_face.npz"


def fit_mean_face(five: np.ndarray) -> dict[str, np.ndarray]:
    """The average landmarks, carried onto a face by the affine map that fits its five points best.

    Args:
        five: float (5, 2): eyes, nose, mouth corners, pixels.

    Returns:
        Part name -> float32 (n, 2), pixels.
    """
    mean_five, parts = _mean()
    known = np.hstack([mean_five, np.ones((5, 1))])
    # The nose tip leaves the plane of the others when the head turns: it counts less.
    weights = np.array([1.0, 1.0, 0.3, 1.0, 1.0])[:, None]
    affine = np.linalg.lstsq(known * weights, five * weights, rcond=None)[0]
    return {name: (np.hstack([points, np.ones((len(points), 1))]) @ affine).astype(np.float32)
            for name, points in parts.items()}  # fmt: skip


@cache
def _mean() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    with np.load(_FILE) as kept:
        return kept["five"].astype(np.float64), {n: kept[n].astype(np.float64) for n in kept.files if n != "five"}


def average(fives: np.ndarray, meshes: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The average face of many, each first carried onto the common position of its five points.

    Args:
        fives: float (N, 5, 2).
        meshes: Part name -> float (N, n, 2).

    Returns:
        `five` and every part, float32, as `mean_face.npz` holds them.
    """
    mean = fives[0].astype(np.float64)
    for _ in range(3):
        maps = [_similarity(five, mean) for five in fives]
        mean = np.mean([_carry(five, m) for five, m in zip(fives, maps, strict=True)], axis=0)
        mean = (mean - mean.mean(0)) / mean.std()
    maps = [_similarity(five, mean) for five in fives]
    result = {"five": mean.astype(np.float32)}
    for name, points in meshes.items():
        result[name] = np.mean([_carry(p, m) for p, m in zip(points, maps, strict=True)], axis=0).astype(np.float32)
    return result


def _similarity(points: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """Rotation, scale and shift (Umeyama, 1991) as a complex pair: the points are taken for complex numbers."""
    a, b = points[:, 0] + 1j * points[:, 1], onto[:, 0] + 1j * onto[:, 1]
    centred = a - a.mean()
    scale = (np.conj(centred) * (b - b.mean())).sum() / (np.abs(centred) ** 2).sum()
    return np.array([scale, b.mean() - scale * a.mean()])


def _carry(points: np.ndarray, similarity: np.ndarray) -> np.ndarray:
    moved = similarity[0] * (points[:, 0] + 1j * points[:, 1]) + similarity[1]
    return np.stack([moved.real, moved.imag], -1)
