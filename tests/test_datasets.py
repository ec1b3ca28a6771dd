"""training.datasets: the usual research sets are recognised, and what belongs together has one group."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deepfake_detect.training.datasets import Labelled, read_dataset


def lay_out(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x")


def by_path(root: Path) -> tuple[str, dict[str, Labelled]]:
    found = read_dataset(root)
    return found.layout, {item.path: item for item in found.items}


def test_faceforensics(tmp_path: Path) -> None:
    lay_out(
        tmp_path,
        "original_sequences/youtube/c23/videos/033.mp4",
        "original_sequences/youtube/c23/videos/097.mp4",
        "manipulated_sequences/Deepfakes/c23/videos/033_097.mp4",
        "manipulated_sequences/Deepfakes/c23/videos/097_033.mp4",
        "manipulated_sequences/NeuralTextures/c23/videos/033_097.mp4",
        # None of these is another medium: frames of the same clips, masks, a stray file.
        "manipulated_sequences/NeuralTextures/c23/frames/033_097/0001.png",
        "manipulated_sequences/Deepfakes/c23/masks/033_097/0001.png",
        "manipulated_sequences/Deepfakes/masks/videos/033_097.mp4",
        "original_sequences/cover.png",
    )
    layout, found = by_path(tmp_path)
    assert layout == "FaceForensics++"
    assert len(found) == 5
    assert {item.group for item in found.values()} == {"033"}
    assert {item.source for item in found.values()} == {"faceforensics_c23"}
    assert found["manipulated_sequences/Deepfakes/c23/videos/097_033.mp4"].method == "Deepfakes"
    assert found["original_sequences/youtube/c23/videos/097.mp4"].label == "real"


def test_faceforensics_as_frames(tmp_path: Path) -> None:
    lay_out(
        tmp_path,
        "original_sequences/youtube/c23/frames/097/0001.png",
        "manipulated_sequences/Face2Face/c23/frames/033_097/0001.png",
        "manipulated_sequences/Face2Face/c23/frames/033_097/0002.png",
    )
    _, found = by_path(tmp_path)
    assert [item.label for item in found.values()].count("fake") == 2
    assert {item.group for item in found.values()} == {"033"}


def test_celeb_df(tmp_path: Path) -> None:
    lay_out(
        tmp_path, "Celeb-real/id3_0001.mp4", "YouTube-real/00170.mp4", "Celeb-synthesis/id3_id7_0001.mp4",
        "Celeb-synthesis/id7_id3_0001.mp4", "List_of_testing_videos.txt",
    )  # fmt: skip
    layout, found = by_path(tmp_path)
    assert layout == "Celeb-DF"
    assert found["Celeb-synthesis/id3_id7_0001.mp4"].group == found["Celeb-real/id3_0001.mp4"].group == "id3"
    assert found["Celeb-synthesis/id7_id3_0001.mp4"].group == "id7"
    assert [found[path].label for path in sorted(found)] == ["real", "fake", "fake", "real"]
    (tmp_path / "List_of_testing_videos.txt").write_text(
        "1 Celeb-real/id3_0001.mp4\n0 Celeb-synthesis/id7_id3_0001.mp4\n"
    )
    assert {item.path for item in read_dataset(tmp_path, split="test").items} == {
        "Celeb-real/id3_0001.mp4",
        "Celeb-synthesis/id7_id3_0001.mp4",
    }


def test_celeb_df_with_a_folder_for_videos(tmp_path: Path) -> None:
    lay_out(tmp_path, "Celeb-real/videos/id1_0001.mp4", "Celeb-synthesis/videos/id2_id1_0001.mp4")
    _, found = by_path(tmp_path)
    assert {item.group for item in found.values()} == {"id1", "id2"}


def test_dfdc(tmp_path: Path) -> None:
    lay_out(tmp_path, "dfdc_train_part_0/a.mp4", "dfdc_train_part_0/b.mp4")
    (tmp_path / "dfdc_train_part_0/metadata.json").write_text(
        json.dumps(
            {
                "a.mp4": {"label": "FAKE", "original": "b.mp4", "split": "train"},
                "b.mp4": {"label": "REAL", "split": "train"},
                "gone.mp4": {"label": "REAL"},
            }
        )
    )
    layout, found = by_path(tmp_path)
    assert layout == "DFDC"
    assert {path: (item.label, item.group) for path, item in found.items()} == {
        "dfdc_train_part_0/a.mp4": ("fake", "b"),
        "dfdc_train_part_0/b.mp4": ("real", "b"),
    }


def test_df40(tmp_path: Path) -> None:
    lay_out(
        tmp_path, "simswap/ff/frames/033_097/000.png", "simswap/cdf/frames/id0_id1_0001/004.png", "sit/frames/7.png",
        "real/ff/frames/033/000.png", "real/ff/frames/097/000.png", "MidJourney/real/1.png", "MidJourney/fake/1.png",
    )  # fmt: skip
    layout, found = by_path(tmp_path)
    assert layout == "DF40"
    assert {path: (item.label, item.source, item.method, item.group) for path, item in found.items()} == {
        "simswap/ff/frames/033_097/000.png": ("fake", "df40_ff", "simswap", "033"),
        "simswap/cdf/frames/id0_id1_0001/004.png": ("fake", "df40_cdf", "simswap", "id0"),
        "sit/frames/7.png": ("fake", "df40_all", "sit", "sit_7"),
        "real/ff/frames/033/000.png": ("real", "df40_ff", "", "033"),
        "real/ff/frames/097/000.png": ("real", "df40_ff", "", "033"),
        "MidJourney/real/1.png": ("real", "df40_all", "", "MidJourney_1"),
        "MidJourney/fake/1.png": ("fake", "df40_all", "MidJourney", "MidJourney_1"),
    }


def test_folders(tmp_path: Path) -> None:
    lay_out(
        tmp_path, "real/web/a.jpg", "fake/web/b.PNG", "fake/c.mp4", "fake/notes.txt", "fake/metadata.json",
        "fake/film/clip7/0001.png", "fake/film/clip7/0002.png",
    )  # fmt: skip
    layout, found = by_path(tmp_path)
    assert layout == "real/ and fake/"
    assert {path: (item.label, item.source, item.group) for path, item in found.items()} == {
        "real/web/a.jpg": ("real", "web", "a"),
        "fake/web/b.PNG": ("fake", "web", "b"),
        "fake/c.mp4": ("fake", "media", "c"),
        "fake/film/clip7/0001.png": ("fake", "film", "film/clip7"),
        "fake/film/clip7/0002.png": ("fake", "film", "film/clip7"),
    }


def test_csv(tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    # As a spreadsheet saves it, with a mark before the first column's name.
    table.write_text("path,label,split\na.jpg,1,test\nb.jpg,Genuine,train\n", encoding="utf-8-sig")
    assert [(item.path, item.label, item.group) for item in read_dataset(table).items] == [
        ("a.jpg", "fake", "a"),
        ("b.jpg", "real", "b"),
    ]
    assert [item.path for item in read_dataset(table, split="train").items] == ["b.jpg"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\na.jpg,maybe\n", r"line 2: expected the label real or fake, found 'maybe'"),
        ("file,label\na.jpg,real\n", r"missing path"),
    ],
)
def test_a_csv_that_says_too_little_says_what_is_missing(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "index.csv").write_text(text)
    with pytest.raises(SystemExit, match=message):
        read_dataset(tmp_path)


def test_an_unknown_layout_says_what_was_expected(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    with pytest.raises(SystemExit, match=r"expected a CSV .* FaceForensics\+\+.* found pictures"):
        read_dataset(tmp_path)
    with pytest.raises(SystemExit, match="no such folder or file"):
        read_dataset(tmp_path / "nowhere")
