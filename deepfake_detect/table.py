"""What is known of many files -> a table with a row each, and beside it a page to look at and to sort."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import os
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from . import source
from .errors import OptionsError
from .files import replacing
from .options import Options
from .page import templates

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from .types import ToolInfo
    from .words import Words

# The table's columns and what each holds; None where it does not apply.
COLUMNS: dict[str, type] = {
    "path": str, "sha256": str, "size_bytes": int, "kind": str, "width": int, "height": int, "duration_s": float,
    "people": int, "label": str, "probability": float, "likelihood_ratio": float, "reason": str, "warnings": str,
    "error_kind": str, "error": str, "confinement": str,
}  # fmt: skip
FORMATS = (".parquet", ".csv", ".jsonl")
TEMPLATE, SCRIPT, PAGE = "scan.html.j2", "scan.js.j2", "index.html"
# So many rows does the page show; the table has all.
ON_PAGE = 2000
_ROWS_AT_A_TIME = 4096


@dataclass(frozen=True)
class Summary:
    """What a scan came to.

    Attributes:
        files: Rows of the table.
        labels: How many files by label.
        errors: How many files that could not be judged, by kind of error.
        duplicates: How many have the content of another one, and its verdict.
        confinements: What held in the workers, see `confine.confine`.
        table: Where the table is.
        page: Where the page is.
    """

    files: int
    labels: dict[str, int]
    errors: dict[str, int]
    duplicates: int
    confinements: tuple[str, ...]
    table: Path
    page: Path


def check_way(out: Path, page: Path, journal: Path) -> None:
    """Whether a table and its page can be written there, and would replace nothing but those of an earlier scan.

    Raises:
        OptionsError: Something stands in the way, the ending is unknown, or pyarrow is missing.
    """
    if out.suffix not in FORMATS:
        raise OptionsError(
            f"{source.shown(out.name)}: expected a name that ends in {', '.join(FORMATS)}, found {out.suffix or 'none'!r}"
        )
    if out.suffix == ".parquet":
        _pyarrow()
    if not out.parent.is_dir():
        raise OptionsError(f"{source.shown(out.parent)}: is not a folder; make it first")
    if out.is_dir():
        raise OptionsError(f"{source.shown(out)}: is a folder; give the name of a file")
    if os.path.lexists(page):
        with page.open("rb") as file:
            if _mark(out).encode() not in file.read(1000):
                raise OptionsError(
                    f"{source.shown(page)}: is not of an earlier scan into {source.shown(out.name)} and would be replaced;"
                    " move it elsewhere, or give another folder"
                )
    elif os.path.lexists(out) and not os.path.lexists(journal):
        raise OptionsError(f"{source.shown(out)}: is not of an earlier scan and would be replaced; give another name")
    if not os.path.lexists(journal):
        # There will be its page, which it has not written yet.
        for other in (path.with_suffix("") for path in out.parent.glob("*.journal")):
            if other.suffix in FORMATS and not os.path.lexists(other):
                found = f"a scan into {source.shown(other.name)} was begun there and has not ended"
                raise OptionsError(f"{source.shown(out.parent)}: {found}; end it, or give another folder")


def as_row(known: dict[str, Any]) -> dict[str, Any]:
    """The columns' part of what is known of a file."""
    return {key: _writable(known.get(key)) for key in COLUMNS}


def write(out: Path, rows: Iterable[dict[str, Any]]) -> None:
    """The table, all or nothing."""
    with replacing(out) as partial:
        _WRITERS[out.suffix](partial, rows)


def write_page(
    summary: Summary,
    first: Iterable[tuple[dict[str, Any], dict[str, str], bytes]],
    *,
    tool: ToolInfo,
    options: Options,
    words: Words,
    images: bool,
) -> None:
    """The page, all or nothing.

    Args:
        first: The `ON_PAGE` rows that it shows, each with its reason by language and its crop as JPEG.
        tool: What judged.
        options: With these settings.
        images: Whether crops are shown.
    """
    script = templates().get_template(SCRIPT).render()
    allowed = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    default = asdict(Options())
    changed = [f"{name} {value}" for name, value in asdict(options).items() if value != default[name]]
    shown = (
        (row, reasons.get(words.language, ""), base64.b64encode(crop if images else b"").decode("ascii"))
        for row, reasons, crop in first
    )
    pieces = templates().get_template(TEMPLATE).generate(
        w=words, summary=summary, tool=tool, options=", ".join(changed) or words("page_fact_none"), rows=shown,
        shown=min(summary.files, ON_PAGE), images=images, mark=Markup(_mark(summary.table)), script=Markup(script),
        allowed=allowed,
    )  # fmt: skip
    with replacing(summary.page) as partial, partial.open("w", encoding="utf-8") as file:
        file.writelines(pieces)


def _mark(out: Path) -> str:
    """What tells the page of this table from any other file of its name."""
    name = hashlib.sha256(os.fsencode(out.name)).hexdigest()[:16]
    return f'<meta name="generator" content="deepfake-detect scan {name}">'


def _writable(value: Any) -> Any:
    """Names that are no text have escapes in place of bytes that can't be written."""
    return value.encode("utf-8", "backslashreplace").decode("utf-8") if isinstance(value, str) else value


def _write_csv(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(COLUMNS), lineterminator="\n")
        table.writeheader()
        for row in rows:
            # Python before 3.13 writes a carriage return bare, and readers take it for the end of a row.
            table.writerow({key: value.replace("\r", "\\r") if isinstance(value, str) else value
                            for key, value in row.items()})  # fmt: skip


def _write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with path.open("w", encoding="ascii") as file:
        file.writelines(json.dumps(row, allow_nan=False) + "\n" for row in rows)


def _write_parquet(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    arrow, parquet = _pyarrow()
    kinds = {str: arrow.string(), int: arrow.int64(), float: arrow.float64()}
    schema = arrow.schema([(name, kinds[kind]) for name, kind in COLUMNS.items()])
    left = iter(rows)
    with parquet.ParquetWriter(path, schema) as table:
        while some := list(islice(left, _ROWS_AT_A_TIME)):
            table.write_batch(arrow.RecordBatch.from_pylist(some, schema=schema))


_WRITERS = {".parquet": _write_parquet, ".csv": _write_csv, ".jsonl": _write_jsonl}


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise OptionsError(
            f'Parquet needs pyarrow ({error}); pip install "deepfake-detect[scan]", or give a name ending in .csv or .jsonl'
        ) from error
    return pyarrow, pyarrow.parquet
