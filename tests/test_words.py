"""words: every language says everything, with the same values in it."""

from __future__ import annotations

import json
import re
import string
from pathlib import Path
from typing import get_args

import pytest

import deepfake_detect
from deepfake_detect.compare import ComparisonLabel
from deepfake_detect.types import CredentialState, Exclusion, Kind, Label, NoteKey
from deepfake_detect.words import LANGUAGES, Words, in_plain_letters

PACKAGE = Path(deepfake_detect.__file__).parent


def texts(language: str) -> dict[str, str]:
    found: dict[str, str] = json.loads((PACKAGE / f"languages/{language}.json").read_text(encoding="utf-8"))
    return found


def values_in(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_there_is_a_file_for_each_language_and_no_other() -> None:
    assert sorted(path.stem for path in (PACKAGE / "languages").iterdir()) == sorted(LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_key_exists_in_each_language_with_the_same_values(language: str) -> None:
    english, other = texts("en"), texts(language)
    assert len(english) > 100
    assert english.keys() == other.keys()
    for key, text in english.items():
        assert values_in(text) == values_in(other[key]), key
        assert other[key].strip(), key


def test_the_translations_translate() -> None:
    english = texts("en")
    # Names and words that the languages share.
    same = {
        "page_person",
        "page_fact_name",
        "page_kind_video",
        "page_name",
        "page_crop_caption",
        "strength_moderate",
        "page_credentials",
        "summary_length",
    }
    for language in set(LANGUAGES) - {"en"}:
        other = texts(language)
        long = [key for key, text in english.items() if len(text) > 15 and text == other[key]]
        assert set(long) <= same, long


def test_every_text_the_page_asks_for_is_there() -> None:
    page = (PACKAGE / "page.html.j2").read_text(encoding="utf-8")
    asked = set(re.findall(r'w\("([a-z_]+)"[,)]', page))
    asked |= {key for keys in re.findall(r"for key in \(([^)]*)\)", page) for key in re.findall(r'"([a-z_]+)"', keys)}
    assert len(asked) > 40
    assert asked <= texts("en").keys()
    for label in get_args(Label):
        kinds = get_args(Kind) if label in ("inconclusive", "no_face") else ()
        told = [f"next_{label}_{kind}" for kind in kinds] or [f"next_{label}"]
        assert {f"label_{label}", *told} <= texts("en").keys()
    assert {f"compare_label_{label}" for label in get_args(ComparisonLabel)} <= texts("en").keys()
    assert {f"excluded_{why}" for why in get_args(Exclusion)} <= texts("en").keys()
    assert {f"note_{key}" for key in get_args(NoteKey)} <= texts("en").keys()
    states = set(get_args(CredentialState)) - {"not_read"}
    assert {f"credentials_{state}" for state in states} <= texts("en").keys()


def test_values_are_filled_in_and_never_read_as_texts() -> None:
    assert Words()("face_of", person=2) == "The face of person 2"
    assert "{person.__class__}" in Words("de")("page_title", name="{person.__class__}")


@pytest.mark.parametrize(
    ("value", "spec", "english", "other"),
    [
        (0.891, ".0%", "89\u00a0%", "89\u00a0%"),
        (0.891, ".1%", "89.1\u00a0%", "89,1\u00a0%"),
        (-1.25, "+.1f", "-1.2", "-1,2"),
        (-0.04, "+.1f", "0.0", "0,0"),
        (0.0, "+.2f", "0.00", "0,00"),
        (1.04, "+.1f", "+1.0", "+1,0"),
    ],
)
def test_a_number_is_written_as_the_language_does(value: float, spec: str, english: str, other: str) -> None:
    assert [Words(language).number(value, spec) for language in ("en", "de", "es")] == [english, other, other]


def test_figures_that_come_as_text_are_written_as_the_language_does_and_other_text_is_not() -> None:
    apart = {language: Words(language)("note_few_frames", frames="32", apart="7.5") for language in LANGUAGES}
    assert "up to 7.5 s at" in apart["en"]
    assert "bis zu 7,5 s lang" in apart["de"]
    assert "hasta 7,5 s seguidos" in apart["es"]
    cut = Words("de")("note_video_cut_short", claimed="12.0", present="2.0", missing="83%")
    assert "nennt 12,0 s, 2,0 s sind da, 83\u00a0% fehlen" in cut
    assert "Lavf58.1 " in Words("de")("note_encoded_again", field="encoder", encoder="Lavf58.1 ")


def test_letters_that_a_small_font_lacks_are_written_otherwise() -> None:
    assert in_plain_letters("Größe über 4\u00a0%: ¿qué año?") == "Groesse ueber 4 %: ¿que ano?"


def test_one_is_told_from_many_in_each_language() -> None:
    for language in LANGUAGES:
        words = Words(language)
        one, two = (words("glimpsed", person=1, views=views, span="") for views in (1, 2))
        assert one.replace("1", "#") != two.replace("1", "#").replace("2", "#")
    assert "is 1 day later" in Words()(
        "note_times_disagree", changed_field="a", changed="b", days="1", taken_field="c", taken="d"
    )


def test_strengths_are_inflected_for_what_follows_them_in_german() -> None:
    """As in "schwache Unterstützung": after a colon it would be wrong."""
    asked = {key: text for key, text in texts("de").items() if "{strength}" in text}
    assert {"page_support_manipulated", "page_support_genuine", "reason_manipulated_image"} <= asked.keys()
    for key, text in asked.items():
        assert text.count("{strength} Unterstützung") == text.count("{strength}"), key


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(ValueError, match="language must be one of"):
        Words("xx")
