"""training.mesh: outlines are replaced where a mesh fits the known face, and nowhere else."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from deepfake_detect.training import mesh
from deepfake_detect.training.data import MESH_PARTS, read_faces
from deepfake_detect.training.mesh import mesh_of, remesh


def as_mediapipe(parts: dict[str, np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """468 points in shares of width and height, of which those of the outlines lie where they are wanted."""
    points = np.tile(parts["nose"].mean(0), (468, 1))
    for name, places in mesh._POINTS.items():
        points[list(places)] = parts[name]
    return np.asarray(points / (size[1], size[0]))


def test_the_outlines_have_as_many_points_as_training_expects(drawn_data: Path) -> None:
    face = read_faces(drawn_data)[0]
    assert face.mesh is not None
    assert {name: len(points) for name, points in mesh._POINTS.items()} == {
        name: len(face.mesh[name]) for name in MESH_PARTS
    }


def test_a_mesh_comes_back_in_pixels_of_the_picture(drawn_data: Path) -> None:
    face = read_faces(drawn_data)[0]
    assert face.mesh is not None
    shapes = []

    def find(pixels: np.ndarray) -> list[np.ndarray]:
        shapes.append(pixels.shape[:2])
        # What is shown is the whole picture, enlarged; a second, smaller face lies in its corner.
        return [as_mediapipe(face.mesh or {}, (200, 200)) * 0.1, as_mediapipe(face.mesh or {}, (200, 200))]

    found = mesh_of(face, find)
    assert found is not None
    assert max(shapes[0]) == 300
    for name, points in face.mesh.items():
        assert np.abs(found[name] - points).max() < 0.01


@pytest.mark.parametrize("moved", [(0.5, 0.0), (0.0, 0.12)])
def test_a_mesh_of_another_face_is_none_of_this_one(drawn_data: Path, moved: tuple[float, float]) -> None:
    face = read_faces(drawn_data)[0]
    assert mesh_of(face, lambda _: [np.add(as_mediapipe(face.mesh or {}, (200, 200)), moved)]) is None
    assert mesh_of(face, lambda _: []) is None


def test_only_what_was_found_is_replaced(drawn_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(drawn_data, folder)
    before = read_faces(folder)
    moved: dict[str, bool] = {}

    def find(pixels: np.ndarray) -> list[np.ndarray]:
        # In the order of the faces, every other one is found, two pixels to the right of where it was.
        face = before[len(moved)]
        moved[face.path] = len(moved) % 2 == 0
        return [np.add(as_mediapipe(face.mesh or {}, (200, 200)), (0.01, 0))] if moved[face.path] else []

    assert remesh(folder, find) == (sum(moved.values()), len(before))
    for old, new in zip(before, read_faces(folder), strict=True):
        assert old.mesh is not None
        assert new.mesh is not None
        apart = new.mesh["oval"] - old.mesh["oval"]
        assert np.allclose(apart, (2, 0) if moved[old.path] else 0, atol=0.01)
        assert np.array_equal(new.five, old.five)


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    monkeypatch.setitem(sys.modules, "mediapipe.python.solutions.face_mesh", None)
    with pytest.raises(SystemExit, match=r"pip install mediapipe==0\.10\.21"):
        mesh.mediapipe_mesh()
