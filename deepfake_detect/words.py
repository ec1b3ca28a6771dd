"""Every word a reader sees, in one place and several languages: `languages/en.json` is complete, the others translate it.

A text is found by its key and filled with values: `Words("de")("face_of", person=2)`. What programs read (labels, keys of
the JSON, kinds of errors) is never translated.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

LANGUAGES = ("en", "es", "de")
_FOLDER = Path(__file__).with_name("languages")


class Words:
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
        return self._texts[key].format(**values)


@cache
def _read(language: str) -> dict[str, str]:
    texts: dict[str, str] = json.loads((_FOLDER / f"{language}.json").read_text(encoding="utf-8"))
    return texts
