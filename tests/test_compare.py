"""Whether a face was taken from a photo: the photo itself, copies of it, its face on somebody else, and other people."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from conftest import SAMPLES, read_rgb, texture, write_video

from deepfake_detect import MediaError, Options, OptionsError, engine, media
from deepfake_detect.alignment import SIDE, Agreement, FrameMatch
from deepfake_detect.cli import main
from deepfake_detect.compare import (
    DIFFERENCE_WHITE,
    JUDGEMENT,
    Comparison,
    Judgement,
    compare,
    label_of,
    label_of_all,
    likelihood_ratio,
    pooled,
    spare,
)
from deepfake_detect.faces import FaceFinder
from deepfake_detect.training.blend import alpha_blend, draw_mask, match_colour, warp_onto
from deepfake_detect.training.data import TrainingFace
from deepfake_detect.training.mean_face import fit_mean_face
from deepfake_detect.types import Frame, Note
from deepfake_detect.words import LANGUAGES, Words

if TYPE_CHECKING:
    from deepfake_detect.types import Face


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return engine.face_finder(engine.choose())


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return read_rgb(SAMPLES / "portrait_genuine.jpg")


@pytest.fixture(scope="module")
def somebody_else() -> np.ndarray:
    """The first frame of the clip, of another person."""
    with media.open(SAMPLES / "clip_genuine.mp4", Options(frames=1)) as opened:
        return next(opened.frames()).pixels


@pytest.fixture(scope="module")
def itself(photo: np.ndarray, finder: FaceFinder) -> Comparison:
    return compare(photo, photo, finder=finder)


def in_training_terms(face: Face) -> TrainingFace:
    five = np.array(face.landmarks)
    return TrainingFace(Path(), "", "real", "", "", np.array(face.box), five, fit_mean_face(five))


def pasted(source: np.ndarray, target: np.ndarray, finder: FaceFinder) -> np.ndarray:
    """The source's face bent onto the target's and matched in colour."""
    faces = [in_training_terms(finder.find(Frame(pixels))[0]) for pixels in (source, target)]
    rng = np.random.default_rng(4)
    assert faces[1].mesh is not None
    mask = draw_mask(faces[1].mesh, target.shape[:2], "whole", rng)
    bent = match_colour(warp_onto(source, faces[0], faces[1], target.shape[:2]), target, mask, rng)
    return alpha_blend(bent, target, mask)


def saved_again(pixels: np.ndarray, quality: int) -> np.ndarray:
    encoded = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.ascontiguousarray(np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))[..., ::-1])


# What is taken and what is not


def test_what_is_compared_is_spared_under_every_name(tmp_path: Path) -> None:
    mine, same, other = tmp_path / "mine.png", tmp_path / "same.png", tmp_path / "other.png"
    mine.touch()
    os.link(mine, same)
    for name in (mine, same):
        with pytest.raises(OptionsError, match="would be replaced"):
            spare(name, str(mine))
    spare(other, str(mine), "")


def test_files_without_numbers_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of some drives on a network Windows says 0."""
    mine, other = tmp_path / "mine.png", tmp_path / "other.png"
    mine.touch()
    other.touch()
    stat = os.stat
    monkeypatch.setattr(os, "stat", lambda path, **how: os.stat_result([stat(path, **how)[0], *[0] * 9]))
    spare(other, str(mine))
    with pytest.raises(OptionsError, match="would be replaced"):
        spare(mine, str(mine))


def test_a_photo_is_taken_from_itself_and_nothing_differs(itself: Comparison) -> None:
    assert itself.label == "taken_from_this_photo"
    assert itself.match is not None
    assert not itself.match.agreement.mirrored
    assert itself.match.agreement.pixels > 0.99
    assert itself.match.agreement.in_place == 1
    # Bending by hundredths of a pixel moves a sharp edge by a few levels.
    assert itself.match.agreement.difference.mean() < 0.5
    assert itself.match.agreement.difference.max() < 10
    assert itself.frame is not None
    assert itself.frame.matches
    assert not itself.frame.mirrored


def test_mirrored_smaller_recoloured_and_recompressed_it_is_still_taken(photo: np.ndarray, finder: FaceFinder) -> None:
    smaller = cv2.resize(photo[:, ::-1], None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    worn = saved_again((smaller * 0.9 + 12).astype(np.uint8), 60)
    found = compare(worn, photo, finder=finder)
    assert found.label == "taken_from_this_photo"
    assert found.match is not None
    assert found.match.agreement.mirrored
    assert found.frame is not None
    assert found.frame.matches
    assert found.frame.mirrored
    assert "mirrored" in found.reason


def test_a_face_pasted_over_another_is_taken_and_the_surroundings_are_not(
    photo: np.ndarray, somebody_else: np.ndarray, finder: FaceFinder
) -> None:
    swapped = saved_again(pasted(photo, somebody_else, finder), 85)
    found = compare(swapped, photo, finder=finder)
    assert found.label == "taken_from_this_photo"
    assert found.frame is not None
    assert not found.frame.matches
    # Seen from the other side: the picture it was pasted into is the same around a face that is not.
    lent = compare(swapped, somebody_else, finder=finder)
    assert lent.label == "not_taken_from_this_photo"
    assert lent.frame is not None
    assert lent.frame.matches
    assert "surroundings agree with this photo's" in lent.reason


def test_of_a_group_photo_every_face_is_compared(
    photo: np.ndarray, somebody_else: np.ndarray, finder: FaceFinder
) -> None:
    smaller = cv2.resize(photo, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
    group = np.full((max(len(smaller), len(somebody_else)), smaller.shape[1] + somebody_else.shape[1], 3), 90, np.uint8)
    group[: len(smaller), : smaller.shape[1]] = smaller
    group[: len(somebody_else), smaller.shape[1] :] = somebody_else
    faces = finder.find(Frame(group))
    assert len(faces) == 2
    for suspect in (photo, somebody_else):
        found = compare(suspect, group, finder=finder)
        assert found.label == "taken_from_this_photo"
        assert (found.compared, found.notes) == (1, ())
    # Faces too small to be compared are told of.
    picky = Options(min_face_px=round(min(face.size_px for face in faces)) + 2)
    told = compare(photo, group, options=picky, finder=finder)
    assert told.notes == (("original", Note("other_faces", {"faces": "2", "left": "1"})),)
    (said,) = told.warnings(Words())
    assert said.startswith("About the original photo: It shows 2 faces; 1 of them was not compared")


def test_another_person_is_not_taken_and_the_reason_keeps_redrawn_faces_open(
    photo: np.ndarray, somebody_else: np.ndarray, finder: FaceFinder
) -> None:
    found = compare(somebody_else, photo, finder=finder)
    assert found.label == "not_taken_from_this_photo"
    assert found.likelihood_ratio is not None
    assert 1 / JUDGEMENT.largest_ratio < found.likelihood_ratio < 0.5
    assert "does not rule out that a program drew the face anew" in found.reason


def test_a_video_says_when_and_compares_every_frame(tmp_path: Path, photo: np.ndarray, finder: FaceFinder) -> None:
    height, width = (size // 2 * 2 for size in photo.shape[:2])
    empty = texture(height, width)
    path = write_video(tmp_path / "clip.mp4", [empty, photo[:height, :width], photo[:height, :width]], fps=1)
    found = compare(path, SAMPLES / "portrait_genuine.jpg", finder=finder)
    assert found.label == "taken_from_this_photo"
    assert found.compared == 2
    assert found.match is not None
    assert found.match.time_s in (1.0, 2.0)
    assert f"at {found.match.time_s:.1f} s" in found.reason
    assert found.suspect.kind == "video"


# Where nothing can be said


@pytest.mark.parametrize("which", ["suspect", "original"])
def test_without_a_face_there_is_nothing_to_compare(which: str, photo: np.ndarray, finder: FaceFinder) -> None:
    empty = texture(200, 200)
    pair = (empty, photo) if which == "suspect" else (photo, empty)
    found = compare(*pair, finder=finder)
    assert found.label == "no_face"
    assert found.score is None
    assert found.likelihood_ratio is None
    assert which in found.reason
    with pytest.raises(ValueError, match="nothing to show"):
        found.picture()


@pytest.mark.parametrize("which", ["suspect", "original"])
def test_a_tiny_face_is_inconclusive(which: str, photo: np.ndarray, finder: FaceFinder) -> None:
    tiny = cv2.resize(photo, None, fx=0.16, fy=0.16, interpolation=cv2.INTER_AREA)
    on_grey = cv2.copyMakeBorder(tiny, 60, 60, 60, 60, cv2.BORDER_CONSTANT, value=(128, 128, 128))
    pair = (on_grey, photo) if which == "suspect" else (photo, on_grey)
    found = compare(*pair, finder=finder)
    assert found.label == "inconclusive"
    assert found.match is None
    assert which in found.reason


def test_a_warning_says_which_of_the_two_files_it_is_about(tmp_path: Path, finder: FaceFinder) -> None:
    whole, cut = SAMPLES / "portrait_forged.jpg", tmp_path / "cut.jpg"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 3 // 4])
    of_original, of_suspect, of_both = (
        compare(*pair, finder=finder).to_dict()["warnings"] for pair in ((whole, cut), (cut, whole), (cut, cut))
    )
    (original,), (suspect,) = of_original, of_suspect
    assert original.startswith("About the original photo: The file is cut short")
    assert suspect == original.replace("original photo", "suspect picture")
    assert of_both == [original, suspect]


def test_what_is_wrong_with_a_file_is_named(tmp_path: Path, photo: np.ndarray, finder: FaceFinder) -> None:
    with pytest.raises(MediaError, match=r"gone\.jpg: no such file") as missing:
        compare(tmp_path / "gone.jpg", photo, finder=finder)
    assert missing.value.kind == "not_found"
    with pytest.raises(
        MediaError, match=r"clip_genuine\.mp4: expected a photo as the original, found a video"
    ) as video:
        compare(photo, SAMPLES / "clip_genuine.mp4", finder=finder)
    assert video.value.kind == "unsupported"
    with pytest.raises(MediaError, match="expected uint8"):
        compare(photo.astype(np.float32), photo, finder=finder)


# What is stated


@pytest.mark.parametrize("language", [language for language in LANGUAGES if language != "en"])
def test_the_reason_is_given_in_each_language_and_the_record_stays_in_one(
    language: str, itself: Comparison, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = Words(language)
    reasons = {itself.explain(words), itself.reason}
    nothing = {"score": None, "likelihood_ratio": None, "match": None, "lacking": "suspect"}
    for label in ("inconclusive", "no_face"):
        reasons |= {replace(itself, label=label, **nothing).explain(words)}  # type: ignore[arg-type]
    for label in ("inconclusive", "not_taken_from_this_photo"):
        reasons |= {replace(itself, label=label).explain(words)}  # type: ignore[arg-type]
    assert len(reasons) == 6
    assert itself.to_dict()["reason"] == itself.explain(Words("en"))
    assert not np.array_equal(itself.picture(), itself.picture(language=language))
    photo = str(SAMPLES / "portrait_genuine.jpg")
    assert main(["compare", photo, photo, "--lang", language, "--out", str(tmp_path / "both.png")]) == 0
    said, reason, errors = capsys.readouterr().out.splitlines()
    assert said == f"{words('compare_label_taken_from_this_photo')} [taken from this photo]"
    assert reason.strip() == itself.explain(words)
    assert errors.strip() == itself.explain_errors(words)
    assert [share in errors for share in ("12\u00a0%", "6\u00a0%", "53")] == [True] * 3


def test_the_ratio_of_several_faces_is_the_mean_of_theirs() -> None:
    assert pooled([2.0]) == 2.0
    assert pooled([np.log(6.0), np.log(2.0), np.log(1.0)]) == pytest.approx(np.log(3.0))
    assert pooled([900.0, -900.0]) == pytest.approx(900 - np.log(2))


def test_the_stated_ratio_is_bounded_and_grows() -> None:
    stated = [likelihood_ratio(odds) for odds in (-50.0, -2.0, 0.0, 2.0, 50.0)]
    assert stated == sorted(stated)
    assert stated[2] == 1
    assert stated[-1] <= JUDGEMENT.largest_ratio
    assert stated[0] >= 1 / JUDGEMENT.largest_ratio
    assert stated[0] * stated[-1] == pytest.approx(1)


def test_the_bands_hold_their_edges() -> None:
    assert label_of(JUDGEMENT.upper) == "taken_from_this_photo"
    assert label_of(JUDGEMENT.lower) == "not_taken_from_this_photo"
    assert label_of((JUDGEMENT.lower + JUDGEMENT.upper) / 2) == "inconclusive"


def test_where_one_of_many_would_be_called_taken_it_is_not_said_that_none_was(itself: Comparison) -> None:
    crowd = [2.08, *[-6.0] * 32]
    assert label_of(pooled(crowd)) == "not_taken_from_this_photo"
    assert label_of_all(crowd) == "inconclusive"
    assert label_of_all([-6.0, -3.0]) == "not_taken_from_this_photo"
    assert label_of_all([2.08]) == "taken_from_this_photo"
    found = replace(itself, label="inconclusive", score=pooled(crowd), compared=33)
    assert "alone would be called taken" in found.reason
    assert "differs" not in found.reason


def test_not_taken_is_said_only_where_each_alone_would_be_called_so() -> None:
    frames = [0.8, 0.8, 0.8, *[-6.0] * 29]
    assert label_of(pooled(frames)) == "not_taken_from_this_photo"
    assert label_of_all(frames) == "inconclusive"
    assert label_of_all([JUDGEMENT.lower, *[-6.0] * 31]) == "not_taken_from_this_photo"
    assert label_of_all([0.0, -6.0]) == "inconclusive"


def test_where_one_of_many_is_unclear_the_reason_says_that_the_others_differ(
    itself: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepfake_detect.compare.FaceMatch.log_odds", 0.8)
    many = replace(itself, label="inconclusive", score=pooled([0.8, *[-6.0] * 31]), compared=32)
    assert "taken together, the faces compared differ" in many.reason
    assert "in part only" in replace(many, score=0.8).reason


def test_no_figure_speaks_against_its_meaning() -> None:
    assert min(JUDGEMENT.weights) >= 0
    with pytest.raises(ValueError, match="bands must be ordered"):
        Judgement((1.0,), 0.0, lower=1.0, upper=0.0, largest_ratio=2.0)


def test_error_rates_come_with_the_data_they_were_measured_on(itself: Comparison) -> None:
    stated = itself.to_dict()["error_rates"]
    assert stated["pairs"] > 100
    assert stated["data"]
    assert all(0 <= stated[share] <= 1 for share in ("false_taken_same_person", "false_taken_stranger", "miss_rate"))
    # Of 120 pairs 80 are other photos and 40 other moments.
    shares = [stated[f"false_taken_{which}"] for which in ("other_photo", "other_moment", "same_person")]
    assert (80 * shares[0] + 40 * shares[1]) / 120 == pytest.approx(shares[2], abs=5e-4)


def test_error_rates_are_told_beside_an_answer_and_in_the_picture(
    itself: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("deepfake_detect.compare._side_by_side", lambda _, said, *__: told.append(said))
    itself.picture()
    said = itself.explain_errors(Words())
    assert "called 0\u00a0% of other photos of the same person taken, 12\u00a0% of other moments of one video" in said
    assert said in told[0]
    assert "videos it was not tried" not in said
    video = replace(itself, suspect=replace(itself.suspect, kind="video", duration_s=1.0, fps=25.0))
    assert video.explain_errors(Words()) == f"{said} That was measured on pictures; on videos it was not tried."
    nobody = replace(itself, label="no_face", score=None, likelihood_ratio=None, match=None, lacking="suspect")
    assert nobody.explain_errors(Words()) == ""


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_letter_of_the_picture_is_missing_in_its_font(
    language: str, itself: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    monkeypatch.setattr("PIL.ImageDraw.ImageDraw.text", lambda _, __, text, *___: drawn.append(text))
    itself.picture(language=language)
    assert len(drawn) > 5
    assert "".join(drawn).isascii()


def test_surroundings_match_by_count_and_share() -> None:
    assert FrameMatch(20, 30, mirrored=False).matches
    assert not FrameMatch(10, 10, mirrored=False).matches
    assert not FrameMatch(20, 100, mirrored=False).matches


def test_the_picture_shows_both_faces_and_the_difference_on_a_fixed_scale(itself: Comparison) -> None:
    assert itself.match is not None
    sheet = itself.picture(side=SIDE)
    assert sheet.dtype == np.uint8
    assert sheet.ndim == 3
    gap, band = max(4, SIDE // 40), max(14, SIDE // 12)
    tiles = [sheet[band : band + SIDE, gap + i * (SIDE + gap) :][:, :SIDE] for i in range(3)]
    assert np.array_equal(tiles[0], itself.match.agreement.face)
    assert np.array_equal(tiles[1], itself.match.agreement.aligned)
    shown = (itself.match.agreement.difference * (255 / DIFFERENCE_WHITE)).clip(0, 255).astype(np.uint8)
    assert np.array_equal(tiles[2], np.repeat(shown[..., None], 3, axis=2))


def test_values_are_checked_when_made(itself: Comparison) -> None:
    with pytest.raises(ValueError, match="label must be one of"):
        replace(itself, label="real")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="set together"):
        replace(itself, score=None)
    with pytest.raises(ValueError, match="without a face"):
        replace(itself, score=None, likelihood_ratio=None, match=None)
    with pytest.raises(ValueError, match="one of the two lacks it"):
        replace(itself, lacking="suspect")
    plane = np.zeros((SIDE, SIDE), np.uint8)
    face = np.zeros((SIDE, SIDE, 3), np.uint8)
    with pytest.raises(ValueError, match="out of its range"):
        Agreement(False, 1.5, 0.0, 0.1, 0.0, 0, face, face, plane)
    with pytest.raises(ValueError, match="expected uint8"):
        Agreement(False, 0.5, 0.0, 0.1, 0.0, 0, face, face, face)
