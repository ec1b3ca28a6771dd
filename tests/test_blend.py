"""training.blend, augment, pairs: nothing but the forgery may tell the two halves of a pair apart."""

from __future__ import annotations

import os
import shutil
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import drawn_face, texture
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from deepfake_detect.errors import MediaError
from deepfake_detect.training import blend
from deepfake_detect.training import pairs as pairs_module
from deepfake_detect.training import retouch as retouch_module
from deepfake_detect.training.augment import compressed_off_grid, degrade, film
from deepfake_detect.training.blend import Forgery, alpha_blend, draw_mask, forge, multi_band, poisson, warp_onto
from deepfake_detect.training.data import MESH_PARTS, TrainingFace, read_picture
from deepfake_detect.training.pairs import IGNORE, PairMaker, ciplab_mask, equally_sharp
from deepfake_detect.training.restore import restored_path
from deepfake_detect.types import Architecture


def forgery(seed: int, family: str) -> Forgery:
    """One of the wanted family."""
    pixels, face = drawn_face(seed)
    donor = drawn_face(seed + 1000) if family == "other" else None
    restored = cv2.medianBlur(pixels, 5) if family == "regenerated" else None
    if family == "self":
        # Without a donor or a redrawn copy the family is drawn by the generator: ask until it is this one.
        for attempt in range(50):
            made = forge(pixels, face, np.random.default_rng([seed, attempt]))
            if made.family == family:
                return made
        raise AssertionError("no self-blend in fifty")
    return forge(pixels, face, np.random.default_rng(seed), donor=donor, restored=restored)


# The families that are pasted inside a mask; a face redrawn all over has no outside.
PASTED = ("self", "other", "regenerated")


@pytest.fixture
def without_squares(monkeypatch: pytest.MonkeyPatch) -> None:
    """No blend goes through a net, whose square may reach beyond these small pictures."""
    monkeypatch.setattr(blend, "_THROUGH_NET", 0.0)


def with_surroundings(pixels: np.ndarray, face: TrainingFace, border: int) -> tuple[np.ndarray, TrainingFace]:
    moved = {part: points + border for part, points in (face.mesh or {}).items()}
    wider = cv2.copyMakeBorder(pixels, border, border, border, border, cv2.BORDER_REFLECT_101)
    return wider, replace(face, box=face.box + border, five=face.five + border, mesh=moved)


def detail(pixels: np.ndarray) -> float:
    return float(cv2.Laplacian(pixels.astype(np.float32), cv2.CV_32F).std())


def test_what_went_through_a_net_is_a_soft_square_with_less_detail_and_the_face_in_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(blend, "_ENHANCED", 0.0)
    softer = 0
    for seed in range(20):
        pixels, face = with_surroundings(*drawn_face(seed), 150)
        forged, mask = blend.through_net(pixels, pixels, face, np.random.default_rng(seed))
        outside, inside = mask == 0, mask > 0.99
        assert np.array_equal(forged[outside], pixels[outside])
        assert forged.shape == pixels.shape
        # On the face the square is asked for, and around it nobody is asked.
        x, y = face.points().mean(0).round().astype(int)
        assert inside[y, x]
        assert set(np.unique(mask[mask < 0])) == {blend.IGNORE}
        # The square is as wide as a net of this kind sees: 3.2 to 4.6 times the distance of the eyes.
        right, left = (face.five[i] for i in (0, 1))
        across = np.flatnonzero((mask != 0)[y])
        assert 2.8 < np.ptp(across) / np.hypot(*(left - right)) < 5
        # The same light at the same place, coarsely, and less detail.
        before, after = (cv2.GaussianBlur(one, (0, 0), 12).astype(float)[inside] for one in (pixels, forged))
        assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.9
        y0, y1, x0, x1 = (*np.flatnonzero(inside.any(1))[[0, -1]], *np.flatnonzero(inside.any(0))[[0, -1]])
        softer += detail(forged[y0:y1, x0:x1]) < 0.9 * detail(pixels[y0:y1, x0:x1])
    assert softer >= 18


def test_a_turned_head_has_a_turned_square() -> None:
    pixels, face = with_surroundings(*drawn_face(3), 150)
    turn = cv2.getRotationMatrix2D((250, 250), 30, 1)
    assert face.mesh is not None
    mesh = {part: cv2.transform(points[None], turn)[0] for part, points in face.mesh.items()}
    masks = [blend.through_net(pixels, pixels, one, np.random.default_rng(5))[1] != 0
             for one in (face, replace(face, mesh=mesh))]  # fmt: skip
    upright = cv2.warpAffine(masks[0].astype(np.float32), turn, (500, 500)) > 0.5
    assert (upright & masks[1]).sum() / (upright | masks[1]).sum() > 0.95


def test_skin_leaves_out_what_has_another_colour() -> None:
    _, face = drawn_face(2)
    assert face.mesh is not None
    pixels = np.full((200, 200, 3), (200, 150, 130), np.uint8)
    for part in ("right_eye", "left_eye"):
        cv2.fillConvexPoly(pixels, cv2.convexHull(face.mesh[part]).round().astype(np.int32), (20, 30, 60))
    pixels[:60] = (40, 30, 20)
    found = blend.skin(pixels, face.mesh, np.random.default_rng(0))
    eye, nose = (face.mesh[part].mean(0).round().astype(int) for part in ("left_eye", "nose"))
    assert found[nose[1], nose[0]] > 0.9
    assert found[eye[1], eye[0]] < 0.5
    assert found[:50].max() < 0.1


def test_relit_takes_the_light_of_one_and_the_detail_of_the_other() -> None:
    ramp = np.linspace(60, 180, 200, dtype=np.float32)[None, :, None]
    source = (np.full((200, 200, 3), 110, np.float32) + texture(200, 200, 1) / 5.0 - 25).astype(np.uint8)
    target = np.broadcast_to(ramp, (200, 200, 3)).astype(np.uint8)
    lit = blend.relit(source, target, 12.0)
    blurred = [cv2.GaussianBlur(one, (0, 0), 12).astype(float)[20:-20, 20:-20] for one in (lit, target)]
    assert np.abs(blurred[0] - blurred[1]).mean() < 3
    fine = [(one - cv2.GaussianBlur(one, (0, 0), 2).astype(float))[20:-20, 20:-20].ravel() for one in (lit, source)]
    assert np.corrcoef(*fine)[0, 1] > 0.8


def test_what_is_redrawn_all_over_fades_into_the_picture() -> None:
    pixels, face = with_surroundings(*drawn_face(4), 150)
    made = blend.redrawn_whole(pixels, 255 - pixels, face)
    assert np.array_equal(made.forged[made.mask == 0], pixels[made.mask == 0])
    assert np.array_equal(made.forged[made.mask == 1], (255 - pixels)[made.mask == 1])
    x0, y0, x1, y1 = face.box.round().astype(int)
    assert made.mask[y0:y1, x0:x1].min() == 1
    # From nothing to all of it in no fewer than five steps.
    assert np.abs(np.diff(made.mask, axis=0)).max() < 0.2


@pytest.mark.usefixtures("without_squares")
@pytest.mark.parametrize("family", PASTED)
def test_outside_the_mask_both_halves_are_equal_to_the_last_bit(family: str) -> None:
    changed = 0
    for seed in range(40):
        made = forgery(seed, family)
        assert made.family == family
        outside = made.mask == 0
        assert outside.any()
        assert np.array_equal(made.genuine[outside], made.forged[outside])
        changed += int((made.genuine != made.forged).any())
    assert changed >= 38


def outside_features(pixels: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """What a classifier could go by outside the mask: colour, grain, blockiness, at two scales."""
    grey = pixels.astype(np.float32).mean(-1)
    fine = grey - cv2.GaussianBlur(grey, (0, 0), 1.0)
    coarse = cv2.GaussianBlur(grey, (0, 0), 1.0) - cv2.GaussianBlur(grey, (0, 0), 3.0)
    steps = np.abs(np.diff(grey, axis=1, prepend=grey[:, :1]))
    grid = steps[:, ::8][outside[:, ::8]].mean() - steps[outside].mean()
    values = [pixels[outside].mean(0), pixels[outside].std(0)]
    values += [[np.abs(band[outside]).mean(), band[outside].std()] for band in (fine, coarse, steps)]
    return np.concatenate([*values, [grid]])


@pytest.mark.usefixtures("without_squares")
def test_periphery_leak() -> None:
    """A classifier that sees only what lies outside the mask can't tell forged from genuine, after all augmentation.

    Codecs spread a change into the blocks around it, so pixels within a block's reach of the mask are left out too.
    """
    features, labels, groups = [], [], []
    for seed in range(420):
        made = forgery(seed, PASTED[seed % 3])
        reach = cv2.dilate((made.mask > 0).astype(np.uint8), np.ones((49, 49), np.uint8))
        halves = [degrade(half, 120, seed) for half in (made.genuine, made.forged)]
        assert halves[0].shape == halves[1].shape
        outside = cv2.resize(reach, halves[0].shape[1::-1], interpolation=cv2.INTER_NEAREST) == 0
        if outside.mean() < 0.1:
            continue
        features += [outside_features(half, outside) for half in halves]
        labels += [0, 1]
        groups += [seed, seed]
    table, truth = np.array(features), np.array(labels)
    assert len(table) > 600
    fitted = np.array(groups) % 2 == 0
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=10, max_iter=2000))
    classifier.fit(table[fitted], truth[fitted])
    scores = classifier.decision_function(table[~fitted])
    assert roc_auc_score(truth[~fitted], scores) == pytest.approx(0.5, abs=0.02)


def test_the_leak_test_can_fail() -> None:
    """The same classifier finds a leak when there is one: one half recompressed, the other not."""
    features = []
    for seed in range(80):
        pixels, _ = drawn_face(seed)
        leaky = cv2.imdecode(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_COLOR)
        everywhere = np.ones(pixels.shape[:2], bool)
        features += [outside_features(pixels, everywhere), outside_features(leaky, everywhere)]
    truth = np.tile([0, 1], 80)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=10, max_iter=2000)).fit(features[:80], truth[:80])
    assert roc_auc_score(truth[80:], classifier.decision_function(features[80:])) > 0.9


@pytest.mark.parametrize("shape", [shape for shape in blend.SHAPES if shape != "parts"])
def test_masks_cover_their_part(shape: str) -> None:
    _, face = drawn_face(3)
    assert face.mesh is not None
    centres = {"mouth": face.mesh["lips_outer"], "eyes": face.mesh["left_eye"], "nose": face.mesh["nose"],
               "lower_half": face.mesh["lips_outer"]}  # fmt: skip
    x, y = centres.get(shape, face.mesh["nose"]).mean(0).round().astype(int)
    covered = 0
    for seed in range(10):
        mask = draw_mask(face.mesh, (200, 200), shape, np.random.default_rng(seed))
        assert mask.dtype == np.float32
        assert 0 <= mask.min() <= mask.max() <= 1
        assert mask[0, 0] == mask[-1, -1] == 0
        covered += int(mask[y, x] > 0.2)
    assert covered >= 8


def test_single_parts_are_altered_in_every_combination() -> None:
    _, face = drawn_face(3)
    assert face.mesh is not None
    places = [face.mesh[part].mean(0).round().astype(int) for part in ("right_eye", "left_eye", "nose", "lips_outer")]
    found = set()
    for seed in range(120):
        mask = draw_mask(face.mesh, (200, 200), "parts", np.random.default_rng(seed))
        found.add(tuple(bool(mask[y, x] > 0.2) for x, y in places))
    # Each alone, and all together; an edge that is drawn wide may reach a neighbour.
    assert {(True, False, False, False), (False, True, False, False), (False, False, True, False)} <= found
    assert {(False, False, False, True), (True, True, True, True)} <= found


@pytest.mark.parametrize("paste", [alpha_blend, multi_band, poisson])
def test_ways_to_paste_agree_where_there_is_nothing_to_do(paste: object) -> None:
    pixels, face = drawn_face(1)
    assert face.mesh is not None
    mask = draw_mask(face.mesh, (200, 200), "inner", np.random.default_rng(0))
    pasted = paste(pixels, pixels, mask)  # type: ignore[operator]
    assert np.abs(pasted.astype(int) - pixels).max() <= 3


def test_alpha_blend_takes_source_at_1_and_target_at_0() -> None:
    source, target = texture(20, 20, 1), texture(20, 20, 2)
    mask = np.zeros((20, 20), np.float32)
    mask[:10] = 1
    pasted = alpha_blend(source, target, mask)
    assert np.array_equal(pasted[:10], source[:10])
    assert np.array_equal(pasted[10:], target[10:])


def test_a_warped_donor_has_its_eyes_where_the_face_has_them() -> None:
    _, face = drawn_face(1)
    donor_pixels, donor = drawn_face(2, size=240)
    assert donor.mesh is not None
    assert face.mesh is not None
    marked = np.zeros_like(donor_pixels)
    cv2.circle(marked, tuple(int(v) for v in donor.mesh["left_eye"].mean(0).round()), 5, (255, 255, 255), -1)
    warped = warp_onto(marked, donor, face, (200, 200))
    found = np.argwhere(warped[..., 0] > 128).mean(0)[::-1]
    assert np.allclose(found, face.mesh["left_eye"].mean(0), atol=2)


def test_augmentation_of_one_seed_is_one_function() -> None:
    pixels = texture(120, 140)
    for seed in range(60):
        once, twice = degrade(pixels, 80, seed), degrade(pixels.copy(), 80, seed)
        assert np.array_equal(once, twice)
        assert once.dtype == np.uint8
    assert len({degrade(pixels, 80, seed).tobytes() for seed in range(20)}) == 20


@pytest.mark.parametrize("ending", [".jpg", ".webp"])
def test_a_codec_keeps_more_of_red_than_of_blue(ending: str) -> None:
    """Single pixels are left in luma alone, of which red is a third and blue a tenth."""
    left = []
    for channel in (0, 2):
        pixels = np.full((64, 64, 3), 100, np.uint8)
        pixels[::2, ::2, channel] = pixels[1::2, 1::2, channel] = 200
        made = compressed_off_grid(pixels, down=3, right=5, quality=60, ending=ending)
        assert made.shape == pixels.shape
        assert np.abs(made.mean((0, 1)) - pixels.mean((0, 1))).max() < 5
        left.append(made.astype(float).std((0, 1)).mean())
    assert left[0] > 1.5 * left[1]


def test_a_film_of_one_seed_is_one_picture() -> None:
    """Sides that are no multiples of a codec's blocks, and memory that held something else before: 400 of the size that
    gave two pictures once in 150."""
    rng = np.random.default_rng(0)
    for seed in range(400):
        pixels = texture(int(rng.integers(60, 130)), int(rng.integers(60, 130)))
        once, twice = (film(pixels, crf=30, frames=4, rng=np.random.default_rng(seed)) for _ in range(2))
        assert np.array_equal(once, twice)


def test_a_colour_that_changes_from_pixel_to_pixel_is_averaged_on_film() -> None:
    """As cameras have it; of one pixel in four, every other column being red would leave all red or none."""
    pixels = np.full((64, 64, 3), 128, np.uint8)
    pixels[:, ::2] = (200, 92, 92)
    filmed = film(pixels, crf=10, frames=2, rng=np.random.default_rng(0)).astype(int)
    redness = (filmed[..., 0] - filmed[..., 2]).mean()
    assert redness == pytest.approx((pixels[..., 0].astype(int) - pixels[..., 2]).mean(), abs=6)


def test_a_change_of_colour_makes_no_half_darker() -> None:
    pixels = texture(3, 160)
    rng = np.random.default_rng(0)
    for recolour in (
        lambda: blend.match_colour(pixels, pixels, np.ones(pixels.shape[:2], np.float32), rng),
        lambda: blend._whole_levels(pixels + np.float32(0.4)),
    ):
        apart = [recolour().astype(int) - pixels for _ in range(5)]
        assert np.abs(apart).max() <= 1
        assert abs(np.mean(apart)) < 0.05


def test_film_compresses_more_at_a_higher_crf() -> None:
    pixels = texture(96, 128)
    errors = [
        float(np.abs(film(pixels, crf=crf, frames=3, rng=np.random.default_rng(0)).astype(int) - pixels).mean())
        for crf in (10, 25, 40)
    ]
    assert errors[0] < 0.9 * errors[1] < 0.8 * errors[2]


def test_pairs(drawn_data: Path) -> None:
    maker = PairMaker([drawn_data], None, Architecture())
    families = set()
    for seed in range(40):
        pair = maker.make(seed)
        families.add(pair.family)
        assert pair.crops.shape == (2, 224, 224, 3)
        assert pair.crops.dtype == np.uint8
        assert pair.mask.shape == (28, 28)
        assert pair.mask.max() <= 1
        again = maker.make(seed)
        assert np.array_equal(pair.crops, again.crops)
    assert families == {"self", "other", "regenerated", "whole"}


def test_pairs_draw_their_margins_and_both_halves_share_it(drawn_data: Path) -> None:
    """The share of the mask's altered cells tells how wide a crop is; outside the mask both halves still agree."""
    narrow, wide, drawn = (
        PairMaker([drawn_data], None, Architecture(margin=0.6, least_margin=0.1), margins=margins, whole_share=0.0)
        for margins in ((0.1, 0.1), (0.6, 0.6), (0.1, 0.6))
    )
    areas = {"narrow": [], "wide": [], "drawn": []}  # type: dict[str, list[float]]
    for seed in range(24):
        for name, maker in (("narrow", narrow), ("wide", wide), ("drawn", drawn)):
            areas[name].append(float(maker.make(seed).mask.clip(0).mean()))
    for low, high, between in zip(areas["narrow"], areas["wide"], areas["drawn"], strict=True):
        assert high <= between + 0.02 <= low + 0.04
    assert np.mean(areas["wide"]) < 0.8 * np.mean(areas["narrow"])
    assert np.mean(areas["wide"]) < np.mean(areas["drawn"]) < np.mean(areas["narrow"])


def test_only_what_is_drawn_throughout_is_looked_at_closely(drawn_data: Path) -> None:
    maker = PairMaker([drawn_data], None, Architecture(margin=0.6), margins=(0.2, 0.6), closest=-0.2)
    box = np.array([200.0, 200, 300, 300])
    drawn, seam = (
        np.array([maker._margin(box, (500, 500), seed, drawn=drawn) for seed in range(400)]) for drawn in (True, False)
    )
    assert seam.min() >= 0.2
    assert -0.2 <= drawn.min() < -0.15
    assert 0.4 < (drawn < 0.2).mean() < 0.6
    assert np.array_equal(drawn[drawn >= 0.2], seam[drawn >= 0.2])
    # A crop of the inside lies within the picture, whose mask is altered all over.
    close = PairMaker([drawn_data], None, Architecture(margin=0.6), margins=(0.2, 0.2), closest=-0.2, whole_share=1.0)
    masks = [close.make(seed).mask for seed in range(30)]
    assert sum((mask[mask != IGNORE] > 0.9).mean() > 0.95 for mask in masks) > 5


def test_redrawn_faces_are_used_inside_and_all_over(drawn_data: Path, tmp_path: Path) -> None:
    """With copies in the folder of redrawn faces there is a fourth family, altered everywhere."""
    for i in range(40):
        pixels, face = drawn_face(i, label="real")
        target = restored_path(tmp_path, "smooth", face)
        target.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(target), cv2.medianBlur(pixels, 7)[..., ::-1])
    maker = PairMaker([drawn_data], tmp_path, Architecture(), whole_share=0.0)
    pairs = [maker.make(seed) for seed in range(80)]
    assert {pair.family for pair in pairs} == set(blend.FAMILIES)
    for pair in pairs:
        if pair.family == "redrawn":
            assert pair.mask[7:-7, 7:-7].min() == pytest.approx(1, abs=1e-5)
            assert pair.mask[4:-4, 4:-4].min() > 0.5
            assert (pair.crops[0] != pair.crops[1]).any()


def test_a_forgery_with_its_original_shares_its_crop(drawn_data: Path, tmp_path: Path) -> None:
    """The two halves show the same place: where nothing was altered, they are equal up to compression."""
    pixels, face = drawn_face(7)
    assert face.mesh is not None
    swapped = pixels.copy()
    x0, y0 = face.mesh["nose"].min(0).astype(int)
    x1, y1 = face.mesh["nose"].max(0).astype(int)
    swapped[y0:y1, x0:x1] = 255 - swapped[y0:y1, x0:x1]
    noise = np.random.default_rng(0).integers(-6, 7, swapped.shape)
    swapped = (swapped.astype(int) + noise).clip(0, 255).astype(np.uint8)
    rows = ["path,label,split,source,method,group,original"]
    for label, picture in (("real", pixels), ("fake", swapped)):
        (tmp_path / label).mkdir()
        cv2.imwrite(str(tmp_path / label / "a.png"), picture[..., ::-1])
        rows.append(f"{label}/a.png,{label},train,swaps,,one,{'real/a.png' if label == 'fake' else ''}")
    (tmp_path / "index.csv").write_text("\n".join(rows))
    mesh = {part: np.stack([points] * 2) for part, points in face.mesh.items()}
    boxes, fives = np.stack([face.box, face.box + 9]), np.stack([face.five] * 2)
    np.savez(tmp_path / "landmarks.npz", path=["real/a.png", "fake/a.png"], box=boxes, five=fives, **mesh)
    held_back = zlib.crc32(b"one") % 20 == 0
    maker = PairMaker([tmp_path], None, Architecture(), whole_share=1.0, held_back=held_back)
    corners = []
    for seed in range(20):
        pair = maker.make(seed)
        assert pair.family == "whole"
        difference = np.abs(pair.crops[0].astype(int) - pair.crops[1]).mean(-1)
        corners.append(difference[:10, :10].max())
        small = cv2.resize(difference.astype(np.float32), (28, 28), interpolation=cv2.INTER_AREA)
        assert small[pair.mask == 0].mean() < 0.3 * small[14:18, 12:16].mean()
        assert (pair.mask == IGNORE).any()
        assert pair.mask[14:18, 12:16].min() == pytest.approx(1, abs=1e-5)
    # Far from the face, where the forged file had been coded once more, they were made the same.
    assert np.median(corners) == 0


def test_forgeries_mostly_stand_beside_what_was_published_with_them(drawn_data: Path, tmp_path: Path) -> None:
    table = (drawn_data / "index.csv").read_text().splitlines()
    fakes, reals = ([line for line in table if f",{label}," in line] for label in ("fake", "real"))
    shared = {line.split(",")[0] for line in (*fakes[:4], *reals[:3])}
    rows = [f"{table[0]},publication", *(f"{row},{'p' if row.split(',')[0] in shared else ''}" for row in table[1:])]
    data = shutil.copytree(drawn_data, tmp_path / "data")
    (data / "index.csv").write_text("\n".join(rows))
    maker = PairMaker([data], None, Architecture(), whole_share=1.0)
    rng = np.random.default_rng(0)
    for fake in [face for groups in maker._fake.values() for some in groups.values() for face in some]:
        twins = [maker._twin(fake, rng) for _ in range(200)]
        together = sum(twin.publication == "p" for twin in twins) / len(twins)
        assert 0.5 < together < 0.8 if fake.publication else together < 0.2
        assert {twin.label for twin in twins} == {"real"}
    assert maker.make(1).family == "whole"


def test_half_of_what_is_drawn_is_one_s_own_whatever_its_sources_are_called(drawn_data: Path, tmp_path: Path) -> None:
    table = (drawn_data / "index.csv").read_text()
    for name, called in (("own", "mine"), ("like_others", "talking"), ("more", "swaps")):
        folder = shutil.copytree(drawn_data, tmp_path / name)
        text = table.replace("stylegan256", called).replace("ffhq256", "video" if name == "like_others" else called)
        (folder / "index.csv").write_text(text)
    for name in ("own", "like_others"):
        own, more = tmp_path / name, [drawn_data, tmp_path / "more"]
        maker, rng = PairMaker([own, *more], None, Architecture(), own=own), np.random.default_rng(0)
        for pools, weights in (
            (maker._fake, pairs_module._FAKE_WEIGHTS),
            (maker._real, pairs_module._REAL_WEIGHTS),
            (maker._alone, {}),
        ):
            drawn = [pairs_module._choose(pools, weights, rng).root for _ in range(2000)]
            assert 0.45 < drawn.count(own) / len(drawn) < 0.55
            assert set(drawn) == {own, *more}
        fakes = [
            face for groups in maker._fake.values() for some in groups.values() for face in some if face.root == own
        ]
        twins = {maker._twin(face, rng).root for face in fakes}
        # Own forgeries stand beside own genuine faces where there are some of their source.
        assert twins == {own} if name == "own" else own in twins
    alone = PairMaker([tmp_path / "own"], None, Architecture(), own=tmp_path / "own")
    assert alone.make(0).crops.shape == (2, 224, 224, 3)


def test_a_forgery_stands_beside_the_face_nearest_in_size_of_those_drawn(drawn_data: Path) -> None:
    maker = PairMaker([drawn_data], None, Architecture(), whole_share=1.0)
    rng = np.random.default_rng(0)
    fake = next(face for groups in maker._fake.values() for some in groups.values() for face in some)
    for groups in maker._real.values():
        for i, (group, some) in enumerate(sorted(groups.items())):
            groups[group] = [replace(face, box=np.array([0, 0, 20 + i, 20 + i], np.float32)) for face in some]
    sizes = [face.size_px for groups in maker._real.values() for some in groups.values() for face in some]
    large = replace(fake, publication="", box=np.array([0, 0, 900, 900], np.float32))
    small = replace(large, box=np.array([0, 0, 5, 5], np.float32))
    drawn = {
        name: np.mean([maker._twin(face, rng).size_px for _ in range(300)])
        for name, face in (("large", large), ("small", small))
    }
    assert drawn["large"] > np.quantile(sizes, 0.7)
    assert drawn["small"] < np.quantile(sizes, 0.3)


def test_the_sharper_of_two_pictures_is_blurred_to_the_other() -> None:
    pixels, face = drawn_face(3)
    soft = cv2.GaussianBlur(pixels, (0, 0), 1.2)

    def fine(picture: np.ndarray) -> float:
        return pairs_module._fine_detail(picture, face.box)

    for one, other in ((pixels, soft), (soft, pixels)):
        halves = equally_sharp(one, other, face.box)
        blurred = halves[1 if one is soft else 0]
        assert np.array_equal(halves[0 if one is soft else 1], soft)
        assert 0.8 * fine(soft) < fine(blurred) <= fine(soft)
    assert fine(pixels) > 1.5 * fine(soft)
    same = equally_sharp(soft, soft, face.box)
    assert np.array_equal(same[0], soft)
    assert np.array_equal(same[1], soft)


def test_a_turned_face_takes_its_mask_along(drawn_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Turned as far as it goes, the halves still differ inside the mask only."""
    monkeypatch.setattr(pairs_module, "_TURNED", 1.0)
    monkeypatch.setattr(pairs_module, "_TURN_DEGREES", 1000.0)
    monkeypatch.setattr(pairs_module, "degrade", lambda pixels, face_px, seed: pixels)
    maker = PairMaker([drawn_data], None, Architecture(), whole_share=0.0)
    inside = outside = 0.0
    for seed in range(60):
        pair = maker.make(seed)
        difference = np.abs(pair.crops[0].astype(np.float32) - pair.crops[1]).mean(-1)
        cells = cv2.resize(difference, (28, 28), interpolation=cv2.INTER_AREA)
        near = cv2.dilate(np.where(pair.mask == IGNORE, np.float32(1), pair.mask), np.ones((3, 3)))
        inside += float(cells[pair.mask > 0.5].sum())
        outside += float(cells[near < 0.01].sum())
    assert outside < 0.002 * inside


@pytest.mark.parametrize("way", range(len(retouch_module._WAYS)))
def test_retouching_is_one_function_and_leaves_a_face(way: int) -> None:
    pixels, face = drawn_face(5)
    assert face.mesh is not None
    made = retouch_module._WAYS[way][1](pixels, face.mesh, np.random.default_rng(1))
    again = retouch_module._WAYS[way][1](pixels.copy(), face.mesh, np.random.default_rng(1))
    assert np.array_equal(made, again)
    assert made.shape == pixels.shape
    assert made.dtype == np.uint8
    changed = np.abs(made.astype(int) - pixels).mean()
    assert 0.02 < changed < 60


def test_retouching_needs_nothing_but_the_seed() -> None:
    """Both halves of a pair get the same: what is done does not depend on the pixels."""
    _, face = drawn_face(5)
    assert face.mesh is not None
    dark, bright = np.full((200, 200, 3), 60, np.uint8), np.full((200, 200, 3), 180, np.uint8)
    for seed in range(30):
        changes = [(retouch_module.retouch(p, face.mesh, seed) != p).any(-1) for p in (dark, bright)]
        assert abs(changes[0].mean() - changes[1].mean()) < 0.2


def test_held_back_faces_are_never_trained_on(drawn_data: Path) -> None:
    used = {face.group for face in PairMaker([drawn_data], None, Architecture())._everyone}
    kept = {face.group for face in PairMaker([drawn_data], None, Architecture(), held_back=True)._everyone}
    assert used
    assert kept
    assert not used & kept
    assert "person0" not in {
        face.group for face in PairMaker([drawn_data], None, Architecture(), leave_out=frozenset({"person0"}))._everyone
    }


def test_where_no_pairs_can_be_made_it_is_said_why(drawn_data: Path, tmp_path: Path) -> None:
    kept = {face.group for face in PairMaker([drawn_data], None, Architecture(), held_back=True)._everyone}
    used = {face.group for face in PairMaker([drawn_data], None, Architecture())._everyone}
    said = f"genuine faces to train on, found none; .* {len(kept)} are held back, by their groups' names, and 0 are not"
    with pytest.raises(ValueError, match=said):
        PairMaker([drawn_data], None, Architecture(), leave_out=frozenset(used))
    with pytest.raises(ValueError, match=rf"to measure on, found none; .* 0 are held back, .* and {len(used)} are not"):
        PairMaker([drawn_data], None, Architecture(), leave_out=frozenset(kept), held_back=True)
    with pytest.raises(ValueError, match="typo: expected a folder of redrawn faces"):
        PairMaker([drawn_data], tmp_path / "typo", Architecture())
    shutil.copy(drawn_data / "index.csv", tmp_path)
    with pytest.raises(SystemExit, match=r"expected landmarks\.npz, found none; run .*prepare"):
        PairMaker([tmp_path], None, Architecture())


@pytest.mark.parametrize("data", [b"", b"no picture"])
def test_a_damaged_picture_is_named(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "copy.png").write_bytes(data)
    with pytest.raises(MediaError, match=r"copy\.png: expected a picture"):
        read_picture(tmp_path / "copy.png")


@pytest.mark.skipif(os.name != "posix", reason="such names are those of Unix")
def test_a_damaged_picture_is_named_as_can_be_printed(tmp_path: Path) -> None:
    odd = tmp_path / "x\nok   \x1b[2K.png"
    odd.touch()
    with pytest.raises(MediaError, match=r"x\\nok   \\x1b\[2K\.png: expected a picture"):
        read_picture(odd)


@pytest.mark.parametrize(("digits", "eyes", "mouth"), [("1100", 1.0, 0.0), ("0001", 0.0, 1.0), ("0100", IGNORE, 0.0)])
def test_ciplab_masks_follow_the_file_name(digits: str, eyes: float, mouth: float) -> None:
    _, face = drawn_face(1)
    named = type(face)(
        Path(), f"train/fake/ciplab/easy_1_{digits}.jpg", "fake", "ciplab", "x", face.box, face.five, face.mesh
    )
    assert named.mesh is not None
    mask = ciplab_mask(named)

    def at(part: str) -> float:
        x, y = named.mesh[part].mean(0).round().astype(int)  # type: ignore[index]
        return float(mask[y, x])

    assert at("left_eye") == at("right_eye") == eyes
    assert at("lips_outer") == mouth


def test_what_is_drawn_as_a_whole_is_framed_as_its_twin() -> None:
    """Each side reaches as far from the face as in the tighter picture, so that no border tells the two apart."""
    halves = []
    for seed, (left, top, right, bottom) in ((1, (30, 5, 0, 40)), (2, (0, 25, 12, 0))):
        pixels, face = drawn_face(seed)
        padded = np.pad(pixels, ((top, bottom), (left, right), (0, 0)), mode="edge")
        halves.append(pairs_module._reduced(padded, pairs_module._placed(face, np.ones(2), -np.array([left, top])), 60))
    (first, one), (second, two) = pairs_module._framed_alike(halves)
    assert first.shape == second.shape
    assert np.abs((one.box[:2] + one.box[2:]) / 2 - (two.box[:2] + two.box[2:]) / 2).max() <= 1.5
    assert one.mesh is not None
    assert one.mesh["oval"].min() >= -1
    for pixels, face in ((first, one), (second, two)):
        assert max(face.box[2:] - face.box[:2]) == pytest.approx(60, abs=1.5)
        assert pixels.flags.c_contiguous


@pytest.mark.usefixtures("without_squares")
def test_another_moment_of_the_same_person_changes_what_speaks_alone() -> None:
    shapes = set()
    for seed in range(12):
        (pixels, face), donor = drawn_face(seed), drawn_face(seed + 50)
        forgery = forge(pixels, face, np.random.default_rng(seed), donor=donor, same_person=True)
        shapes.add(forgery.shape)
        assert forgery.family == "other"
        assert np.array_equal(forgery.genuine[forgery.mask == 0], forgery.forged[forgery.mask == 0])
        assert (forgery.genuine[forgery.mask > 0.5] != forgery.forged[forgery.mask > 0.5]).mean() > 0.5
    assert shapes == {"mouth", "lower_half", "below_brows", "inner"}


def test_forged_faces_are_laid_into_genuine_surroundings_and_seen_closely(
    drawn_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker = PairMaker([drawn_data], None, Architecture(margin=0.6), whole_share=0.0, margins=(0.2, 0.6), closest=-0.2)
    fakes = [face for groups in maker._fake.values() for some in groups.values() for face in some]
    monkeypatch.setattr(maker, "_forged", [[fake] for fake in fakes])
    used, seen = [], []
    monkeypatch.setattr(
        pairs_module, "_reduced", lambda pixels, face, *_, reduced=pairs_module._reduced, **more: (
            used.append(face.label), reduced(pixels, face, *_, **more))[1]
    )  # fmt: skip
    margin = maker._margin
    monkeypatch.setattr(maker, "_margin", lambda *words, drawn: (seen.append(drawn), margin(*words, drawn=drawn))[1])
    families = [maker.make(seed).family for seed in range(120)]
    forged = sum(label == "fake" for label in used)
    # A fifth of the third of all pairs in which there is another person's face.
    assert 0.1 < forged / len(used) < 0.5
    close = [drawn for family, drawn in zip(families, seen, strict=True) if family == "other"]
    assert 0.1 < np.mean(close) < 0.9
    assert not any(drawn for family, drawn in zip(families, seen, strict=True) if family == "self")


def test_a_forgery_that_wear_made_equal_to_its_twin_counts_little() -> None:
    crops, mask = np.full((2, 64, 64, 3), 100, np.uint8), np.zeros((8, 8), np.float32)
    mask[2:5, 2:5] = 1
    assert pairs_module._visible(crops, mask) == 0.25
    # What lies outside of the mask is no forgery.
    crops[1, 48:] = 200
    assert pairs_module._visible(crops, mask) == 0.25
    crops[1, 16:40, 16:40] = 102
    assert pairs_module._visible(crops, mask) == pytest.approx(2 / 3)
    crops[1, 16:40, 16:40] = 150
    assert pairs_module._visible(crops, mask) == 1


def test_a_clip_of_many_frames_is_drawn_no_more_often_than_a_picture() -> None:
    clip, picture = [drawn_face(seed)[1] for seed in range(9)], [drawn_face(20)[1]]
    rng = np.random.default_rng(0)
    drawn = [pairs_module._choose({"video": {"clip": clip, "picture": picture}}, {}, rng) for _ in range(400)]
    assert 150 < sum(face is picture[0] for face in drawn) < 250


def test_a_pair_can_be_had_without_its_wear(drawn_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same crops, and nothing else drawn than for a pair that has the wear alone."""
    worn, both = (PairMaker([drawn_data], None, Architecture(), unworn=unworn) for unworn in (False, True))
    changed = 0
    for seed in range(6):
        one, other = worn.make(seed), both.make(seed)
        assert one.unworn is None
        assert other.unworn is not None
        assert np.array_equal(one.crops, other.crops)
        changed += not np.array_equal(other.crops, other.unworn)
    assert changed
    monkeypatch.setattr(pairs_module, "degrade", lambda pixels, face_px, seed: pixels)
    for seed in range(6):
        pair = both.make(seed)
        assert pair.unworn is not None
        assert np.array_equal(pair.crops, pair.unworn)


def test_pictures_alone_need_no_mesh_and_say_nothing_of_what_was_altered(drawn_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "without"
    shutil.copytree(drawn_data, folder)
    with np.load(folder / "landmarks.npz") as known:
        arrays = dict(known)
    arrays |= {part: np.full_like(arrays[part], np.nan) for part in MESH_PARTS}
    np.savez(folder / "landmarks.npz", **arrays)
    index = (folder / "index.csv").read_text()
    (folder / "index.csv").write_text(index.replace(",real,", ",unknown,").replace(",fake,", ",unknown,"))
    maker = PairMaker([drawn_data, folder], None, Architecture(), alone_share=1.0)
    pair = maker.make(3)
    assert pair.family == "alone"
    assert (pair.mask == IGNORE).all()
    assert not any(maker.make(3).crops[i].std() == 0 for i in range(2))
    shown = {maker.make_of(seed)[1].root for seed in range(20)}
    assert shown == {drawn_data, folder}
    used = {face.label for face in PairMaker([drawn_data, folder], None, Architecture())._everyone}
    assert used == {"real"}
