"""Every word a reader sees, in one place and several languages: `languages/en.json` is complete, the others translate it.

A text is found by its key and filled with values: `Words("de")("face_of", person=2)`. Numbers are written as the language
does, with `{apart:number}` those that come as text, too. `{views:view|views}` is the first word where there is one of it,
else the second. What programs read (labels, keys of the JSON, kinds of errors) is never translated.
"""

from __future__ import annotations

import json
import string
import unicodedata
from functools import cache
from pathlib import Path

LANGUAGES = ("en", "es", "de")
_FOLDER = Path(__file__).with_name("languages")
_TWO_LETTERS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss"})


class Words(string.Formatter):
    """The texts of one language.

    Args:
        language: One of `LANGUAGES`.

    Raises:
        ValueError: There is no such language.
    """

    def __init__(self, language: str = "en") -> None:
        if language not in LANGUAGES:
            raise ValueError(f"language must be one of {LANGUAGES}, found {language!r}")
        self.language = language
        self._texts = _read(language)

    def __call__(self, key: str, **values: object) -> str:
        """The text of a key, filled.

        Raises:
            KeyError: There is no such text: a bug.
        """
        return self.vformat(self._texts[key], (), values)

    def number(self, value: float, spec: str) -> str:
        """A number as the language writes it; what is rounded to 0 has no sign."""
        said = format(value, spec)
        if set(said) <= set("+-0.%"):
            said = said.lstrip("+-")
        return self._written(said)

    def _written(self, figures: str) -> str:
        figures = figures.replace("%", "\u00a0%")
        return figures if self.language == "en" else figures.replace(".", ",")

    def format_field(self, value: object, format_spec: str) -> str:
        """What stands for one value, as `string.Formatter` asks for it."""
        one, has_both, more = format_spec.partition("|")
        if has_both:
            # Notes carry their numbers as text.
            return one if str(value) == "1" else more
        if format_spec == "number":
            return self._written(str(value))
        return self.number(value, format_spec) if isinstance(value, float) else format(value, format_spec)


def in_plain_letters(text: str) -> str:
    """For pictures, since Pillow's own font has hardly more than ASCII: umlauts as two letters, others without accents."""
    parts = unicodedata.normalize("NFKD", text.translate(_TWO_LETTERS))
    return "".join(part for part in parts if not unicodedata.combining(part))


@cache
def _read(language: str) -> dict[str, str]:
    texts: dict[str, str] = json.loads((_FOLDER / f"{language}.json").read_text(encoding="utf-8"))
    return texts
