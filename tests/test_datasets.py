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


def test_faceforensics_takes_frames_of_a_method_without_videos(tmp_path: Path) -> None:
    lay_out(
        tmp_path,
        "original_sequences/youtube/c23/videos/033.mp4",
        "original_sequences/youtube/c23/frames/033/0001.png",
        "manipulated_sequences/FaceShifter/c23/frames/033_097/0001.png",
    )
    _, found = by_path(tmp_path)
    assert sorted(found) == [
        "manipulated_sequences/FaceShifter/c23/frames/033_097/0001.png",
        "original_sequences/youtube/c23/videos/033.mp4",
    ]


def test_clips_by_actors_are_a_source_of_their_own(tmp_path: Path) -> None:
    lay_out(
        tmp_path,
        "original_sequences/youtube/c23/videos/033.mp4",
        "original_sequences/actors/c23/videos/01__hugging_happy.mp4",
        "manipulated_sequences/DeepFakeDetection/c23/videos/01_02__hugging_happy__YVGY8LOK.mp4",
        "manipulated_sequences/FaceSwap/c23/videos/033_097.mp4",
    )
    _, found = by_path(tmp_path)
    assert [(item.source, item.method, item.group) for _, item in sorted(found.items())] == [
        ("dfd_c23", "DeepFakeDetection", "01"),
        ("faceforensics_c23", "FaceSwap", "033"),
        ("dfd_c23", "", "01"),
        ("faceforensics_c23", "", "033"),
    ]


@pytest.mark.parametrize("place", ["test.json", "splits/test.json"])
def test_faceforensics_has_a_test_part(tmp_path: Path, place: str, caplog: pytest.LogCaptureFixture) -> None:
    lay_out(
        tmp_path,
        place,
        "original_sequences/youtube/c23/videos/033.mp4",
        "original_sequences/youtube/c23/videos/001.mp4",
        "original_sequences/actors/c23/videos/01__hugging_happy.mp4",
        "manipulated_sequences/Deepfakes/c23/videos/097_033.mp4",
        "manipulated_sequences/Deepfakes/c23/videos/001_870.mp4",
    )
    (tmp_path / place).write_text('[["033", "097"], ["500", "501"]]')
    assert [item.path for item in read_dataset(tmp_path, split="test").items] == [
        "manipulated_sequences/Deepfakes/c23/videos/097_033.mp4",
        "original_sequences/youtube/c23/videos/033.mp4",
    ]
    assert "found 2 of 4 that test.json names" in caplog.text
    with pytest.raises(SystemExit, match=r"val\.json of FaceForensics\+\+; found none"):
        read_dataset(tmp_path, split="val")
    (tmp_path / place).write_text('{"033": 1}')
    with pytest.raises(SystemExit, match="expected pairs of clips"):
        read_dataset(tmp_path, split="test")


def test_celeb_df(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
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
        "1 Celeb-real/id3_0001.mp4\n0 Celeb-synthesis/id7_id3_0001.mp4\n1 YouTube-real/00300.mp4\n"
    )
    assert {item.path for item in read_dataset(tmp_path, split="test").items} == {
        "Celeb-real/id3_0001.mp4",
        "Celeb-synthesis/id7_id3_0001.mp4",
    }
    assert "found 2 of 3 that List_of_testing_videos.txt names" in caplog.text


def test_celeb_df_with_a_folder_for_videos(tmp_path: Path) -> None:
    lay_out(
        tmp_path, "Celeb-real/videos/id1_0001.mp4", "Celeb-real/frames/id1_0001/000.png",
        "Celeb-synthesis/videos/id2_id1_0001.mp4", "Youtube-real/frames/00170/000.png", "Youtube-real/frames/00170/010.png",
    )  # fmt: skip
    _, found = by_path(tmp_path)
    # Frames count where there are no videos, and the folder's name either way.
    assert [(item.path, item.group) for _, item in sorted(found.items())] == [
        ("Celeb-real/videos/id1_0001.mp4", "id1"),
        ("Celeb-synthesis/videos/id2_id1_0001.mp4", "id2"),
        ("Youtube-real/frames/00170/000.png", "youtube_00170"),
        ("Youtube-real/frames/00170/010.png", "youtube_00170"),
    ]


def test_celeb_df_without_forgeries_is_genuine(tmp_path: Path) -> None:
    lay_out(tmp_path, "Celeb-real/frames/id1_0001/000.png", "YouTube-real/frames/00170/000.png")
    layout, found = by_path(tmp_path)
    assert layout == "Celeb-DF"
    assert {item.label for item in found.values()} == {"real"}


def test_dfdc(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
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
    assert f"found 2 of 3 that {Path('dfdc_train_part_0/metadata.json')} names" in caplog.text


def test_dfdc_in_folders_of_folders_and_as_frames(tmp_path: Path) -> None:
    part = "train/dfdc_train_part_00/dfdc_train_part_0"
    lay_out(
        tmp_path, f"{part}/frames/a/000.png", f"{part}/frames/a/010.png", f"{part}/b.mp4", f"{part}/frames/b/000.png"
    )
    (tmp_path / part / "metadata.json").write_text(
        json.dumps({"a.mp4": {"label": "FAKE", "original": "b.mp4"}, "b.mp4": {"label": "REAL"}})
    )
    layout, found = by_path(tmp_path)
    assert layout == "DFDC"
    assert {path: (item.label, item.group) for path, item in found.items()} == {
        f"{part}/frames/a/000.png": ("fake", "b"),
        f"{part}/frames/a/010.png": ("fake", "b"),
        f"{part}/b.mp4": ("real", "b"),
    }


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ("labels.csv", "filename,label\na.mp4,1\nb.mp4,0\nc.mp4,1\n"),
        ("metadata.json", '{"a.mp4": {"is_fake": 1}, "b.mp4": {"is_fake": 0}, "c.mp4": {"is_fake": true}}'),
    ],
)
def test_the_test_set_of_dfdc(tmp_path: Path, table: str, text: str) -> None:
    """As DeepfakeBench lays it out, in which DF40's frames/ are seen, too."""
    lay_out(tmp_path, "test/a.mp4", "test/frames/b/000.png", "test/frames/c/000.png")
    (tmp_path / "test" / table).write_text(text)
    layout, found = by_path(tmp_path)
    assert layout == "DFDC"
    assert {path: (item.label, item.group) for path, item in found.items()} == {
        "test/a.mp4": ("fake", "a"),
        "test/frames/b/000.png": ("real", "b"),
        "test/frames/c/000.png": ("fake", "c"),
    }


@pytest.mark.parametrize("table", ["test/labels.csv", "train/dfdc_train_part_0/metadata.json"])
def test_frames_beside_a_table_nobody_can_read_are_not_df40(tmp_path: Path, table: str) -> None:
    lay_out(tmp_path, "test/frames/a/000.png", "real/ff/frames/033/000.png", table)
    with pytest.raises(SystemExit, match=f"also {table}, which DF40 does not have"):
        read_dataset(tmp_path)


def test_df40_without_genuine_files_is_refused(tmp_path: Path) -> None:
    lay_out(tmp_path, "simswap/ff/frames/033_097/000.png", "DiT/cdf/YouTube-real/00170/000.png")
    with pytest.raises(SystemExit, match="no genuine files were found"):
        read_dataset(tmp_path)


def test_df40_knows_the_genuine_sets_by_their_folders(tmp_path: Path) -> None:
    lay_out(
        tmp_path,
        "simswap/ff/frames/033_097/000.png",
        "DiT/cdf/YouTube-real/00170/000.png",
        "FaceForensics++/original_sequences/youtube/c23/frames/033/000.png",
        "FaceForensics++/original_sequences/youtube/c23/masks/033/000.png",
        "Celeb-DF-v2/YouTube-real/frames/00170/000.png",
        "Celeb-DF-v2/Celeb-real/frames/id0_0001/000.png",
        "real/FaceForensics++/original_sequences/youtube/c23/frames/097/000.png",
        "real/Celeb-DF-v2/YouTube-real/00171/000.png",
    )
    layout, found = by_path(tmp_path)
    assert layout == "DF40"
    assert {path: (item.label, item.source, item.group) for path, item in found.items()} == {
        "simswap/ff/frames/033_097/000.png": ("fake", "df40_ff", "033"),
        "DiT/cdf/YouTube-real/00170/000.png": ("fake", "df40_cdf", "00170"),
        "FaceForensics++/original_sequences/youtube/c23/frames/033/000.png": ("real", "df40_ff", "033"),
        "Celeb-DF-v2/YouTube-real/frames/00170/000.png": ("real", "df40_cdf", "00170"),
        "Celeb-DF-v2/Celeb-real/frames/id0_0001/000.png": ("real", "df40_cdf", "id0"),
        "real/FaceForensics++/original_sequences/youtube/c23/frames/097/000.png": ("real", "df40_ff", "033"),
        "real/Celeb-DF-v2/YouTube-real/00171/000.png": ("real", "df40_cdf", "00171"),
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


def test_of_df40_only_what_its_folders_name_is_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lay_out(
        tmp_path, "simswap/ff/frames/033_097/000.png", "notes/figure.png", "whichfaceisreal/0_real/1.png",
        "whichfaceisreal/1_fake/1.png", "MidJourney/Real/5.png", "MidJourney/Real/6.png", "MidJourney/Fake/5.png",
    )  # fmt: skip
    layout, found = by_path(tmp_path)
    assert layout == "DF40"
    assert {path: (item.label, item.method, item.group) for path, item in found.items()} == {
        "simswap/ff/frames/033_097/000.png": ("fake", "simswap", "033"),
        "whichfaceisreal/0_real/1.png": ("real", "", "whichfaceisreal_1"),
        "whichfaceisreal/1_fake/1.png": ("fake", "whichfaceisreal", "whichfaceisreal_1"),
        "MidJourney/Real/5.png": ("real", "", "MidJourney_5"),
        "MidJourney/Real/6.png": ("real", "", "MidJourney_6"),
        "MidJourney/Fake/5.png": ("fake", "MidJourney", "MidJourney_5"),
    }
    assert "1 files below none of ff/, cdf/, frames/, images/, videos/, real/ or fake/ are passed over" in caplog.text
    assert f"such as {Path('notes/figure.png')}" in caplog.text


def test_df40_without_folders_for_its_domains_knows_clips_by_their_names(tmp_path: Path) -> None:
    lay_out(
        tmp_path, "blendface/frames/033_097/000.png", "blendface/frames/id0_id1_0001/000.png",
        "real/FaceForensics++/original_sequences/youtube/c23/frames/033/000.png", "real/097/000.png",
        "real/097/001.png", "real/id0_0001/000.png", "sit/frames/033.png",
    )  # fmt: skip
    layout, found = by_path(tmp_path)
    assert layout == "DF40"
    assert {path: (item.label, item.source, item.group) for path, item in found.items()} == {
        "blendface/frames/033_097/000.png": ("fake", "df40_ff", "033"),
        "blendface/frames/id0_id1_0001/000.png": ("fake", "df40_cdf", "id0"),
        "real/FaceForensics++/original_sequences/youtube/c23/frames/033/000.png": ("real", "df40_ff", "033"),
        "real/097/000.png": ("real", "df40_ff", "033"),
        "real/097/001.png": ("real", "df40_ff", "033"),
        "real/id0_0001/000.png": ("real", "df40_cdf", "id0"),
        "sit/frames/033.png": ("fake", "df40_all", "sit_033"),
    }


def test_sets_that_lie_whole_below_real_bring_df40_no_forgeries(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lay_out(
        tmp_path, "simswap/ff/frames/033_097/000.png", "simswap/cdf/frames/id0_id1_0001/004.png",
        "real/FaceForensics++/original_sequences/youtube/c23/frames/033/000.png",
        "real/FaceForensics++/manipulated_sequences/Deepfakes/c23/frames/033_097/000.png",
        "real/FaceForensics++/manipulated_sequences/FaceSwap/c23/frames/097_033/000.png",
        "real/Celeb-DF-v2/Celeb-real/frames/id0_0001/000.png",
        "real/Celeb-DF-v2/Celeb-synthesis/frames/id0_id1_0000/000.png",
    )  # fmt: skip
    _, found = by_path(tmp_path)
    assert {path: item.label for path, item in found.items()} == {
        "simswap/ff/frames/033_097/000.png": "fake",
        "simswap/cdf/frames/id0_id1_0001/004.png": "fake",
        "real/FaceForensics++/original_sequences/youtube/c23/frames/033/000.png": "real",
        "real/Celeb-DF-v2/Celeb-real/frames/id0_0001/000.png": "real",
    }
    assert "3 files below real/ are forgeries of other sets, and are passed over" in caplog.text


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
        "fake/film/clip7/0001.png": ("fake", "media", "clip7"),
        "fake/film/clip7/0002.png": ("fake", "media", "clip7"),
    }
    assert found["fake/film/clip7/0001.png"].method == "film"


@pytest.mark.parametrize(
    ("paths", "groups"),
    [
        (["real/youtube/033/0001.png", "fake/Deepfakes/033/0001.png", "fake/Face2Face/033/0001.png"], {"033"}),
        (["real/youtube/a/frames/1.png", "fake/Deepfakes/a/1.png", "fake/Face2Face/a/x.png"], {"a"}),
        # The pairs of FaceForensics++, however many frames of each there are, and wherever.
        (["real/000/frame0.jpg", "real/167/frame0.jpg", "fake/Deepfakes/000_167/frame0.jpg"], {"000"}),
        (["real/167/0001.png", "real/167/0002.png", "fake/000_167/0001.png", "fake/167_000/0001.png"], {"000"}),
        (["real/167.mp4", "fake/FaceSwap/000_167.mp4", "fake/FaceSwap/c23/videos/167_000.mp4"], {"000"}),
        (["real/youtube/c23/frames/167/0001.png", "fake/FaceSwap/c23/frames/000_167/0001.png"], {"000"}),
        # Names that only begin alike are other clips, and a folder that holds clips is none.
        (["real/anna_1.mp4", "real/anna_2.mp4", "fake/033_9.mp4"], {"anna_1", "anna_2", "033_9"}),
        (["real/web/videos/a.mp4", "real/web/videos/b.mp4", "fake/flux/c.mp4"], {"a", "b", "c"}),
        (["real/a/frames/0001.png", "real/b/frames/0001.png", "fake/a/frames/0001.png"], {"a", "b"}),
    ],
)
def test_one_clip_is_one_group_whatever_was_done_with_it(tmp_path: Path, paths: list[str], groups: set[str]) -> None:
    lay_out(tmp_path, *paths)
    _, found = by_path(tmp_path)
    assert sorted(found) == sorted(paths)
    assert {item.group for item in found.values()} == groups


def test_masks_and_hidden_files_are_no_media(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lay_out(tmp_path, "real/a.jpg", "real/._a.jpg", "fake/.ipynb_checkpoints/b-checkpoint.jpg", "fake/b.jpg",
            "fake/masks/b.png", "fake/masked/c.png")  # fmt: skip
    assert sorted(by_path(tmp_path)[1]) == ["fake/b.jpg", "fake/masked/c.png", "real/a.jpg"]
    assert "1 files below folders of masks are passed over" in caplog.text
    lay_out(tmp_path / "celeb", "Celeb-real/id1_0001/0.png", "Celeb-synthesis/id1_id2_0001/0.png",
            "Celeb-synthesis/masks/id1_id2_0001/0.png")  # fmt: skip
    assert len(by_path(tmp_path / "celeb")[1]) == 2


@pytest.mark.parametrize(("real", "fake"), [("Real", "Fake"), ("REAL", "fake"), ("0_real", "1_fake")])
def test_real_and_fake_however_they_are_spelt(tmp_path: Path, real: str, fake: str) -> None:
    lay_out(tmp_path, f"{real}/1.png", f"{real}/2.png", f"{fake}/7.png")
    layout, found = by_path(tmp_path)
    assert layout == "real/ and fake/"
    assert {path: (item.label, item.group) for path, item in found.items()} == {
        f"{real}/1.png": ("real", "1"),
        f"{real}/2.png": ("real", "2"),
        f"{fake}/7.png": ("fake", "7"),
    }


def test_what_was_recognised_is_told_in_a_line(tmp_path: Path) -> None:
    lay_out(tmp_path, "real/a.png", "fake/flux/a.png", "fake/sd/a.png", "fake/sd/b.png")
    assert read_dataset(tmp_path).summary == (
        "real/ and fake/: 1 genuine and 3 manipulated files in 2 groups; sources: media; methods: flux, sd"
    )
    (tmp_path / "index.csv").write_bytes(b"path,label,source\na.png,real,caf\xe9\n")
    assert r"sources: caf\udce9; methods: none named" in read_dataset(tmp_path).summary


def test_a_subfolder_of_forgeries_alone_is_a_method_against_all_genuine_files(tmp_path: Path) -> None:
    lay_out(tmp_path, "real/ffhq/a.png", "real/web/b.png", "fake/stylegan/c.png", "fake/flux/d.png", "fake/web/e.png")
    _, found = by_path(tmp_path)
    assert {path: (item.source, item.method) for path, item in found.items()} == {
        "real/ffhq/a.png": ("media", ""),
        "real/web/b.png": ("web", ""),
        "fake/stylegan/c.png": ("media", "stylegan"),
        "fake/flux/d.png": ("media", "flux"),
        "fake/web/e.png": ("web", ""),
    }


def test_a_folder_of_numbered_pictures_is_a_clip_and_no_source(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lay_out(
        tmp_path, "real/one/0001.png", "real/one/0002.png", "real/two/frame_1.jpg", "real/two/frame_9.jpg",
        "real/ffhq/00003.png", "real/ffhq/69000.png", "fake/one/0001.png", "fake/one/0002.png", "fake/3.png",
    )  # fmt: skip
    _, found = by_path(tmp_path)
    assert {path: (item.source, item.method, item.group) for path, item in found.items()} == {
        "real/one/0001.png": ("media", "", "one"),
        "real/one/0002.png": ("media", "", "one"),
        "real/two/frame_1.jpg": ("media", "", "two"),
        "real/two/frame_9.jpg": ("media", "", "two"),
        # So far apart they are no frames.
        "real/ffhq/00003.png": ("media", "", "00003"),
        "real/ffhq/69000.png": ("media", "", "69000"),
        "fake/one/0001.png": ("media", "", "one"),
        "fake/one/0002.png": ("media", "", "one"),
        "fake/3.png": ("media", "", "3"),
    }
    assert "taken for frames of one clip" in caplog.text
    assert "fake/one, real/one, real/two." in caplog.text


def test_files_that_are_all_strangers_are_asked_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lay_out(tmp_path, "real/a.jpg", "fake/b.jpg")
    read_dataset(tmp_path)
    assert "every file is a group of its own" in caplog.text


def test_a_name_that_both_classes_have_does_not_make_clips(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lay_out(tmp_path, "real/v1_0001.jpg", "real/v1_0002.jpg", "fake/v1_0001.jpg", "fake/v1_0002.jpg")
    read_dataset(tmp_path)
    assert "every genuine file, and every forgery of a method, is a group of its own" in caplog.text
    caplog.clear()
    lay_out(tmp_path, "real/web/v2/a.jpg", "real/web/v2/b.jpg")
    read_dataset(tmp_path)
    assert "group of its own" not in caplog.text


def test_one_class_alone_is_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "real").mkdir()
    lay_out(tmp_path, "fake/a.jpg", "fake/b.jpg")
    read_dataset(tmp_path)
    assert "all 2 files are fake" in caplog.text
    caplog.clear()
    (tmp_path / "mine.csv").write_text("path,label,split\na.jpg,1,test\nb.jpg,0,train\n")
    read_dataset(tmp_path / "mine.csv")
    assert "files are" not in caplog.text
    read_dataset(tmp_path / "mine.csv", split="train")
    assert "all 1 files are real" in caplog.text


def test_csv(tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    # As a spreadsheet saves it, with a mark before the first column's name.
    table.write_text("path,label,split\na.jpg,1,test\nb.jpg,Genuine,train\n", encoding="utf-8-sig")
    assert [(item.path, item.label, item.group) for item in read_dataset(table).items] == [
        ("a.jpg", "fake", "a"),
        ("b.jpg", "real", "b"),
    ]
    assert [item.path for item in read_dataset(table, split="train").items] == ["b.jpg"]


def test_frames_in_a_csv_without_groups_have_that_of_their_folder(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("path,label\na/0001.png,real\na/0002.png,real\nb/0001.png,fake\nb/0002.png,fake\nc.png,fake\n")
    assert [item.group for item in read_dataset(table).items] == ["a", "a", "b", "b", "c"]
    caplog.clear()
    table.write_text("path,label,group\na.jpg,real,anna\nb.jpg,fake,bob\n")
    assert [item.group for item in read_dataset(table).items] == ["anna", "bob"]
    assert not caplog.text


@pytest.mark.parametrize(
    "names",
    [["{}.mp4"], ["{}/0000.png", "{}/0010.png"], ["{}/frame0.jpg"], ["c23/frames/{}/1.png", "c23/frames/{}/2.png"]],
)
def test_a_csv_without_groups_joins_the_pairs_of_faceforensics(
    names: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clips = {"original": ["000", "003", "033", "097"]}
    clips |= {method: ["000_003", "003_000", "033_097", "097_033"] for method in ("Deepfakes", "FaceSwap")}
    groups = {f"{folder}/{name.format(clip)}": "000" if clip[:3] in ("000", "003") else "033"
              for folder, some in clips.items() for clip in some for name in names}  # fmt: skip
    lines = [f"{path},{'real' if path.startswith('original') else 'fake'}" for path in groups]
    (tmp_path / "mine.csv").write_text("\n".join(["path,label", *lines]))
    assert {item.path: item.group for item in read_dataset(tmp_path / "mine.csv").items} == groups
    assert "must share one" not in caplog.text


def test_a_clip_in_a_csv_without_groups_is_told_by_its_name(tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    paths = [f"{label}/{clip}/frames/{number}.png" for label in ("real", "fake") for clip in "ab" for number in (1, 2)]
    table.write_text("\n".join(["path,label", *(f"{path},{path[:4]}" for path in paths)]))
    assert [item.group for item in read_dataset(table).items] == list("aabb" * 2)


def test_forgeries_that_share_no_group_with_a_genuine_file_are_asked_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = tmp_path / "mine.csv"
    forged = [f"{method}/{clip}_fake_x.mp4,fake" for method in ("one", "other") for clip in "ab"]
    table.write_text("\n".join(["path,label", "a_real.mp4,real", "b_real.mp4,real", *forged]))
    read_dataset(table)
    assert "no forgery shares a group with a genuine file" in caplog.text
    assert "group of its own" not in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\na.jpg,maybe\n", r"line 2: expected the label real or fake, found 'maybe'"),
        ("file,label\na.jpg,real\n", r"missing path; found 'file', 'label'"),
        ("path;label\na.jpg;real\n", r"with commas between; missing label, path; found 'path;label'"),
        ("label,path\nreal,a.jpg\nfake\n", r"line 3: expected a path, found none"),
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
