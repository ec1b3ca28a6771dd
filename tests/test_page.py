"""page: what it shows, what it hides, and what a hostile file can't do to it."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING, get_args

import numpy as np
import pytest
from conftest import texture

from deepfake_detect import verdict
from deepfake_detect.metadata import WITHHELD
from deepfake_detect.options import Options, ReportOptions
from deepfake_detect.page import html as page
from deepfake_detect.page import in_notebook, plain, posteriors
from deepfake_detect.types import (
    Bands,
    Calibration,
    ContentCredentials,
    Crop,
    Face,
    FaceTrack,
    Failure,
    HashedMoment,
    Heatmap,
    Kind,
    Label,
    MediaInfo,
    Note,
    OtherGroups,
    PerceptualHash,
    Provenance,
    Report,
    Score,
    ToolInfo,
    Verdict,
)
from deepfake_detect.verdict import decide, judge
from deepfake_detect.words import LANGUAGES, Words

if TYPE_CHECKING:
    from deepfake_detect.types import CredentialState

FACE = Face((10, 10, 90, 90), ((1, 1),) * 5, 0.99)
BANDS = Bands(1, 0, 0.2, 0.8, 500, 200, 0.03, 0.05, 100)


def score(time_s: float, logit: float) -> Score:
    heatmap = Heatmap(np.full((28, 28), logit, np.float32), Crop(texture(64, 64), np.eye(2, 3)))
    return Score(time_s, FACE, 0.8, logit=logit, heatmap=heatmap)


def report(name: str = "clip.mp4", people: int = 1) -> Report:
    tracks = tuple(
        FaceTrack(i + 1, tuple(score(t / 4, 3 - i - t / 40) for t in range(12)), 2.0 - i, 0.9 - i / 20, (0.7, 0.95))
        for i in range(people)
    )
    return Report(
        path=name,
        tool=ToolInfo("1.0", "net", "0" * 64, "fit", "0" * 64),
        media=MediaInfo(name, "video", 1234, "ab" * 32, 640, 480, 3.0, 25.0, "h264"),
        sampled_times_s=tuple(t / 4 for t in range(12)),
        verdict=Verdict("manipulated", 0.9, 9.0, "as it was said in English", (0.7, 0.95)),
        tracks=tracks,
        calibration=Calibration("fit", "2026-01-01", "some media", BANDS, BANDS),
    )


class Page(HTMLParser):
    """What a browser would find: elements by name, attributes, text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_needs_no_network_and_no_script() -> None:
    shown = Page(page(report(), rerun="deepfake-detect verify out"))
    assert not {"script", "link", "iframe", "object", "form"} & set(shown.names)
    addresses = [value for _, name, value in shown.attributes if name in ("src", "href", "action", "data")]
    assert len(addresses) > 5
    assert all(address.startswith("data:image/jpeg;base64,") for address in addresses)
    assert not [name for _, name, _ in shown.attributes if name.startswith("on")]


def test_every_picture_has_words_for_those_who_do_not_see_it() -> None:
    shown = Page(page(report()))
    pictures = [tag for tag in shown.names if tag == "img"]
    alternatives = [(tag, value) for tag, name, value in shown.attributes if name == "alt"]
    assert len(pictures) == len(alternatives) > 4
    assert [name for tag, name, _ in shown.attributes if tag == "html"] == ["lang"]
    assert shown.names.count("h1") == 1


HOSTILE = (
    "<script>alert(1)</script>.mp4",
    '"><img src=x onerror=alert(1)>.mp4',
    "{{ 7 * 7 }}{% raw %}.mp4",
    "photo\u202egpj.exe",
    "line\nbreak\r\n\u2028.mp4",
    "x" * 10_000 + ".mp4",
)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_shown_as_text(name: str) -> None:
    clean, shown = Page(page(report())), Page(page(report(name)))
    assert clean.names == shown.names
    assert [a[:2] for a in clean.attributes] == [a[:2] for a in shown.attributes]
    assert plain(name.split("/")[-1]) in shown.text
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", shown.text)


def test_no_picture_where_none_is_wanted() -> None:
    shown = Page(page(report(), options=ReportOptions(images=False)))
    assert {value for tag, name, value in shown.attributes if name in ("src", "href")} == set()
    assert Words()("page_no_images") in shown.text
    assert "svg" in shown.names


def test_others_are_left_out() -> None:
    both, one = (Page(page(report(people=2), options=ReportOptions(person=who))) for who in (None, 2))
    assert "Person 1" in both.text
    assert "Person 1" not in one.text
    assert "Person 2" in one.text
    assert one.names.count("img") < both.names.count("img")


def test_a_crowd_is_cut_to_the_strongest_and_the_page_says_so() -> None:
    text = Page(page(report(people=12))).text
    assert "4 more people" in text
    assert "Person 1" in text
    assert "Person 12" not in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_language_is_spoken_from_top_to_end(language: str) -> None:
    text = page(report(), options=ReportOptions(language=language))
    words = Words(language)
    assert f'<html lang="{language}">' in text
    for key in ("label_manipulated", "next_manipulated", "page_meaning", "help_copy", "limit_body"):
        assert words(key).replace('"', "&#34;").replace("'", "&#39;") in text
    assert ("as it was said in English" in text) is False


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_wrong_with_a_file_is_said_in_the_language_of_the_page(language: str) -> None:
    values = {"claimed": "9.0", "present": "3.0", "missing": "67%"}
    cut = replace(report(), notes=(Note("video_cut_short", values),), warnings=("as it was said in English",))
    text = page(cut, options=ReportOptions(language=language))
    assert Words(language)("note_video_cut_short", **values) in text
    assert "as it was said in English" not in text
    # Only what the calibration's media were is English everywhere.
    assert text.count("lang=") == text.count('<span lang="en">some media</span>') + 1
    assert ('<span lang="en">some media</span>' in text) is (language != "en")


@pytest.mark.parametrize("language", LANGUAGES)
def test_that_only_a_part_was_examined_stands_beside_the_finding(language: str) -> None:
    values = {"start": "60.0", "end": "90.0", "length": "3600.0"}
    said = Words(language)("note_part", **values)
    whole, part = (
        Page(page(replace(report(), notes=notes), options=ReportOptions(language=language))).text
        for notes in ((), (Note("part", values),))
    )
    assert said not in whole
    assert part.count(said) == 1
    assert part.index(said) < part.index(Words(language)("page_next"))


def test_what_could_not_be_examined_still_gets_a_page() -> None:
    failed = Report(
        "x.jpg", ToolInfo("1.0", "net", "0" * 64, "fit", "0" * 64), error=Failure("damaged", "x.jpg: <b>cut short</b>")
    )
    text = Page(page(failed, rerun="deepfake-detect verify out")).text
    assert "x.jpg: <b>cut short</b>" in text
    assert Words()("page_help") in text
    # What was not done is not described.
    assert Words()("page_check_failed") in text
    for key in ("page_method", "page_fact_calibration", "page_check_help"):
        assert Words()(key) not in text


@pytest.mark.parametrize(
    ("language", "said"),
    [("en", "Do not pay, and do not answer threats."), ("de", "Zahlen Sie nicht und antworten Sie nicht auf Drohungen."),
     ("es", "No pague ni responda a las amenazas.")],
)  # fmt: skip
def test_whoever_is_threatened_is_told_not_to_pay_whatever_was_found(language: str, said: str) -> None:
    for label in get_args(Label):
        figures = (None, None) if label == "no_face" else (0.5, 1.0)
        known = replace(report(), tracks=(), verdict=Verdict(label, *figures, "reason"))
        assert Page(page(known, options=ReportOptions(language=language))).text.count(said) == 1


def test_a_file_without_faces_gets_no_table_of_odds() -> None:
    empty = replace(report(), tracks=(), verdict=Verdict("no_face", None, None, "nobody"))
    text = Page(page(empty)).text
    assert Words()("page_meaning_none") in text
    assert Words()("reason_no_face") in text


def test_odds_before_become_probabilities_after() -> None:
    found = dict(posteriors(10.0))
    assert found == pytest.approx({"1 : 99": 10 / 109, "1 : 10": 0.5, "1 : 1": 10 / 11, "10 : 1": 100 / 101})


def test_a_notebook_shows_the_page_in_a_frame_of_its_own() -> None:
    shown = in_notebook(report('"><script>alert(1)</script>'))
    assert Page(shown).names == ["iframe"]
    assert report()._repr_html_().startswith("<iframe srcdoc=")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("rerun", ["", "deepfake-detect verify out"])
def test_the_section_to_which_the_page_sends_is_there_and_says_where_the_files_are(language: str, rerun: str) -> None:
    words = Words(language)
    written = page(report(people=12), options=ReportOptions(language=language), rerun=rerun)
    assert words("page_check") in words("next_manipulated")
    assert f"<h2>{words('page_check')}</h2>" in written
    text = Page(written).text
    assert words("page_more_people", people=4) in text
    assert (words("page_check_unsaved") in text) is not bool(rerun)
    assert (words("page_check_help") in text) is bool(rerun)


def test_a_minute_of_video_with_many_people_stays_below_three_megabytes() -> None:
    rng = np.random.default_rng(0)

    def noisy(time_s: float) -> Score:
        crop = Crop(rng.integers(0, 256, (224, 224, 3)).astype(np.uint8), np.eye(2, 3))
        heatmap = Heatmap(rng.normal(0, 3, (28, 28)).astype(np.float32), crop)
        return Score(time_s, FACE, 0.8, logit=1.0, heatmap=heatmap)

    people = tuple(FaceTrack(i + 1, tuple(noisy(t / 2) for t in range(32)), 1.0, 0.7) for i in range(8))
    written = page(replace(report(), tracks=people, sampled_times_s=tuple(t / 2 for t in range(32))))
    assert written.count('class="moment"') == 96
    # Of the 32 of each person 12.
    assert written.count(Words()("page_timeline_help_some", pictures=12)) == 8
    assert Words()("page_timeline_help") not in written
    assert 5e5 < len(written) < 3e6


def test_no_view_is_promised_where_no_map_was_kept() -> None:
    known, told = report(), Words()("page_timeline_help").partition(";")[0]
    assert Words()("page_timeline_help") in page(known)
    bare = tuple(replace(score, heatmap=None) for score in known.tracks[0].scores)
    without = page(replace(known, tracks=(replace(known.tracks[0], scores=bare),)))
    assert without.count("<circle") == 12
    assert told not in without


def test_of_those_left_out_who_was_not_judged_is_not_said_to_show_less() -> None:
    judged, words = report(people=3).tracks, Words()
    unjudged = tuple(FaceTrack(i, (Score(0.0, FACE, 0.1, "too_small"),)) for i in range(4, 31))
    text = Page(page(replace(report(), tracks=(*judged, *unjudged)))).text
    assert "22 more people, not judged, stand in report.json." in text
    assert "less evidence" not in text
    many = Page(page(replace(report(), tracks=(*report(people=10).tracks, replace(unjudged[0], id=11))))).text
    assert words("page_more_people", people=2) in many
    assert words("page_more_unjudged", people=1) in many


def test_the_person_who_decides_is_never_cut() -> None:
    crowd = report(people=12)
    glimpsed = tuple(replace(track, scores=track.scores[:2], probability=0.95) for track in crowd.tracks[:-1])
    text = Page(page(replace(crowd, tracks=(*glimpsed, crowd.tracks[-1])))).text
    assert "The face of person 12" in text
    assert "Person 12Probability" in text.replace("\n", "")


def test_no_range_is_shown_where_both_ends_lie_at_the_limit() -> None:
    for interval, told in (((0.7, 0.95), True), ((0.88, 0.889), False), ((0.86, 0.889), True)):
        text = Page(page(replace(report(), verdict=Verdict("manipulated", 0.889, 8.0, "reason", interval)))).text
        assert ("interval" in text[: text.index(Words()("page_next"))]) is told
        assert ("89\u00a0%." in text) is not told


def test_support_says_for_what() -> None:
    genuine = replace(report(), verdict=Verdict("no_manipulation_found", 0.05, 1 / 19, "reason"))
    text = Page(page(genuine)).text
    assert "Support for a file that was not manipulated: moderate" in text
    assert "divides the odds by 19" in text
    alike = "the wider since files of one person or clip are mostly judged alike"
    assert f"of 500 genuine ones 15 were called manipulated (95 % interval, {alike}: 2\u00a0% to 5\u00a0%)" in text


def test_an_interval_of_errors_is_of_as_many_groups_as_tell_as_much() -> None:
    known = report()
    assert known.calibration is not None
    for numbers, high in (({}, 9), ({"manipulated_groups": 10}, 34), ({"manipulated_effective": 3.8}, 55),
                          ({"manipulated_groups": 10, "manipulated_effective": 3.8}, 55)):  # fmt: skip
        video = replace(known.calibration.video, miss_rate=0.05, **numbers)
        text = Page(page(replace(known, calibration=replace(known.calibration, video=video)))).text
        assert f"\u00a0% to {high}\u00a0%)." in text


def test_errors_on_other_people_stand_beside_those_on_the_media_fitted_on() -> None:
    known = report()
    assert known.calibration is not None
    assert "in both" not in Page(page(known)).text
    elsewhere = replace(known.calibration, other_groups={"video": OtherGroups(0.05, 0.1, 0.3)})
    text = Page(page(replace(known, calibration=elsewhere))).text
    assert "of 500 genuine ones 15 were called manipulated (95 % interval" in text
    assert "of 500 genuine ones 25 were called manipulated (3\u00a0% to 7\u00a0%)" in text
    assert 'of 200 manipulated ones 20 were called "no manipulation found"' in text
    assert "30\u00a0% of all were inconclusive" in text
    pictures = replace(elsewhere, other_groups={"image": OtherGroups(0.05, 0.1, 0.3)})
    assert "in both" not in Page(page(replace(known, calibration=pictures))).text


def test_a_still_picture_has_no_time() -> None:
    still = report("a.jpg")
    assert still.media is not None
    shown = Page(page(replace(still, media=replace(still.media, kind="image"), tracks=(still.tracks[0],))))
    assert "0.00 s" not in shown.text
    assert "svg" not in shown.names


def test_a_picture_says_where_the_odds_are_even_and_a_video_what_lies_between_its_frames() -> None:
    known = report("a.jpg")
    assert known.media is not None
    assert known.calibration is not None
    fit = replace(known.calibration, image=replace(BANDS, slope=2.0, offset=-3.0))
    still = replace(known, media=replace(known.media, kind="image"), calibration=fit)
    moving, picture = Page(page(replace(known, calibration=fit))).text, Page(page(still)).text
    assert [Words()("page_even", even=1.5) in text for text in (moving, picture)] == [False, True]
    assert [Words()("limit_between") in text for text in (moving, picture)] == [True, False]


def test_whoever_does_not_decide_is_told_apart_where_a_figure_stands_beside_the_name() -> None:
    said = Words()("page_person_brief")
    known = report(people=2)
    assert said not in Page(page(known)).text
    assert Words()("after_cuts") in Page(page(known)).text
    assert Words()("after_cuts") not in Page(page(report())).text
    long, short = known.tracks
    both = replace(known, tracks=(long, replace(short, scores=short.scores[:2])))
    assert Page(page(both)).text.count(said) == 1
    assert said in Page(page(both, options=ReportOptions(person=2))).text
    assert said not in Page(page(both, options=ReportOptions(person=1))).text


@pytest.mark.parametrize("language", LANGUAGES)
def test_of_whom_the_label_rests_on_it_is_not_said_that_they_are_outside_of_the_finding(language: str) -> None:
    known = report()
    assert known.calibration is not None
    tracks = tuple(
        judge(FaceTrack(i, tuple(score(t / 4, logit) for t in range(n))), kind="video", calibration=known.calibration)
        for i, n, logit in ((1, 16, -3.0), (2, 4, 4.0))
    )
    answer = decide(tracks, kind="video", calibration=known.calibration)
    assert answer.label == "inconclusive"
    assert "person 2, seen too briefly to decide" in answer.reason
    words, options = Words(language), ReportOptions(language=language)
    said = words("page_person_brief")
    assert said in Page(page(replace(known, tracks=tracks, verdict=answer), options=options)).text
    # What it has no part in is the probability.
    assert words("page_probability", probability=0.5).split()[0].lower() in said.lower()
    assert words("page_summary").lower() not in said.lower()


def test_the_highest_moment_is_named_with_its_own_time() -> None:
    # It lies outside of the stretch on which the person's logit rests, the last one.
    known = report()
    logits = (-3.0, -3.0, 7.5, *[-3.0] * 6, 5.0, 5.0, 5.0)
    track = replace(known.tracks[0], scores=tuple(score(t / 4, logit) for t, logit in enumerate(logits)))
    (said,) = [
        value
        for _, name, value in Page(page(replace(known, tracks=(track,)))).attributes
        if name == "aria-label" and "judged, from" in value
    ]
    assert "to +7.5, strongest at 0.5 s" in said


def test_the_line_is_drawn_where_the_odds_are_even() -> None:
    known = report()
    assert known.calibration is not None
    bands = replace(BANDS, slope=2.0, offset=-3.0)
    text = page(replace(known, calibration=replace(known.calibration, video=bands)))
    assert Words()("page_timeline_even", even=1.5) in Page(text).text
    # 180 units for 16 logits, 0 in the middle.
    assert f'y1="{90 - 1.5 * 180 / 16:.1f}"' in text


@pytest.mark.parametrize(("language", "dashed"), [("en", "dashed"), ("de", "gestrichelte"), ("es", "discontinua")])
def test_the_line_of_even_odds_is_named_by_what_holds_on_dark_ground_too(language: str, dashed: str) -> None:
    text = page(report(), options=ReportOptions(language=language))
    assert dashed in Words(language)("page_timeline_even", even=0.0)
    lines = re.findall("<line[^>]*>", text)
    assert len(lines) == 6
    assert [line for line in lines if "dasharray" in line] == [line for line in lines if 'class="even"' in line] != []


@pytest.mark.parametrize(("start_s", "told"), [(1432.0, True), (0.0, False), (0.001, False), (None, False)])
def test_that_a_video_has_a_clock_of_its_own_is_told_where_it_begins_late(start_s: float | None, told: bool) -> None:
    known = report(people=2)
    assert known.media is not None
    text = Page(page(replace(known, media=replace(known.media, start_s=start_s)))).text
    words = Words()
    assert (words("page_times", start_s=1432.0) in text) is told
    assert ("video's own clock" in text) is told
    assert (f"{words('page_fact_start')}1432.00 s" in text) is told
    assert words("after_cuts") in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_maps_are_said_to_be_in_a_folder_that_has_none(language: str) -> None:
    known, words = report(), Words(language)
    nobody = replace(known, tracks=(), verdict=Verdict("no_face", None, None, "reason"))
    for said, key in ((known, "page_check_help"), (nobody, "page_check_nobody")):
        text = Page(page(said, options=ReportOptions(language=language), rerun="deepfake-detect verify out")).text
        assert words(key) in text
        assert ("evidence/" in text) is bool(said.tracks)


def test_no_maps_are_promised_of_a_person_who_has_none() -> None:
    known = report()
    both = replace(known, tracks=(*known.tracks, FaceTrack(2, (Score(0.0, FACE, 0.1, "too_small"),))))
    for person, has_maps in ((None, True), (1, True), (2, False)):
        text = Page(page(both, options=ReportOptions(person=person), rerun="deepfake-detect verify out")).text
        assert ("evidence/" in text) is has_maps


def test_that_not_each_view_has_its_map_is_said() -> None:
    known, words = report(people=2), Words()
    first, second = known.tracks
    some = tuple(replace(score, heatmap=None) for score in first.scores[:4])
    fewer = replace(first, scores=(*some, *first.scores[4:]))
    none = replace(second, scores=tuple(replace(score, heatmap=None) for score in second.scores))
    for tracks, kept, nobody in ((known.tracks, 24, 0), ((fewer, second), 20, 0), ((fewer, none), 8, 1)):
        text = Page(page(replace(known, tracks=tracks))).text
        assert (words("page_maps_kept", views=24, kept=kept) in text) is (kept < 24)
        assert text.count(words("page_person_no_map")) == nobody
    # Without pictures nobody looks for them.
    text = Page(page(replace(known, tracks=(fewer, none)), options=ReportOptions(images=False))).text
    assert words("page_person_no_map") not in text
    assert words("page_maps_kept", views=24, kept=8) not in text


def test_the_line_of_a_person_is_broken_where_they_were_looked_for_and_not_judged() -> None:
    known = report()
    (person,) = known.tracks
    assert page(known).count("<polyline") == 1
    without = replace(person, scores=(*person.scores[:3], *person.scores[6:8], person.scores[10]))
    away = page(replace(known, tracks=(without,)))
    assert [len(points.split()) for points in re.findall(r'<polyline[^>]* points="([^"]*)"', away)] == [3, 2, 1]
    assert "seen from 0.0 to 2.5 s, in 6 of the 12 frames looked at" in Page(away).text


def test_a_short_video_has_no_equal_labels() -> None:
    short = replace(report(), sampled_times_s=(0.0, 0.04, 0.08))
    labels = re.findall(r'text-anchor="middle">([\d.]+)</text>', page(short))
    assert labels == ["0.00", "0.02", "0.04", "0.06", "0.08"]


def test_what_to_do_next_does_not_say_too_little_where_one_alone_would_be_called_manipulated() -> None:
    crowd = report(people=4)
    doubtful = replace(crowd, verdict=Verdict("inconclusive", 0.6, 1.5, "reason"))
    assert Words()("next_inconclusive_alone_video") in Page(page(doubtful)).text
    alike = tuple(
        replace(track, scores=tuple(score(t / 4, 0.1) for t in range(12)), logit=0.1, probability=0.52)
        for track in crowd.tracks
    )
    assert Words()("next_inconclusive_video") in Page(page(replace(doubtful, tracks=alike))).text
    # Of one of them a part would be.
    part = replace(alike[0], scores=(*alike[0].scores[:8], *(score(t / 4, 2.0) for t in range(8, 12))))
    text = Page(page(replace(doubtful, tracks=(part, *alike[1:])))).text
    assert Words()("next_inconclusive_part_video") in text
    assert Words()("next_inconclusive_video") not in text
    # Or three who were seen once each would be, were they one.
    once = tuple(FaceTrack(5 + t, (score(float(t), 3.0),), logit=3.0, probability=0.9) for t in range(3))
    text = Page(page(replace(doubtful, tracks=(*alike, *once)))).text
    assert Words()("next_inconclusive_together_video") in text
    assert Words()("next_inconclusive_part_video") not in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_about_a_picture_is_said_that_only_a_video_has(language: str) -> None:
    known, words, options = report(), Words(language), ReportOptions(language=language)
    assert known.media is not None
    assert known.calibration is not None
    of_videos = re.compile(r"--start|\b(longer|video|längere|Videos?|larg[ao]|vídeo)\b")
    assert of_videos.search(words("next_inconclusive_alone_video"))
    said = set()
    for logits in ((), (-1.0,), (-0.2,), (1.0,), (3.0,), (1.2, -3.0, -3.0), (4.0, *[-3.0] * 11)):
        for kind in get_args(Kind):
            tracks = tuple(
                judge(FaceTrack(i + 1, (score(0.0, logit),)), kind=kind, calibration=known.calibration)
                for i, logit in enumerate(logits)
            )
            answer = decide(tracks, kind=kind, calibration=known.calibration)
            told = replace(known, media=replace(known.media, kind=kind), tracks=tracks, verdict=answer)
            text = Page(page(told, options=options)).text
            # The finding, and what to do next.
            said_of_it = text[text.index(words(f"label_{answer.label}")) : text.index(words("page_help"))]
            assert kind == "video" or not of_videos.search(said_of_it)
            said.add((answer.label, verdict.reason(told, words)))
    assert {label for label, _ in said} == {"manipulated", "inconclusive", "no_face"}
    assert len(said) > 10


@pytest.mark.parametrize("language", LANGUAGES)
def test_where_several_were_seen_it_is_said_of_how_many_one_alone_is_too_little(language: str) -> None:
    words, options = Words(language), ReportOptions(language=language)
    people = verdict.too_many_for_one(BANDS)
    assert people == 20
    one, two = (Page(page(report(people=seen), options=options)).text for seen in (1, 2))
    said = words("page_many_video", people=people)
    assert [said in text for text in (one, two)] == [False, True]


def test_numbers_are_written_as_the_language_does() -> None:
    written = page(report(), options=ReportOptions(language="de"))
    german = Page(re.sub("<style>.*</style>", "", written, flags=re.DOTALL)).text
    assert "Wahrscheinlichkeit 90\u00a0%, Hinweise +2,0" in german
    assert "3,00 s" in german
    # But for that of the program's version.
    assert re.findall(r"\d\.\d", german) == ["1.0"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_withheld_is_said_in_the_language_of_the_page(language: str) -> None:
    known = Provenance("0" * 32, metadata=(("EXIF", "Artist", WITHHELD), ("EXIF", "Make", "Nikon")))
    text = Page(page(replace(report(), provenance=known), options=ReportOptions(language=language))).text
    assert Words(language)("page_withheld") in text
    assert WITHHELD not in text
    assert "Nikon" in text


def test_hashes_that_fit_many_pictures_do_not_come_first_and_are_marked() -> None:
    blank, dark, telling = (PerceptualHash(digit * 64, quality) for digit, quality in (("3", 0), ("4", 49), ("5", 50)))

    def shown(*hashes: PerceptualHash) -> str:
        moments = tuple(HashedMoment(float(second), each) for second, each in enumerate(hashes))
        return Page(page(replace(report(), provenance=Provenance("0" * 32, perceptual_hashes=moments)))).text

    begins_black = shown(blank, dark, telling, telling)
    assert "quality is below 50" in begins_black
    assert telling.bits in begins_black
    assert blank.bits not in begins_black
    assert dark.bits not in begins_black
    assert "4 moments were hashed" in begins_black
    weak = Words()("page_pdq_weak")
    assert weak not in begins_black
    only_black = shown(blank, blank)
    assert f"{blank.bits} (0: {weak}), 1.00 s" in " ".join(only_black.split())
    assert "moments were hashed" not in only_black


def test_one_is_not_said_to_be_many() -> None:
    text = Page(page(report(people=9))).text
    assert "1 more person, with less evidence, stands in report.json" in text
    bands = replace(BANDS, genuine=9, false_alarm_rate=0.0, manipulated=28, miss_rate=1 / 28)
    known = report()
    assert known.calibration is not None
    text = Page(page(replace(known, calibration=replace(known.calibration, video=bands)))).text
    assert 'of 28 manipulated ones 1 was called "no manipulation found"' in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_was_not_read_is_said_and_not_explained(language: str) -> None:
    words, options = Words(language), ReportOptions(language=language)
    without = Page(page(report(), options=options)).text
    read = Page(page(replace(report(), provenance=Provenance(md5="0" * 32)), options=options)).text
    array = Page(page(replace(report(), pixels=texture(8, 8)), options=options, rerun="verify")).text
    shown = [
        [words(key) in text for key in ("page_provenance_none", "page_pdq_help")] for text in (without, read, array)
    ]
    assert shown == [[True, False], [False, True], [False, False]]
    # Nor can any file repeat what was made of pixels.
    assert words("page_check_array") in array
    assert words("page_check_help") not in array


def test_the_container_is_stated_where_it_is_known() -> None:
    known = report()
    assert known.media is not None
    assert Words()("page_fact_container") not in Page(page(known)).text
    text = Page(page(replace(known, media=replace(known.media, container="matroska,webm")))).text
    assert "Container" in text
    assert "matroska / webm" in text


def test_the_page_does_not_say_that_there_are_credentials_where_that_is_not_known() -> None:
    credentials = ContentCredentials("not_read", reason="unreadable")
    found = Provenance(md5="0" * 32, content_credentials=credentials)
    text = Page(page(replace(report(), provenance=found))).text
    assert "Whether there are any could not be told" in text


def test_the_page_says_of_a_signer_what_was_asked_and_no_more() -> None:
    def said(state: CredentialState, trust: str | None) -> str:
        found = Provenance(md5="0" * 32, content_credentials=ContentCredentials(state, signer="Anna's Camera"))
        return Page(page(replace(report(), provenance=found, options=Options(trust=trust)))).text

    unasked, unlisted, trusted = said("untrusted", None), said("untrusted", "list.pem"), said("valid", "list.pem")
    assert "no list of trusted signers was given for this report: Anna's Camera is what the certificate says" in unasked
    assert "the signer is not on the list of the trusted that was given for this report" in unlisted
    assert "Whether the certificate has been revoked since was not asked." in trusted


def test_paper_has_all_that_pointing_would_show_and_no_more() -> None:
    text = page(report(), paper=True)
    assert text.count("<circle") == 12
    assert 'class="moment"' not in text
