"""restore: a net's copy lies where the face lay, whatever the net does at its edges."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from conftest import texture

from deepfake_detect.training import restore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=[(2, 0), (2, 7), (4, 18)], ids=str)
def made_up(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int]]:
    """A net that enlarges by so much, and loses so many pixels of its input on each side."""
    scale, lost = request.param

    def forward(_: str, pixels: np.ndarray) -> np.ndarray:
        inside = pixels[lost : pixels.shape[0] - lost, lost : pixels.shape[1] - lost]
        return inside.repeat(scale, 0).repeat(scale, 1)

    monkeypatch.setattr(restore, "_forward", forward)
    restore.reach.cache_clear()
    yield scale, lost
    restore.reach.cache_clear()


def test_what_a_net_loses_at_its_edges_is_given_to_it_beforehand(made_up: tuple[int, int]) -> None:
    scale, _ = made_up
    assert restore.reach("made up") == made_up
    pixels = texture(45, 38, 1)
    assert np.array_equal(restore._run("made up", pixels), pixels.repeat(scale, 0).repeat(scale, 1))


@pytest.mark.parametrize("side", [61, 70, 97])
def test_a_copy_is_neither_moved_nor_stretched(made_up: tuple[int, int], side: int) -> None:
    pixels = cv2.GaussianBlur(texture(301, 283, 2), (0, 0), 9)
    box = np.array([40.0, 30, 250, 270])
    copy = restore.redraw(pixels, box, net="made up", side=side)
    region, place = restore.take_face(pixels, box)
    assert np.array_equal(copy[:, : place[1].start], pixels[:, : place[1].start])
    grey = [cv2.cvtColor(one, cv2.COLOR_RGB2GRAY).astype(np.float64) for one in (region, copy[place])]
    slopes = np.gradient(grey[0])
    for half in (slice(0, region.shape[1] // 2), slice(region.shape[1] // 2, None)):
        apart = (grey[0] - grey[1])[:, half].ravel()
        shift = np.linalg.lstsq(np.stack([slope[:, half].ravel() for slope in slopes], 1), apart, rcond=None)[0]
        assert np.abs(shift).max() < 0.2


def test_a_net_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restore, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="the package ncnn is missing"):
        restore._net("clear4x")
    pytest.importorskip("ncnn")
    monkeypatch.undo()
    with pytest.raises(SystemExit, match=r"none\.param: expected a net's file there, found none"):
        restore._net(str(tmp_path / "none.param"))
